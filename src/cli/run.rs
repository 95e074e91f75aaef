//! `autocodegen run`: seeds through a pipeline into a run directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::cli::batch::{BatchArgs, Batching};
use crate::cli::money::MoneyArgs;
use crate::cli::options::{ModelArgs, ModelChoice, SandboxArgs, SeedArgs};
use crate::cli::progress::{PendingCauses, Progress};
use crate::cli::reuse::ReuseArgs;
use crate::cli::saved::SavedCommand;
use crate::cli::telemetry::{Telemetry, TelemetryArgs};
use crate::cli::{bundled, doctor, dry_run, runtime, summary};
use crate::engine::budget::Budget;
use crate::engine::calls::{Calls, Resources};
use crate::engine::metrics::Metrics;
use crate::engine::run_file::{RunFile, SeedCounts, State};
use crate::engine::spending::{Cost, Spending};
use crate::engine::stop::Stop;
use crate::engine::{Engine, Outcome, active_partitions, partition_rows, prices, tables};
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::ingest::{SeedOptions, SeedStore, ingest, manifest};
use crate::frame::journal::Journal;
use crate::frame::key::Key;
use crate::frame::run_dir::RunDir;
use crate::llm::recorder::Recorder;
use crate::plan::Plan;
use crate::plan::pipeline::Pipeline;
use crate::sandbox::Sandbox;
use crate::sandbox::language::Languages;
use crate::stages::registry::Context;
use crate::stages::{Resource, Stage};
use crate::text::template::Templates;

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
    let pipeline = Pipeline::load(&args.pipeline)?;
    let templates = Arc::new(Templates::load(args.templates.as_deref())?);
    let sampling = args.model.sampling(&pipeline.model)?;
    let context = |sandbox| Context {
        templates: &templates,
        sampling: &sampling,
        sandbox,
        max_output_bytes: args.max_output_bytes,
    };
    let draft = Plan::build(&pipeline, &context(None))?;
    if let Some(bodies) = args.dry_run {
        return dry_run::run(args, bodies, &pipeline.input, &draft, &languages);
    }
    let asking = asking_model(&draft);
    let prices = args.money.prices(&asking, &sampling.model)?;
    let caps = args.money.caps(&asking, &prices, &sampling.model)?;
    let bundled = args.seeds.seeds.is_empty().then(bundled::replies);
    let asks_model = asks(&draft, Resource::Model);
    let mut choice = asks_model.then(|| args.batch.choose(&args.model, bundled.as_deref())).transpose()?;
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(&pipeline.name));
    let dir = Arc::new(RunDir::open_or_create(&out)?);
    let reused = args.reuse.runs(Some(dir.path()))?;
    let earlier: Option<RunFile> = dir.read_json()?;
    if earlier.as_ref().is_some_and(|earlier| earlier.partition_rows == 0) {
        return Err(Error::usage(format!("{}: `partition_rows` is 0", dir.run_json().display())).hint(
            "the file was changed by hand: delete it and run again, answers are taken from the journal",
        ));
    }
    if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.pipeline != pipeline.name) {
        return Err(Error::usage(format!(
            "{} holds a run of the pipeline `{}`, not `{}`",
            out.display(),
            earlier.pipeline,
            pipeline.name
        ))
        .hint("give another folder with --out"));
    }
    SavedCommand::here(args.line.clone())?.save(&dir)?;
    let mut batching = args.batch.gather(choice.as_mut(), &args.model, &dir, quiet)?;
    let runtime = runtime()?;
    let endpoint = choice.as_ref().and_then(|choice| choice.endpoint.clone());
    // A finished run asks nothing and needs no endpoint; any other is refused before its seeds are read.
    let finished = earlier.as_ref().filter(|earlier| earlier.state == State::Done);
    let finished = finished.map(|earlier| earlier.fingerprints.clone());
    if let (None, Some(endpoint)) = (&finished, &endpoint) {
        runtime.block_on(endpoint.check(&sampling))?;
    }
    let options = args.seeds.options(dir.path(), &pipeline.input, draft.reserved_columns())?;
    let mut file = seed(args, &dir, &options, &languages, &pipeline.name, earlier, quiet)?;
    let store = Arc::new(SeedStore::open(&dir.seeds())?);
    let columns: Vec<String> = store.schema().fields().iter().map(|field| field.name().clone()).collect();
    draft.check(&columns)?;
    if asks(&draft, Resource::Sandbox) && args.sandbox.sandbox.is_empty() {
        let seen: Vec<String> = file.seeds.by_language.keys().cloned().collect();
        doctor::provide(&languages, &draft.languages_run(&seen), args.install)?;
    }

    runtime.block_on(async {
        let sandbox = match asks(&draft, Resource::Sandbox) {
            true => Some(args.sandbox.choose()?),
            false => None,
        };
        let plan = Arc::new(Plan::build(&pipeline, &context(sandbox.clone()))?);
        file.templates = Some(templates.save(&dir.templates())?);
        let path = dir.pipeline();
        atomic::write_file(&path, |toml| {
            toml.write_all(pipeline.source.as_bytes()).map_err(|error| Error::io("write", &path, error))
        })?;
        let seen: Vec<String> = file.seeds.by_language.keys().cloned().collect();
        file.fingerprints = plan
            .steps
            .iter()
            .map(|step| step.name.clone())
            .zip(plan.fingerprints(&file.seeds_fingerprint(), &seen))
            .collect();
        if let Some(endpoint) =
            endpoint.filter(|_| finished.is_some_and(|before| before != file.fingerprints))
        {
            endpoint.check(&sampling).await?;
        }
        file.model = sampling.clone();
        file.answered_by = choice.as_ref().map(|choice| choice.label.clone()).unwrap_or_default();
        file.sandbox = sandbox.as_ref().map(|sandbox| sandbox.describe()).unwrap_or_default();
        file.state = State::Running;
        dir.write_json(&file)?;

        let journals = journals(&plan, &dir)?;
        let earlier = Spending::of(&journals, &asking, Some(&file.cost.spending))?;
        let budget = Budget::new(caps, prices.clone(), &earlier);
        let metrics = Arc::new(Metrics::new(prices, earlier));
        let progress = Arc::new(Progress::new(&plan, store.rows(), quiet, metrics.clone()));
        let stop = Arc::new(Stop::default());
        progress.watch(choice.as_ref().map(|choice| choice.model.clone()), !quiet);
        let telemetry = Telemetry::start(&args.telemetry, metrics.clone()).await?;
        let observer = telemetry.with(progress.clone());
        let resources = resources(args, choice.as_ref(), sandbox)?;
        let cached = args.model.cached(choice.as_ref(), &sampling);
        let reuse = args.reuse.open(&reused, cached.as_ref())?;
        let calls = Calls::new(resources, journals, stop.clone(), observer).within(budget);
        let calls = Arc::new(calls.reusing(reuse));
        let in_flight = in_flight(args, choice.as_ref());
        let engine = Arc::new(Engine {
            plan: plan.clone(),
            seeds: store,
            seeds_fingerprint: file.seeds_fingerprint(),
            run: dir.clone(),
            calls,
            partition_rows: file.partition_rows,
            active: active_partitions(file.partition_rows, in_flight),
        });
        // Until the end: a caught Ctrl-C would otherwise do nothing at all while the tables are written.
        tokio::spawn(interrupts(stop));
        let outcome = match &mut batching {
            Some(batching) => batching.run(&engine).await,
            None => engine.run().await,
        };
        progress.finish();
        telemetry.finish();
        let outcome = outcome?;
        prices::write(&dir.prices_table(), &asking, &sampling.model, metrics.prices())?;
        let spending = match &batching {
            // Answers that came in files were charged for as well.
            Some(_) => Spending::of(engine.calls.journals(), &asking, Some(&metrics.spending()))?,
            None => metrics.spending(),
        };
        finish(&engine, &mut file, &outcome, (spending, &metrics), started)?;
        if args.batch.export.is_some() && outcome.stopped.is_none() {
            return finish_export(batching.as_ref(), &file, &progress.pending(), quiet);
        }
        summary::print(
            &plan,
            &file,
            dir.path(),
            &progress.pending(),
            progress.reused(),
            choice.is_some_and(|choice| choice.bundled),
        )?;
        match outcome.stopped {
            Some(error) => Err(error),
            None => Ok(u8::from(file.state == State::Pending)),
        }
    })
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

/// Stages that ask the model.
pub(super) fn asking_model(plan: &Plan) -> Vec<Arc<str>> {
    let asks = |stage: &&Stage| stage.requests.is_some_and(|(asked, _)| asked == Resource::Model);
    plan.stages.iter().filter(asks).map(|stage| stage.name.clone()).collect()
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
        .filter(|((_, cause), _)| *cause != "exported")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    summary::tell_pending(&others);
    if !quiet {
        eprintln!("{exported} requests exported; {} rows are pending", file.counts.pending());
    }
    Ok(u8::from(!others.is_empty()))
}

/// Writes the tables, the dataset and the final `run.json`.
fn finish(
    engine: &Engine,
    file: &mut RunFile,
    outcome: &Outcome,
    (spending, metrics): (Spending, &Metrics),
    started: Instant,
) -> Result<()> {
    tables::write(engine, &outcome.counts)?;
    file.cost = Cost::of(spending.covering(engine.calls.journals()), metrics.prices());
    file.calls = metrics.total();
    file.counts = outcome.counts.clone();
    file.state = if outcome.counts.pending() > 0 { State::Pending } else { State::Done };
    file.wall_ms = started.elapsed().as_millis() as u64;
    engine.run.write_json(file)
}
