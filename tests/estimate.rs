//! Estimates of the bundled seeds against what their run takes, with the bundled replies and real programs.
//!
//! The `usage` of the bundled replies is made up, so tokens are counted: the model here answers from the recording and
//! reports what the tokenizer counts.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use autocodegen::engine::calls::{Calls, Resources};
use autocodegen::engine::counts::Counts;
use autocodegen::engine::estimate::{Estimate, Figures, FirstPrompts, Observed, Question, estimate, sample};
use autocodegen::engine::events::Silent;
use autocodegen::engine::spending::Prices;
use autocodegen::engine::stop::Stop;
use autocodegen::engine::{Engine, active_partitions, partition_rows};
use autocodegen::error::Fault;
use autocodegen::frame::ingest::{SeedOptions, SeedStore, ingest};
use autocodegen::frame::journal::Journal;
use autocodegen::frame::run_dir::RunDir;
use autocodegen::llm::Model;
use autocodegen::llm::chat::{ChatRequest, Reply, Sampling};
use autocodegen::llm::recording::{Recording, ReplayModel};
use autocodegen::llm::tokens::Tokenizer;
use autocodegen::plan::Plan;
use autocodegen::plan::pipeline::Pipeline;
use autocodegen::retry::RetryPolicy;
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::toolchain;
use autocodegen::stages::registry::Context;
use autocodegen::stages::{Resource, Work};
use autocodegen::text::template::Templates;
use futures::FutureExt;
use futures::future::BoxFuture;

const MODEL: &str = "gpt-4o-mini";
const LANGUAGES: [&str; 6] = ["cpp", "go", "java", "javascript", "python", "shell"];
/// Seeds of the pilot: four of each language's nine.
const PILOT: usize = 24;

/// The bundled replies, with the tokens that the tokenizer counts.
struct Counted(ReplayModel);

impl Model for Counted {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        let tokenizer = Tokenizer::of(MODEL);
        let counted = move |reply: Reply| Reply {
            prompt_tokens: tokenizer.count_request(&request.messages),
            completion_tokens: tokenizer.count(&reply.output),
            ..reply
        };
        self.0.ask(request).map(move |asked| asked.map(counted)).boxed()
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let file = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.jsonl"));
    LANGUAGES.map(file).into()
}

fn plan(sandbox: Option<Arc<dyn Sandbox>>) -> Plan {
    let pipeline = Pipeline::load("synthesize").unwrap();
    let templates = Arc::new(Templates::load(None).unwrap());
    let sampling = Sampling { model: MODEL.into(), ..Sampling::default() };
    let context = Context {
        templates: &templates,
        sampling: &sampling,
        sandbox,
        max_output_bytes: 16_384,
        decontaminate: None,
    };
    Plan::build(&pipeline, &context).unwrap()
}

/// Takes `seeds` through the workflow; `journal` says where a stage's journal is. `None` where other work keeps the
/// cores busy.
async fn run(
    dir: &Path,
    seeds: SeedStore,
    sandbox: Arc<dyn Sandbox>,
    journal: impl Fn(&str, Resource) -> PathBuf,
) -> Option<Counts> {
    let run = Arc::new(RunDir::open_or_create(dir).unwrap());
    let plan = Arc::new(plan(Some(sandbox.clone())));
    let seeds = Arc::new(seeds);
    for _ in 0..2 {
        let asking = plan.stages.iter().filter_map(|stage| Some((stage.name.clone(), stage.requests?.0)));
        let open = |(stage, resource): (Arc<str>, Resource)| {
            let journal = Journal::open(&journal(&stage, resource)).unwrap();
            (stage, journal)
        };
        let journals: HashMap<_, _> = asking.map(open).collect();
        let resources = Resources {
            model: Some(Arc::new(Counted(ReplayModel::new(
                Recording::load(&files("data/quickstart")).unwrap(),
            )))),
            sandbox_in_flight: sandbox.capacity(),
            sandbox: Some(sandbox.clone()),
            model_in_flight: 64,
            retry: RetryPolicy { tries: 2, ..RetryPolicy::default() },
            recorder: None,
        };
        let partition_rows = partition_rows(seeds.rows(), None);
        let engine = Arc::new(Engine {
            plan: plan.clone(),
            seeds: seeds.clone(),
            seeds_fingerprint: String::new(),
            run: run.clone(),
            calls: Arc::new(Calls::new(resources, journals, Arc::new(Stop::default()), Arc::new(Silent))),
            partition_rows,
            active: active_partitions(partition_rows, 64),
        });
        let counts = engine.run().await.unwrap().counts;
        if counts.pending() == 0 {
            return Some(counts);
        }
    }
    None
}

