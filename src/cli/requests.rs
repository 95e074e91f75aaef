//! `autocodegen requests`: what a run would ask, as files for others to answer; and their answers back.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::batch::{Export, size};
use super::saved::SavedCommand;
use super::{Cli, Command as Top, printable, run, write_stdout};
use crate::error::{Error, Result};
use crate::frame::journal::Journal;
use crate::frame::run_dir::RunDir;
use crate::llm::batch::{AskedIndex, CHAT_URL, Import, Report};

/// Commands about requests in files.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Write the requests that a run would make now to files for a batch service or `vllm run-batch`.
    Export(ExportArgs),
    /// Take result files into the run's journal.
    Import(ImportArgs),
}

/// Arguments of `requests export`.
#[derive(clap::Args)]
#[command(
    after_help = "Rows go as far as the journal's answers take them, programs are run, and what would be asked next is written.
Each line has a custom_id, method, url and body, as OpenAI's batch service and `vllm run-batch` take it.

Examples:
  autocodegen requests export --run runs/mine --out round-1 -- --seeds snippets.jsonl --model NAME
  vllm run-batch -i round-1/requests-00001.jsonl -o results.jsonl --model NAME
  autocodegen requests import --run runs/mine results.jsonl
  autocodegen requests export --run runs/mine --out round-2"
)]
pub struct ExportArgs {
    /// The run directory, made if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Folder for the files requests-00001.jsonl and so on.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Most requests of a file.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_requests: u64,
    /// Most bytes of a file; k, M and G are thousands, millions and milliards.
    #[arg(long, value_name = "BYTES", default_value = "200MB", value_parser = size)]
    pub max_bytes: u64,
    /// The address that each request names.
    #[arg(long, value_name = "PATH", default_value = CHAT_URL)]
    pub url: String,
    /// Arguments of `run`, such as seeds and model. Default: those that the run was given before.
    #[arg(last = true, value_name = "RUN_ARGUMENTS")]
    pub run_arguments: Vec<String>,
}

/// Arguments of `requests import`.
#[derive(clap::Args)]
#[command(
    after_help = "Takes output and error files of batch services and of `vllm run-batch`, plain, .gz or .zst, in any order and part by
part. The first answer to a request counts. Exit code 1 when a file holds anything but answers.

Example:
  autocodegen requests import --run runs/mine results.jsonl errors.jsonl"
)]
pub struct ImportArgs {
    /// The run directory that the requests were exported from.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Result files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Those of `run`; a file that does not read.
pub fn run(command: &Command, quiet: bool) -> Result<u8> {
    match command {
        Command::Export(args) => export(args, quiet),
        Command::Import(args) => import(args, quiet),
    }
}

fn export(args: &ExportArgs, quiet: bool) -> Result<u8> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| Error::io("find", path, error));
    let (run, folder) = (absolute(&args.run)?, absolute(&args.out)?);
    let command = match args.run_arguments.as_slice() {
        [] => SavedCommand::of(&run)?,
        given => {
            let arguments = std::iter::once("run".to_owned()).chain(given.iter().cloned());
            SavedCommand::here(arguments.collect())?
        }
    };
    let arguments = std::iter::once("autocodegen").chain(command.arguments.iter().map(String::as_str));
    let cli = Cli::try_parse_from(arguments).unwrap_or_else(|error| error.exit());
    let Top::Run(mut run_args) = cli.command else {
        return Err(Error::usage("the arguments after -- are none of `run`"));
    };
    if run_args.dry_run.is_some() {
        return Err(Error::usage("--dry-run asks nothing, so that there is nothing to export"));
    }
    // Paths among the arguments are relative to where they were given.
    let moved = std::env::set_current_dir(&command.directory);
    moved.map_err(|error| {
        Error::io("go to", &command.directory, error).hint("give the arguments of `run` anew, after --")
    })?;
    run_args.out = Some(run);
    run_args.line = command.arguments;
    run_args.batch.batch = false;
    run_args.batch.batch_requests = args.max_requests;
    run_args.batch.batch_bytes = args.max_bytes;
    run_args.batch.export = Some(Export { folder, url: args.url.clone() });
    run::run(&run_args, quiet || cli.quiet)
}

fn import(args: &ImportArgs, quiet: bool) -> Result<u8> {
    if !RunDir::is_run(&args.run) {
        return Err(Error::usage(format!("{} is not a run directory", args.run.display()))
            .hint("give the directory that the requests were exported from"));
    }
    let run = RunDir::open_or_create(&args.run)?;
    let asked = AskedIndex::open(&run.batches())?;
    if asked.is_empty() {
        return Err(Error::usage(format!("nothing was ever exported from {}", args.run.display()))
            .hint("`autocodegen requests export` writes the requests that these files would answer"));
    }
    let mut journals: HashMap<&str, Journal> = HashMap::new();
    for stage in asked.stages() {
        journals.insert(stage, Journal::open(&run.journal(stage)?)?);
    }
    let (of_key, of_stage) = (|key: &_| asked.get(key), |stage: &str| journals.get(stage));
    let report = Report::default();
    let mut import =
        Import { asked: &of_key, journal: &of_stage, secret: None, outcomes: Vec::new(), report };
    let read = args.files.iter().try_for_each(|file| {
        import.outcomes.clear();
        import.file(file)
    });
    for journal in journals.values() {
        journal.sync()?;
    }
    let report = import.report;
    let mut open = 0;
    for (stage, key) in asked.keys() {
        let journal = journals.get(stage);
        open += u64::from(!journal.map_or(Ok(false), |journal| journal.contains(key))?);
    }
    print(&report, open, asked.len())?;
    read?;
    if !quiet {
        eprintln!("`run --no-ask` takes the rows on; `requests export` writes what is to be asked next");
    }
    Ok(u8::from(!report.is_clean()))
}

fn print(report: &Report, open: u64, exported: usize) -> Result<()> {
    let stages: Vec<String> =
        report.imported.iter().map(|(stage, count)| format!("{} {count}", printable(stage))).collect();
    let mut text = format!("imported {} answers", report.imported());
    if !stages.is_empty() {
        text += &format!(": {}", stages.join(", "));
    }
    text += "\n";
    if report.repeated > 0 {
        text += &format!("repeated: {} lines about requests that were answered already\n", report.repeated);
    }
    for (cause, lines) in &report.errors {
        text += &format!("no answer: {} ({cause}); the first: {}\n", lines.count, printable(&lines.first));
    }
    for (lines, what) in [(&report.unknown, "unknown"), (&report.malformed, "malformed")] {
        if lines.count > 0 {
            text += &format!("{what}: {} lines; the first: {}\n", lines.count, printable(&lines.first));
        }
    }
    text += &format!("still open: {open} of {exported} exported requests\n");
    write_stdout(&text)?;
    Ok(())
}
