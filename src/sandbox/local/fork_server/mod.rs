//! Fork servers: processes in which an interpreter has started, and that fork the inits of jails whose program goes on
//! from there.
//!
//! A jail made so differs from others in one thing: its program does not execute a file but calls the interpreter's
//! `main`. A fork server has the launcher's privileges and runs nothing but the interpreter's start-up, in the mount
//! namespace of the jobs; no job and nothing of a job ever comes near it. It is a help only: as long as there is none,
//! and whenever anything about it is out of the ordinary, jails are made without it.

mod cpython;
mod finalization;
mod process;

use std::fs;
use std::io::{Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

pub(super) use cpython::Cpython;
pub(super) use finalization::may_notice_end;
pub(super) use process::serve;

use super::jail::STACK_BYTES;
use super::protocol::{Interpreter, Surroundings, View, receive, send};

/// The second argument that turns a launcher into a fork server.
pub(super) const ARGUMENT: &str = "fork";
/// Most fork servers at once.
const MOST: usize = 4;
/// After this time without a job a fork server is ended.
const IDLE: Duration = Duration::from_secs(30);
/// After so many of them have failed, one after the other, no more are started.
const MOST_FAILURES: u32 = 3;
/// How long forking may take, ms; it takes about one.
const PATIENCE_MS: u16 = 2000;

/// What the launcher asks a fork server for: the init of a jail. With it come the init's channel and its
/// [`joins`](super::jail::Jail::joins).
#[derive(Serialize, Deserialize)]
struct Fork {
    surroundings: Surroundings,
    id: Option<u32>,
}

/// What a fork server says: once that it is ready, then one answer to each [`Fork`].
#[derive(Serialize, Deserialize)]
enum Answer {
    Ready,
    Forked { pid: i32 },
    Failed { message: String },
}

/// The fork servers of a launcher.
#[derive(Default)]
pub(super) struct ForkServers {
    servers: Vec<Server>,
    failures: u32,
    /// Killed and not yet waited for.
    leaving: Vec<Pid>,
}

struct Server {
    view: View,
    interpreter: Interpreter,
    pid: Pid,
    socket: OwnedFd,
    ready: bool,
    last_use: Instant,
}

impl ForkServers {
    /// Starts a fork server for jobs with these surroundings unless there is one. It is ready only later.
    pub(super) fn want(&mut self, surroundings: &Surroundings, template: &OwnedFd, launcher: &OwnedFd) {
        let Some(interpreter) = &surroundings.interpreter else { return };
        if self.failures >= MOST_FAILURES || self.position(surroundings).is_some() {
            return;
        }
        if self.servers.len() >= MOST {
            let oldest = (0..self.servers.len()).min_by_key(|&index| self.servers[index].last_use);
            oldest.into_iter().for_each(|index| self.end(index));
        }
        match start(interpreter, template, launcher) {
            Ok((pid, socket)) => self.servers.push(Server {
                view: surroundings.view.clone(),
                interpreter: interpreter.clone(),
                pid,
                socket,
                ready: false,
                last_use: Instant::now(),
            }),
            Err(_) => self.failures += 1,
        }
    }

    /// Has the init of a jail forked; `None` when there is no fork server for it, or not yet, or it has failed.
    pub(super) fn fork(
        &mut self,
        surroundings: &Surroundings,
        id: Option<u32>,
        joins: &[OwnedFd],
    ) -> Option<(Pid, OwnedFd)> {
        let index = self.position(surroundings)?;
        match self.servers.get_mut(index)?.fork(surroundings, id, joins) {
            Ok(forked) => {
                self.failures = if forked.is_some() { 0 } else { self.failures };
                forked
            }
            Err(_) => {
                self.failures += 1;
                self.end(index);
                None
            }
        }
    }

    fn position(&self, surroundings: &Surroundings) -> Option<usize> {
        let interpreter = surroundings.interpreter.as_ref()?;
        self.servers.iter().position(|s| s.interpreter == *interpreter && s.view == surroundings.view)
    }

    /// Kills a server; it holds nothing that would have to be put away.
    fn end(&mut self, index: usize) {
        let server = self.servers.remove(index);
        let _ = kill(server.pid, Signal::SIGKILL);
        self.leaving.push(server.pid);
    }

    /// Takes note that a child has ended; whether it was one of these.
    pub(super) fn ended(&mut self, pid: Pid) -> bool {
        let before = self.leaving.len() + self.servers.len();
        self.leaving.retain(|&leaving| leaving != pid);
        let living = self.servers.len();
        self.servers.retain(|server| server.pid != pid);
        if self.servers.len() < living {
            self.failures += 1;
        }
        self.leaving.len() + self.servers.len() < before
    }

    /// When the next of them has been idle for too long.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.servers.iter().map(|server| server.last_use + IDLE).min()
    }

    /// Ends those that have been idle for too long.
    pub(super) fn end_idle(&mut self) {
        while let Some(index) = self.servers.iter().position(|server| server.last_use.elapsed() >= IDLE) {
            self.end(index);
        }
    }

    /// Ends all; whether some are still to be waited for.
    pub(super) fn is_leaving(&mut self) -> bool {
        self.failures = MOST_FAILURES;
        while !self.servers.is_empty() {
            self.end(0);
        }
        !self.leaving.is_empty()
    }
}

