//! `cargo bench --bench queue`: what a request that waits for its turn costs in memory.
//!
//! - In a run: seeds whose model never answers. What a run over 1,000,000 seeds has more in memory than one over 10,000,
//!   by pending request, when everything that can be queued is. Rows wait on disk, so this is next to nothing.
//! - In memory: a partition of 1,000,000 rows through one model stage. What is there beyond the rows and the texts of
//!   their requests, by request: at most 200 bytes are wanted.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::{RecordBatch, StringArray};
use autocodegen::engine::calls::{Calls, Resources};
use autocodegen::engine::events::Silent;
use autocodegen::engine::executor::execute;
use autocodegen::engine::stop::Stop;
use autocodegen::error::Fault;
use autocodegen::frame::journal::Journal;
use autocodegen::llm::Model;
use autocodegen::llm::chat::{ChatRequest, Reply, Sampling};
use autocodegen::plan::Plan;
use autocodegen::plan::pipeline::Pipeline;
use autocodegen::retry::RetryPolicy;
use autocodegen::stages::registry::Context;
use autocodegen::text::template::Templates;
use futures::future::BoxFuture;

const CHILD: &str = "AUTOCODEGEN_BENCH_QUEUE";
const IN_FLIGHT: usize = 64;
const MANY: u64 = 1_000_000;
const FEW: u64 = 10_000;
const WANTED: f64 = 200.0;

/// Takes every request and never answers.
#[derive(Default)]
struct Silence(AtomicUsize);

impl Model for Silence {
    fn ask<'a>(&'a self, _request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

fn main() {
    if let Some(what) = std::env::var_os(CHILD) {
        let (what, argument) = what.to_str().unwrap().split_once(' ').unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return match what {
            "ingest" => runtime.block_on(run(argument, Some(Duration::ZERO))),
            "run" => runtime.block_on(run(argument, None)),
            _ => runtime.block_on(partition(argument.parse().unwrap())),
        };
    }
    let folder = tempfile::tempdir().unwrap();
    let resident = |rows: u64| {
        let seeds = folder.path().join(format!("{rows}.jsonl"));
        common::write_seeds(&seeds, rows, 100);
        let argument = seeds.to_str().unwrap();
        // In a process of its own, whose memory is not what is measured.
        child("ingest", argument);
        child("run", argument)
    };
    let (few, many) = (resident(FEW), resident(MANY));
    let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
    println!(
        "a run over {MANY} seeds, none answered: {} MiB resident, {} MiB over {FEW}: {each:.1} bytes per request",
        many >> 20,
        few >> 20
    );
    let (few, many) = (child("partition", &FEW.to_string()), child("partition", &MANY.to_string()));
    let queued = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
    println!(
        "a partition of {MANY} rows, none answered: {queued:.0} bytes per request besides texts and rows"
    );
    assert!(each <= WANTED && queued <= WANTED, "more than {WANTED} bytes");
}

/// Bytes that the child says.
fn child(what: &str, argument: &str) -> u64 {
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me).env(CHILD, format!("{what} {argument}")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Runs the seeds until nothing moves, or only reads them when `wait` says so; prints the resident memory.
async fn run(seeds: &str, wait: Option<Duration>) {
    let out = Path::new(seeds).with_extension("run");
    let model = Arc::new(Silence::default());
    let sandbox = Arc::new(common::ConstantSandbox::default());
    let running = tokio::spawn({
        let (seeds, model) = (seeds.to_owned(), model.clone());
        async move { common::run(Path::new(&seeds), &out, model, sandbox, IN_FLIGHT).await }
    });
    if wait.is_none() {
        settled(&model).await;
    } else {
        while model.0.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    println!("{}", common::resident_bytes());
    running.abort();
    std::process::exit(0);
}

/// Waits until every slot is taken and memory stands still.
async fn settled(model: &Silence) {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = common::resident_bytes();
        if model.0.load(Ordering::SeqCst) == IN_FLIGHT && now.abs_diff(before) < 1 << 16 {
            return;
        }
        before = now;
    }
}

/// Queues one request for each of `rows` rows; prints what that takes besides the texts.
async fn partition(rows: usize) {
    let templates = Arc::new(Templates::load(None).unwrap());
    let sampling = Sampling { model: "bench".into(), ..Sampling::default() };
    let context = Context {
        templates: &templates,
        sampling: &sampling,
        sandbox: None,
        max_output_bytes: 16_384,
        decontaminate: None,
    };
    let mut pipeline = Pipeline::load("synthesize").unwrap();
    pipeline.stages.retain(|stage| stage.name == "solution.reply");
    let plan = Arc::new(Plan::build(&pipeline, &context).unwrap());
    let texts = |text: &dyn Fn(usize) -> String| Arc::new(StringArray::from_iter_values((0..rows).map(text)));
    let content = |row: usize| format!("what is {row}?");
    let columns: Vec<(&str, arrow_array::ArrayRef)> = vec![
        ("id", texts(&|row| format!("{row:032x}"))),
        ("language", texts(&|_| "python".to_owned())),
        ("messages", texts(&|row| format!(r#"[{{"role":"user","content":"{}"}}]"#, content(row)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let model = Arc::new(Silence::default());
    let resources = Resources {
        model: Some(model.clone()),
        sandbox: None,
        model_in_flight: IN_FLIGHT,
        sandbox_in_flight: 1,
        retry: RetryPolicy::default(),
        recorder: None,
    };
    let journals = HashMap::from([("solution.reply".into(), Journal::open(dir.path()).unwrap())]);
    let calls = Arc::new(Calls::new(resources, journals, Arc::new(Stop::default()), Arc::new(Silent)));
    let before = common::resident_bytes();
    let running = tokio::spawn(async move { execute(&plan, 0..1, batch, None, &calls).await.map(drop) });
    settled(&model).await;
    let text: usize = (0..rows).map(|row| content(row).len() + "user".len()).sum();
    println!("{}", common::resident_bytes().saturating_sub(before + text as u64));
    running.abort();
    std::process::exit(0);
}
