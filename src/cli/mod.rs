//! The command line: one file per command. The only place that prints.

mod asking;
mod batch;
mod benchmark;
mod bundled;
mod cache;
mod compare;
mod connect;
mod doctor;
mod drive;
mod dry_run;
mod estimate;
mod evaluate;
mod explain;
mod export;
mod log;
mod metrics;
mod models;
mod money;
mod options;
mod pilot;
mod progress;
mod query;
mod reference;
mod replay;
mod report;
mod requests;
mod reuse;
mod run;
mod sandbox;
mod saved;
mod scores;
mod serve;
mod stage;
mod stage_input;
mod summary;
mod telemetry;
mod view;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::analytics::output::escape_where;
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
    #[command(flatten)]
    log: log::LogArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Take seeds through a pipeline into a run directory; run again to resume.
    Run(Box<run::Args>),
    /// Say what a run would cost, in tokens, USD and hours, before it is begun or while it is half done.
    Estimate(Box<estimate::EstimateArgs>),
    /// Score a model, or answers that are there already, on a benchmark: pass@k with intervals.
    Evaluate(Box<evaluate::Args>),
    /// Compare evaluations side by side, problem by problem.
    Compare(compare::Args),
    /// Make benchmarks of benchmarks: the problems that models solve, or prompts for base models.
    #[command(subcommand, after_help = "Example: autocodegen benchmark lite --help")]
    Benchmark(benchmark::Command),
    /// Print the plan of a pipeline: stages, columns, fingerprints, requests per row.
    Explain(Box<explain::Args>),
    /// Run one stage, or several in a row, from a JSONL or Parquet file to another.
    Stage(Box<stage::Args>),
    /// List the models that an endpoint serves.
    Models(models::Args),
    /// Run programs in the sandbox: one, or those that others send.
    #[command(subcommand, after_help = "Example: autocodegen sandbox exec --language python program.py")]
    Sandbox(sandbox::Command),
    /// Requests as files for batch services and clusters without network, and their answers back.
    #[command(subcommand, after_help = "Example: autocodegen requests export --help")]
    Requests(requests::Command),
    /// Answer as a model would, from a recording.
    #[command(subcommand, after_help = "Example: autocodegen replay serve")]
    Replay(replay::Command),
    /// Say what isolation is in force and which toolchains are there; install missing ones.
    Doctor(doctor::Args),
    /// Ask a question of a run's tables in SQL.
    Query(query::Args),
    /// Write one HTML page about a run: charts, rows that were rejected, configuration.
    Report(report::Args),
    /// Look through the rows of a run in the terminal: prompt, reply, program, output and verdict side by side.
    View(view::Args),
    /// Write a dataset as files that benchmarks, trainers and hubs read.
    Export(export::Args),
    /// Look at the cache of model replies that all runs share, or make room in it.
    #[command(subcommand, after_help = "Example: autocodegen cache ls")]
    Cache(cache::Command),
}

/// Parses the command line, runs one command, and gives its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = log::init(&cli.log, cli.quiet).and_then(|()| match cli.command {
        Command::Run(mut args) => {
            let line = std::env::args_os().skip(1);
            args.line = line.map(|argument| argument.to_string_lossy().into_owned()).collect();
            run::run(&args, cli.quiet)
        }
        Command::Estimate(args) => estimate::run(&args, cli.quiet),
        Command::Evaluate(args) => evaluate::run(*args, cli.quiet),
        Command::Compare(args) => compare::run(&args),
        Command::Benchmark(command) => benchmark::run(&command),
        Command::Explain(args) => explain::run(&args),
        Command::Stage(args) => stage::run(&args, cli.quiet),
        Command::Models(args) => models::run(&args),
        Command::Sandbox(command) => sandbox::run(&command),
        Command::Requests(command) => requests::run(&command, cli.quiet),
        Command::Replay(command) => replay::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Report(args) => report::run(&args),
        Command::View(args) => view::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Cache(command) => cache::run(&command),
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints an error and its hint to stderr. Both may quote hostile input: control characters are escaped.
fn print_error(error: &Error) {
    eprintln!("error: {}", printable(&error.to_string()));
    if let Some(hint) = error.hint_text() {
        eprintln!("hint: {}", printable(hint));
    }
}

/// `text` with control characters other than newline and tab escaped, so that it cannot drive the terminal, and so are
/// those that turn the direction of writing, so that it reads in the order it has.
pub(crate) fn printable(text: &str) -> String {
    escape_where(text, |c| c.is_control() || turns_direction(c))
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
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The tokio runtime that effects run on.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("cannot start the async runtime: {error}")))
}
