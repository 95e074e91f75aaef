//! `autocodegen stage`: one stage, or several in a row, from a file of records to another.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::asking::{asking, models};
use super::options::{ModelArgs, SandboxArgs};
use super::progress::Progress;
use super::reuse::ReuseArgs;
use super::run::{check_decontaminates, interrupts, note_idle_decontaminates};
use super::stage_input::Input;
use super::{printable, reference, runtime, summary};
use crate::engine::calls::{Calls, Resources};
use crate::engine::counts::Counts;
use crate::engine::executor::{execute, on_disk};
use crate::engine::metrics::Metrics;
use crate::engine::spending::{Prices, Spending};
use crate::engine::stop::Stop;
use crate::error::{Error, Result};
use crate::frame::atomic::remove_leftovers_of;
use crate::frame::journal::Journal;
use crate::frame::records::RecordWriter;
use crate::frame::rejects::rejected_batch;
use crate::llm::recorder::Recorder;
use crate::plan::Plan;
use crate::plan::pipeline::Pipeline;
use crate::sandbox::language::Languages;
use crate::stages::registry::Context;
use crate::stages::{MESSAGES, Resource};
use crate::text::template::Templates;

/// What the name of the file with rejected rows has after that of the output.
const REJECTED: &str = ".rejected.jsonl";

/// Arguments of `stage`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  autocodegen stage solution.prompt --in seeds.jsonl --out messages.jsonl
  autocodegen stage solution.extract --in output.jsonl --out solution.jsonl
  autocodegen stage probe --in solution.jsonl --out test_output.jsonl --reuse runs/synthesize
  autocodegen stage probe.capture,tests.prompt --in test_output.jsonl --out messages.parquet
  autocodegen stage clean --pipeline mine.toml --in problems.jsonl --out clean.jsonl --decontaminate humaneval.jsonl")]
pub struct Args {
    /// Names of stages, as `explain` lists them, separated by commas.
    #[arg(value_delimiter = ',', required = true)]
    names: Vec<String>,
    /// JSONL (plain, .gz, .zst) or Parquet file of records.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// File to write: .jsonl (also .gz, .zst) or .parquet. Rejected rows go to FILE.rejected.jsonl.
    #[arg(long = "out", value_name = "FILE")]
    output: PathBuf,
    /// Pipeline that the stages belong to.
    #[arg(long, default_value = "synthesize", value_name = "NAME")]
    pipeline: String,
    /// Prompt templates that replace the built-in ones, file by file.
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
    /// Programs that print more are rejected before their output becomes a prompt, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384)]
    max_output_bytes: usize,
    /// JSONL or Parquet files of benchmarks for stages that decontaminate.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    decontaminate: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    reuse: ReuseArgs,
}

/// Runs the command; exit code 1 when rows are pending.
pub fn run(args: &Args, quiet: bool) -> Result<u8> {
    let pipeline = args.model.pipeline(&args.pipeline)?;
    let templates = Arc::new(Templates::load(args.templates.as_deref())?);
    let sampling = args.model.sampling(&pipeline.model)?;
    let reused = args.reuse.runs(None)?;
    runtime()?.block_on(async {
        let wanted = selected(&pipeline, &args.names)?;
        let context = |sandbox| Context {
            templates: &templates,
            sampling: &sampling,
            sandbox,
            max_output_bytes: args.max_output_bytes,
            decontaminate: Some(&args.decontaminate),
        };
        let draft = Plan::build(&wanted, &context(None))?;
        check_decontaminates(&draft, &args.decontaminate)?;
        note_idle_decontaminates(&wanted, &args.decontaminate, quiet);
        let asks = |resource| {
            draft.stages.iter().any(|stage| stage.requests.is_some_and(|(asked, _)| asked == resource))
        };
        let models = models(&asking(&draft, &wanted, &sampling.model)?);
        let choice = if asks(Resource::Model) { Some(args.model.choose(&models, None)?) } else { None };
        if let Some(endpoint) = choice.as_ref().and_then(|choice| choice.endpoint.as_ref()) {
            endpoint.check(&sampling).await?;
        }
        let sandbox = if asks(Resource::Sandbox) { Some(args.sandbox.choose()?) } else { None };
        let mut plan = Plan::build(&wanted, &context(sandbox.clone()))?;
        // In files the conversation stays beside the reply, as users of the field expect.
        for stage in &mut plan.stages {
            stage.drops.retain(|name| name != MESSAGES);
        }
        let journal = path_with(&args.output, ".journal");
        let journals: HashMap<Arc<str>, Journal> = plan
            .stages
            .iter()
            .filter(|stage| stage.requests.is_some())
            .map(|stage| Ok((stage.name.clone(), Journal::open(&journal.join(&*stage.name))?)))
            .collect::<Result<_>>()?;
        let cached = args.model.cached(choice.as_ref(), &sampling);
        let reuse = args.reuse.open(&reused, cached.as_ref())?;
        let resources = Resources {
            model_in_flight: choice
                .as_ref()
                .map_or(1, |choice| choice.in_flight(args.model.limits.in_flight)),
            model: choice.map(|choice| choice.model),
            sandbox_in_flight: sandbox.as_ref().map_or(1, |sandbox| sandbox.capacity()),
            sandbox,
            retry: args.model.retry(),
            recorder: args.model.record.as_deref().map(Recorder::create).transpose()?,
        };
        let plan = Arc::new(plan);
        let metrics = Arc::new(Metrics::new(Prices::new(), Spending::default()));
        let progress = Arc::new(Progress::new(&plan, 0, true, metrics));
        progress.watch(resources.model.clone(), !quiet);
        let stop = Arc::new(Stop::default());
        let calls = Calls::new(resources, journals, stop.clone(), progress.clone());
        let calls = Arc::new(calls.reusing(reuse));
        let interrupts = tokio::spawn(interrupts(stop.clone()));
        let counts = records(args, &plan, &calls).await;
        interrupts.abort();
        let counts = counts?;
        if let Some(error) = stop.take_cause() {
            return Err(error);
        }
        summary::tell_pending(&progress.pending());
        if counts.pending() > 0 {
            eprintln!("answers are kept in {}; run again to ask for the rest", journal.display());
            return Ok(1);
        }
        drop(calls);
        remove(&journal, |path| std::fs::remove_dir_all(path))?;
        if !quiet {
            tell(&plan, &counts);
            let (replies, verdicts) = progress.reused();
            if replies + verdicts > 0 {
                eprintln!("reused {replies} replies and {verdicts} verdicts from other runs or the cache");
            }
            let rejected = path_with(&args.output, REJECTED);
            if rejected.exists() {
                eprintln!("rejected rows and their reasons are in {}", rejected.display());
            }
        }
        Ok(0)
    })
}

