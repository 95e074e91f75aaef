//! `estimate --pilot`: some seeds taken through the whole pipeline, to see what they cost.
//!
//! The pilot's rows and parts are in `pilot/` of the run directory; its answers are in the run's own journals, where the
//! run finds them again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::progress::Progress;
use super::run::{self, Args};
use super::telemetry::Telemetry;
use super::{asking, bundled, doctor, runtime, summary};
use crate::engine::budget::Budget;
use crate::engine::calls::Calls;
use crate::engine::estimate::sample;
use crate::engine::metrics::Metrics;
use crate::engine::run_file::{RunFile, SeedCounts, State};
use crate::engine::spending::{Cost, Spending};
use crate::engine::stop::Stop;
use crate::engine::{Engine, active_partitions, partition_rows};
use crate::error::Result;
use crate::frame::ingest::SeedStore;
use crate::frame::key::Key;
use crate::frame::run_dir::RunDir;
use crate::frame::schema::{ID, LANGUAGE, strings};
use crate::plan::Plan;
use crate::plan::pipeline::Pipeline;
use crate::sandbox::language::Languages;
use crate::stages::Resource;
use crate::stages::registry::Context;

/// The pilot's directory in the run directory `out`.
pub fn dir(out: &Path) -> PathBuf {
    out.join("pilot")
}

/// Takes `wanted` of `seeds` through the pipeline.
///
/// # Errors
/// Those of `run`; the budget is spent.
pub fn run(
    args: &Args,
    pipeline: &Pipeline,
    context: &Context<'_>,
    seeds: &SeedStore,
    out: &Path,
    wanted: usize,
    quiet: bool,
) -> Result<()> {
    let sampling = context.sampling;
    let draft = Plan::build(pipeline, context)?;
    let bundled = args.seeds.seeds.is_empty().then(bundled::replies);
    let asks_model = run::asks(&draft, Resource::Model);
    let asking = asking::asking(&draft, pipeline, &sampling.model)?;
    let models = asking::models(&asking);
    let choice = asks_model.then(|| args.model.choose(&models, bundled.as_deref())).transpose()?;
    // The lock of the run keeps a run and its pilot from writing the same journals.
    let main = RunDir::open_or_create(out)?;
    let rows = sample(seeds, wanted)?;
    let seen: Vec<String> = languages_of(&rows)?;
    if run::asks(&draft, Resource::Sandbox) && args.sandbox.sandbox.is_empty() {
        doctor::provide(&Languages::embedded()?, &draft.languages_run(&seen), args.install)?;
    }
    let dir = Arc::new(RunDir::open_or_create(&dir(out))?);
    let ids: Vec<&str> = strings(&rows, ID)?.iter().flatten().collect();
    let fingerprint = Key::of(&ids).to_string();
    let count = rows.num_rows();
    let store = Arc::new(SeedStore::write(&dir.seeds(), rows)?);
    runtime()?.block_on(async {
        if let Some(endpoint) = choice.as_ref().and_then(|choice| choice.endpoint.as_ref()) {
            endpoint.check(sampling).await?;
        }
        let sandbox = match run::asks(&draft, Resource::Sandbox) {
            true => Some(args.sandbox.choose()?),
            false => None,
        };
        let plan = Arc::new(Plan::build(pipeline, &Context { sandbox: sandbox.clone(), ..*context })?);
        let prices = args.money.prices(&asking, &sampling.model)?;
        let caps = args.money.caps(&asking, &prices)?;
        let journals = run::journals(&plan, &main)?;
        let earlier: Option<RunFile> = main.read_json()?;
        let earlier = Spending::of(
            &journals,
            &asking::names(&asking),
            earlier.as_ref().map(|file| &file.cost.spending),
        )?;
        let budget = Budget::new(caps, prices.clone(), &earlier);
        let metrics = Arc::new(Metrics::new(prices, earlier));
        let progress = Arc::new(Progress::new(&plan, store.rows(), quiet, metrics.clone()));
        let telemetry = Telemetry::start(&args.telemetry, metrics.clone()).await?;
        let stop = Arc::new(Stop::default());
        let in_flight = run::in_flight(args, choice.as_ref());
        let resources = run::resources(args, choice.as_ref(), sandbox)?;
        let calls = Calls::new(resources, journals, stop.clone(), telemetry.with(progress.clone()));
        let partition_rows = partition_rows(store.rows(), None);
        let engine = Arc::new(Engine {
            plan,
            seeds: store,
            seeds_fingerprint: fingerprint,
            run: dir.clone(),
            calls: Arc::new(calls.within(budget)),
            partition_rows,
            active: active_partitions(partition_rows, in_flight),
        });
        tokio::spawn(run::interrupts(stop));
        let outcome = engine.run().await;
        progress.finish();
        let outcome = outcome?;
        let spending = metrics.spending().covering(engine.calls.journals());
        dir.write_json(&RunFile {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: pipeline.name.clone(),
            fingerprints: Vec::new(),
            templates: None,
            model: sampling.clone(),
            answered_by: choice.map(|choice| choice.label).unwrap_or_default(),
            sandbox: String::new(),
            manifest: Vec::new(),
            seed_options: Key::of(&[engine.seeds_fingerprint.as_str()]),
            partition_rows,
            seeds: SeedCounts { rows: count as u64, ..SeedCounts::default() },
            state: if outcome.counts.pending() > 0 { State::Pending } else { State::Done },
            counts: outcome.counts,
            cost: Cost::of(spending, metrics.prices()),
            calls: metrics.total(),
            wall_ms: 0,
        })?;
        summary::tell_pending(&progress.pending());
        outcome.stopped.map_or(Ok(()), Err)
    })
}

fn languages_of(rows: &RecordBatch) -> Result<Vec<String>> {
    let mut languages: Vec<String> = strings(rows, LANGUAGE)?.iter().flatten().map(str::to_owned).collect();
    languages.sort();
    languages.dedup();
    Ok(languages)
}
