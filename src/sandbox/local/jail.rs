//! One step in its jail: what it is kept in, and how its process becomes the program.
//!
//! The init (see `init`) keeps the launcher's privileges inside the step's namespaces; the program has none: a user
//! namespace of its own that maps one id, no capabilities, `no_new_privs`, a seccomp filter.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{Error, Write as _};
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chdir, dup2_raw, read, setresgid, setresuid, setsid, write};
use seccompiler::BpfProgram;

use super::fork_server::{Cpython, may_notice_end};
use super::init::exit;
use super::protocol::{Content, Interpreter, Order, Step};
use super::sys;
use super::template::{HOST_ELSEWHERE, USER, USER_ID};
use super::workspace::Workspace;

/// Where the work folder is inside a jail.
pub(super) const WORK: &str = "/work";
/// The same for runs that are to show whether a program depends on it.
pub(super) const WORK_ELSEWHERE: &str = "/home/elsewhere";
/// Descriptors of a program that must say when its tests are done: the secret to read, and where to write it.
pub(super) const SECRET: [RawFd; 2] = [3, 4];
/// Where a program finds commands when its environment does not say.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// A shell's exit code for a file that is there but cannot be executed.
const CANNOT_EXECUTE: i32 = 126;
const OPEN_FILES: u64 = 4096;
pub(super) const STACK_BYTES: u64 = 8 << 20;

/// Limits of the launcher that would decide verdicts: a job under them would fail through no fault of its own.
const MAY_NOT_BE_TIGHTER: &[Resource] = &[
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_AS,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_NPROC,
];

/// What a jail is made of, whatever runs in it.
pub(super) struct Jail<'a> {
    pub filter: &'a BpfProgram,
    /// Files into which the init writes `0` to join its control groups; empty without control groups.
    pub joins: &'a [OwnedFd],
    pub null: &'a OwnedFd,
    /// Readable once the launcher has ended.
    pub launcher: &'a OwnedFd,
    /// See [`super::protocol::Surroundings::elsewhere`].
    pub elsewhere: bool,
    pub kind: Kind,
    /// The interpreter that has started in this process and is to run the program, and for which command.
    pub interpreter: Option<(&'a Interpreter, &'a Cpython)>,
}

impl Jail<'_> {
    pub(super) fn host_name(&self) -> &'static str {
        if self.elsewhere { HOST_ELSEWHERE } else { USER }
    }

    /// Where the work folder is inside, with namespaces.
    pub(super) fn work(&self) -> &'static Path {
        Path::new(if self.elsewhere { WORK_ELSEWHERE } else { WORK })
    }

    /// Where the programs start.
    pub(super) fn directory(&self, workspace: &Workspace) -> PathBuf {
        match self.kind {
            Kind::Namespaces { .. } => self.work().to_owned(),
            Kind::Reduced { .. } => workspace.work(),
        }
    }

    /// The user that programs run as in the launcher's eyes, where it may choose.
    pub(super) fn owner(&self) -> Option<u32> {
        match self.kind {
            Kind::Namespaces { id } | Kind::Reduced { id, .. } => id,
        }
    }
}

/// How the step is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Namespaces; the program's ids map to this id of the launcher's user namespace, its only one (0) when `None`.
    Namespaces { id: Option<u32> },
    /// No namespaces; the program changes to this id where the launcher is root. Whether the kernel has Landlock.
    Reduced { id: Option<u32>, landlock: bool },
}

/// What could not be done, and why.
pub(super) struct Failure(pub String);

/// Names the action that failed.
pub(super) trait Doing<T> {
    fn doing(self, action: &str) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, action: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{action}: {error}")))
    }
}

/// What is to run, and its descriptors.
pub(super) struct Program<'a> {
    workspace: &'a Workspace,
    step: &'a Step,
    files: &'a [(String, Content)],
    /// `None` for nothing to read.
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// What goes to [`SECRET`].
    secret: Option<[OwnedFd; 2]>,
}

