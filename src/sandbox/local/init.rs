//! The init of a jail: makes the namespaces and mounts, waits for its order, starts the program, reaps, reports.
//!
//! It is forked by the launcher, ahead of the job where possible. The launcher has a single thread: no lock can be
//! held by a thread that the fork leaves behind, so ordinary Rust runs in the child. It never returns into the
//! launcher's code.

use std::fs;
use std::io::Error;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, geteuid, pipe2, read, seteuid, setgroups, write};

use super::jail::{Doing, Failure, Jail, Kind, Program};
use super::pack::unpack;
use super::protocol::{Interpreter, Order, Surroundings, Word, receive, send};
use super::sys;
use super::template::{JOBS, LOWER, USER_ID, bind};
use super::workspace::{self, Workspace};

/// What the files of a job are in.
#[derive(Clone, Copy)]
pub(super) enum Tree<'a> {
    /// A copy of this template, with a new workspace.
    Template(&'a OwnedFd),
    /// A copy of the mount namespace of the job's step before.
    Before(&'a OwnedFd),
    /// The host's own mount namespace, and a workspace there.
    Host(&'a Workspace),
}

/// Forks the init of `jail`. Returns its pid and the socket on which it takes its [`Order`] and answers with a
/// [`Word`].
pub(super) fn spawn(
    jail: &Jail<'_>,
    tree: Tree<'_>,
    surroundings: &Surroundings,
) -> Result<(Pid, OwnedFd), Error> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((spawn_on(jail, tree, surroundings, &theirs)?, ours))
}

/// The same with the init's end of the socket. In a fork server the init becomes the launcher's child.
pub(super) fn spawn_on(
    jail: &Jail<'_>,
    tree: Tree<'_>,
    surroundings: &Surroundings,
    channel: &OwnedFd,
) -> Result<Pid, Error> {
    let parent = if jail.interpreter.is_some() { libc::CLONE_PARENT } else { 0 };
    let own = if let Tree::Host(_) = tree { 0 } else { libc::CLONE_NEWPID };
    if let Some(pid) = fork(own | parent)? {
        return Ok(pid);
    }
    let code = match init(jail, tree, surroundings, channel) {
        Ok(()) => 0,
        Err(failure) => {
            fail(channel, failure);
            1
        }
    };
    exit(code)
}

fn init(
    jail: &Jail<'_>,
    tree: Tree<'_>,
    surroundings: &Surroundings,
    channel: &OwnedFd,
) -> Result<(), Failure> {
    keep_only(jail, tree, channel).doing("close the launcher's descriptors")?;
    die_with_launcher(jail.launcher)?;
    for join in jail.joins {
        write(join, b"0").doing("join the control group")?;
    }
    let workspace = enter(jail, tree, surroundings)?;
    // Supplementary groups can only be dropped by a privileged launcher; a user namespace has none to give.
    let _ = setgroups(&[]);
    let Some((order, mut fds)) = receive::<Order>(channel.as_fd()).doing("receive the order")? else {
        return Ok(());
    };
    if let Some((Interpreter { argv, env, .. }, _)) = jail.interpreter
        && (*argv != order.step.argv || *env != order.step.env)
    {
        return Err(Failure("the order is not for this interpreter".to_owned()));
    }
    let work = jail.directory(&workspace);
    workspace::fill(&work, jail.owner(), &order.files).doing("write the job's files")?;
    if let Some(pack) = order.packed.then(|| fds.pop()).flatten() {
        unpack(pack, &work, jail.owner()).doing("unpack the job's files")?;
    }
    let tree = order.keep.then(|| fs::File::open("/proc/self/ns/mnt")).transpose();
    let tree = tree.doing("keep the mount namespace")?;
    let (program, started) = start(jail, &workspace, &order, fds, channel)?;
    let status = reap_until(program);
    end_descendants(jail.kind);
    if read(&started, &mut [0]).doing("read whether the program was executed")? == 0 {
        return Err(Failure("the program's process ended before it was executed".to_owned()));
    }
    let init_cpu_ms = sys::own_cpu_ms().doing("read the clock")?;
    let left = order.keep.then(|| left_in(&work)).transpose().doing("look at the work folder")?;
    let left = left.flatten();
    let tree: Vec<_> = tree.iter().chain(&left).map(AsFd::as_fd).collect();
    send(channel.as_fd(), &Word::Ended { status, init_cpu_ms }, &tree).doing("report")
}

/// The work folder, if the program has left nothing in the other places that are the job's own.
fn left_in(work: &Path) -> Result<Option<fs::File>, Error> {
    for other in ["/tmp", "/dev/shm"] {
        if fs::read_dir(other)?.next().is_some() {
            return Ok(None);
        }
    }
    fs::File::open(work).map(Some)
}

/// Forks the program and lets go of its descriptors. Returns its pid and a pipe that holds a byte once it was about to
/// be executed: what ends it before that is no doing of the program's.
fn start(
    jail: &Jail<'_>,
    workspace: &Workspace,
    order: &Order,
    fds: Vec<OwnedFd>,
    channel: &OwnedFd,
) -> Result<(Pid, OwnedFd), Failure> {
    let program = Program::new(workspace, order, fds).doing("take the program's pipes")?;
    let (go_read, go_write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing("make a pipe")?;
    let (started, start) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing("make a pipe")?;
    let (user_namespace, owner) = match jail.kind {
        Kind::Namespaces { id } => (libc::CLONE_NEWUSER, id.map_or_else(geteuid, Uid::from_raw)),
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
    let forked = match jail.interpreter {
        None => fork(user_namespace),
        Some((interpreter, _)) => {
            sys::set_command_line(&interpreter.argv);
            sys::library_fork()
        }
    };
    // Nothing hostile runs in the child yet.
    if !matches!(forked, Ok(None)) {
        seteuid(own).doing("become the launcher's user again")?;
        // A change of user forgets it.
        die_with_launcher(jail.launcher)?;
    }
    let Some(pid) = forked.doing("fork")? else {
        drop(go_write);
        if jail.interpreter.is_some()
            && let Err(failure) = leave_user_namespace(&start)
        {
            fail(channel, failure);
            exit(127)
        }
        let Err(failure) = program.become_it(jail, &go_read, &start);
        fail(channel, failure);
        exit(127)
    };
    drop((go_read, start));
    if jail.interpreter.is_some() && read(&started, &mut [0]).doing("wait for the user namespace")? == 0 {
        return Err(Failure("the program's process ended before it was apart".to_owned()));
    }
    if let Kind::Namespaces { id } = jail.kind {
        let map = format!("{USER_ID} {} 1", id.unwrap_or(0));
        fs::write(format!("/proc/{pid}/setgroups"), "deny").doing("deny setgroups")?;
        fs::write(format!("/proc/{pid}/uid_map"), &map).doing("map user id")?;
        fs::write(format!("/proc/{pid}/gid_map"), &map).doing("map group id")?;
    }
    sys::set_dumpable(false).doing("set dumpable")?;
    write(&go_write, b"g").doing("start the program")?;
    Ok((pid, started))
}

/// Does what the bare `fork` does at once: into a user namespace of its own, for the init to write its id maps.
fn leave_user_namespace(start: &OwnedFd) -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWUSER).doing("make a user namespace")?;
    write(start, b"u").doing("say that the program is apart")?;
    Ok(())
}

/// Closes what else the launcher has open: other jobs' pipes among it.
fn keep_only(jail: &Jail<'_>, tree: Tree<'_>, channel: &OwnedFd) -> Result<(), Error> {
    let mut kept = vec![jail.null.as_raw_fd(), jail.launcher.as_raw_fd(), channel.as_raw_fd()];
    kept.extend(jail.joins.iter().map(AsRawFd::as_raw_fd));
    if let Tree::Template(fd) | Tree::Before(fd) = tree {
        kept.push(fd.as_raw_fd());
    }
    // 0 to 2, and the numbers kept free for the program.
    kept.extend(0..=super::jail::SECRET[1]);
    // SAFETY: the values that own the others belong to the launcher's code, to which this process never returns.
    unsafe { sys::close_all_but(kept) }
}

/// Has the kernel kill this process when the launcher ends, which it may have done already.
pub(super) fn die_with_launcher(launcher: &OwnedFd) -> Result<(), Failure> {
    // SAFETY: prctl with integer arguments only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0) };
    let mut launcher = [PollFd::new(launcher.as_fd(), PollFlags::POLLIN)];
    match poll(&mut launcher, PollTimeout::ZERO).doing("look at the launcher")? {
        0 => Ok(()),
        _ => Err(Failure("the launcher has ended".to_owned())),
    }
}

/// Enters namespaces of the jail's own.
fn enter(jail: &Jail<'_>, tree: Tree<'_>, surroundings: &Surroundings) -> Result<Workspace, Failure> {
    let (from, workspace) = match tree {
        Tree::Host(workspace) => {
            // SAFETY: prctl with integer arguments only. Orphans of the program come to this process, so that they can
            // be found and killed.
            unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong, 0, 0, 0) };
            return Ok(workspace.clone());
        }
        Tree::Template(template) => (template, None),
        Tree::Before(before) => {
            let root = super::template::OWN.into();
            (before, Some(Workspace { root, view: surroundings.view.clone() }))
        }
    };
    setns(from, CloneFlags::CLONE_NEWNS).doing("enter the mount namespace")?;
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(own).doing("make namespaces")?;
    let workspace = match workspace {
        Some(workspace) => workspace,
        None => {
            let Surroundings { view, file_bytes, .. } = surroundings;
            let workspace = Workspace::mounted(view.clone(), *file_bytes, jail.owner());
            let workspace = workspace.doing("make a work folder")?;
            arrange(jail, &workspace)?;
            workspace
        }
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, Some("hidepid=2")).doing("mount /proc")?;
    nix::unistd::sethostname(jail.host_name()).doing("set host name")?;
    sys::loopback_up().doing("bring loopback up")?;
    Ok(workspace)
}

/// Puts the workspace in its places and takes everything else of the launcher's out of sight.
fn arrange(jail: &Jail<'_>, workspace: &Workspace) -> Result<(), Failure> {
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
    umount2(JOBS, MntFlags::MNT_DETACH).doing("unmount /jobs")
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

/// Ends what the program left running, and waits for it.
fn end_descendants(kind: Kind) {
    if let Kind::Namespaces { .. } = kind {
        // All in the pid namespace but its init, at one blow: what is being killed cannot fork.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        while !matches!(waitpid(None, None), Err(Errno::ECHILD)) {}
        return;
    }
    while fs::read_to_string("/proc/thread-self/children").is_ok_and(|children| !children.is_empty()) {
        for pid in super::process_tree::living_descendants(nix::unistd::getpid()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
    }
}

/// Tells the launcher why the step could not run.
fn fail(channel: &OwnedFd, Failure(mut message): Failure) {
    message.truncate(message.floor_char_boundary(1000));
    // When nobody listens, the launcher is gone.
    let _ = send(channel.as_fd(), &Word::Failed { message }, &[]);
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
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: _exit ends this process at once.
    unsafe { libc::_exit(code) }
}
