//! The sandbox's own failures: real ones, brought about from outside while jobs with known verdicts run. Whatever is
//! done to it, an answer is the right verdict or a fault that says its cause; never another verdict.
//!
//! `AUTOCODEGEN_FAULTS=10000` makes it the long run.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[allow(dead_code)]
#[path = "attacks/host.rs"]
mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use autocodegen::error::Recovery;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome};
use autocodegen::sandbox::language::{Language, Languages};
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::{Sandbox, run_with_retries};
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What is done to the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    KillLauncher,
    StopLauncher,
    KillInits,
    FewDescriptors,
    FewProcesses,
    SmallFiles,
    LittleAddressSpace,
    LittleCpu,
    NoControlGroup,
    LittleMemoryAbove,
    FullScratch,
    NoToolchain,
}

/// A job and what it must come to.
struct Known {
    source: &'static str,
    outcome: Outcome,
    stdout: &'static str,
    exit_code: Option<i32>,
}

const KNOWN: [Known; 8] = [
    Known { source: "x=$(echo 42); echo $x", outcome: Outcome::Passed, stdout: "42\n", exit_code: Some(0) },
    Known { source: "echo no; exit 3", outcome: Outcome::RuntimeError, stdout: "no\n", exit_code: Some(3) },
    Known { source: "exit 127", outcome: Outcome::RuntimeError, stdout: "", exit_code: Some(127) },
    Known { source: "kill -9 $$", outcome: Outcome::RuntimeError, stdout: "", exit_code: None },
    Known { source: "while :; do :; done", outcome: Outcome::TimeLimitExceeded, stdout: "", exit_code: None },
    Known {
        source: "head -c 200000000 /dev/zero | tail | wc -c",
        outcome: Outcome::MemoryLimitExceeded,
        stdout: "",
        exit_code: None,
    },
    Known {
        source: "head -c 3000000 /dev/zero > file; sleep 0.05; wc -c < file",
        outcome: Outcome::Passed,
        stdout: "3000000\n",
        exit_code: Some(0),
    },
    Known {
        source: "for i in 1 2 3 4 5 6 7 8; do /bin/true || exit 9; done; echo children",
        outcome: Outcome::Passed,
        stdout: "children\n",
        exit_code: Some(0),
    },
];

fn job(known: &Known) -> Job {
    let limits = LimitOverrides {
        cpu_ms: Some(if known.outcome == Outcome::TimeLimitExceeded { 100 } else { 20_000 }),
        wall_ms: Some(120_000),
        memory_bytes: Some(48 << 20),
        pids: Some(32),
        file_bytes: Some(16 << 20),
        ..LimitOverrides::default()
    };
    Job { language: "shell".into(), source: known.source.into(), limits, ..Job::default() }
}

/// A small generator: the same blows in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A sandbox to be struck, whose shell and scratch folder are its own.
struct Victim {
    sandbox: LocalSandbox,
    scratch: tempfile::TempDir,
    _disk: common::SmallDisk,
    /// A copy of the shell that can be taken away.
    shell: PathBuf,
    _shell_folder: tempfile::TempDir,
}