impl<'a> Program<'a> {
    /// The program of `order`; `fds` are those that came with it.
    pub(super) fn new(workspace: &'a Workspace, order: &'a Order, fds: Vec<OwnedFd>) -> Result<Self, Error> {
        let Order { files, step, .. } = order;
        let mut fds = fds.into_iter();
        let (Some(stdout), Some(stderr)) = (fds.next(), fds.next()) else {
            return Err(Error::other("a step came without its pipes"));
        };
        let stdin = if step.has_stdin { fds.next() } else { None };
        let secret = fds.next().zip(fds.next()).map(<[OwnedFd; 2]>::from);
        Ok(Self { workspace, step, files, stdin, stdout, stderr, secret })
    }

    /// Becomes the program once `go` says so; returns only when it cannot.
    pub(super) fn become_it(
        &self,
        jail: &Jail<'_>,
        go: &OwnedFd,
        start: &OwnedFd,
    ) -> Result<Infallible, Failure> {
        let mut byte = [0];
        if read(go, &mut byte).doing("wait for the id maps")? == 0 {
            return Err(Failure("the init gave up".to_owned()));
        }
        // When the whole machine runs out of memory, jobs go first. Not vital.
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        setsid().doing("setsid")?;
        // The launcher has every signal at its default action and blocks some.
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).doing("unblock signals")?;
        chdir(&jail.directory(self.workspace)).doing("enter the work folder")?;
        umask(Mode::from_bits_truncate(0o022));
        descriptors(self, jail).doing("arrange descriptors")?;
        limits(self, jail).doing("set resource limits")?;
        let id = match jail.kind {
            Kind::Namespaces { .. } => Some(USER_ID),
            Kind::Reduced { id, .. } => id,
        };
        if let Some(id) = id {
            let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
            setresgid(gid, gid, gid).doing("change group")?;
            setresuid(uid, uid, uid).doing("change user")?;
        }
        sys::drop_capabilities().doing("drop capabilities")?;
        if let Kind::Reduced { landlock, .. } = jail.kind {
            // SAFETY: prctl with integer arguments only. There is no namespace that would end with the init.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0) };
            if landlock {
                super::landlock::restrict(self.workspace).doing("restrict by Landlock")?;
            }
        }
        // Installing a filter without privileges sets no_new_privs, too.
        seccompiler::apply_filter(jail.filter).doing("install the seccomp filter")?;
        write(start, b"s").doing("say that the program starts")?;
        if let Some((interpreter, python)) = jail.interpreter {
            return Err(self.go_on_in(interpreter, python));
        }
        let (argv, env) = (c_strings(&self.step.argv)?, c_environment(self, jail)?);
        let (command, error) = exec(self.step, &argv, &env)?;
        let message = format!("cannot execute {command}: {error}");
        // A file that an earlier step of the job has made, or was to make, is the job's doing.
        let refused =
            [Errno::ENOENT, Errno::EACCES, Errno::ENOEXEC, Errno::ELIBBAD, Errno::EINVAL, Errno::EISDIR];
        if command.starts_with("./") && refused.contains(&error) {
            let _ = writeln!(std::io::stderr(), "{message}");
            exit(CANNOT_EXECUTE);
        }
        Err(Failure(message))
    }

    /// The same without executing a file; returns only when it cannot.
    fn go_on_in(&self, interpreter: &Interpreter, python: &Cpython) -> Failure {
        // What executing a file would have done: name the process, open it to its own user, close descriptors.
        let command = interpreter.argv.first().map(String::as_str).unwrap_or_default();
        sys::set_name(command.rsplit('/').next().unwrap_or_default());
        if let Err(error) = sys::set_dumpable(true) {
            return Failure(format!("set dumpable: {error}"));
        }
        // SAFETY: the values that own them belong to code to which this process never returns.
        if let Err(error) = unsafe { sys::close_from(if self.secret.is_some() { 5 } else { 3 }) } {
            return Failure(format!("close descriptors: {error}"));
        }
        // SAFETY: this process is such a child, and has not run the interpreter before.
        let code = unsafe { python.run(may_notice_end(self.files)) };
        // As the interpreter's own `main` ends: what the C library is to do at exit is done.
        std::process::exit(code)
    }
}