impl Server {
    /// `None` while it is not ready.
    fn fork(
        &mut self,
        surroundings: &Surroundings,
        id: Option<u32>,
        joins: &[OwnedFd],
    ) -> Result<Option<(Pid, OwnedFd)>> {
        if !self.ready {
            if !is_readable(self.socket.as_fd(), PollTimeout::ZERO)? {
                return Ok(None);
            }
            match receive(self.socket.as_fd())? {
                Some((Answer::Ready, _)) if has_one_thread(self.pid) => self.ready = true,
                _ => return Err(Error::other("the fork server does not start")),
            }
        }
        self.last_use = Instant::now();
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let mut fds = vec![theirs.as_fd()];
        fds.extend(joins.iter().map(AsFd::as_fd));
        send(self.socket.as_fd(), &Fork { surroundings: surroundings.clone(), id }, &fds)?;
        if !is_readable(self.socket.as_fd(), PATIENCE_MS.into())? {
            return Err(Error::other("the fork server does not answer"));
        }
        match receive(self.socket.as_fd())? {
            Some((Answer::Forked { pid }, _)) => Ok(Some((Pid::from_raw(pid), ours))),
            _ => Err(Error::other("the fork server cannot fork")),
        }
    }
}

/// Starts a fork server: this program's file, executed anew.
fn start(interpreter: &Interpreter, template: &OwnedFd, launcher: &OwnedFd) -> Result<(Pid, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let arguments = [super::LAUNCHER_ARGUMENT, ARGUMENT];
    // Its own name makes its command line as long as that of the programs, which is written over it.
    let name = interpreter.argv.join(" ").len().saturating_sub(1 + arguments.join(" ").len());
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(format!("{:-<name$.name$}", "autocodegen"))
        .args(arguments)
        .env_clear()
        .envs(interpreter.env.iter().cloned())
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // The C library reads it when a process starts: it is how large the stacks of threads will be.
    let (_, most) = getrlimit(Resource::RLIMIT_STACK)?;
    // SAFETY: setrlimit is a system call and nothing more, as it must be between fork and exec.
    unsafe {
        command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_STACK, STACK_BYTES.min(most), most)?));
    }
    let child = command.spawn()?;
    // Waited for with all other children of the launcher.
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(Error::other)?);
    send(ours.as_fd(), interpreter, &[template.as_fd(), launcher.as_fd()])?;
    Ok((pid, ours))
}

fn is_readable(socket: BorrowedFd<'_>, timeout: PollTimeout) -> Result<bool> {
    loop {
        match poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], timeout) {
            Ok(count) => return Ok(count > 0),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Threads do not survive a fork.
fn has_one_thread(pid: Pid) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() == 1)
}
