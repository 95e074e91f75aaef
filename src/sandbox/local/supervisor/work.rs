//! A job's work folder in the launcher, and the steps run in it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::super::judge::{Run, was_starved};
use super::super::pack::Pack;
use super::super::protocol::{Content, Limits, Request, Step, Surroundings};
use super::capture::{drain, input, pipe};
use super::connection::Connection;
use super::secret::{Expected, Secret};
use super::{fault, launcher_fault};
use crate::error::Fault;

/// The cause of the fault that wall time ran out because the machine gave the job no cores.
pub(super) const STARVED: &str = "starved";

/// Output that ends a program: four times what is kept of a stream, and at least this. Less is read and thrown away:
/// a chatty program is cut, not ended.
const FLOOD_BYTES: u64 = 64 << 20;

/// One command to run in a work folder.
pub(super) struct Command {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub limits: Limits,
    /// What it finds on its standard input.
    pub stdin: String,
    /// Whether it must say that it ran to its end.
    pub asked_to_complete: bool,
    /// The ends, at descriptors 3 and 4, of pipes by which it is asked and answers.
    pub served: Option<[OwnedFd; 2]>,
}

/// Removed, with whatever still runs in it, when dropped.
pub(super) struct Work {
    id: u64,
    connection: Arc<Connection>,
}

impl Work {
    /// Asks for a work folder with these files, for at most this many steps, each of which but the last must succeed.
    /// That it could not be made is learnt from its first step.
    pub(super) fn open(
        connection: Arc<Connection>,
        surroundings: Surroundings,
        files: Vec<(String, Vec<u8>)>,
        steps: usize,
    ) -> Result<Self, Fault> {
        let files = files.into_iter().map(|(name, bytes)| (name, Content(bytes))).collect();
        let work = connection.next_id();
        Self::ask(connection, &Request::Open { work, surroundings, files, packed: 0, steps }, work, None)
    }

    /// The same with the files of a pack, for one step.
    pub(super) fn open_packed(
        connection: Arc<Connection>,
        surroundings: Surroundings,
        pack: &Pack,
    ) -> Result<Self, Fault> {
        let file = pack.file().map_err(|error| fault("memfd", &error))?;
        let (work, packed) = (connection.next_id(), pack.memory());
        let request = Request::Open { work, surroundings, files: Vec::new(), packed, steps: 1 };
        Self::ask(connection, &request, work, Some(file))
    }

    fn ask(
        connection: Arc<Connection>,
        request: &Request,
        id: u64,
        pack: Option<OwnedFd>,
    ) -> Result<Self, Fault> {
        let fds: Vec<_> = pack.iter().map(AsFd::as_fd).collect();
        connection.tell(request, &fds).map_err(|error| launcher_fault(&error))?;
        Ok(Self { id, connection })
    }

    /// Runs one command to its end or limit.
    pub(super) async fn run(&self, command: Command) -> Result<Run, Fault> {
        let Command { argv, env, limits, stdin, asked_to_complete, served } = command;
        let id = self.connection.next_id();
        let (stdout, stdout_end) = pipe().map_err(|error| fault("pipe", &error))?;
        let (stderr, stderr_end) = pipe().map_err(|error| fault("pipe", &error))?;
        let input = (!stdin.is_empty()).then(|| input(&stdin)).transpose();
        let input = input.map_err(|error| fault("memfd", &error))?;
        let secret =
            asked_to_complete.then(Secret::new).transpose().map_err(|error| fault("pipe", &error))?;
        let step = Step { id, work: self.id, argv, env, limits, has_stdin: input.is_some() };
        let mut pipes = vec![stdout_end.as_fd(), stderr_end.as_fd()];
        pipes.extend(input.iter().map(AsFd::as_fd));
        pipes.extend(secret.iter().flat_map(|secret| &secret.ends).map(AsFd::as_fd));
        pipes.extend(served.iter().flatten().map(AsFd::as_fd));
        let reply = self.connection.start_step(step, &pipes).map_err(|error| launcher_fault(&error))?;
        // The jail has copies; the pipes end when it does.
        drop((stdout_end, stderr_end, served));
        let expected = secret.map(Secret::handed_over);
        let mut unfinished = Unfinished { step: id, connection: Some(&self.connection) };
        let flood = limits.output_bytes.saturating_mul(4).max(FLOOD_BYTES);
        let total = AtomicU64::new(0);
        let stop = || kill(&self.connection, id);
        let report = async {
            match reply.await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(message)) => {
                    self.connection.retire();
                    Err(fault("jail", &message))
                }
                Err(_) => Err(launcher_fault(&"it ended while a job was running")),
            }
        };
        let drained = |pipe| async {
            let drained = drain(pipe, limits.output_bytes, &total, flood, &stop).await;
            drained.map_err(|error| fault("pipe", &error))
        };
        // A launcher that died may leave processes that hold the pipes: its end is enough.
        let ended = tokio::try_join!(report, drained(stdout), drained(stderr));
        unfinished.connection = None;
        let ((report, left), stdout, stderr) = ended?;
        let run = Run {
            report,
            left,
            limits,
            stdout,
            stderr,
            flooded: total.into_inner() > flood,
            completed: expected.map(Expected::came_back),
        };
        if was_starved(&run) {
            let message = format!(
                "{} ms passed, of which the job waited {} ms for a core",
                run.report.wall_ms, run.report.waited_ms
            );
            return Err(fault(STARVED, &message).hint("run fewer jobs or other work at once on this machine"));
        }
        Ok(run)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // When the launcher is gone, so is the folder.
        let _ = self.connection.tell(&Request::Close { work: self.id }, &[]);
    }
}

/// Kills its step when dropped before the step has ended: nobody waits for it any more.
struct Unfinished<'a> {
    step: u64,
    connection: Option<&'a Connection>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection {
            kill(connection, self.step);
        }
    }
}

fn kill(connection: &Connection, step: u64) {
    // When the launcher is gone, so is the step.
    let _ = connection.tell(&Request::Kill { step }, &[]);
}
