//! One step in its jail: an init that reaps, and the program.
//!
//! Both are forked by the launcher, which has a single thread: no lock can be held by a thread that the fork leaves
//! behind, so ordinary Rust runs in the children. Neither ever returns into the launcher's code.
//!
//! The init keeps the launcher's privileges inside the step's namespaces; the program has none: a user namespace of
//! its own that maps one id, no capabilities, `no_new_privs`, a seccomp filter.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{Error, Write as _};
use std::os::fd::{AsFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{
    Gid, Pid, Uid, chdir, dup2_raw, geteuid, pipe2, read, seteuid, setgroups, setresgid, setresuid, setsid,
    write,
};
use seccompiler::BpfProgram;

use super::protocol::Limits;
use super::sys;
use super::template::{HOST_ELSEWHERE, LOWER, USER, USER_ID, bind};
use super::workspace::Workspace;

/// Where the work folder is inside a jail.
pub(super) const WORK: &str = "/work";
/// The same for runs that are to show whether a program depends on it.
pub(super) const WORK_ELSEWHERE: &str = "/home/elsewhere";
/// Descriptors of a program that must say when its tests are done: the secret to read, and where to write it.
pub(super) const SECRET: [RawFd; 2] = [3, 4];
/// Where a program finds commands when its environment does not say.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// First byte of the status pipe's message: the wait status of the program follows.
pub(super) const ENDED: u8 = b'E';
/// First byte of the status pipe's message: why the program could not be started follows.
pub(super) const FAILED: u8 = b'F';

/// A shell's exit code for a file that is there but cannot be executed.
const CANNOT_EXECUTE: i32 = 126;
const OPEN_FILES: u64 = 4096;
const STACK_BYTES: u64 = 8 << 20;

/// Limits of the launcher that would decide verdicts: a job under them would fail through no fault of its own.
const MAY_NOT_BE_TIGHTER: &[Resource] = &[
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_AS,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_NPROC,
];

/// All that a step needs, prepared before the fork.
pub(super) struct Jail<'a> {
    pub workspace: &'a Workspace,
    pub argv: &'a [String],
    pub env: &'a [(String, String)],
    pub limits: &'a Limits,
    pub filters: &'a [BpfProgram],
    /// Files into which the program writes `0` to join its control groups; empty without control groups.
    pub joins: &'a [OwnedFd],
    /// Readable once the launcher has ended.
    pub launcher: &'a OwnedFd,
    pub stdin: &'a OwnedFd,
    pub stdout: &'a OwnedFd,
    pub stderr: &'a OwnedFd,
    /// What goes to [`SECRET`].
    pub secret: Option<&'a [OwnedFd; 2]>,
    /// See [`super::protocol::Step::elsewhere`].
    pub elsewhere: bool,
    pub kind: Kind,
}

impl Jail<'_> {
    fn host_name(&self) -> &'static str {
        if self.elsewhere { HOST_ELSEWHERE } else { USER }
    }

    fn work(&self) -> &'static Path {
        Path::new(if self.elsewhere { WORK_ELSEWHERE } else { WORK })
    }
}

/// How the step is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Namespaces; the program's ids map to this id of the launcher's user namespace.
    Namespaces { id: u32 },
    /// No namespaces; the program changes to this id where the launcher is root. Whether the kernel has Landlock.
    Reduced { id: Option<u32>, landlock: bool },
}

/// Forks the init of `jail`; must run inside the template. Returns its pid and the read end of its status pipe.
pub(super) fn spawn(jail: &Jail<'_>) -> Result<(Pid, OwnedFd), Error> {
    let (status, report) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let flags = match jail.kind {
        Kind::Namespaces { .. } => {
            libc::CLONE_NEWNS
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUTS
        }
        Kind::Reduced { .. } => 0,
    };
    match fork(flags)? {
        Some(pid) => Ok((pid, status)),
        None => {
            drop(status);
            let code = match init(jail, &report) {
                Ok(()) => 0,
                Err(failure) => {
                    fail(&report, &failure);
                    1
                }
            };
            exit(code)
        }
    }
}

/// What could not be done, and why.
struct Failure(String);

/// Names the action that failed.
trait Doing<T> {
    fn doing(self, action: &str) -> Result<T, Failure>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, action: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{action}: {error}")))
    }
}

