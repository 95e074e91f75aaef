//! `autocodegen run`: seeds through a pipeline into a run directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::cli::batch::{BatchArgs, Batching, EXPORTED};
use crate::cli::drive::{Begun, Setup};
use crate::cli::money::MoneyArgs;
use crate::cli::options::{ModelArgs, ModelChoice, SandboxArgs, SeedArgs};
use crate::cli::progress::PendingCauses;
use crate::cli::reuse::ReuseArgs;
use crate::cli::telemetry::TelemetryArgs;
use crate::cli::{bundled, dry_run, summary};
use crate::engine::barrier::WAITS;
use crate::engine::calls::Resources;
use crate::engine::partition_rows;
use crate::engine::run_file::{RunFile, SeedCounts, State};
use crate::engine::stop::Stop;
use crate::error::{Error, Result};
use crate::frame::ingest::{SeedOptions, ingest, manifest};
use crate::frame::journal::Journal;
use crate::frame::key::Key;
use crate::frame::run_dir::RunDir;
use crate::llm::recorder::Recorder;
use crate::plan::Plan;
use crate::plan::pipeline::Pipeline;
use crate::sandbox::Sandbox;
use crate::sandbox::language::Languages;
use crate::stages::Resource;

/// Arguments of `run`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  autocodegen run --install
  OPENAI_API_KEY=... autocodegen run --seeds snippets.jsonl --model deepseek-chat --base-url https://api.deepseek.com --out runs/mine
  OPENAI_API_KEY=... autocodegen run --seeds snippets.jsonl --model gpt-4o-mini --batch --out runs/mine
  autocodegen run --seeds snippets.jsonl --model m --base-url http://10.0.0.1:8000/v1 --base-url http://10.0.0.2:8000/v1
  autocodegen run --seeds more.jsonl --model deepseek-chat --base-url https://api.deepseek.com --out runs/more --reuse runs/mine
  autocodegen run --seeds ~/src/project --model any --dry-run=3")]
pub struct Args {
    /// Name of a pipeline, or path of one of your own ending in .toml.
    #[arg(default_value = "synthesize")]
    pub pipeline: String,
    /// Run directory. Default: runs/<name of the pipeline>.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Prompt templates that replace the built-in ones, file by file.
    #[arg(long, value_name = "DIR")]
    pub templates: Option<PathBuf>,
    /// Show what would be asked, without asking or running anything: counts, and the bodies of the first N requests (1 where no
    /// number is given).
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub dry_run: Option<usize>,
    /// Install the toolchains that the seeds need and that are missing.
    #[arg(long)]
    pub install: bool,
    /// Rows of a partition, fixed when a run directory is made. Default: by the number of seeds.
    #[arg(long, value_name = "ROWS")]
    pub partition_size: Option<usize>,
    /// Programs that print more are rejected before their output becomes a prompt, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384)]
    pub max_output_bytes: usize,
    /// JSONL or Parquet files of benchmarks: the pipeline's `decontaminate` stages take rows away that share a run of words
    /// with them.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub decontaminate: Vec<PathBuf>,
    #[command(flatten)]
    pub seeds: SeedArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub batch: BatchArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub reuse: ReuseArgs,
    #[command(flatten)]
    pub money: MoneyArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// The command line these come from.
    #[arg(skip)]
    pub line: Vec<String>,
}

/// Runs the command; the exit code is 0 when every row is kept or rejected, 1 when some are pending.
pub fn run(args: &Args, quiet: bool) -> Result<u8> {
    let started = Instant::now();
    let languages = Languages::embedded()?;
    let setup = Setup::new(args, args.model.pipeline(&args.pipeline)?)?;
    if let Some(bodies) = args.dry_run {
        return dry_run::run(args, bodies, &setup.pipeline.input, &setup.draft, &languages);
    }
    let bundled = args.seeds.seeds.is_empty().then(bundled::replies);
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(&setup.pipeline.name));
    note_idle_decontaminates(&setup.pipeline, &args.decontaminate, quiet);
    let begun = Begun::new(args, setup, &out, bundled.as_deref(), quiet)?;
    let dir = begun.dir.clone();
    let options =
        args.seeds.options(dir.path(), &begun.setup.pipeline.input, begun.setup.draft.reserved_columns())?;
    let pipeline = begun.setup.pipeline.name.clone();
    let file = seed(args, &dir, &options, &languages, &pipeline, begun.earlier.clone(), quiet)?;
    let ran = begun.drive(args, file, &languages, quiet, started)?;
    if args.batch.export.is_some() && ran.outcome.stopped.is_none() {
        return finish_export(ran.batching.as_ref(), &ran.file, &ran.progress.pending(), quiet);
    }
    summary::print(
        &ran.plan,
        &ran.file,
        dir.path(),
        &ran.progress.pending(),
        ran.progress.reused(),
        ran.bundled,
    )?;
    match ran.outcome.stopped {
        Some(error) => Err(error),
        None => Ok(u8::from(ran.file.state == State::Pending)),
    }
}

