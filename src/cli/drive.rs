//! What every command that takes rows through a pipeline does: what is needed made ready, the engine run, its tables written.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::asking::{Asking, asking, models, names};
use super::batch::Batching;
use super::options::ModelChoice;
use super::progress::Progress;
use super::run::{Args, asks, check_decontaminates, in_flight, interrupts, journals, resources};
use super::saved::SavedCommand;
use super::telemetry::Telemetry;
use super::{doctor, runtime};
use tokio::runtime::Runtime;

use crate::engine::budget::{Budget, Caps};
use crate::engine::calls::Calls;
use crate::engine::metrics::Metrics;
use crate::engine::run_file::{RunFile, State};
use crate::engine::spending::{Cost, Prices, Spending};
use crate::engine::stop::Stop;
use crate::engine::{Engine, Outcome, active_partitions, prices, tables};
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::ingest::SeedStore;
use crate::frame::key::Key;
use crate::frame::run_dir::RunDir;
use crate::llm::chat::Sampling;
use crate::plan::Plan;
use crate::plan::pipeline::Pipeline;
use crate::sandbox::Sandbox;
use crate::sandbox::language::Languages;
use crate::stages::Resource;
use crate::stages::registry::Context;
use crate::text::template::Templates;

/// A pipeline and what its stages are built from.
pub(super) struct Setup {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its plan, without a sandbox: good for looking at.
    pub draft: Plan,
    templates: Arc<Templates>,
    sampling: Sampling,
    max_output_bytes: usize,
    decontaminate: Vec<PathBuf>,
}

impl Setup {
    /// `pipeline`, with the templates and sampling settings of `args`.
    ///
    /// # Errors
    /// Templates or settings that do not read, a pipeline that does not fit together.
    pub fn new(args: &Args, pipeline: Pipeline) -> Result<Self> {
        let templates = Arc::new(Templates::load(args.templates.as_deref())?);
        let sampling = args.model.sampling(&pipeline.model)?;
        let max_output_bytes = args.max_output_bytes;
        let context = Context {
            templates: &templates,
            sampling: &sampling,
            sandbox: None,
            max_output_bytes,
            decontaminate: Some(&args.decontaminate),
        };
        let draft = Plan::build(&pipeline, &context)?;
        check_decontaminates(&draft, &args.decontaminate)?;
        let decontaminate = args.decontaminate.clone();
        Ok(Self { pipeline, draft, templates, sampling, max_output_bytes, decontaminate })
    }

    fn plan(&self, sandbox: Option<Arc<dyn Sandbox>>) -> Result<Plan> {
        let (templates, sampling) = (&self.templates, &self.sampling);
        let (max_output_bytes, decontaminate) = (self.max_output_bytes, Some(&self.decontaminate[..]));
        let context = Context { templates, sampling, sandbox, max_output_bytes, decontaminate };
        Plan::build(&self.pipeline, &context)
    }
}

/// A run whose directory is open and whose model is chosen, before its seeds are read.
pub(super) struct Begun {
    /// What it does.
    pub setup: Setup,
    /// Its directory.
    pub dir: Arc<RunDir>,
    /// What the directory held before.
    pub earlier: Option<RunFile>,
    asking: Asking,
    prices: Prices,
    caps: Caps,
    choice: Option<ModelChoice>,
    reused: Vec<RunDir>,
    batching: Option<Batching>,
    /// Fingerprints of the run that the directory holds complete.
    finished: Option<Vec<(String, Key)>>,
    runtime: Runtime,
}

/// How a run went. Its tables are written.
pub(super) struct Ran {
    /// What was done.
    pub plan: Arc<Plan>,
    /// The final `run.json`.
    pub file: RunFile,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen of it.
    pub progress: Arc<Progress>,
    /// Requests in files.
    pub batching: Option<Batching>,
    /// Whether the bundled replies answered.
    pub bundled: bool,
}

