//! `replay serve`: a recording answers over HTTP as it did when it was made, and fails as it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod rehearsal;
mod services;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use autocodegen::error::Fault;
use autocodegen::frame::key::Key;
use autocodegen::frame::recorded::Recorded;
use autocodegen::llm::Model;
use autocodegen::llm::chat::{ChatRequest, Message, Reply, Sampling};
use autocodegen::llm::client::{Endpoint, HttpModel};
use autocodegen::llm::key::request_key;
use autocodegen::llm::recorder::Recorder;
use rehearsal::{Bench, ReplayServer, stderr};
use reqwest::Client;
use serde_json::{Value, json};

#[test]
fn a_rehearsal_gives_the_recorded_run() {
    let bench = Bench::new(24);
    // The recording, asked of another model: found by its messages. The run directory: by its keys, and by its model's name.
    for (out, journal, model) in [
        ("by-messages", "recording.jsonl", "any"),
        ("by-key", "online", "m"),
        ("by-model", "online", "other"),
    ] {
        let server = bench.serve(&format!("{out}.log"), &["--journal", journal]);
        let output = bench.run(out, model, &server.base_url).output().unwrap();
        assert!(output.status.success(), "{out}: {}", stderr(&output));
        bench.assert_same(out);
        assert!(server.answered().values().all(|count| *count == 1), "{out}");
        assert!(server.log().iter().all(|entry| entry["model"] == model), "{out}");
    }
}

#[test]
fn faults_and_limits_only_delay_a_rehearsal() {
    let bench = Bench::new(16);
    let faults =
        ["--fault", "500=0.05", "--fault", "reset=0.05", "--fault", "truncate=0.05", "--fault", "429=0.05"];
    let more = ["--error-rate", "0.05", "--rate-limit", "60/s", "--latency-ms", "20", "--seed", "3"];
    let arguments = [&["--journal", "online"][..], &faults, &more].concat();
    let server = bench.serve("log", &arguments);
    let output = bench.run("rehearsal", "m", &server.base_url).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    bench.assert_same("rehearsal");
    assert!(server.answered().values().all(|count| *count == 1));
    let seen: BTreeSet<String> =
        server.log().iter().filter_map(|entry| entry["fault"].as_str().map(str::to_owned)).collect();
    // Which ones depends on the seed and the requests alone.
    assert!(seen.len() >= 3, "{seen:?}");
}

const QUESTION: &str = "what is recorded?";

/// A recording of three samples of one question, and a server of it.
fn three_samples(arguments: &[&str]) -> (tempfile::TempDir, Serving) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.jsonl");
    let recorder = Recorder::create(&path).unwrap();
    for sample in 0..3 {
        let (messages, sampling) = (question(), sampling());
        let recorded = Recorded {
            key: Some(request_key(&sampling, &messages, sample)),
            stage: "s".into(),
            row: "r".into(),
            language: "go".into(),
            sample,
            attempts: 1,
            reused: false,
            answer: Reply {
                output: format!("sample {sample} {}", "x".repeat(500)),
                reasoning: "hm".into(),
                finish_reason: "stop".into(),
                completion_tokens: 5,
                ..Reply::default()
            },
        };
        recorder.record(&recorded, &messages).unwrap();
    }
    let serving = Serving::start(&folder, arguments);
    (folder, serving)
}

struct Serving {
    server: ReplayServer,
}