/// Reads the seeds, unless the run directory holds the very same ones already.
fn seed(
    args: &Args,
    dir: &RunDir,
    options: &SeedOptions,
    languages: &Languages,
    pipeline: &str,
    earlier: Option<RunFile>,
    quiet: bool,
) -> Result<RunFile> {
    let manifest = manifest(options, languages)?;
    let seed_options = Key::of(&[format!("{options:?}")]);
    if let Some(earlier) = earlier {
        let there = dir.seeds().exists() && dir.rejected_part("seed", 0)?.exists();
        if there && earlier.manifest == manifest && earlier.seed_options == seed_options {
            if let Some(wanted) = args.partition_size.filter(|wanted| *wanted != earlier.partition_rows) {
                eprintln!(
                    "note: --partition-size {wanted} is ignored: partitions of this run have {} rows",
                    earlier.partition_rows
                );
            }
            return Ok(earlier);
        }
        eprintln!(
            "note: the seeds have changed since the last run; answers that still fit are taken from the journal"
        );
        // From here on `seeds` may be others than those of run.json: a run that ends before it is written again
        // must not pass them off as these.
        dir.write_json(&RunFile { manifest: Vec::new(), ..earlier })?;
    }
    let bar = crate::cli::progress::ingest(&manifest, quiet);
    let ingested =
        ingest(options, languages, &dir.seeds(), &dir.rejected_part("seed", 0)?, &mut |rows, bytes| {
            bar.set_position(bytes);
            bar.set_message(format!("{rows} seeds"));
        })?;
    bar.finish_and_clear();
    let file = RunFile {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pipeline: pipeline.to_owned(),
        fingerprints: Vec::new(),
        templates: None,
        model: Default::default(),
        answered_by: String::new(),
        sandbox: String::new(),
        manifest,
        seed_options,
        partition_rows: partition_rows(ingested.rows, args.partition_size),
        seeds: SeedCounts::from(&ingested),
        state: State::Running,
        counts: Default::default(),
        cost: Default::default(),
        calls: Vec::new(),
        wall_ms: 0,
    };
    dir.write_json(&file)?;
    Ok(file)
}

pub(super) fn asks(plan: &Plan, resource: Resource) -> bool {
    plan.stages.iter().any(|stage| stage.requests.is_some_and(|(asked, _)| asked == resource))
}

/// Refuses benchmark files that no stage of the plan would look at.
pub(super) fn check_decontaminates(plan: &Plan, files: &[PathBuf]) -> Result<()> {
    if files.is_empty() || plan.stages.iter().any(|stage| stage.op == "decontaminate") {
        return Ok(());
    }
    Err(Error::usage(format!("--decontaminate: `{}` has no stage that decontaminates", plan.pipeline))
        .hint("add a stage with op = \"decontaminate\" to the pipeline"))
}

/// Says which stages have no benchmark to hold rows against.
pub(super) fn note_idle_decontaminates(pipeline: &Pipeline, files: &[PathBuf], quiet: bool) {
    if quiet || !files.is_empty() {
        return;
    }
    for stage in pipeline.stages.iter().filter(|stage| stage.op == "decontaminate") {
        if !stage.keys.contains_key("against") {
            let name = &stage.name;
            eprintln!("note: `{name}` keeps all rows: no benchmark is named (--decontaminate FILE...)");
        }
    }
}

pub(super) fn resources(
    args: &Args,
    choice: Option<&ModelChoice>,
    sandbox: Option<Arc<dyn Sandbox>>,
) -> Result<Resources> {
    Ok(Resources {
        model: choice.map(|choice| choice.model.clone()),
        sandbox_in_flight: sandbox.as_ref().map_or(1, |sandbox| sandbox.capacity()),
        sandbox,
        model_in_flight: in_flight(args, choice),
        retry: args.model.retry(),
        recorder: args.model.record.as_deref().map(Recorder::create).transpose()?,
    })
}

/// Model calls in flight at once.
pub(super) fn in_flight(args: &Args, choice: Option<&ModelChoice>) -> usize {
    let limit = args.model.limits.in_flight;
    choice.map_or(limit as usize, |choice| choice.in_flight(limit))
}

pub(super) fn journals(plan: &Plan, dir: &RunDir) -> Result<std::collections::HashMap<Arc<str>, Journal>> {
    let effects = plan.stages.iter().filter(|stage| stage.requests.is_some());
    effects.map(|stage| Ok((stage.name.clone(), Journal::open(&dir.journal(&stage.name)?)?))).collect()
}

/// The first Ctrl-C (or SIGTERM) drains what is in flight; the second ends the process, which loses nothing either.
pub(super) async fn interrupts(stop: Arc<Stop>) {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return;
    };
    for first in [true, false] {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        if !first {
            std::process::exit(130);
        }
        eprintln!(
            "stopping: waiting for the calls in flight (again to stop at once; nothing answered is lost)"
        );
        stop.interrupt();
    }
}

/// Says what was exported; the exit code is 0 unless other rows are pending than those whose requests were.
fn finish_export(
    batching: Option<&Batching>,
    file: &RunFile,
    pending: &PendingCauses,
    quiet: bool,
) -> Result<u8> {
    let exported = batching.map_or(Ok(0), Batching::print_exported)?;
    let others: PendingCauses = pending
        .iter()
        // Rows that wait for exported ones wait for nothing else.
        .filter(|((_, cause), _)| ![EXPORTED, WAITS].contains(cause))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    summary::tell_pending(&others);
    if !quiet {
        eprintln!("{exported} requests exported; {} rows are pending", file.counts.pending());
    }
    Ok(u8::from(!others.is_empty()))
}
