//! The launcher process as seen by the supervisor.

use std::collections::HashMap;
use std::fs;
use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::super::LAUNCHER_ARGUMENT;
use super::super::protocol::{Level, Reply, Report, Request, Step, receive, send};

/// How a step came back: its report and what it left in the work folder, where another step follows; or the sandbox's
/// own failure.
pub(super) type StepReply = std::result::Result<(Report, Option<OwnedFd>), String>;

/// A running launcher. Dropping it ends the launcher with all its jails, and waits for that.
pub(super) struct Connection {
    socket: OwnedFd,
    waiting: Arc<Mutex<Waiting>>,
    reader: Option<JoinHandle<()>>,
    ids: AtomicU64,
    retired: AtomicBool,
    /// What the launcher said is in force.
    pub(super) isolation: String,
    /// The launcher's process id.
    pub(super) pid: u32,
    /// Where the launcher assembles templates; removed with the connection.
    _scratch: TempDir,
}

/// Who waits for which step; `None` once the launcher is gone.
struct Waiting(Option<HashMap<u64, oneshot::Sender<StepReply>>>);

impl Connection {
    /// Starts `program` as a launcher.
    ///
    /// # Errors
    /// When it cannot be started, or says that it cannot make jails.
    pub(super) fn start(program: &Path, level: Level, scratch: &Path) -> Result<Self> {
        let mode = match level {
            Level::Namespaces => 0o700,
            // Work folders are made here, for other users to run programs in.
            Level::Reduced => 0o711,
        };
        let scratch = tempfile::Builder::new()
            .prefix("autocodegen-sandbox-")
            .permissions(fs::Permissions::from_mode(mode))
            .tempdir_in(scratch)?;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let child = Command::new(program)
            .arg(LAUNCHER_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let configure = Request::Configure { isolation: level, scratch: scratch.path().to_owned() };
        let answer = send(ours.as_fd(), &configure, &[]).and_then(|()| receive(ours.as_fd()));
        let isolation = match answer {
            Ok(Some((Reply::Ready { isolation }, _))) => isolation,
            refused => {
                drop(ours);
                reap(child);
                return Err(match refused {
                    Ok(Some((Reply::Unavailable { message }, _))) => Error::other(message),
                    Ok(_) => Error::other(format!("{} did not act as a launcher", program.display())),
                    Err(error) => error,
                });
            }
        };
        let pid = child.id();
        let waiting = Arc::new(Mutex::new(Waiting(Some(HashMap::new()))));
        let reader = {
            let (socket, waiting) = (ours.try_clone()?, Arc::clone(&waiting));
            std::thread::Builder::new()
                .name("sandbox-replies".to_owned())
                .spawn(move || deliver_replies(socket.as_fd(), &waiting, child))?
        };
        Ok(Self {
            socket: ours,
            waiting,
            reader: Some(reader),
            ids: AtomicU64::new(1),
            retired: AtomicBool::new(false),
            isolation,
            pid,
            _scratch: scratch,
        })
    }

    /// A number that no other work folder or step of this launcher has.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether new jobs may come here: the launcher still answers and has not failed.
    pub(super) fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && lock(&self.waiting).0.is_some()
    }

    /// Sends no new jobs here: what this launcher failed at it may fail at for ever. Its running jobs end in peace.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Sends a request that is not answered.
    pub(super) fn tell(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        send(self.socket.as_fd(), request, fds)
    }

    /// Starts a step; the answer comes through the receiver, which fails when the launcher dies first.
    pub(super) fn start_step(
        &self,
        step: Step,
        pipes: &[BorrowedFd<'_>],
    ) -> Result<oneshot::Receiver<StepReply>> {
        let (sender, receiver) = oneshot::channel();
        let id = step.id;
        match &mut lock(&self.waiting).0 {
            Some(waiting) => waiting.insert(id, sender),
            None => return Err(Error::other("the launcher is gone")),
        };
        let sent = send(self.socket.as_fd(), &Request::Step(step), pipes);
        if let Err(error) = sent {
            if let Some(waiting) = &mut lock(&self.waiting).0 {
                waiting.remove(&id);
            }
            return Err(error);
        }
        Ok(receiver)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Runs until the launcher is gone, however it went.
fn deliver_replies(socket: BorrowedFd<'_>, waiting: &Mutex<Waiting>, child: Child) {
    while let Ok(Some((reply, fds))) = receive(socket) {
        let (step, reply) = match reply {
            Reply::Done { step, report } => (step, Ok((report, fds.into_iter().next()))),
            Reply::Failed { step, message } => (step, Err(message)),
            Reply::Ready { .. } | Reply::Unavailable { .. } => continue,
        };
        let receiver = lock(waiting).0.as_mut().and_then(|waiting| waiting.remove(&step));
        if let Some(receiver) = receiver {
            // Nobody waits any more when the job was dropped.
            let _ = receiver.send(reply);
        }
    }
    lock(waiting).0 = None;
    reap(child);
}

fn reap(mut child: Child) {
    if let Err(error) = child.wait() {
        tracing::warn!("cannot wait for the sandbox launcher: {error}");
    }
}

/// Nothing that holds this lock can panic half-way through a change.
fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