fn reckoned(
    plan: &Plan,
    seeds: &SeedStore,
    counts: &Counts,
    observed: &BTreeMap<String, Observed>,
) -> Estimate {
    estimate(&Question {
        plan,
        first: FirstPrompts::count(plan, seeds, Tokenizer::of(MODEL)).unwrap(),
        counts,
        observed,
        figures: &Figures::bundled().unwrap(),
        prices: &Prices::new(),
        model_parallel: 64,
        sandbox_parallel: 2,
    })
    .unwrap()
}

/// Tokens of a run, stage by stage: prompts and replies.
fn tokens(plan: &Plan, counts: &Counts) -> Vec<(String, f64, f64)> {
    let asking = plan.stages.iter().filter(|stage| matches!(stage.requests, Some((Resource::Model, _))));
    let tokens = asking.map(|stage| {
        let tally = counts.stage(&stage.name);
        (stage.name.to_string(), tally.prompt_tokens as f64, tally.completion_tokens as f64)
    });
    tokens.collect()
}

/// How far `estimate` is from `actual`, percent of all tokens; also says it stage by stage.
#[track_caller]
fn within_a_tenth(what: &str, estimate: &Estimate, actual: &[(String, f64, f64)]) {
    let mut sums = (0.0, 0.0);
    for (stage, prompts, replies) in actual {
        let found = estimate.stages.iter().find(|found| found.stage == *stage).unwrap();
        let (p, r) = (found.prompt_tokens, found.completion_tokens);
        let off = |likely: f64, actual: f64| 100.0 * (likely / actual - 1.0);
        println!(
            "{what}: {stage}: prompts {:.0} of {prompts} ({:+.1} %), replies {:.0} of {replies} ({:+.1} %)",
            p.likely,
            off(p.likely, *prompts),
            r.likely,
            off(r.likely, *replies)
        );
        assert!(p.low <= p.likely && p.likely <= p.high && r.low <= r.likely && r.likely <= r.high);
        sums = (sums.0 + p.likely + r.likely, sums.1 + prompts + replies);
    }
    let off = 100.0 * (sums.0 / sums.1 - 1.0);
    println!("{what}: {:.0} of {:.0} tokens ({off:+.1} %)", sums.0, sums.1);
    assert!(off.abs() < 10.0, "{what}: off by {off:.1} %");
    let (low, high) = (
        estimate.prompt_tokens.low + estimate.completion_tokens.low,
        estimate.prompt_tokens.high + estimate.completion_tokens.high,
    );
    assert!(low <= sums.1 && sums.1 <= high, "{what}: {:.0} is not in {low:.0} to {high:.0}", sums.1);
}

/// The figures of `data/estimate.toml`, measured: stage by stage contents, reply, kept, seconds.
fn measured(plan: &Plan, first: &FirstPrompts, counts: &Counts) -> Vec<(String, [f64; 4])> {
    let mut figures = Vec::new();
    let mut template = 0.0;
    for stage in &plan.stages {
        let tally = counts.stage(&stage.name);
        let rows = tally.rows_in as f64;
        if matches!(stage.work, Work::Derived(_)) {
            template = first.template_tokens(stage).unwrap();
        }
        let (mut contents, mut reply, mut seconds) = (0.0, 0.0, 0.0);
        match stage.requests {
            Some((Resource::Model, _)) => {
                contents = tally.prompt_tokens as f64 / rows - template;
                reply = tally.completion_tokens as f64 / rows;
            }
            Some((Resource::Sandbox, per_row)) => {
                seconds = tally.busy_ms as f64 / 1000.0 / rows / per_row as f64;
            }
            None => {}
        }
        figures.push((stage.name.to_string(), [contents, reply, tally.kept as f64 / rows, seconds]));
    }
    figures
}