/// The pipeline with only the named stages, in the order named.
fn selected(pipeline: &Pipeline, names: &[String]) -> Result<Pipeline> {
    let known: Vec<&str> = pipeline.stages.iter().map(|spec| spec.name.as_str()).collect();
    let stages = names.iter().map(|name| {
        pipeline.stages.iter().find(|spec| spec.name == *name).cloned().ok_or_else(|| {
            Error::usage(format!("pipeline `{}` has no stage `{name}`", pipeline.name))
                .hint(format!("its stages are {}", known.join(", ")))
        })
    });
    Ok(Pipeline { stages: stages.collect::<Result<_>>()?, ..pipeline.clone() })
}

/// Takes every record through the stages.
async fn records(args: &Args, plan: &Arc<Plan>, calls: &Arc<Calls>) -> Result<Counts> {
    let rejected_path = path_with(&args.output, REJECTED);
    remove_leftovers_of(&args.output)?;
    remove_leftovers_of(&rejected_path)?;
    let mut writer = RecordWriter::create(&args.output)?;
    let mut rejected: Option<RecordWriter> = None;
    let mut counts = Counts::default();
    let (mut row, mut written) = (0, 0);
    let op = plan.stages.last().map_or("", |stage| stage.op);
    let scratch = args.output.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let input = Arc::new(Input {
        file: args.input.clone(),
        scratch: scratch.to_owned(),
        plan: plan.clone(),
        languages: Languages::embedded()?,
        stop: calls.stop.clone(),
    });
    let all = input.clone();
    let decided = on_disk(move || all.decide()).await?;
    for batch in input.read()? {
        let (batch, mut leaving) = batch?;
        let decided = decided.as_ref().map(|change| change.of(row, batch.num_rows()));
        row += batch.num_rows();
        let result = execute(plan, 0..plan.stages.len(), batch, decided, calls).await?;
        counts.merge(&result.counts);
        leaving.extend(result.rejected);
        if !leaving.is_empty() {
            let file = match &mut rejected {
                Some(file) => file,
                None => rejected.insert(RecordWriter::create(&rejected_path)?),
            };
            file.write(&rejected_batch(&leaving)?)?;
        }
        writer.write(&reference::write(&result.batch, op, written)?)?;
        written += result.batch.num_rows();
        if calls.stop.is_set() {
            return Ok(counts);
        }
    }
    if counts.pending() == 0 {
        writer.finish()?;
        match rejected {
            Some(rejected) => rejected.finish().map(drop)?,
            None => remove(&rejected_path, |path| std::fs::remove_file(path))?,
        }
    }
    Ok(counts)
}

fn tell(plan: &Plan, counts: &Counts) {
    for stage in &plan.stages {
        let tally = counts.stage(&stage.name);
        let reasons: Vec<String> =
            tally.rejected.iter().map(|(reason, rows)| format!("{} {rows}", printable(reason))).collect();
        let spawned = if tally.spawned > 0 { format!(", {} spawned", tally.spawned) } else { String::new() };
        eprintln!(
            "{}: {} in{spawned}, {} kept, {} rejected {}",
            stage.name,
            tally.rows_in,
            tally.kept,
            tally.rejected_rows(),
            reasons.join(", ")
        );
    }
}

fn path_with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes what an earlier invocation left at `path`, if it did.
fn remove(path: &Path, how: fn(&Path) -> std::io::Result<()>) -> Result<()> {
    match how(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}
