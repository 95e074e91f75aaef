//! Compilers that stay: a process in a jail of its own compiles for many jobs, one after the other.
//!
//! Only for compilers in which no source can execute (see [`Compiler::safe_because`]). The process is ended after a
//! number of requests and whenever anything about it is out of the ordinary; the job is then compiled by the plain
//! command in its own jail, which alone decides about programs that are too much for a compiler. So a compiler that
//! stays can make a job faster, and nothing else of its verdict depends on it.

use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::super::judge::Run;
use super::super::protocol::{Limits, Surroundings};
use super::capture::pipe;
use super::connection::Connection;
use super::work::{Command, Work};
use super::{LocalSandbox, Prepared, environment};
use crate::error::Fault;
use crate::sandbox::job::Usage;
use crate::sandbox::language::Compiler;

/// Of the process, over its whole life; each request is bounded by the job's own limits.
const LIMITS: Limits = Limits {
    cpu_ms: 24 * 3_600_000,
    wall_ms: 24 * 3_600_000,
    memory_bytes: 2 << 30,
    pids: 256,
    output_bytes: 1 << 20,
    file_bytes: 256 << 20,
};

/// Most bytes and fields of a reply: more than any sound program's classes.
const REPLY_BYTES: usize = 64 << 20;
const REPLY_FIELDS: usize = 20_000;

/// The idle compilers of one language.
#[derive(Default)]
pub(super) struct Compilers(Mutex<Vec<Server>>);

/// What came of compiling one program.
pub(super) struct Compiled {
    pub exit_code: i32,
    /// Why the program was refused, when it was; what the compiler said is in `message`.
    pub refused: Option<String>,
    pub message: String,
    /// Without the memory, which belongs to many jobs.
    pub usage: Usage,
    /// The files it made, by their names within the work folder.
    pub files: Vec<(String, Vec<u8>)>,
}

impl LocalSandbox {
    /// Compiles the job's `files` in a compiler that stays; `None` when the plain command must do it.
    pub(super) async fn compile_in_server(
        &self,
        job: &Prepared<'_>,
        files: &[(String, Vec<u8>)],
    ) -> Option<Compiled> {
        let compiler = job.language.compiler.as_ref()?;
        // Another variant of the command, or other surroundings.
        if job.program.compile != job.language.compile || job.variation != 0 {
            return None;
        }
        let connection = self.connection().ok()?;
        let idle = || job.known.compilers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle().pop().filter(|server| Arc::ptr_eq(&server.connection, &connection));
        let mut server = match found {
            Some(server) => server,
            None => Server::start(connection, job, compiler).ok()?,
        };
        let arguments = job.toolchain.expand(&compiler.arguments, &job.program.file_name);
        let limit = Duration::from_millis(job.limits.cpu_ms);
        let compiled = server.compile(&arguments, files, limit).await?;
        if compiled.usage.cpu_ms > job.limits.cpu_ms || !matches!(compiled.exit_code, 0 | 1) {
            return None;
        }
        server.served += 1;
        if server.served < compiler.requests {
            idle().push(server);
        }
        Some(compiled)
    }
}

/// A process that compiles. Ends, with its jail, when dropped.
struct Server {
    /// Its run in the jail, which ends only when something is wrong.
    running: BoxFuture<'static, std::result::Result<Run, Fault>>,
    requests: Sender,
    replies: Receiver,
    served: u32,
    connection: Arc<Connection>,
}

impl Server {
    /// Prepares a process; it is started by its first request.
    fn start(connection: Arc<Connection>, job: &Prepared<'_>, compiler: &Compiler) -> Result<Self> {
        let (requests, request_end) = pipe_to()?;
        let (replies, reply_end) = pipe()?;
        let surroundings = Surroundings {
            view: job.view.clone(),
            file_bytes: LIMITS.file_bytes,
            elsewhere: false,
            interpreter: None,
        };
        let command = Command {
            argv: job.toolchain.expand(&compiler.command, &job.program.file_name),
            env: environment(job.language, job.toolchain, 0),
            limits: LIMITS,
            stdin: String::new(),
            asked_to_complete: false,
            served: Some([request_end, reply_end]),
        };
        let of_jail = Arc::clone(&connection);
        let running = Box::pin(async move {
            let work = Work::open(of_jail, surroundings, Vec::new(), 1)?;
            work.run(command).await
        });
        Ok(Self { running, requests, replies, served: 0, connection })
    }

    /// One request and its answer; `None` when the process did not answer as it should.
    async fn compile(
        &mut self,
        arguments: &[String],
        files: &[(String, Vec<u8>)],
        limit: Duration,
    ) -> Option<Compiled> {
        let started = Instant::now();
        let request = request(arguments, files)?;
        let Self { running, requests, replies, .. } = self;
        let talk = async {
            requests.write_all(&request).await?;
            read_fields(replies).await
        };
        let fields = tokio::select! {
            _ = running => return None,
            answer = tokio::time::timeout(limit, talk) => answer.ok()?.ok()?,
        };
        let mut fields = fields.into_iter();
        let mut text = || fields.next().map(|field| String::from_utf8_lossy(&field).into_owned());
        let exit_code: i32 = text()?.parse().ok()?;
        let cpu_ms = text()?.parse().ok()?;
        let message = text()?;
        let mut files = Vec::new();
        while let Some(name) = fields.next() {
            files.push((String::from_utf8(name).ok()?, fields.next()?));
        }
        let wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let usage = Usage { wall_ms, cpu_ms, peak_rss_bytes: 0 };
        let refused = (exit_code != 0).then(|| format!("the compiler ended with exit code {exit_code}"));
        Some(Compiled { exit_code, refused, message, usage, files })
    }
}

/// A pipe to write to asynchronously, and the end for the program.
fn pipe_to() -> Result<(Sender, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((Sender::from_owned_fd(write)?, read))
}

/// The bytes of a request; `None` when it is too large for its numbers.
fn request(arguments: &[String], files: &[(String, Vec<u8>)]) -> Option<Vec<u8>> {
    let count = arguments.len().to_string();
    let mut fields: Vec<&[u8]> = vec![count.as_bytes()];
    fields.extend(arguments.iter().map(String::as_bytes));
    fields.extend(files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]));
    let mut packed = Vec::new();
    packed.extend(u32::try_from(fields.len()).ok()?.to_be_bytes());
    for field in fields {
        packed.extend(u32::try_from(field.len()).ok()?.to_be_bytes());
        packed.extend(field);
    }
    Some(packed)
}

async fn read_fields(pipe: &mut Receiver) -> Result<Vec<Vec<u8>>> {
    let too_much = || Error::other("the compiler answers too much");
    let count = pipe.read_u32().await? as usize;
    if count > REPLY_FIELDS {
        return Err(too_much());
    }
    let mut fields = Vec::with_capacity(count);
    let mut room = REPLY_BYTES;
    for _ in 0..count {
        let length = pipe.read_u32().await? as usize;
        room = room.checked_sub(length).ok_or_else(too_much)?;
        let mut field = vec![0; length];
        pipe.read_exact(&mut field).await?;
        fields.push(field);
    }
    Ok(fields)
}