impl Victim {
    fn new(test: &str) -> Option<Self> {
        let scratch = tempfile::tempdir().unwrap();
        // A full disk is one of the blows.
        let Some(disk) = common::SmallDisk::mount_with(scratch.path(), "size=1m,nr_inodes=12") else {
            common::skip(test, "mounting is not allowed");
            return None;
        };
        let shell_folder = tempfile::tempdir_in("/usr/local").unwrap();
        let shell = shell_folder.path().join("bash");
        common::copy_executable("/bin/bash", &shell);
        let text = fs::read_to_string("data/languages/shell.toml").unwrap();
        let text = text.replace("\"{bash}\"", &format!("{:?}", shell.display().to_string()));
        let language = Language::parse("shell.toml", &text).unwrap();
        let options = Options {
            launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()),
            scratch: Some(scratch.path().to_owned()),
            languages: Some(Languages::new(vec![language]).unwrap()),
            ..Options::default()
        };
        match LocalSandbox::start(options) {
            Ok(sandbox) => Some(Self { sandbox, _disk: disk, scratch, shell, _shell_folder: shell_folder }),
            Err(error) => {
                common::skip(test, &error.to_string());
                None
            }
        }
    }

    async fn strike(&self, blow: Blow, random: &mut Random) {
        let launcher = self.sandbox.launcher_pid();
        let signal = |pid: u32, signal| kill(Pid::from_raw(pid as i32), signal).unwrap_or(());
        tokio::time::sleep(Duration::from_millis(random.below(50))).await;
        match blow {
            Blow::KillLauncher => signal(launcher, Signal::SIGKILL),
            Blow::StopLauncher => {
                signal(launcher, Signal::SIGSTOP);
                tokio::time::sleep(Duration::from_millis(random.below(150))).await;
                signal(launcher, Signal::SIGCONT);
            }
            Blow::KillInits => {
                let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children"));
                for init in children.unwrap_or_default().split_whitespace() {
                    signal(init.parse().unwrap(), Signal::SIGKILL);
                }
            }
            Blow::FewDescriptors => limit(launcher, "nofile", random.below(24)),
            Blow::FewProcesses => limit(launcher, "nproc", random.below(4)),
            Blow::SmallFiles => limit(launcher, "fsize", random.below(2) * 1000),
            Blow::LittleAddressSpace => limit(launcher, "as", random.below(1 << 26)),
            Blow::LittleCpu => limit(launcher, "cpu", random.below(2)),
            Blow::NoControlGroup => {
                let groups = groups_of(launcher);
                // A group that holds others cannot be removed: only when no jail is left, not even one made ahead.
                for _ in 0..1500 {
                    groups.iter().for_each(|group| fs::remove_dir(group).unwrap_or(()));
                    if groups.iter().all(|group| !group.exists()) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Blow::LittleMemoryAbove => {
                // As tight as the kernel allows: what jails made ahead hold already cannot be taken back.
                for group in groups_of(launcher) {
                    for mib in [1, 2, 4, 8, 16] {
                        let limit = (mib << 20).to_string();
                        let set = ["memory.limit_in_bytes", "memory.max"].map(|file| {
                            let file = group.join(file);
                            file.exists() && fs::write(file, &limit).is_ok()
                        });
                        if set.contains(&true) {
                            break;
                        }
                    }
                }
            }
            Blow::FullScratch => {
                let names = (0..20).map(|n| self.scratch.path().join(format!("full-{n}")));
                let made: Vec<_> = names.filter(|name| fs::write(name, "").is_ok()).collect();
                signal(launcher, Signal::SIGKILL);
                tokio::time::sleep(Duration::from_millis(40)).await;
                made.iter().for_each(|name| fs::remove_file(name).unwrap());
            }
            Blow::NoToolchain => {
                let away = self.shell.with_extension("away");
                fs::rename(&self.shell, &away).unwrap();
                tokio::time::sleep(Duration::from_millis(30)).await;
                fs::rename(&away, &self.shell).unwrap();
            }
        }
    }
}

/// `prlimit(2)` from outside.
fn limit(pid: u32, name: &str, value: u64) {
    // The launcher may be gone already.
    let _ = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--{name}={value}:{value}")])
        .stderr(Stdio::null())
        .status();
}

fn groups_of(launcher: u32) -> Vec<PathBuf> {
    fn walk(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == name {
                    found.push(entry.path());
                } else {
                    walk(&entry.path(), name, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &format!("autocodegen-{launcher}"), &mut found);
    found
}

/// Strikes until `wanted` jobs have been answered by a fault, or striking has proved to have no effect. Returns the faults
/// by cause, and how many answers were verdicts.
async fn inject(blow: Blow, wanted: u64, random: &mut Random) -> Option<(BTreeMap<&'static str, u64>, u64)> {
    let victim = Victim::new("faults")?;
    let (mut faults, mut verdicts, mut launchers) = (BTreeMap::new(), 0, BTreeSet::new());
    let mut rounds = 0;
    while faults.values().sum::<u64>() < wanted && rounds < wanted.max(5) {
        rounds += 1;
        if rounds > 40 && faults.is_empty() {
            break;
        }
        launchers.insert(victim.sandbox.launcher_pid());
        let picked: Vec<&Known> = (0..3).map(|_| &KNOWN[random.below(KNOWN.len() as u64) as usize]).collect();
        let jobs: Vec<Job> = picked.iter().map(|known| job(known)).collect();
        let (answers, ()) = tokio::join!(
            join_all(jobs.iter().map(|job| victim.sandbox.run(job))),
            victim.strike(blow, random)
        );
        for (known, answer) in picked.iter().zip(answers) {
            match answer {
                Ok(verdict) => {
                    verdicts += 1;
                    let what = format!("{blow:?}: {}: {verdict:#?}", known.source);
                    assert_eq!(verdict.outcome, known.outcome, "{what}");
                    if verdict.outcome != Outcome::MemoryLimitExceeded {
                        assert_eq!(verdict.stdout, known.stdout, "{what}");
                        assert_eq!(verdict.exit_code, known.exit_code, "{what}");
                    }
                }
                Err(fault) => {
                    assert_eq!(fault.recovery, Recovery::Retry, "{blow:?}: {fault}");
                    assert!(!fault.cause.is_empty() && !fault.message.is_empty());
                    *faults.entry(fault.cause).or_default() += 1;
                }
            }
        }
    }
    // It recovers by itself; nothing of all that is left.
    let verdict = run_with_retries(&victim.sandbox, &job(&KNOWN[0])).await.unwrap();
    assert_eq!(verdict.stdout, KNOWN[0].stdout);
    launchers.insert(victim.sandbox.launcher_pid());
    let Victim { sandbox, scratch, _disk, .. } = victim;
    drop(sandbox);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    for launcher in launchers {
        assert_eq!(host::left_behind(launcher), Vec::<String>::new(), "{blow:?}");
        assert_eq!(groups_of(launcher), Vec::<PathBuf>::new(), "{blow:?}");
    }
    Some((faults, verdicts))
}

/// One blow's share of the faults.
async fn no_fault_is_scored(blow: Blow) {
    let all: u64 = std::env::var("AUTOCODEGEN_FAULTS").map_or(220, |count| count.parse().unwrap());
    let share = all.div_ceil(11);
    let mut random = Random(0x5eed_1234_5678_9abc + blow as u64);
    let Some((faults, verdicts)) = inject(blow, share, &mut random).await else { return };
    println!("{blow:?}: {faults:?} and {verdicts} right verdicts, no other answer");
    // A launcher that is held up and goes on has no excuse.
    assert_eq!(faults.is_empty(), blow == Blow::StopLauncher);
}

macro_rules! blows {
    ($($test:ident: $blow:ident,)*) => {
        $(#[tokio::test]
        async fn $test() {
            no_fault_is_scored(Blow::$blow).await;
        })*
    };
}

blows! {
    killed_launcher: KillLauncher,
    stopped_launcher: StopLauncher,
    killed_inits: KillInits,
    few_descriptors: FewDescriptors,
    few_processes: FewProcesses,
    small_files: SmallFiles,
    little_address_space: LittleAddressSpace,
    little_cpu: LittleCpu,
    no_control_group: NoControlGroup,
    little_memory_above: LittleMemoryAbove,
    full_scratch: FullScratch,
    no_toolchain: NoToolchain,
}

#[tokio::test]
async fn a_fault_is_retried_on_a_fresh_jail() {
    let Some(victim) = Victim::new("retried") else { return };
    let slow = Job { source: "sleep 0.5; echo done".into(), ..job(&KNOWN[0]) };
    let before = victim.sandbox.launcher_pid();
    let killer = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        kill(Pid::from_raw(before as i32), Signal::SIGKILL).unwrap();
    };
    let (verdict, ()) = tokio::join!(run_with_retries(&victim.sandbox, &slow), killer);
    assert_eq!(verdict.unwrap().stdout, "done\n");
    assert_ne!(victim.sandbox.launcher_pid(), before);
}