/// Sets up the jail, starts the program, reaps until it ends, reports its status. All else dies with this process.
fn init(jail: &Jail<'_>, report: &OwnedFd) -> Result<(), Failure> {
    die_with_launcher(jail)?;
    if let Kind::Namespaces { .. } = jail.kind {
        mounts(jail)?;
        nix::unistd::sethostname(jail.host_name()).doing("set host name")?;
        sys::loopback_up().doing("bring loopback up")?;
    } else {
        // SAFETY: prctl with integer arguments only. Orphans of the program come to this process, so that they can
        // be found and killed.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong, 0, 0, 0) };
    }
    // Supplementary groups can only be dropped by a privileged launcher; a user namespace has none to give.
    let _ = setgroups(&[]);
    let (go_read, go_write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing("make a pipe")?;
    let (user_namespace, owner) = match jail.kind {
        Kind::Namespaces { id } => (libc::CLONE_NEWUSER, Uid::from_raw(id)),
        Kind::Reduced { .. } => (0, geteuid()),
    };
    // What the kernel counts per user (inotify instances, pending signals, ...) counts towards the user namespace's
    // maker, too: that must not be root, who has one allowance for the whole machine.
    let own = geteuid();
    if owner != own {
        // SAFETY: prctl with integer arguments only. Keeps the capabilities: distributions that refuse user namespaces
        // to ordinary users allow it to those.
        unsafe {
            libc::prctl(libc::PR_SET_SECUREBITS, libc::SECBIT_NO_SETUID_FIXUP as libc::c_ulong, 0, 0, 0)
        };
    }
    seteuid(owner).doing("become the job's user")?;
    // The id maps of a process are its own to write only while it may be looked into.
    sys::set_dumpable(true).doing("set dumpable")?;
    let forked = fork(user_namespace);
    // Nothing hostile runs in the child yet.
    if !matches!(forked, Ok(None)) {
        seteuid(own).doing("become the launcher's user again")?;
        // A change of user forgets it.
        die_with_launcher(jail)?;
    }
    let Some(program) = forked.doing("fork")? else {
        drop(go_write);
        let Err(failure) = program(jail, &go_read);
        fail(report, &failure);
        exit(127)
    };
    drop(go_read);
    if let Kind::Namespaces { id } = jail.kind {
        let map = format!("{USER_ID} {id} 1");
        fs::write(format!("/proc/{program}/setgroups"), "deny").doing("deny setgroups")?;
        fs::write(format!("/proc/{program}/uid_map"), &map).doing("map user id")?;
        fs::write(format!("/proc/{program}/gid_map"), &map).doing("map group id")?;
    }
    sys::set_dumpable(false).doing("set dumpable")?;
    write(&go_write, b"g").doing("start the program")?;
    drop(go_write);
    let status = reap_until(program);
    if let Kind::Reduced { .. } = jail.kind {
        end_descendants();
    }
    let mut message = vec![ENDED];
    message.extend(status.to_ne_bytes());
    write(report, &message).doing("report")?;
    Ok(())
}

/// Has the kernel kill this process when the launcher ends, which it may have done already.
fn die_with_launcher(jail: &Jail<'_>) -> Result<(), Failure> {
    // SAFETY: prctl with integer arguments only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0) };
    let mut launcher = [PollFd::new(jail.launcher.as_fd(), PollFlags::POLLIN)];
    match poll(&mut launcher, PollTimeout::ZERO).doing("look at the launcher")? {
        0 => Ok(()),
        _ => Err(Failure("the launcher has ended".to_owned())),
    }
}

/// Puts the workspace in its places and takes everything else of the launcher's out of sight.
fn mounts(jail: &Jail<'_>) -> Result<(), Failure> {
    let workspace = jail.workspace;
    bind(&workspace.work(), jail.work()).doing("bind the work folder")?;
    bind(&workspace.tmp(), Path::new("/tmp")).doing("bind /tmp")?;
    bind(&workspace.shm(), Path::new("/dev/shm")).doing("bind /dev/shm")?;
    for (index, (_, inside)) in workspace.view.layered.iter().enumerate() {
        let (upper, scratch) = workspace.layer(index);
        let layers =
            format!("lowerdir={LOWER}/{index},upperdir={},workdir={}", upper.display(), scratch.display());
        let overlay = |options: &str| {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("overlay"), inside, Some("overlay"), flags, Some(options))
        };
        // `userxattr` is needed in a user namespace, and unknown before Linux 5.11.
        overlay(&format!("{layers},userxattr")).or_else(|_| overlay(&layers)).doing("mount overlay")?;
    }
    umount2("/jobs", MntFlags::MNT_DETACH).doing("unmount /jobs")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, Some("hidepid=2")).doing("mount /proc")?;
    Ok(())
}

