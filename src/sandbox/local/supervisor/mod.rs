//! The async side: jobs to steps, steps to verdicts.

mod build;
mod capture;
mod compiler;
mod connection;
mod environment;
mod fork;
mod reuse;
mod secret;
mod warm;
mod work;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

pub(super) use capture::Captured;
use compiler::Compilers;
use connection::Connection;
use environment::{environment, is_elsewhere};
use fork::ForkFaults;
use reuse::{Store, Turn};
use work::{Command, STARVED};

use super::judge::{self, Run};
use super::protocol::{Level, View};
use crate::error::{Error, Fault, Recovery, Result};
use crate::sandbox::Sandbox;
use crate::sandbox::job::{Job, Limits, Outcome, Usage, Verdict};
use crate::sandbox::language::{Language, Languages, WARM_DIRECTORY};
use crate::sandbox::splice::{self, Spliced};
use crate::sandbox::toolchain::{self, Missing, Toolchain};

/// More jobs at once than any machine runs well.
const MOST_JOBS: usize = 1024;
/// Bytes of compiled programs that are kept unless the options say otherwise.
const REUSE_BYTES: u64 = 64 << 20;
/// Counts with the language file and the toolchain in [`Sandbox::identity`]: raised when jails or judgement change
/// in a way that can change verdicts.
const VERSION: u32 = 2;

/// What verdicts on programs in `language` depend on where they run in jails of this machine, whose toolchain has `version`.
pub fn identity(language: &Language, version: &str) -> String {
    let entry = blake3::hash(format!("{language:?}").as_bytes()).to_hex();
    format!("local-{VERSION}:{}:{}:{version}", language.name, &entry[..16])
}

/// How jobs are to be kept apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Isolation {
    /// Namespaces; an error where the machine does not allow them.
    #[default]
    Auto,
    /// No namespaces: Landlock (where the kernel has it), seccomp and resource limits. Programs read the system and
    /// the prepared files of their language, write their own folders only, and make no sockets; they can ask whether a
    /// path of the host exists, and fill the disk that holds temporary files. Where jobs run as the launcher's own user they
    /// can also change permissions and times of that user's files.
    Reduced,
}

/// How to start a [`LocalSandbox`].
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The executable that calls [`super::launcher_main`]; this one when `None`.
    pub launcher: Option<PathBuf>,
    /// Jobs at once; as many as there are cores when `None`.
    pub jobs: Option<usize>,
    /// How jobs are kept apart.
    pub isolation: Isolation,
    /// Where private temporary folders are made; the system's place when `None`.
    pub scratch: Option<PathBuf>,
    /// The languages jobs may be in; those of `data/languages` when `None`.
    pub languages: Option<Languages>,
    /// Where prepared caches are kept; when `None`, `$XDG_CACHE_HOME/autocodegen/sandbox`, without namespaces `reduced`
    /// beside it, and `/var/cache/autocodegen` for a launcher that is root.
    pub cache: Option<PathBuf>,
    /// How many bytes of compiled programs are kept in memory for jobs that compile the same; 64 MiB when `None`, and
    /// with 0 each job compiles for itself.
    pub reuse_bytes: Option<u64>,
}

/// Runs jobs in jails on this machine. Ends its launcher and all jails when dropped.
pub struct LocalSandbox {
    options: Options,
    languages: Languages,
    isolation: String,
    connection: Mutex<Arc<Connection>>,
    jobs: usize,
    seats: Semaphore,
    /// What compilers made.
    store: Store,
    /// By canonical language name.
    known: HashMap<String, Known>,
}

/// What is found out about a language once.
#[derive(Default)]
struct Known {
    /// The runtime to use, and its toolchain.
    toolchain: OnceLock<Result<(Language, Toolchain), Missing>>,
    /// Where its prepared files are.
    warmed: OnceCell<PathBuf>,
    /// Its compilers that stay.
    compilers: Compilers,
    /// What became of runs that were to be forked.
    fork_faults: ForkFaults,
}

/// A job made ready: what its steps need.
#[derive(Clone)]
struct Prepared<'a> {
    language: &'a Language,
    known: &'a Known,
    toolchain: &'a Toolchain,
    program: Spliced,
    view: View,
    limits: Limits,
    stdin: &'a str,
    variation: u32,
    strict: bool,
    /// Whether its run may be forked from an interpreter that has started.
    forked: bool,
}

impl LocalSandbox {
    /// Starts the launcher and learns what isolation this machine allows.
    ///
    /// # Errors
    /// Environment, when no launcher can be started or namespaces are refused.
    pub fn start(mut options: Options) -> Result<Self> {
        let languages = match options.languages.take() {
            Some(languages) => languages,
            None => Languages::embedded()?,
        };
        let connection = connect(&options)?;
        let jobs = options
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
            .clamp(1, MOST_JOBS);
        let reuse_bytes = options.reuse_bytes.unwrap_or(REUSE_BYTES);
        let known = languages.iter().map(|language| (language.name.clone(), Known::default())).collect();
        Ok(Self {
            isolation: connection.isolation.clone(),
            options,
            languages,
            connection: Mutex::new(Arc::new(connection)),
            jobs,
            seats: Semaphore::new(jobs),
            store: Store::new(reuse_bytes),
            known,
        })
    }

