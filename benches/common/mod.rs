//! What the benches of whole runs share: seeds, a sandbox that runs nothing, and a run in phases.
#![allow(dead_code)]

#[path = "../../tests/common/verdict.rs"]
mod verdict;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use autocodegen::engine::calls::{Calls, Resources};
use autocodegen::engine::counts::Counts;
use autocodegen::engine::events::Silent;
use autocodegen::engine::stop::Stop;
use autocodegen::engine::{Engine, active_partitions, partition_rows, tables};
use autocodegen::error::Fault;
use autocodegen::frame::ingest::{SeedOptions, SeedStore, ingest};
use autocodegen::frame::journal::Journal;
use autocodegen::frame::run_dir::RunDir;
use autocodegen::llm::Model;
use autocodegen::llm::chat::Sampling;
use autocodegen::plan::Plan;
use autocodegen::plan::pipeline::Pipeline;
use autocodegen::retry::RetryPolicy;
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Verdict};
use autocodegen::sandbox::language::Languages;
use autocodegen::stages::registry::Context;
use autocodegen::text::template::Templates;
use futures::future::BoxFuture;
use verdict::passed;

/// Writes `rows` distinct Python snippets of at least `bytes` bytes as JSONL.
pub fn write_seeds(path: &Path, rows: u64, bytes: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut text = String::new();
    for row in 0..rows {
        text.clear();
        let mut state = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while text.len() < bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (name, factor, sum) = (state >> 44, state % 9973, state % 127);
            text.push_str(&format!(
                "def scaled_{name}(values):\\n    return [{factor} * v + {sum} for v in values]\\n\\n"
            ));
        }
        writeln!(file, r#"{{"text": "{text}", "language": "python", "source": "row {row}"}}"#).unwrap();
    }
    file.flush().unwrap();
}

/// Says at once that every program PASSED and printed a number.
pub struct ConstantSandbox {
    verdict: Verdict,
}

impl Default for ConstantSandbox {
    fn default() -> Self {
        Self { verdict: passed("42\n".to_owned()) }
    }
}

impl Sandbox for ConstantSandbox {
    fn run<'a>(&'a self, _job: &'a Job) -> BoxFuture<'a, Result<Verdict, Fault>> {
        Box::pin(async { Ok(self.verdict.clone()) })
    }

    fn identity(&self, _language: &str) -> String {
        "constant".into()
    }

    fn capacity(&self) -> usize {
        64
    }

    fn describe(&self) -> String {
        "constant".into()
    }
}

/// How long the phases of a run took, and what became of the rows.
pub struct Phases {
    pub ingest: Duration,
    pub plan: Duration,
    pub tables: Duration,
    /// Peak resident memory at the end of ingest, bytes.
    pub ingest_peak: u64,
    pub counts: Counts,
    /// Name of the plan's last stage: what it kept is the dataset.
    pub last: Arc<str>,
}

/// Takes the seeds in `seeds` through `synthesize`, into the run directory `out`.
pub async fn run(
    seeds: &Path,
    out: &Path,
    model: Arc<dyn Model>,
    sandbox: Arc<dyn Sandbox>,
    model_in_flight: usize,
) -> Phases {
    let pipeline = Pipeline::load("synthesize").unwrap();
    run_pipeline(&pipeline, seeds, out, model, sandbox, model_in_flight).await
}

/// Takes the seeds in `seeds` through `pipeline`, into the run directory `out`.
pub async fn run_pipeline(
    pipeline: &Pipeline,
    seeds: &Path,
    out: &Path,
    model: Arc<dyn Model>,
    sandbox: Arc<dyn Sandbox>,
    model_in_flight: usize,
) -> Phases {
    let run = Arc::new(RunDir::open_or_create(out).unwrap());
    let templates = Arc::new(Templates::load(None).unwrap());
    let sampling = Sampling { model: "bench".into(), ..Sampling::default() };
    let context = Context {
        templates: &templates,
        sampling: &sampling,
        sandbox: Some(sandbox.clone()),
        max_output_bytes: 16_384,
        decontaminate: None,
    };
    let plan = Arc::new(Plan::build(pipeline, &context).unwrap());

    let started = Instant::now();
    let options = SeedOptions {
        paths: vec![seeds.to_str().unwrap().to_owned()],
        reserved: plan.reserved_columns(),
        ..SeedOptions::default()
    };
    let (store, rejected) = (run.path().join("seeds"), run.rejected_part("seed", 0).unwrap());
    let languages = Languages::embedded().unwrap();
    let ingested = ingest(&options, &languages, &store, &rejected, &mut |_, _| {}).unwrap();
    let (ingest, ingest_peak) = (started.elapsed(), peak_bytes());

    let started = Instant::now();
    let partition_rows = partition_rows(ingested.rows, None);
    let resources = Resources {
        model: Some(model),
        sandbox_in_flight: sandbox.capacity(),
        sandbox: Some(sandbox),
        model_in_flight,
        retry: RetryPolicy::default(),
        recorder: None,
    };
    let effects = plan.stages.iter().filter(|stage| stage.requests.is_some());
    let journal = |stage: &Arc<str>| Journal::open(&run.journal(stage).unwrap()).unwrap();
    let journals: HashMap<_, _> = effects.map(|stage| (stage.name.clone(), journal(&stage.name))).collect();
    let engine = Arc::new(Engine {
        plan: plan.clone(),
        seeds: Arc::new(SeedStore::open(&store).unwrap()),
        seeds_fingerprint: String::new(),
        run: run.clone(),
        calls: Arc::new(Calls::new(resources, journals, Arc::new(Stop::default()), Arc::new(Silent))),
        partition_rows,
        active: active_partitions(partition_rows, model_in_flight),
    });
    let outcome = engine.run().await.unwrap();
    assert!(outcome.stopped.is_none(), "{:?}", outcome.stopped);
    let plan_took = started.elapsed();

    let started = Instant::now();
    tables::write(&engine, &outcome.counts).unwrap();
    let last = plan.stages.last().unwrap().name.clone();
    Phases { ingest, plan: plan_took, tables: started.elapsed(), ingest_peak, counts: outcome.counts, last }
}

/// The process's peak resident memory so far, from /proc.
pub fn peak_bytes() -> u64 {
    status_bytes("VmHWM:")
}

/// The process's resident memory, from /proc.
pub fn resident_bytes() -> u64 {
    status_bytes("VmRSS:")
}

fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