/// Becomes the program; returns only when it cannot.
fn program(jail: &Jail<'_>, go: &OwnedFd) -> Result<std::convert::Infallible, Failure> {
    let mut byte = [0];
    if read(go, &mut byte).doing("wait for the id maps")? == 0 {
        return Err(Failure("the init gave up".to_owned()));
    }
    for join in jail.joins {
        write(join, b"0").doing("join the control group")?;
    }
    // When the whole machine runs out of memory, jobs go first. Not vital.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    setsid().doing("setsid")?;
    // The launcher has every signal at its default action and blocks some.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).doing("unblock signals")?;
    let directory = match jail.kind {
        Kind::Namespaces { .. } => jail.work().to_owned(),
        Kind::Reduced { .. } => jail.workspace.work(),
    };
    chdir(&directory).doing("enter the work folder")?;
    umask(Mode::from_bits_truncate(0o022));
    descriptors(jail).doing("arrange descriptors")?;
    limits(jail).doing("set resource limits")?;
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
    let (argv, env) = (c_strings(jail.argv)?, c_environment(jail)?);
    if let Kind::Reduced { landlock, .. } = jail.kind {
        // SAFETY: prctl with integer arguments only. There is no namespace that would end with the init.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0) };
        if landlock {
            super::landlock::restrict(jail.workspace).doing("restrict by Landlock")?;
        }
    }
    // Installing a filter without privileges sets no_new_privs, too.
    for filter in jail.filters {
        seccompiler::apply_filter(filter).doing("install the seccomp filter")?;
    }
    let (command, error) = exec(jail, &argv, &env)?;
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

/// stdin, stdout and stderr in their places, nothing else once the program is executed.
fn descriptors(jail: &Jail<'_>) -> Result<(), Error> {
    // The launcher's own 0 to 2 are open, so none of the sources sits there.
    for (target, source) in [jail.stdin, jail.stdout, jail.stderr].into_iter().enumerate() {
        // SAFETY: this process, about to exec or exit, needs its old 0 to 2 no more; the new owner is given up at
        // once, so that they stay open.
        let placed = unsafe { dup2_raw(source, RawFd::try_from(target).map_err(Error::other)?) }?;
        let _ = placed.into_raw_fd();
    }
    for (target, source) in SECRET.into_iter().zip(jail.secret.into_iter().flatten()) {
        // SAFETY: the launcher keeps these two numbers free of anything of its own.
        let placed = unsafe { dup2_raw(source, target) }?;
        let _ = placed.into_raw_fd();
    }
    sys::close_on_exec_from(if jail.secret.is_some() { 5 } else { 3 })
}

fn limits(jail: &Jail<'_>) -> Result<(), Error> {
    let limits = jail.limits;
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
fn exec<'a>(jail: &Jail<'a>, argv: &[CString], env: &[CString]) -> Result<(&'a str, Errno), Failure> {
    let Some(command) = jail.argv.first() else { return Err(Failure("no command".to_owned())) };
    let path = jail.env.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, value)| value.as_str());
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
fn c_environment(jail: &Jail<'_>) -> Result<Vec<CString>, Failure> {
    let folder = |name: &str| match (jail.kind, name) {
        (Kind::Reduced { .. }, "HOME") => Some(jail.workspace.work()),
        (Kind::Reduced { .. }, "TMPDIR") => Some(jail.workspace.tmp()),
        _ => None,
    };
    let text = |(name, value): &(String, String)| match folder(name) {
        Some(folder) => format!("{name}={}", folder.display()),
        None => format!("{name}={value}"),
    };
    jail.env.iter().map(|pair| CString::new(text(pair)).doing("read the environment")).collect()
}

/// Waits for children until `program` has ended; returns its raw wait status.
fn reap_until(program: Pid) -> i32 {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the result during the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if pid == program.as_raw() {
            return status;
        }
        if pid < 0 && Errno::last() != Errno::EINTR {
            return libc::W_EXITCODE(1, 0);
        }
    }
}

/// Without a pid namespace: ends what the program left running.
fn end_descendants() {
    while fs::read_to_string("/proc/thread-self/children").is_ok_and(|children| !children.is_empty()) {
        for pid in super::process_tree::living_descendants(nix::unistd::getpid()) {
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
    }
}

/// Tells the launcher why the step could not run; cut so that it fits the pipe in one write.
fn fail(report: &OwnedFd, failure: &Failure) {
    let mut message = vec![FAILED];
    message.extend(failure.0.bytes().take(1000));
    let _ = write(report, &message);
}

/// `fork`, with namespaces of the child's own.
fn fork(flags: libc::c_int) -> Result<Option<Pid>, Error> {
    // SAFETY: without CLONE_VM this is fork; the launcher and its children have a single thread, see above.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        -1 => Err(Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(Pid::from_raw(i32::try_from(pid).map_err(Error::other)?))),
    }
}

/// Ends a forked child without running what the launcher has registered for its own exit.
fn exit(code: i32) -> ! {
    // SAFETY: _exit ends this process at once.
    unsafe { libc::_exit(code) }
}