impl Begun {
    /// Opens the run directory `out`, chooses the model (`bundled` is the text of the bundled recordings, when they may answer),
    /// and sees to it that it can be asked.
    ///
    /// # Errors
    /// The directory is another pipeline's or in use, there is no model, or it cannot be asked.
    pub fn new(args: &Args, setup: Setup, out: &Path, bundled: Option<&str>, quiet: bool) -> Result<Self> {
        let Setup { pipeline, draft, sampling, .. } = &setup;
        let asking = asking(draft, pipeline, &sampling.model)?;
        let prices = args.money.prices(&asking, &sampling.model)?;
        let caps = args.money.caps(&asking, &prices)?;
        let asks_model = asks(draft, Resource::Model);
        let mut choice =
            asks_model.then(|| args.batch.choose(&args.model, &models(&asking), bundled)).transpose()?;
        let dir = Arc::new(RunDir::open_or_create(out)?);
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
        if !args.line.is_empty() {
            SavedCommand::here(args.line.clone())?.save(&dir)?;
        }
        let batching = args.batch.gather(choice.as_mut(), &args.model, &dir, quiet)?;
        let runtime = runtime()?;
        let endpoint = choice.as_ref().and_then(|choice| choice.endpoint.clone());
        // A finished run asks nothing and needs no endpoint; any other is refused before its seeds are read.
        let finished = earlier.as_ref().filter(|earlier| earlier.state == State::Done);
        let finished = finished.map(|earlier| earlier.fingerprints.clone());
        if let (None, Some(endpoint)) = (&finished, &endpoint) {
            runtime.block_on(endpoint.check(sampling))?;
        }
        Ok(Self { setup, dir, earlier, asking, prices, caps, choice, reused, batching, finished, runtime })
    }

    /// Takes the seeds in the run directory, of which `file` tells, through the pipeline.
    ///
    /// # Errors
    /// What makes going on pointless. A stop by request or because the budget is spent is in the outcome.
    pub fn drive(
        self,
        args: &Args,
        mut file: RunFile,
        languages: &Languages,
        quiet: bool,
        started: Instant,
    ) -> Result<Ran> {
        let Self {
            setup, dir, choice, asking, prices, caps, reused, mut batching, finished, runtime, ..
        } = self;
        let Setup { pipeline, draft, sampling, templates, .. } = &setup;
        let endpoint = choice.as_ref().and_then(|choice| choice.endpoint.clone());
        let store = Arc::new(SeedStore::open(&dir.seeds())?);
        let columns: Vec<String> = store.schema().fields().iter().map(|field| field.name().clone()).collect();
        draft.check(&columns)?;
        if asks(draft, Resource::Sandbox) && args.sandbox.sandbox.is_empty() {
            let seen: Vec<String> = file.seeds.by_language.keys().cloned().collect();
            doctor::provide(languages, &draft.languages_run(&seen), args.install)?;
        }

        runtime.block_on(async {
            let sandbox = match asks(draft, Resource::Sandbox) {
                true => Some(args.sandbox.choose()?),
                false => None,
            };
            let plan = Arc::new(setup.plan(sandbox.clone())?);
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
                .zip(plan.fingerprints(&file.seeds_fingerprint(), &seen, &[]))
                .collect();
            if let Some(endpoint) =
                endpoint.filter(|_| finished.is_some_and(|before| before != file.fingerprints))
            {
                endpoint.check(sampling).await?;
            }
            file.model = sampling.clone();
            if let Some(choice) = &choice {
                file.answered_by.clone_from(&choice.label);
            }
            file.sandbox = sandbox.as_ref().map(|sandbox| sandbox.describe()).unwrap_or_default();
            file.state = State::Running;
            dir.write_json(&file)?;

            let journals = journals(&plan, &dir)?;
            let earlier = Spending::of(&journals, &names(&asking), Some(&file.cost.spending))?;
            let budget = Budget::new(caps, prices.clone(), &earlier);
            let metrics = Arc::new(Metrics::new(prices, earlier));
            let progress = Arc::new(Progress::new(&plan, store.rows(), quiet, metrics.clone()));
            let stop = Arc::new(Stop::default());
            progress.watch(choice.as_ref().map(|choice| choice.model.clone()), !quiet);
            let telemetry = Telemetry::start(&args.telemetry, metrics.clone()).await?;
            let observer = telemetry.with(progress.clone());
            let resources = resources(args, choice.as_ref(), sandbox)?;
            let cached = args.model.cached(choice.as_ref(), sampling);
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
            prices::write(&dir.prices_table(), &asking, metrics.prices())?;
            let spending = match &batching {
                // Answers that came in files were charged for as well.
                Some(_) => Spending::of(engine.calls.journals(), &names(&asking), Some(&metrics.spending()))?,
                None => metrics.spending(),
            };
            finish(&engine, &mut file, &outcome, (spending, &metrics), started)?;
            let bundled = choice.is_some_and(|choice| choice.bundled);
            Ok(Ran { plan, file, outcome, progress, batching, bundled })
        })
    }
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
