//! The process that forks: a fresh execution of this program's file, without anything of the launcher's memory.
//!
//! It starts the interpreter where jobs would, and then does nothing but fork inits of jails, which are the
//! launcher's children. It never sees a job: an init takes its order from the launcher itself.

use std::fs::OpenOptions;
use std::io::{Error, Result};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chdir, dup2_raw, pipe2, read};
use seccompiler::BpfProgram;

use super::super::init::{self, Tree, die_with_launcher};
use super::super::jail::{Doing, Failure, Jail, Kind, WORK};
use super::super::protocol::{Interpreter, Level, receive, send};
use super::super::template::USER;
use super::super::{seccomp, sys};
use super::cpython::Cpython;
use super::{Answer, Fork};

/// Descriptors from here on are this process's own; the interpreter's start-up finds those below as a program would.
const OWN: RawFd = 100;

/// Speaks with the launcher over the socket at descriptor 0; the descriptors 3 and 4 are taken already.
pub(in super::super) fn serve() -> Result<()> {
    sys::default_signals()?;
    sys::no_alternate_stack();
    let socket = own(std::io::stdin().as_fd())?;
    let Some((interpreter, fds)) = receive::<Interpreter>(socket.as_fd())? else { return Ok(()) };
    let mut fds = fds.into_iter();
    let (Some(template), Some(launcher)) = (fds.next(), fds.next()) else {
        return Err(Error::other("the template did not come"));
    };
    let (template, launcher) = (own(template.as_fd())?, own(launcher.as_fd())?);
    let null = own(OwnedFd::from(OpenOptions::new().read(true).open("/dev/null")?).as_fd())?;
    match start(&interpreter, &template, &launcher, &null) {
        Ok(python) => {
            send(socket.as_fd(), &Answer::Ready, &[])?;
            let filter = seccomp::filter(Level::Namespaces);
            let forker = Forker { interpreter, template, launcher, null, filter, python };
            forker.fork_for_ever(socket.as_fd())
        }
        Err(Failure(message)) => send(socket.as_fd(), &Answer::Failed { message }, &[]),
    }
}

fn start(
    interpreter: &Interpreter,
    template: &OwnedFd,
    launcher: &OwnedFd,
    null: &OwnedFd,
) -> std::result::Result<Cpython, Failure> {
    die_with_launcher(launcher)?;
    enter(template)?;
    // Start-up sees streams of the kinds that programs get.
    let (said, out) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).doing("make a pipe")?;
    let said = own(said.as_fd()).doing("move a pipe")?;
    fcntl(&out, FcntlArg::F_SETFL(OFlag::empty())).doing("make a pipe block")?;
    for (target, source) in [(0, null), (1, &out), (2, &out)] {
        // SAFETY: nothing of this process uses its first 0 to 2; the new owner is given up at once.
        let placed = unsafe { dup2_raw(source, target) }.doing("arrange descriptors")?;
        let _ = placed.into_raw_fd();
    }
    drop(out);
    let python = Cpython::start(&interpreter.library, &interpreter.argv).doing("start the interpreter")?;
    // What start-up writes a program must write, too.
    match read(&said, &mut [0]) {
        Err(nix::Error::EAGAIN) => Ok(python),
        _ => Err(Failure("the interpreter writes while it starts".to_owned())),
    }
}

/// Goes where programs run, as far as start-up can tell.
fn enter(template: &OwnedFd) -> std::result::Result<(), Failure> {
    setns(template, CloneFlags::CLONE_NEWNS).doing("enter the template")?;
    let apart = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(apart).doing("make namespaces")?;
    // The template of an ordinary user's launcher has one, and no other may be mounted.
    if !Path::new("/proc/self").exists() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).doing("mount /proc")?;
    }
    nix::unistd::sethostname(USER).doing("set host name")?;
    chdir(Path::new(WORK)).doing("enter the work folder")
}

/// A copy of `fd` among this process's own.
fn own(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(OWN))?;
    // SAFETY: the descriptor was made just now; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

struct Forker {
    interpreter: Interpreter,
    template: OwnedFd,
    launcher: OwnedFd,
    null: OwnedFd,
    filter: BpfProgram,
    python: Cpython,
}

impl Forker {
    fn fork_for_ever(&self, socket: BorrowedFd<'_>) -> Result<()> {
        while let Some((Fork { surroundings, id }, mut joins)) = receive::<Fork>(socket)? {
            if joins.is_empty() {
                return Err(Error::other("the init's channel did not come"));
            }
            let channel = joins.remove(0);
            let jail = Jail {
                filter: &self.filter,
                joins: &joins,
                null: &self.null,
                launcher: &self.launcher,
                elsewhere: surroundings.elsewhere,
                kind: Kind::Namespaces { id },
                interpreter: Some((&self.interpreter, &self.python)),
            };
            let forked = init::spawn_on(&jail, Tree::Template(&self.template), &surroundings, &channel);
            let answer = match forked {
                Ok(pid) => Answer::Forked { pid: pid.as_raw() },
                Err(error) => Answer::Failed { message: error.to_string() },
            };
            send(socket, &answer, &[])?;
        }
        Ok(())
    }
}
