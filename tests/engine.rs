//! The engine with a model and a sandbox that answer at once: what is asked, kept, and handed on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "common/verdict.rs"]
mod verdict;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use autocodegen::engine::calls::{Asker, Calls, Resources};
use autocodegen::engine::events::Silent;
use autocodegen::engine::executor::on_rayon;
use autocodegen::engine::stop::Stop;
use autocodegen::error::{Error, Fault, Result};
use autocodegen::frame::journal::Journal;
use autocodegen::frame::key::row_id;
use autocodegen::frame::part;
use autocodegen::frame::schema::strings;
use autocodegen::llm::Model;
use autocodegen::llm::chat::{ChatRequest, Message, Reply, Sampling};
use autocodegen::retry::RetryPolicy;
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Verdict};
use autocodegen::stages::{Answer, Request};
use futures::future::BoxFuture;
use serde_json::json;
use verdict::passed;

/// Counts what it is asked, and takes a moment to answer.
#[derive(Default)]
struct Slow(AtomicUsize);

impl Model for Slow {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(Reply { output: request.row.clone(), finish_reason: "stop".into(), ..Reply::default() })
        })
    }
}

/// Every program prints this many times `ä`.
struct Loud(usize);

impl Sandbox for Loud {
    fn run<'a>(&'a self, _job: &'a Job) -> BoxFuture<'a, Result<Verdict, Fault>> {
        let verdict = passed("ä".repeat(self.0));
        Box::pin(std::future::ready(Ok(verdict)))
    }

    fn identity(&self, _language: &str) -> String {
        "loud".into()
    }

    fn capacity(&self) -> usize {
        1
    }

    fn describe(&self) -> String {
        "loud".into()
    }
}

fn calls(dir: &Path, stages: &[&str], model: Arc<Slow>, sandbox: Loud) -> Arc<Calls> {
    let resources = Resources {
        model: Some(model),
        sandbox: Some(Arc::new(sandbox)),
        model_in_flight: usize::MAX,
        sandbox_in_flight: 1,
        retry: RetryPolicy::default(),
        recorder: None,
    };
    let journals: HashMap<Arc<str>, Journal> =
        stages.iter().map(|stage| ((*stage).into(), Journal::open(&dir.join(stage)).unwrap())).collect();
    Arc::new(Calls::new(resources, journals, Arc::new(Stop::default()), Arc::new(Silent)))
}

fn asker(stage: &str, row: &str) -> Asker {
    Asker { stage: stage.into(), row: row.into(), language: "python".into(), sample: 0 }
}

fn question() -> Request {
    let sampling = Arc::new(Sampling { model: "m".into(), ..Sampling::default() });
    Request::Model { sampling, messages: Arc::new([Message { role: "user".into(), content: "why?".into() }]) }
}

fn program(keep_bytes: usize) -> Request {
    let job = Job { language: "python".into(), source: "1".into(), tests: None, ..Job::default() };
    Request::Sandbox { job: Box::new(job), keep_bytes }
}

