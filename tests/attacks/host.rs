//! A sandbox of a test's own, how the host was before, and whether it is the same afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use autocodegen::sandbox::local::{Isolation, LocalSandbox, Options};
use tokio::sync::{Mutex, MutexGuard};

use crate::common;

pub const PASSED: Outcome = Outcome::Passed;
pub const TIME: Outcome = Outcome::TimeLimitExceeded;
pub const MEMORY: Outcome = Outcome::MemoryLimitExceeded;

/// Descriptors that the launcher may hold for what is made ahead for one language. That nothing adds up over many jobs
/// is for the soak to see.
const AHEAD: usize = 4;

/// Limits of an attack unless it sets its own.
pub fn limits() -> LimitOverrides {
    LimitOverrides {
        cpu_ms: Some(2000),
        wall_ms: Some(8000),
        memory_bytes: Some(256 << 20),
        pids: Some(64),
        file_bytes: Some(64 << 20),
        ..LimitOverrides::default()
    }
}

pub struct Host {
    pub sandbox: LocalSandbox,
    scratch: tempfile::TempDir,
    mounts: String,
    /// Descriptors of the launcher once it had run a job of shell and of python.
    fds: usize,
    others: std::sync::Mutex<BTreeSet<String>>,
    // Attacks run one at a time, so that what is left can be told.
    _alone: MutexGuard<'static, ()>,
}

impl Host {
    pub async fn new(test: &str) -> Option<Self> {
        Self::isolated(test, Isolation::Auto).await
    }

    pub async fn isolated(test: &str, isolation: Isolation) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let scratch = tempfile::tempdir().unwrap();
        let options = Options {
            launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()),
            scratch: Some(scratch.path().to_owned()),
            isolation,
            ..Options::default()
        };
        let sandbox = match LocalSandbox::start(options) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                common::skip(test, &error.to_string());
                return None;
            }
        };
        let mut host = Self {
            sandbox,
            scratch,
            mounts: mounts(),
            fds: 0,
            others: std::sync::Mutex::default(),
            _alone: alone,
        };
        host.run("shell", "true").await;
        if isolation == Isolation::Auto {
            host.run("python", "pass").await;
        }
        host.settle().await;
        host.fds = host.launcher_fds();
        Some(host)
    }

    pub async fn run(&self, language: &str, source: &str) -> Verdict {
        self.run_within(limits(), language, source).await
    }

    pub async fn run_within(&self, limits: LimitOverrides, language: &str, source: &str) -> Verdict {
        if !["shell", "python"].contains(&language) {
            self.others.lock().unwrap().insert(language.to_owned());
        }
        let job = Job { language: language.to_owned(), source: source.to_owned(), limits, ..Job::default() };
        let started = Instant::now();
        let verdict = self.sandbox.run(&job).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(90), "{verdict:#?}");
        verdict
    }

    /// As `run_within`, unless the language or its toolchain is not here: that is said.
    pub async fn run_if_installed(
        &self,
        limits: LimitOverrides,
        language: &str,
        source: &str,
    ) -> Option<Verdict> {
        let probe =
            Job { language: language.to_owned(), limits, source: source.to_owned(), ..Job::default() };
        self.others.lock().unwrap().insert(language.to_owned());
        match self.sandbox.run(&probe).await {
            Ok(verdict) => Some(verdict),
            Err(fault) if ["unknown_language", "toolchain_missing"].contains(&fault.cause) => {
                common::skip(language, &fault.message);
                None
            }
            Err(fault) => panic!("{language}: {fault}"),
        }
    }

    /// Nothing is left behind: neither while the sandbox lives nor after it.
    pub async fn assert_clean(self) {
        self.settle().await;
        let verdict = self.run("shell", "echo still well").await;
        assert_eq!((verdict.outcome, verdict.stdout.as_str()), (PASSED, "still well\n"));
        self.settle().await;
        // Each further language brings a mount namespace of its own, and all of them jails made ahead.
        let allowed = self.fds + AHEAD * (1 + self.others.lock().unwrap().len());
        assert!(self.launcher_fds() <= allowed, "{} descriptors, {allowed} allowed", self.launcher_fds());
        self.assert_gone();
    }

    /// Nothing outlives the sandbox.
    pub fn assert_gone(self) {
        let launcher = self.sandbox.launcher_pid();
        drop(self.sandbox);
        assert!(!Path::new(&format!("/proc/{launcher}")).exists());
        assert_eq!(left_behind(launcher), Vec::<String>::new());
        assert_eq!(fs::read_dir(self.scratch.path()).unwrap().count(), 0);
        assert_eq!(mounts(), self.mounts);
    }

    /// Waits until nothing of the jobs is left: a work folder is closed after its verdict.
    async fn settle(&self) {
        let launcher = self.sandbox.launcher_pid();
        for attempt in 0.. {
            let left = left_behind(launcher);
            if left.is_empty() {
                break;
            }
            assert!(attempt < 100, "left behind: {left:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn launcher_fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.sandbox.launcher_pid())).unwrap().count()
    }
}

pub fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Processes and control groups of a launcher's jobs.
pub fn left_behind(launcher: u32) -> Vec<String> {
    let mut left = Vec::new();
    // Where the launcher is root, its jobs run as users of its own.
    let first_user = 0x7000_0000 + (launcher & 0x3_ffff) * 1024;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let of_job = entry.metadata().is_ok_and(|data| (first_user..first_user + 1024).contains(&data.uid()));
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        // A zombie whose launcher was killed waits for the machine's init.
        let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
        let of_launcher = parent == Some(launcher.to_string().as_str()) && !is_fork_server(pid);
        if of_job && !zombie || of_launcher {
            left.push(format!("process {pid}: {stat}"));
        }
    }
    groups(Path::new("/sys/fs/cgroup"), &format!("autocodegen-{launcher}"), &mut left);
    left
}