    /// The isolation in force, e.g. `namespaces+cgroup-v1+seccomp`.
    pub fn isolation(&self) -> &str {
        &self.isolation
    }

    /// The launcher's process id, for those who watch or test it.
    pub fn launcher_pid(&self) -> u32 {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).pid
    }

    /// The launcher; a new one if it has died or failed.
    fn connection(&self) -> Result<Arc<Connection>, Fault> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_usable() {
            *connection = Arc::new(connect(&self.options).map_err(|error| launcher_fault(&error))?);
        }
        Ok(Arc::clone(&connection))
    }

    /// The language with its toolchain, looked for once.
    async fn language(&self, name: &str) -> Result<(&Language, &Known, &Toolchain), Fault> {
        let unknown = || {
            let names: Vec<_> = self.languages.iter().map(|language| language.name.as_str()).collect();
            Fault::new(Recovery::Pend, "unknown_language", format!("unknown language {name:?}"))
                .hint(format!("the languages are {}", names.join(", ")))
        };
        let language = self.languages.get(name).ok_or_else(unknown)?;
        let known = self.known.get(&language.name).ok_or_else(unknown)?;
        if known.toolchain.get().is_none() {
            let (wanted, options) = (language.clone(), self.options.clone());
            // Asks programs for their versions: too slow for an async thread.
            let found = tokio::task::spawn_blocking(move || find(&wanted, &options)).await;
            let found = found.map_err(|error| fault("toolchain_search", &error))?;
            // Another job may have found it meanwhile; both found the same.
            let _ = known.toolchain.set(found);
        }
        match known.toolchain.get() {
            Some(Ok((runtime, toolchain))) => Ok((runtime, known, toolchain)),
            Some(Err(missing)) => Err(Fault::new(Recovery::Pend, "toolchain_missing", missing.to_string())
                .hint(format!("install it with: {}", missing.install.join(" && ")))),
            None => Err(fault("toolchain_search", &"nothing was found out")),
        }
    }

    async fn run_job(&self, job: &Job) -> Result<Verdict, Fault> {
        let (language, known, toolchain) = self.language(&job.language).await?;
        let mut view = View { read_only: toolchain.mounts.clone(), ..View::default() };
        if self.options.isolation == Isolation::Reduced {
            reach(&language.name, &view.read_only)?;
        }
        if let Some(warm) = &language.warm {
            let prepare = || self.warm_up(language, warm, toolchain);
            let cache = known.warmed.get_or_try_init(prepare).await?.clone();
            match self.options.isolation {
                Isolation::Reduced => view.read_only.push(cache),
                Isolation::Auto if warm.layered => view.layered.push((cache, WARM_DIRECTORY.into())),
                Isolation::Auto => view.prepared.push((cache, WARM_DIRECTORY.into())),
            }
        }
        let strict = job.strict && job.tests.is_some() && language.completion.is_some();
        let program = match &job.tests {
            Some(tests) => splice::splice(language, &job.source, tests, strict),
            None => splice::whole(language, &job.source),
        };
        let limits = language.limits_for(&job.limits);
        let (stdin, variation) = (job.stdin.as_str(), job.variation);
        let forked = known.fork_faults.allow(language, toolchain, variation);
        let prepared =
            Prepared { language, known, toolchain, program, view, limits, stdin, variation, strict, forked };
        // Who waits for another's compiler takes no seat meanwhile.
        let mut turn = self.turn(&prepared).await;
        let first = {
            let _seat = self.take_seats(1).await?;
            self.run_forked_or_plain(&prepared, &mut turn).await
        };
        match first {
            Err(fault) if fault.cause == STARVED => {
                // Alone on this sandbox: what starves it now is outside.
                let _all_seats = self.take_seats(self.jobs).await?;
                self.run_prepared(&prepared, &mut turn).await
            }
            result => result,
        }
    }

    async fn take_seats(&self, count: usize) -> Result<SemaphorePermit<'_>, Fault> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.seats.acquire_many(count).await.map_err(|error| fault("seats", &error))
    }

    async fn run_prepared(&self, job: &Prepared<'_>, turn: &mut Turn<'_>) -> Result<Verdict, Fault> {
        let built = self.build(job, turn).await?;
        let mut verdict = Verdict {
            outcome: Outcome::Passed,
            stdout: String::new(),
            stderr: String::new(),
            compile_message: String::new(),
            reason: String::new(),
            exit_code: None,
            signal: None,
            truncated: false,
            invalid_utf8: false,
            limits: Some(job.limits),
            usage: Usage::default(),
            compile_usage: built.usage,
            compile_reused: built.reused,
            toolchain: job.toolchain.version.clone(),
            isolation: self.isolation.clone(),
        };
        let work = match built.result {
            Ok(work) => work,
            Err(refusal) => {
                (verdict.outcome, verdict.reason) = (refusal.outcome, refusal.reason);
                verdict.compile_message = refusal.message;
                (verdict.exit_code, verdict.signal) = (refusal.exit_code, refusal.signal);
                verdict.truncated = refusal.truncated;
                return Ok(verdict);
            }
        };
        let command =
            Command { stdin: job.stdin.to_owned(), asked_to_complete: job.strict, ..job.run_command() };
        let run = work.run(command).await?;
        (verdict.outcome, verdict.reason) = judge::running(&run, job.language);
        verdict.usage = usage(&run);
        verdict.exit_code = run.report.exit_code;
        verdict.signal = run.report.signal;
        verdict.truncated = run.stdout.truncated || run.stderr.truncated;
        verdict.invalid_utf8 = std::str::from_utf8(&run.stdout.bytes).is_err()
            || std::str::from_utf8(&run.stderr.bytes).is_err();
        verdict.stdout = into_text(run.stdout.bytes);
        verdict.stderr = into_text(run.stderr.bytes);
        Ok(verdict)
    }
}

