//! The command line: one file per command. The only place that prints.

mod bundled;
mod cache;
mod doctor;
mod dry_run;
mod explain;
mod export;
mod options;
mod progress;
mod query;
mod reference;
mod reuse;
mod run;
mod sandbox;
mod serve;
mod stage;
mod summary;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

/// Turns code snippets into verified programming problems.
#[derive(Parser)]
#[command(name = "autocodegen", version, propagate_version = true, max_term_width = 110)]
#[command(
    after_help = "Example: autocodegen run            # the bundled seeds, offline, into runs/synthesize"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No progress; only errors and the result.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Take seeds through a pipeline into a run directory; run again to resume.
    Run(Box<run::Args>),
    /// Print the plan of a pipeline: stages, columns, fingerprints, requests per row.
    Explain(Box<explain::Args>),
    /// Run one stage, or several in a row, from a JSONL or Parquet file to another.
    Stage(Box<stage::Args>),
    /// Run programs in the sandbox: one, or those that others send.
    #[command(subcommand, after_help = "Example: autocodegen sandbox exec --language python program.py")]
    Sandbox(sandbox::Command),
    /// Say what isolation is in force and which toolchains are there; install missing ones.
    Doctor(doctor::Args),
    /// Ask a question of a run's tables in SQL.
    Query(query::Args),
    /// Write a run's dataset as Parquet or JSONL.
    Export(export::Args),
    /// Look at the cache of model replies that all runs share, or make room in it.
    #[command(subcommand, after_help = "Example: autocodegen cache ls")]
    Cache(cache::Command),
}

/// Parses the command line, runs one command, and gives its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_log(cli.quiet);
    let result = match cli.command {
        Command::Run(args) => run::run(&args, cli.quiet),
        Command::Explain(args) => explain::run(&args),
        Command::Stage(args) => stage::run(&args, cli.quiet),
        Command::Sandbox(command) => sandbox::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Cache(command) => cache::run(&command),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints an error and its hint to stderr. Both may quote hostile input: control characters are escaped.
fn report(error: &Error) {
    eprintln!("error: {}", printable(&error.to_string()));
    if let Some(hint) = error.hint_text() {
        eprintln!("hint: {}", printable(hint));
    }
}

/// `text` with control characters other than newline and tab escaped, so that it cannot drive the terminal, and so are
/// those that turn the direction of writing, so that it reads in the order it has.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => safe.push(c),
            c if c.is_control() || turns_direction(c) => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

/// Writes data to stdout. A reader that has seen enough and left, like `head`, is no error.
///
/// # Errors
/// stdout cannot be written, for example because the disk it is redirected to is full.
pub(crate) fn write_stdout(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", Path::new("stdout"), error))
        }
        _ => Ok(()),
    }
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn init_log(quiet: bool) {
    let default = if quiet { "error" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("AUTOCODEGEN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
}

/// The tokio runtime that effects run on.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("cannot start the async runtime: {error}")))
}