#[test]
fn estimates_are_within_a_tenth_of_the_tokens_of_the_bundled_seeds() {
    let test = "estimates_are_within_a_tenth";
    let known = Languages::embedded().unwrap();
    for name in LANGUAGES {
        if let Err(missing) = toolchain::find(known.get(name).unwrap()) {
            return common::skip(test, &format!("{name}: {missing:?}"));
        }
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() };
    let sandbox: Arc<dyn Sandbox> = match runtime.block_on(async { LocalSandbox::start(options) }) {
        Ok(sandbox) => Arc::new(sandbox),
        Err(error) => return common::skip(test, &error.to_string()),
    };
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let draft = plan(None);
    let options = SeedOptions {
        paths: files("data/seeds").iter().map(|path| path.to_str().unwrap().to_owned()).collect(),
        reserved: draft.reserved_columns(),
        ..SeedOptions::default()
    };
    ingest(&options, &known, &at("seeds"), &at("rejected.parquet"), &mut |_, _| {}).unwrap();
    let seeds = SeedStore::open(&at("seeds")).unwrap();

    let whole = runtime
        .block_on(run(&at("whole"), seeds.clone(), sandbox.clone(), |stage, _| at("journal").join(stage)));
    let Some(whole) = whole else { return common::skip(test, "this machine is busy") };
    let actual = tokens(&draft, &whole);
    let first = FirstPrompts::count(&draft, &seeds, Tokenizer::of(MODEL)).unwrap();
    let bundled = Figures::bundled().unwrap();
    let mut stale = Vec::new();
    for (stage, [contents, reply, kept, seconds]) in measured(&draft, &first, &whole) {
        println!(
            "[stage.\"{stage}\"]\ncontents = {contents:.0}\nreply = {reply:.0}\nkept = {kept:.3}\nseconds = {seconds:.2}\n"
        );
        let stored = bundled.of(&stage);
        let near = |stored: f64, measured: f64| (stored - measured).abs() <= 0.05 * measured.abs() + 0.5;
        // The first prompts are counted, whatever the figures say; stages that nothing is known of lose nothing.
        let is_first = first.stage.as_deref() == Some(stage.as_str());
        let contents_fit = is_first || near(stored.contents, contents);
        if !bundled.knows(&stage) && contents == 0.0 && reply == 0.0 && kept == 1.0 {
            continue;
        }
        if !contents_fit || !near(stored.reply, reply) || (stored.kept.unwrap_or(1.0) - kept).abs() > 0.02 {
            stale.push(stage);
        }
    }

    within_a_tenth(
        "bundled figures",
        &reckoned(&draft, &seeds, &Counts::default(), &BTreeMap::new()),
        &actual,
    );
    assert!(stale.is_empty(), "data/estimate.toml is no longer true for {stale:?}: run with --nocapture");

    // A pilot asks the model anew; its programs were run before.
    let rows = SeedStore::write(&at("rows"), sample(&seeds, PILOT).unwrap()).unwrap();
    assert_eq!(rows.rows(), PILOT as u64);
    let journal = |stage: &str, resource| match resource {
        Resource::Model => at("pilot journal").join(stage),
        Resource::Sandbox => at("journal").join(stage),
    };
    let pilot = runtime.block_on(run(&at("pilot"), rows, sandbox, journal));
    let Some(pilot) = pilot else { return common::skip(test, "this machine is busy") };
    let observe = |(stage, _, _): &(String, f64, f64)| {
        let journal = Journal::open_read_only(&at("pilot journal").join(stage)).unwrap();
        (stage.clone(), Observed::of(&journal).unwrap())
    };
    let observed: BTreeMap<String, Observed> = actual.iter().map(observe).collect();
    within_a_tenth("pilot of 24", &reckoned(&draft, &seeds, &pilot, &observed), &actual);

    // The run's own answers say all.
    let observe = |(stage, _, _): &(String, f64, f64)| {
        let journal = Journal::open_read_only(&at("journal").join(stage)).unwrap();
        (stage.clone(), Observed::of(&journal).unwrap())
    };
    let observed: BTreeMap<String, Observed> = actual.iter().map(observe).collect();
    let exact = reckoned(&draft, &seeds, &whole, &observed);
    let sum = exact.prompt_tokens.likely + exact.completion_tokens.likely;
    let all: f64 = actual.iter().map(|(_, prompts, replies)| prompts + replies).sum();
    assert!((sum / all - 1.0).abs() < 1e-9, "{sum} of {all}");
}