impl Sandbox for LocalSandbox {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Verdict, Fault>> {
        Box::pin(self.run_job(job))
    }

    /// Looks for the language's toolchain the first time, which blocks for as long as its programs need to say their
    /// versions.
    fn identity(&self, language: &str) -> String {
        let Some(language) = self.languages.get(language) else { return format!("local-{VERSION}:unknown") };
        let version = self.known.get(&language.name).map(|known| {
            match known.toolchain.get_or_init(|| find(language, &self.options)) {
                Ok((_, toolchain)) => toolchain.version.clone(),
                Err(_) => "missing".to_owned(),
            }
        });
        identity(language, &version.unwrap_or_default())
    }

    fn describe(&self) -> String {
        format!("local jails ({})", self.isolation)
    }

    fn capacity(&self) -> usize {
        self.jobs
    }
}

fn connect(options: &Options) -> Result<Connection> {
    let program = match &options.launcher {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(|error| Error::environment(format!("cannot find this program's own file: {error}")))?,
    };
    let level = match options.isolation {
        Isolation::Auto => Level::Namespaces,
        Isolation::Reduced => Level::Reduced,
    };
    let scratch = options.scratch.clone().unwrap_or_else(std::env::temp_dir);
    Connection::start(&program, level, &scratch).map_err(|error| {
        let error = Error::environment(format!("the sandbox cannot make jails here: {error}"));
        match level {
            Level::Namespaces => error.hint(
                "jobs are isolated by Linux namespaces (Linux 5.12 or later): run as root, or allow user namespaces \
                 (sysctl user.max_user_namespaces; in a container: --security-opt seccomp=unconfined or \
                 --privileged), or send jobs to another machine with --sandbox URL",
            ),
            Level::Reduced => error,
        }
    })
}

/// Finds the toolchain of `language`, and where its prepared files will be.
fn find(language: &Language, options: &Options) -> Result<(Language, Toolchain), Missing> {
    let (runtime, mut toolchain) = toolchain::find(language)?;
    let folder = runtime.warm.as_ref().map(|warm| warm::folder(options, runtime, warm, &toolchain));
    if let (Isolation::Reduced, Some(folder)) = (options.isolation, folder) {
        toolchain.substitutions.insert("warm".to_owned(), folder.display().to_string());
    }
    Ok((runtime.clone(), toolchain))
}

/// Without namespaces the users that jobs run as must reach the toolchain where it is.
///
/// # Errors
/// It is in a folder that a launcher which is root alone may enter.
fn reach(language: &str, paths: &[PathBuf]) -> Result<(), Fault> {
    let closed = |folder: &&Path| folder.metadata().is_ok_and(|data| data.permissions().mode() & 0o001 == 0);
    match paths.iter().flat_map(|path| path.ancestors().skip(1)).find(closed) {
        Some(folder) if nix::unistd::geteuid().is_root() => {
            let message = format!(
                "the {language} toolchain is in {}, closed to the users that jobs of root run as",
                folder.display()
            );
            Err(Fault::new(Recovery::Pend, "isolation", message)
                .hint("without namespaces: install it where every user can read it, or run as its owner"))
        }
        _ => Ok(()),
    }
}

fn usage(run: &Run) -> Usage {
    let report = &run.report;
    Usage { wall_ms: report.wall_ms, cpu_ms: report.cpu_ms, peak_rss_bytes: report.peak_rss_bytes }
}

/// Compilers use both streams; the messages proper come first.
fn compile_message(run: &Run) -> String {
    let mut message = String::from_utf8_lossy(&run.stderr.bytes).into_owned();
    message.push_str(&String::from_utf8_lossy(&run.stdout.bytes));
    message
}

/// Without a copy where the bytes are text, which is nearly always.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A failure of the sandbox itself that may pass.
fn fault(cause: &'static str, message: &dyn std::fmt::Display) -> Fault {
    Fault::new(Recovery::Retry, cause, format!("sandbox: {message}"))
}

fn launcher_fault(message: &dyn std::fmt::Display) -> Fault {
    fault("launcher", &format!("launcher: {message}"))
}
