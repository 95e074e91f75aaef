//! A job's work folder in the launcher, and the steps run in it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::super::judge::{Run, was_starved};
use super::super::protocol::{Content, Limits, Request, Step, View};
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
    /// Whether to run under the other host name and at the other work path.
    pub elsewhere: bool,
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
    /// Asks for a work folder with these files. That it could not be made is learnt from its first step.
    pub(super) fn open(
        connection: Arc<Connection>,
        view: View,
        file_bytes: u64,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<Self, Fault> {
        let id = connection.next_id();
        let files = files.into_iter().map(|(name, bytes)| (name, Content(bytes))).collect();
        let request = Request::Open { work: id, view, file_bytes, files };
        connection.tell(&request).map_err(|error| launcher_fault(&error))?;
        Ok(Self { id, connection })
    }

    /// Runs one command to its end or limit.
    pub(super) async fn run(&self, command: Command) -> Result<Run, Fault> {
        let Command { argv, env, limits, elsewhere, stdin, asked_to_complete, served } = command;
        let id = self.connection.next_id();
        let (stdout, stdout_end) = pipe().map_err(|error| fault("pipe", &error))?;
        let (stderr, stderr_end) = pipe().map_err(|error| fault("pipe", &error))?;
        let input = (!stdin.is_empty()).then(|| input(&stdin)).transpose();
        let input = input.map_err(|error| fault("memfd", &error))?;
        let secret =
            asked_to_complete.then(Secret::new).transpose().map_err(|error| fault("pipe", &error))?;
        let step = Step { id, work: self.id, argv, env, limits, elsewhere, has_stdin: input.is_some() };
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
        let (reply, stdout, stderr) = tokio::join!(
            reply,
            drain(stdout, limits.output_bytes, &total, flood, &stop),
            drain(stderr, limits.output_bytes, &total, flood, &stop),
        );
        unfinished.connection = None;
        let report = match reply {
            Ok(Ok(report)) => report,
            Ok(Err(message)) => {
                self.connection.retire();
                return Err(fault("jail", &message));
            }
            Err(_) => return Err(launcher_fault(&"it ended while a job was running")),
        };
        let run = Run {
            report,
            limits,
            stdout: stdout.map_err(|error| fault("pipe", &error))?,
            stderr: stderr.map_err(|error| fault("pipe", &error))?,
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
        let _ = self.connection.tell(&Request::Close { work: self.id });
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
    let _ = connection.tell(&Request::Kill { step });
}