#[tokio::test]
async fn equal_requests_in_flight_are_asked_once_and_journaled_for_every_stage_that_asked() {
    let dir = tempfile::tempdir().unwrap();
    let model = Arc::new(Slow::default());
    let calls = calls(dir.path(), &["one", "two"], model.clone(), Loud(1));
    let ask = |stage, row| calls.answer(asker(stage, row), question());
    let (a, b, c) = tokio::join!(ask("one", "a"), ask("one", "b"), ask("two", "c"));
    assert_eq!(a.unwrap(), b.unwrap());
    assert!(matches!(&*c.unwrap(), Answer::Model(reply) if reply.output == "c"));
    assert_eq!(model.0.load(Ordering::SeqCst), 2);
    for stage in ["one", "two"] {
        assert_eq!(calls.journal(stage).unwrap().len(), 1, "{stage}");
    }
    // Nothing is asked again, by whichever stage.
    calls.answer(asker("two", "d"), question()).await.unwrap();
    assert_eq!(model.0.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_journal_has_all_that_was_printed_and_rows_only_as_much_as_they_may_carry() {
    let dir = tempfile::tempdir().unwrap();
    let calls = calls(dir.path(), &["probe"], Arc::default(), Loud(1000));
    // Asked, then found in the journal: the same either way.
    for _ in 0..2 {
        let answer = calls.answer(asker("probe", "a"), program(101)).await.unwrap();
        let Answer::Sandbox(verdict) = &*answer else { panic!("{answer:?}") };
        assert_eq!((verdict.stdout.as_str(), verdict.truncated), ("ä".repeat(50).as_str(), true));
    }
    let answer = calls.answer(asker("probe", "b"), program(2000)).await.unwrap();
    assert!(
        matches!(&*answer, Answer::Sandbox(verdict) if verdict.stdout.len() == 2000 && !verdict.truncated)
    );
}

#[tokio::test]
async fn a_panic_on_a_worker_thread_is_an_error_and_not_the_end_of_the_process() {
    let error = on_rayon(|| -> Result<()> { panic!("a defect") }).await.unwrap_err();
    assert_eq!(error.exit_code(), Error::environment("").exit_code());
    assert_eq!(on_rayon(|| Ok(1)).await.unwrap(), 1);
}

const PIPELINE: &str = r#"
name = "short"
[[stage]]
name = "ask.prompt"
op = "prompt"
template = "solution"
[[stage]]
name = "ask"
op = "model"
[[stage]]
name = "answer"
op = "extract_section"
tag = "a"
into = "answer"
"#;

/// The command in `dir` over the seeds of `texts`; every row has a recorded reply.
fn run(dir: &Path, pipeline: &str, texts: &[&str]) -> std::process::Output {
    let mut seeds = String::new();
    let mut replies = String::new();
    for text in texts {
        let row = row_id("python", text, 0);
        seeds.push_str(&format!("{}\n", json!({"text": text, "language": "python"})));
        let answer = json!({"output": format!("<a>{text}</a>"), "finish_reason": "stop"});
        replies.push_str(&format!("{}\n", json!({"stage": "ask", "row": row, "answer": answer})));
    }
    // The same seeds are the same file, untouched.
    let file = dir.join(format!("{}.jsonl", texts.concat()));
    if !file.exists() {
        std::fs::write(&file, seeds).unwrap();
    }
    std::fs::write(dir.join("replies.jsonl"), replies).unwrap();
    std::fs::write(dir.join("short.toml"), pipeline).unwrap();
    std::process::Command::new(env!("CARGO_BIN_EXE_autocodegen"))
        .current_dir(dir)
        .args(["run", "short.toml", "--replay", "replies.jsonl", "--out", "out", "--seeds"])
        .arg(file)
        .output()
        .unwrap()
}

fn answers(dir: &Path) -> Vec<String> {
    let (batches, _) = part::read(&dir.join("out/dataset/part-00000.parquet")).unwrap();
    let texts = batches.iter().flat_map(|batch| strings(batch, "answer").unwrap().iter().flatten());
    texts.map(str::to_owned).collect()
}

#[test]
fn seeds_of_a_run_that_failed_are_not_taken_for_those_of_the_run_before() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let done = run(dir, PIPELINE, &["a", "b"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(answers(dir), ["a", "b"]);
    // Other seeds, read and put in place; then the run is refused.
    let unfit =
        PIPELINE.replace("op = \"prompt\"\ntemplate = \"solution\"", "op = \"keep\"\ntests = [\"x_func\"]");
    let refused = run(dir, &unfit, &["c", "d", "e"]);
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    let again = run(dir, PIPELINE, &["a", "b"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(answers(dir), ["a", "b"]);
    // Answered from recordings of the user's own: nothing here was written for the quickstart.
    assert!(!String::from_utf8_lossy(&again.stdout).contains("quickstart"));
}

#[test]
fn fewer_seeds_make_a_smaller_dataset_and_more_a_larger_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for texts in [&["a", "b", "c"][..], &["a"], &["a", "b", "c"], &["d", "a"]] {
        let done = run(dir, PIPELINE, texts);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(answers(dir), texts);
    }
}