impl Serving {
    fn start(folder: &tempfile::TempDir, arguments: &[&str]) -> Self {
        let path = folder.path().join("recording.jsonl");
        let journal = ["--journal", path.to_str().unwrap()];
        Self { server: rehearsal::serve_in(folder.path(), "log", &[&journal[..], arguments].concat()) }
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        let url = format!("{}/chat/completions", self.server.base_url);
        let response = Client::new().post(url).body(body.to_string()).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// One attempt of our own client.
    async fn ask(&self, sampling: Sampling) -> Result<Reply, Fault> {
        let endpoint =
            Endpoint { timeout: Duration::from_millis(700), ..Endpoint::new(&self.server.base_url, None) };
        let messages = question();
        let key = request_key(&sampling, &messages, 0);
        let (stage, row, language, sampling) = ("s".into(), "r".into(), "go".into(), Arc::new(sampling));
        let request =
            ChatRequest { key, stage, row, language, sample: 0, sampling, messages: messages.into() };
        HttpModel::new(endpoint).unwrap().ask(&request).await
    }
}

fn question() -> Vec<Message> {
    vec![Message { role: "user".into(), content: QUESTION.into() }]
}

fn sampling() -> Sampling {
    Sampling { model: "m".into(), temperature: Some(1.0), ..Sampling::default() }
}

fn texts(answer: &Value) -> Vec<&str> {
    let choices = answer["choices"].as_array().unwrap();
    choices.iter().map(|choice| &choice["message"]["content"].as_str().unwrap()[..8]).collect()
}

#[tokio::test]
async fn samples_come_in_order_at_once_or_one_by_one() {
    let (_folder, serving) = three_samples(&[]);
    let ask = |n: u32| json!({"model": "m", "temperature": 1, "n": n, "messages": question()});
    let (status, answer) = serving.post(&ask(2)).await;
    assert_eq!((status, texts(&answer)), (200, vec!["sample 0", "sample 1"]));
    assert_eq!(answer["choices"][1]["message"]["reasoning_content"], "hm");
    assert_eq!(answer["usage"]["completion_tokens"], 10);
    // After the last sample the first comes again.
    let (_, answer) = serving.post(&ask(2)).await;
    assert_eq!(texts(&answer), ["sample 2", "sample 0"]);
    let keys: Vec<Value> = serving.server.log().iter().map(|entry| entry["key"].clone()).collect();
    let key = |sample| json!(request_key(&sampling(), &question(), sample));
    assert_eq!(keys, [key(0), key(2)]);
}

#[tokio::test]
async fn what_is_not_recorded_is_said_so() {
    let (_folder, serving) = three_samples(&[]);
    let other = json!({"model": "m", "messages": [{"role": "user", "content": "something else"}]});
    let (status, answer) = serving.post(&other).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_recorded")));
    let (status, _) = serving.post(&json!({"model": "m"})).await;
    assert_eq!(status, 400);
    let models: Value =
        reqwest::get(format!("{}/models", serving.server.base_url)).await.unwrap().json().await.unwrap();
    assert_eq!(models["object"], "list");
    let statuses: Vec<u64> =
        serving.server.log().iter().map(|entry| entry["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [404, 400]);
}

#[tokio::test]
async fn every_fault_is_what_it_says() {
    let expected = [
        ("500", "server_error"),
        ("503", "overloaded"),
        ("429", "rate_limited"),
        ("reset", "connection"),
        ("truncate", "malformed_reply"),
        ("stall", "timeout"),
        ("hang", "timeout"),
        ("html", "malformed_reply"),
        ("no-choices", "malformed_reply"),
        ("endless", "reply_too_large"),
    ];
    for (kind, cause) in expected {
        let (_folder, serving) = three_samples(&["--fault", &format!("{kind}=1")]);
        let fault = serving.ask(sampling()).await.unwrap_err();
        assert_eq!(fault.cause, cause, "{kind}: {fault}");
        match kind {
            "429" => assert_eq!(fault.retry_after, Some(Duration::from_secs(1))),
            "reset" => assert!(fault.message.contains("reset"), "{fault}"),
            _ => {}
        }
        assert!(serving.server.answered().is_empty(), "{kind}");
    }
    let (_folder, serving) = three_samples(&["--fault", "drip=1"]);
    let started = Instant::now();
    let (status, answer) = serving.post(&json!({"model": "m", "messages": question()})).await;
    assert_eq!((status, texts(&answer)), (200, vec!["sample 0"]));
    assert!(started.elapsed() > Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_rate_limit_says_how_long_to_wait() {
    // The first is admitted; the next only two seconds later, however slowly it comes.
    let (_folder, serving) = three_samples(&["--rate-limit", "0.5/s"]);
    serving.ask(sampling()).await.unwrap();
    let fault = serving.ask(sampling()).await.unwrap_err();
    assert_eq!(fault.cause, "rate_limited");
    let wait = fault.retry_after.unwrap();
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    tokio::time::sleep(wait + Duration::from_millis(10)).await;
    serving.ask(sampling()).await.unwrap();
}

#[test]
fn usage_errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (arguments, says) in [
        (&["--journal", "empty"][..], "not a run directory"),
        (&["--fault", "crash=0.1"], "no such fault"),
        (&["--fault", "500=0.7", "--error-rate", "0.7"], "more than 1"),
        (&["--journal", "missing.jsonl"], "missing.jsonl"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_autocodegen"));
        let output =
            command.args(["replay", "serve"]).args(arguments).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}

#[test]
fn keys_stand_for_content() {
    // What the log shows is what journals are keyed by: written down once, so that neither changes unnoticed.
    let key = request_key(&sampling(), &question(), 0);
    let parts = ["chat/1", r#"{"model":"m","temperature":1.0}"#, "0", "user", QUESTION];
    assert_eq!(key, Key::of(&parts));
}
