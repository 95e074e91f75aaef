//! The launcher: a small single-threaded process that makes jails on request.
//!
//! Forking from a threaded process is unsafe, so the supervisor starts its own executable again with an empty
//! environment, and this is what runs there: one loop over a socket, a clock and dying children. It ends all jails
//! and itself when the supervisor's end of the socket closes, however the supervisor ended; each jail's init in turn
//! dies with the launcher.

use std::collections::{BTreeSet, HashMap};
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
use seccompiler::BpfProgram;

use super::cgroup::Cgroups;
use super::jail::{self, Jail, Kind};
use super::landlock;
use super::process_tree::Sample;
use super::protocol::{Content, Exceeded, Level, Reply, Request, Step, View};
use super::protocol::{receive_request, send_reply};
use super::running::{Running, Waiting};
use super::seccomp;
use super::sys;
use super::template::Templates;
use super::workspace::Workspace;

/// First of the host user ids that jobs run as when the launcher is root: a range that systems, containers and
/// sub-user-id files leave alone.
const FIRST_JOB_ID: u32 = 0x7000_0000;
/// Ids for the jobs of one launcher.
const IDS_PER_LAUNCHER: u32 = 1024;
/// Launchers that run at the same time and whose pids agree in these bits would share ids.
const LAUNCHER_BITS: u32 = 0x3_ffff;
/// The launcher's `main`: call it first of all when the executable's first argument is
/// [`super::LAUNCHER_ARGUMENT`]. Speaks with the supervisor over the socket at descriptor 0.
pub fn launcher_main() -> ExitCode {
    // SAFETY: nothing but 0 to 2 is owned by anyone this early; the supervisor's other descriptors are unwanted.
    let closed = unsafe { sys::close_from(3) };
    match closed.and_then(|()| keep_free(jail::SECRET)).and_then(|()| serve(std::io::stdin().as_fd())) {
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
    let Some((Request::Configure { isolation, scratch, .. }, _)) = receive_request(socket)? else {
        return Err(Error::other("the first request was not the configuration"));
    };
    let mut launcher = match Launcher::new(isolation, scratch) {
        Ok(launcher) => launcher,
        Err(error) => return send_reply(socket, &Reply::Unavailable { message: error.to_string() }),
    };
    send_reply(socket, &Reply::Ready { isolation: launcher.isolation() })?;
    launcher.run(socket, &signals)
}

struct Launcher {
    /// `None` without namespaces.
    templates: Option<Templates>,
    cgroups: Option<Cgroups>,
    filters: Vec<BpfProgram>,
    scratch: PathBuf,
    null: OwnedFd,
    /// This process, for inits to see whether it lives.
    own: OwnedFd,
    root: bool,
    /// Whether this kernel has Landlock.
    landlock: bool,
    cores: u32,
    /// Work folders, or why they could not be made.
    workspaces: HashMap<u64, std::result::Result<Workspace, String>>,
    slots: BTreeSet<u32>,
    running: HashMap<Pid, Running>,
}

impl Launcher {
    fn new(level: Level, scratch: PathBuf) -> Result<Self> {
        let root = nix::unistd::geteuid().is_root();
        // Both read the host's /proc, before any template is entered.
        let cgroups = Cgroups::claim();
        let templates = match level {
            Level::Namespaces => Some(Templates::new(scratch.clone())?),
            Level::Reduced => None,
        };
        sys::set_dumpable(false)?;
        Ok(Self {
            templates,
            cgroups,
            filters: seccomp::filters(level).map_err(Error::other)?,
            scratch,
            null: OpenOptions::new().read(true).open("/dev/null")?.into(),
            own: sys::own_pidfd()?,
            root,
            landlock: landlock::is_supported(),
            cores: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            workspaces: HashMap::new(),
            slots: BTreeSet::new(),
            running: HashMap::new(),
        })
    }

    /// What is in force, for people and verdicts.
    fn isolation(&self) -> String {
        let level = match (&self.templates, self.landlock) {
            (Some(_), _) => "namespaces",
            (None, true) => "reduced+landlock",
            (None, false) => "reduced+no-landlock",
        };
        let limits = self.cgroups.as_ref().map_or("rlimits", Cgroups::name);
        format!("{level}+{limits}+seccomp")
    }

    fn run(&mut self, socket: BorrowedFd<'_>, signals: &SignalFd) -> Result<()> {
        loop {
            let now = Instant::now();
            let next = self.running.values().map(|step| step.next_look).min();
            let timeout = next.map_or(PollTimeout::NONE, |at| {
                // Rounded up, or the loop would spin through the last millisecond.
                let wait = at.saturating_duration_since(now).as_millis() + 1;
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
            });
            let mut ready =
                [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let (asked, died) = (ready[0].any() == Some(true), ready[1].any() == Some(true));
            if died {
                while let Ok(Some(_)) = signals.read_signal() {}
                self.reap(socket)?;
            }
            if asked {
                match receive_request(socket)? {
                    Some((request, fds)) => self.handle(request, fds, socket)?,
                    None => {
                        self.end_all();
                        return Ok(());
                    }
                }
            }
            self.look();
        }
    }

    fn handle(&mut self, request: Request, fds: Vec<OwnedFd>, socket: BorrowedFd<'_>) -> Result<()> {
        match request {
            Request::Configure { .. } => Err(Error::other("configured twice")),
            Request::Open { work, view, file_bytes, files } => {
                let workspace = self.open(work, view, file_bytes, &files);
                self.workspaces
                    .insert(work, workspace.map_err(|error| format!("make a work folder: {error}")));
                Ok(())
            }
            Request::Step(step) => match self.start(&step, fds) {
                Ok(()) => Ok(()),
                Err(error) => {
                    send_reply(socket, &Reply::Failed { step: step.id, message: error.to_string() })
                }
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

    fn open(
        &mut self,
        work: u64,
        view: View,
        file_bytes: u64,
        files: &[(String, Content)],
    ) -> Result<Workspace> {
        let slot = (0..).find(|slot| !self.slots.contains(slot)).unwrap_or(0);
        let owner = self.owner(slot);
        let workspace = match &mut self.templates {
            Some(templates) => templates.within(&view.clone(), || {
                let workspace = Workspace::mounted(work, view, slot, file_bytes)?;
                if let Err(error) = workspace.fill(owner, files) {
                    let _ = workspace.remove();
                    return Err(error);
                }
                Ok(workspace)
            }),
            None => {
                let workspace = Workspace::plain(work, view, slot, &self.scratch, owner)?;
                workspace.fill(owner, files).map(|()| workspace)
            }
        }?;
        self.slots.insert(slot);
        Ok(workspace)
    }

    /// The id that a slot's programs run as in the launcher's eyes, where it may choose.
    fn owner(&self, slot: u32) -> Option<u32> {
        let only_root_of_namespace = self.templates.as_ref().is_some_and(Templates::in_user_namespace);
        let own = (std::process::id() & LAUNCHER_BITS) * IDS_PER_LAUNCHER;
        (self.root && !only_root_of_namespace).then_some(FIRST_JOB_ID + own + slot % IDS_PER_LAUNCHER)
    }

    fn start(&mut self, step: &Step, fds: Vec<OwnedFd>) -> Result<()> {
        let workspace = match self.workspaces.get(&step.work) {
            Some(Ok(workspace)) => workspace,
            Some(Err(message)) => return Err(Error::other(message.clone())),
            None => return Err(Error::other("no such work folder")),
        };
        let owner = self.owner(workspace.slot);
        if let Some(owner) = owner {
            // Its own pipes a program may also open by name, as /dev/stderr.
            for fd in &fds {
                fchown(fd.as_fd(), Some(owner.into()), Some(owner.into()))?;
            }
        }
        let mut fds = fds.into_iter();
        let (Some(stdout), Some(stderr)) = (fds.next(), fds.next()) else {
            return Err(Error::other("a step came without its pipes"));
        };
        let stdin = if step.has_stdin { fds.next() } else { None };
        let secret = fds.next().zip(fds.next()).map(<[OwnedFd; 2]>::from);
        let group = match &self.cgroups {
            Some(cgroups) => Some(cgroups.create(step.id, &step.limits)?),
            None => None,
        };
        let joins = match &group {
            Some(group) => group.joins()?,
            None => Vec::new(),
        };
        let jail = Jail {
            workspace,
            argv: &step.argv,
            env: &step.env,
            limits: &step.limits,
            filters: &self.filters,
            joins: &joins,
            launcher: &self.own,
            stdin: stdin.as_ref().unwrap_or(&self.null),
            stdout: &stdout,
            stderr: &stderr,
            secret: secret.as_ref(),
            elsewhere: step.elsewhere,
            kind: match self.templates {
                Some(_) => Kind::Namespaces { id: owner.unwrap_or(0) },
                None => Kind::Reduced { id: owner, landlock: self.landlock },
            },
        };
        let started = Instant::now();
        let spawned = match &mut self.templates {
            Some(templates) => templates.within(&workspace.view, || jail::spawn(&jail)),
            None => jail::spawn(&jail),
        };
        let (pid, status) = spawned?;
        let mut running = Running {
            step: step.id,
            pid,
            limits: step.limits,
            group,
            status,
            in_namespaces: self.templates.is_some(),
            started,
            next_look: started,
            exceeded: None,
            sampled: Sample::default(),
            waiting: Waiting::default(),
        };
        running.look(self.cores);
        self.running.insert(pid, running);
        Ok(())
    }

    /// Looks at every step whose time has come.
    fn look(&mut self) {
        let now = Instant::now();
        for running in self.running.values_mut().filter(|running| running.next_look <= now) {
            running.look(self.cores);
        }
    }

    /// Answers every step whose init has ended.
    fn reap(&mut self, socket: BorrowedFd<'_>) -> Result<()> {
        while let Some((pid, usage)) = wait_for_any() {
            let Some(running) = self.running.remove(&pid) else { continue };
            let step = running.step;
            let reply = match running.report(&usage) {
                Ok(report) => Reply::Done { step, report },
                Err(error) => Reply::Failed { step, message: error.to_string() },
            };
            // Once a step is answered, nothing of it is left.
            drop(running);
            send_reply(socket, &reply)?;
        }
        Ok(())
    }

    fn close(&mut self, work: u64) {
        let Some(Ok(workspace)) = self.workspaces.remove(&work) else { return };
        self.slots.remove(&workspace.slot);
        let removed = match &mut self.templates {
            Some(templates) => templates.within(&workspace.view, || workspace.remove()),
            None => workspace.remove(),
        };
        if let Err(error) = removed {
            eprintln!("sandbox launcher: remove a work folder: {error}");
        }
    }

    /// The supervisor is gone: so are all jails, now.
    fn end_all(&mut self) {
        for running in self.running.values_mut() {
            running.end(Exceeded::Killed);
        }
        while !self.running.is_empty() {
            match nix::sys::wait::waitpid(None, None) {
                Ok(status) => {
                    if let Some(pid) = status.pid() {
                        self.running.remove(&pid);
                    }
                }
                Err(nix::Error::EINTR) => {}
                Err(_) => break,
            }
        }
        let works: Vec<u64> = self.workspaces.keys().copied().collect();
        for work in works {
            self.close(work);
        }
        // Whoever made it may be gone.
        let _ = std::fs::remove_dir(&self.scratch);
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