/// stdin, stdout and stderr in their places, nothing else once the program is executed.
fn descriptors(program: &Program<'_>, jail: &Jail<'_>) -> Result<(), Error> {
    // The launcher's own 0 to 2 are open, so none of the sources sits there.
    let stdin = program.stdin.as_ref().unwrap_or(jail.null);
    for (target, source) in [stdin, &program.stdout, &program.stderr].into_iter().enumerate() {
        // SAFETY: this process, about to exec or exit, needs its old 0 to 2 no more; the new owner is given up at
        // once, so that they stay open.
        let placed = unsafe { dup2_raw(source, RawFd::try_from(target).map_err(Error::other)?) }?;
        let _ = placed.into_raw_fd();
    }
    for (target, source) in SECRET.into_iter().zip(program.secret.iter().flatten()) {
        // SAFETY: the launcher keeps these two numbers free of anything of its own.
        let placed = unsafe { dup2_raw(source, target) }?;
        let _ = placed.into_raw_fd();
    }
    sys::close_on_exec_from(if program.secret.is_some() { 5 } else { 3 })
}

fn limits(program: &Program<'_>, jail: &Jail<'_>) -> Result<(), Error> {
    let limits = &program.step.limits;
    // A backstop for each process: the launcher's sum over the tree comes first.
    let cpu_seconds = limits.cpu_ms / 1000 + 3;
    for (resource, soft, hard) in [
        (Resource::RLIMIT_CPU, cpu_seconds, cpu_seconds + 1),
        (Resource::RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (Resource::RLIMIT_STACK, STACK_BYTES, libc::RLIM_INFINITY),
        (Resource::RLIMIT_MSGQUEUE, 0, 0),
        (Resource::RLIMIT_AS, libc::RLIM_INFINITY, libc::RLIM_INFINITY),
        (Resource::RLIMIT_DATA, libc::RLIM_INFINITY, libc::RLIM_INFINITY),
        (Resource::RLIMIT_NPROC, limits.pids, libc::RLIM_INFINITY),
    ] {
        // Limits that are tighter already may not be raised.
        let (_, most) = getrlimit(resource)?;
        if most < soft && MAY_NOT_BE_TIGHTER.contains(&resource) {
            return Err(Error::other(format!("the launcher's own {resource:?} of {most} is tighter")));
        }
        setrlimit(resource, soft.min(most), hard.min(most))?;
    }
    if jail.joins.is_empty() {
        // Without control groups the launcher looks at the tree's memory; this stops what is too quick for it.
        let data = limits.memory_bytes.saturating_mul(4);
        setrlimit(Resource::RLIMIT_DATA, data, data)?;
        // All of the job's user id, which inside a user namespace counts apart.
        if !matches!(jail.kind, Kind::Reduced { id: None, .. }) {
            setrlimit(Resource::RLIMIT_NPROC, limits.pids, limits.pids)?;
        }
    }
    Ok(())
}

/// Tries every place where the command may be; returns the command and why it cannot be executed.
fn exec<'a>(step: &'a Step, argv: &[CString], env: &[CString]) -> Result<(&'a str, Errno), Failure> {
    let Some(command) = step.argv.first() else { return Err(Failure("no command".to_owned())) };
    let path = step.env.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, value)| value.as_str());
    let places: Vec<_> = if command.contains('/') {
        vec![command.into()]
    } else {
        path.split(':').map(|folder| Path::new(folder).join(command)).collect()
    };
    let mut last = Errno::ENOENT;
    for place in places {
        let Ok(place) = sys::c_path(&place) else { continue };
        // exec returns only on failure.
        if let Err(error) = nix::unistd::execve(&place, argv, env)
            && (last == Errno::ENOENT || error == Errno::EACCES)
        {
            last = error;
        }
    }
    Ok((command, last))
}

fn c_strings(strings: &[String]) -> Result<Vec<CString>, Failure> {
    strings.iter().map(|text| CString::new(OsStr::new(text).as_bytes()).doing("read the command")).collect()
}

/// The environment; without namespaces the folders it names are elsewhere.
fn c_environment(program: &Program<'_>, jail: &Jail<'_>) -> Result<Vec<CString>, Failure> {
    let folder = |name: &str| match (jail.kind, name) {
        (Kind::Reduced { .. }, "HOME") => Some(program.workspace.work()),
        (Kind::Reduced { .. }, "TMPDIR") => Some(program.workspace.tmp()),
        _ => None,
    };
    let text = |(name, value): &(String, String)| match folder(name) {
        Some(folder) => format!("{name}={}", folder.display()),
        None => format!("{name}={value}"),
    };
    program.step.env.iter().map(|pair| CString::new(text(pair)).doing("read the environment")).collect()
}