/// Whether a process is an interpreter that waits to be forked: those stay, without anything of a job, for a while.
pub fn is_fork_server(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    // The inits it forks have its command line and namespaces of their own.
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    line.split(|&byte| byte == 0).nth(2) == Some(b"fork") && namespace(&pid.to_string()) == namespace("self")
}

/// Groups below a launcher's own.
fn groups(folder: &Path, own: &str, left: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if folder.ends_with(own) {
                left.push(entry.path().display().to_string());
            }
            groups(&entry.path(), own, left);
        }
    }
}

/// Runs a python program and checks its outcome and that the host is as before.
pub async fn attack(test: &str, source: &str, expected: &[Outcome]) -> Option<Verdict> {
    let host = Host::new(test).await?;
    let verdict = host.run("python", source).await;
    assert!(expected.contains(&verdict.outcome), "{test}: {verdict:#?}");
    host.assert_clean().await;
    Some(verdict)
}

/// What `nothing_works` puts before a program: `refused(name, call, *errors)` prints what it could do, and errors
/// other than those given.
pub const REFUSED: &str = r"
import ctypes, errno, fcntl, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def refused(name, call, *errors):
    ctypes.set_errno(0)
    try:
        result = call()
    except OSError as error:
        if errors and error.errno not in errors: print(name, error)
        return
    if result == -1:
        if errors and ctypes.get_errno() not in errors: print(name, errno.errorcode[ctypes.get_errno()])
        return
    print('COULD', name, result)
";

/// Runs a python program in which every attempt must fail: it prints what it could do, which must be nothing.
pub async fn nothing_works(test: &str, source: &str) {
    let source = format!("{REFUSED}{source}\nprint('end')\n");
    let Some(verdict) = attack(test, &source, &[PASSED]).await else { return };
    assert_eq!(verdict.stdout, "end\n", "{test}: {verdict:#?}");
}
