//! The launcher: a small single-threaded process that makes jails on request.
//!
//! Forking from a threaded process is unsafe, so the supervisor starts its own executable again with an empty
//! environment, and this is what runs there: one loop over a socket, a clock and dying children. It ends all jails
//! and itself when the supervisor's end of the socket closes, however the supervisor ended; each jail's init in turn
//! dies with the launcher.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, fchown};

use super::fork_server;
use super::jail;
use super::pool::{Pool, Ready};
use super::process_tree::Sample;
use super::protocol::{Exceeded, Level, Limits, Order, Reply, Request, Step, Word, receive, send};
use super::running::{Running, Waiting};
use super::sys;
use super::workspace::Workspace;

mod work;

use work::Work;

/// The launcher's `main`: call it first of all when the executable's first argument is
/// [`super::LAUNCHER_ARGUMENT`]. Speaks with the supervisor over the socket at descriptor 0; as a fork server, which a
/// launcher starts in the same way, with that launcher.
pub fn launcher_main() -> ExitCode {
    // SAFETY: nothing but 0 to 2 is owned by anyone this early; the supervisor's other descriptors are unwanted.
    let closed = unsafe { sys::close_from(3) };
    let forks = std::env::args_os().nth(2).is_some_and(|argument| argument == fork_server::ARGUMENT);
    let serve = || if forks { fork_server::serve() } else { serve(std::io::stdin().as_fd()) };
    match closed.and_then(|()| keep_free(jail::SECRET)).and_then(|()| serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox launcher: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes these descriptor numbers, so that nothing else gets them.
fn keep_free(numbers: [RawFd; 2]) -> Result<()> {
    for number in numbers {
        let null = OwnedFd::from(OpenOptions::new().read(true).open("/dev/null")?);
        if null.as_raw_fd() != number {
            return Err(Error::other(format!("descriptor {number} is in use")));
        }
        let _ = null.into_raw_fd();
    }
    Ok(())
}

fn serve(socket: BorrowedFd<'_>) -> Result<()> {
    // Ctrl-C in the terminal is for the supervisor, which lets running jobs end.
    let _ = nix::unistd::setsid();
    sys::default_signals()?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let Some((Request::Configure { isolation, scratch, .. }, _)) = receive(socket)? else {
        return Err(Error::other("the first request was not the configuration"));
    };
    let mut launcher = match Launcher::new(isolation, scratch) {
        Ok(launcher) => launcher,
        Err(error) => return send(socket, &Reply::Unavailable { message: error.to_string() }, &[]),
    };
    send(socket, &Reply::Ready { isolation: launcher.pool.isolation() }, &[])?;
    let outcome = launcher.run(socket, &signals);
    launcher.end_all();
    outcome
}

struct Launcher {
    pool: Pool,
    cores: u32,
    works: HashMap<u64, Work>,
    running: HashMap<Pid, Running>,
}

impl Launcher {
    fn new(level: Level, scratch: PathBuf) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let pool = Pool::new(level, scratch, cores)?;
        Ok(Self { pool, cores, works: HashMap::new(), running: HashMap::new() })
    }

    fn run(&mut self, socket: BorrowedFd<'_>, signals: &SignalFd) -> Result<()> {
        loop {
            let now = Instant::now();
            let looks = self.running.values().map(|step| step.next_look);
            let change = self.pool.next_change();
            let timeout = looks.chain(change).min().map_or(PollTimeout::NONE, |at| {
                // Rounded up, or the loop would spin through the last millisecond.
                let wait = at.saturating_duration_since(now).as_micros().div_ceil(1000);
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
            });
            let mut ready =
                vec![PollFd::new(socket, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let awaited: Vec<&Running> = self.running.values().filter(|step| step.listening).collect();
            let pids: Vec<Pid> = awaited.iter().map(|step| step.pid).collect();
            ready.extend(awaited.iter().map(|step| PollFd::new(step.channel.as_fd(), PollFlags::POLLIN)));
            match poll(&mut ready, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut ready = ready.iter().map(|fd| fd.any() == Some(true));
            let (asked, died) = (ready.next() == Some(true), ready.next() == Some(true));
            let said: Vec<Pid> =
                pids.into_iter().zip(ready).filter_map(|(pid, r)| r.then_some(pid)).collect();
            let idle = !asked && !died && said.is_empty();
            for pid in said {
                self.hear(pid, socket)?;
            }
            if died {
                while let Ok(Some(_)) = signals.read_signal() {}
                self.reap(socket)?;
            }
            if asked {
                match receive(socket)? {
                    Some((request, fds)) => self.handle(request, fds, socket)?,
                    None => return Ok(()),
                }
            }
            self.look();
            if idle && change.is_some_and(|at| at <= Instant::now()) {
                self.pool.change();
            }
        }
    }

    fn handle(&mut self, request: Request, fds: Vec<OwnedFd>, socket: BorrowedFd<'_>) -> Result<()> {
        match request {
            Request::Configure { .. } => Err(Error::other("configured twice")),
            Request::Open { work, surroundings, files, packed, steps } => {
                let pack = fds.into_iter().next();
                let (next, tree) = (None, None);
                let (slot, workspace) = (0, None);
                self.open(
                    work,
                    Work { surroundings, slot, workspace, files, pack, packed, steps, next, tree },
                );
                Ok(())
            }
            Request::Step(step) => match self.start(&step, fds) {
                Ok(()) => Ok(()),
                Err(error) => send(socket, &Reply::Failed { step: step.id, message: error.to_string() }, &[]),
            },
            Request::Kill { step } => {
                for running in self.running.values_mut().filter(|running| running.step == step) {
                    running.end(Exceeded::Killed);
                }
                Ok(())
            }
            Request::Close { work } => {
                self.close(work);
                Ok(())
            }
        }
    }

    /// Takes in a job that has neither a jail nor a folder yet.
    fn open(&mut self, id: u64, mut work: Work) {
        let view = work.surroundings.view.clone();
        if self.pool.has_namespaces() {
            work.next = Some(match self.pool.take(&work.surroundings) {
                Ok(first) => {
                    work.slot = first.slot;
                    Ok(first.jail)
                }
                Err(error) => {
                    work.slot = self.pool.take_slot();
                    Err(format!("make a jail: {error}"))
                }
            });
        } else {
            work.slot = self.pool.take_slot();
            match Workspace::plain(id, view, self.pool.scratch(), self.pool.owner(work.slot)) {
                Ok(workspace) => work.workspace = Some(workspace),
                Err(error) => work.next = Some(Err(format!("make a work folder: {error}"))),
            }
        }
        self.works.insert(id, work);
    }

    fn start(&mut self, step: &Step, fds: Vec<OwnedFd>) -> Result<()> {
        let Some(work) = self.works.get_mut(&step.work) else {
            return Err(Error::other("no such work folder"));
        };
        let next = match work.next.take() {
            Some(next) => next.map_err(Error::other)?,
            None if work.tree().is_none() => return Err(Error::other("the work folder is gone")),
            None => self.pool.make(&work.surroundings, work.slot, work.tree())?,
        };
        if let Some(owner) = self.pool.owner(work.slot) {
            // Its own pipes a program may also open by name, as /dev/stderr.
            for fd in &fds {
                fchown(fd.as_fd(), Some(owner.into()), Some(owner.into()))?;
            }
        }
        if let Some(group) = &next.group {
            // A compiler's own step has paid for what it made.
            let memory_bytes = step.limits.memory_bytes.saturating_add(work.packed);
            group.limit(&Limits { memory_bytes, ..step.limits })?;
        }
        work.steps = work.steps.saturating_sub(1);
        let keep = self.pool.has_namespaces() && work.steps > 0;
        let pack = work.pack.take();
        let files = std::mem::take(&mut work.files);
        let order = Order { files, packed: pack.is_some(), step: step.clone(), keep };
        let fds: Vec<_> = fds.iter().chain(&pack).map(AsFd::as_fd).collect();
        let started = Instant::now();
        if send(next.channel.as_fd(), &order, &fds).is_err() {
            let why = last_word(&next);
            self.pool.discard(next);
            return Err(Error::other(why));
        }
        let mut running = Running {
            step: step.id,
            work: step.work,
            pid: next.pid,
            limits: step.limits,
            group: next.group,
            channel: next.channel,
            listening: true,
            word: None,
            tree: None,
            left: None,
            packed: work.packed,
            in_namespaces: self.pool.has_namespaces(),
            started,
            next_look: started,
            exceeded: None,
            sampled: Sample::default(),
            waiting: Waiting::default(),
        };
        running.plan_look(0, self.cores);
        self.running.insert(next.pid, running);
        Ok(())
    }

    /// Looks at every step whose time has come.
    fn look(&mut self) {
        let now = Instant::now();
        for running in self.running.values_mut().filter(|running| running.next_look <= now) {
            running.look(self.cores);
        }
    }

    /// Takes an init's answer, and answers its step if all of it has ended but the init.
    fn hear(&mut self, pid: Pid, socket: BorrowedFd<'_>) -> Result<()> {
        let Some(running) = self.running.get_mut(&pid) else { return Ok(()) };
        running.listen();
        // Without a control group the init's own end tells what was used.
        if !matches!(running.word, Some(Word::Ended { .. })) || running.group.is_none() {
            return Ok(());
        }
        let Some(mut running) = self.running.remove(&pid) else { return Ok(()) };
        let left: Vec<_> = running.left.iter().map(AsFd::as_fd).collect();
        send(socket, &reply(&running, None), &left)?;
        self.pool.see_off(pid, running.group.take());
        self.follow(&mut running);
        Ok(())
    }

    /// Makes the jail for the step that follows one that succeeded.
    fn follow(&mut self, running: &mut Running) {
        let succeeded = matches!(running.word, Some(Word::Ended { status: 0, .. }));
        if let Some(work) = self.works.get_mut(&running.work)
            && succeeded
            && work.steps > 0
        {
            work.tree = running.tree.take();
            let next = self.pool.make(&work.surroundings, work.slot, work.tree());
            work.next = Some(next.map_err(|error| format!("make a jail: {error}")));
        }
    }

    /// Takes note of every init that has ended, and answers its step.
    fn reap(&mut self, socket: BorrowedFd<'_>) -> Result<()> {
        while let Some((pid, usage)) = wait_for_any() {
            // It may have answered and ended since the last look at its channel.
            if self.running.get(&pid).is_some_and(|running| running.listening) {
                self.hear(pid, socket)?;
            }
            if let Some(mut running) = self.running.remove(&pid) {
                let reply = reply(&running, Some(&usage));
                // Once a step is answered, nothing of it is left.
                running.group = None;
                let left: Vec<_> = running.left.iter().map(AsFd::as_fd).collect();
                send(socket, &reply, &left)?;
                self.follow(&mut running);
            } else {
                self.pool.ended(pid);
                self.forget(pid);
            }
        }
        Ok(())
    }

    /// Takes note that a jail has ended before its step came.
    fn forget(&mut self, pid: Pid) {
        for work in self.works.values_mut() {
            if let Some(Ok(next)) = &work.next
                && next.pid == pid
            {
                work.next = Some(Err(last_word(next)));
            }
        }
    }

    fn close(&mut self, work: u64) {
        let Some(work) = self.works.remove(&work) else { return };
        if let Some(Ok(jail)) = work.next {
            self.pool.discard(jail);
        }
        self.pool.closed(&work.surroundings, work.slot);
        if let Some(Err(error)) = work.workspace.map(|workspace| workspace.remove()) {
            eprintln!("sandbox launcher: remove a work folder: {error}");
        }
    }

    /// The supervisor is gone, or this launcher is at its end: so are all jails, now.
    fn end_all(&mut self) {
        for running in self.running.values_mut() {
            running.end(Exceeded::Killed);
        }
        let works: Vec<u64> = self.works.keys().copied().collect();
        while !self.running.is_empty() && self.wait() {}
        for work in works {
            self.close(work);
        }
        while self.pool.is_leaving() && self.wait() {}
        // Whoever made it may be gone.
        let _ = std::fs::remove_dir(self.pool.scratch());
    }

    /// Waits for one child, whichever; false when there is none.
    fn wait(&mut self) -> bool {
        match nix::sys::wait::waitpid(None, None) {
            Ok(status) => {
                if let Some(pid) = status.pid() {
                    self.running.remove(&pid);
                    self.pool.ended(pid);
                    self.forget(pid);
                }
                true
            }
            Err(error) => error == nix::Error::EINTR,
        }
    }
}

/// Why a jail has ended before its step came.
fn last_word(jail: &Ready) -> String {
    match receive(jail.channel.as_fd()) {
        Ok(Some((Word::Failed { message }, _))) => message,
        _ => "the jail's init ended without a word".to_owned(),
    }
}

/// The answer to a step that has ended.
fn reply(running: &Running, usage: Option<&libc::rusage>) -> Reply {
    let step = running.step;
    match running.report(usage) {
        Ok(report) => Reply::Done { step, report },
        Err(error) => Reply::Failed { step, message: error.to_string() },
    }
}

/// The next child that has ended, if there is one, and what it and its children used.
fn wait_for_any() -> Option<(Pid, libc::rusage)> {
    let mut status = 0;
    // SAFETY: rusage is plain data, for which all zeros is valid; wait4 fills both places during the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    (pid > 0).then(|| (Pid::from_raw(pid), usage))
}
