//! The client of sandbox services, against scripted services on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use autocodegen::error::{Fault, Recovery};
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use autocodegen::sandbox::remote::RemoteSandbox;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

/// A service that gives the answers it was given and remembers what it was asked.
#[derive(Clone, Default)]
struct Service {
    answers: Arc<Mutex<VecDeque<(u16, HeaderMap, String)>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Service {
    fn answers(self, body: Value) -> Self {
        self.raw(200, HeaderMap::new(), body.to_string())
    }

    fn raw(self, status: u16, headers: HeaderMap, body: String) -> Self {
        self.answers.lock().unwrap().push_back((status, headers, body));
        self
    }

    /// Starts it; its base URL.
    async fn start(&self) -> String {
        async fn submit(State(service): State<Service>, Json(request): Json<Value>) -> impl IntoResponse {
            service.asked.lock().unwrap().push(request);
            let mut answers = service.answers.lock().unwrap();
            let (status, headers, body) = match answers.len() {
                0 => (500, HeaderMap::new(), "nothing left to answer".to_owned()),
                1 => answers[0].clone(),
                _ => answers.pop_front().unwrap(),
            };
            (StatusCode::from_u16(status).unwrap(), headers, body)
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/submit", post(submit)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

fn job() -> Job {
    Job {
        language: "python".to_owned(),
        source: "def f(): pass".to_owned(),
        tests: Some("f()".to_owned()),
        limits: LimitOverrides { cpu_ms: Some(30_000), ..LimitOverrides::default() },
        ..Job::default()
    }
}

fn passed(stdout: &str) -> Value {
    json!({
        "src_uid": "x", "all_code": "", "exec_cout": stdout, "exec_outcome": "PASSED",
        "exec_compile_message": "", "exec_runtime_message": "",
        "response_extensions": {
            "exit_code": 0, "stdout": stdout, "stderr": "", "timeout": false,
            "process_exec_time": 0.104, "process_cpu_time": "0.01", "process_peak_memory": 2048,
        },
    })
}

async fn ask(service: Service) -> Result<Verdict, Fault> {
    let url = service.start().await;
    RemoteSandbox::new(&[url], None).unwrap().run(&job()).await
}

#[tokio::test]
async fn a_job_is_sent_as_the_reference_expects_it() {
    let service = Service::default().answers(passed("hello\n"));
    let url = service.start().await + "/";
    let remote = RemoteSandbox::new(&[url], None).unwrap();
    let verdict = remote.run(&job()).await.unwrap();
    assert_eq!(verdict.outcome, Outcome::Passed);
    assert_eq!((verdict.stdout.as_str(), verdict.exit_code, verdict.truncated), ("hello\n", Some(0), false));
    assert_eq!((verdict.usage.wall_ms, verdict.usage.cpu_ms, verdict.usage.peak_rss_bytes), (104, 10, 2048));
    assert_eq!(verdict.reason, "");

    remote.run(&Job { tests: None, ..job() }).await.unwrap();
    let asked = service.asked();
    assert_eq!(asked[0]["lang"], "python");
    assert_eq!(asked[0]["func_code"], "def f(): pass");
    assert_eq!(asked[0]["main_code"], "f()");
    assert_eq!(asked[0]["request_extensions"]["timeout"], 30.0);
    assert!(asked[0].get("source_code").is_none());
    assert_eq!(asked[1]["source_code"], "def f(): pass");
    assert!(asked[1].get("func_code").is_none() && asked[1].get("main_code").is_none());
    assert_ne!(asked[0]["src_uid"], asked[1]["src_uid"]);
    // The reference knows nothing of these.
    for extra in ["strict", "limits", "variation"] {
        assert!(asked[0]["request_extensions"].get(extra).is_none(), "{extra}");
    }
}

#[tokio::test]
async fn what_our_own_service_understands_is_sent_only_when_it_is_asked_for() {
    let service = Service::default().answers(passed(""));
    let remote = RemoteSandbox::new(&[service.start().await], None).unwrap();
    let limits = LimitOverrides { memory_bytes: Some(1 << 20), ..job().limits };
    remote.run(&Job { limits, strict: true, variation: 2, ..job() }).await.unwrap();
    let extensions = &service.asked()[0]["request_extensions"];
    assert_eq!(
        (&extensions["strict"], &extensions["limits"]),
        (&json!(true), &json!({ "memory_bytes": 1 << 20 }))
    );
    assert_eq!((&extensions["timeout"], &extensions["variation"]), (&json!(30.0), &json!(2)));

    let fault = remote.run(&Job { stdin: "x".to_owned(), ..job() }).await.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Pend, "unsupported_job"));
    assert_eq!(service.asked().len(), 1);
}

#[tokio::test]
async fn what_our_own_service_adds_is_taken_over() {
    let mut answer = passed("x");
    let usage = json!({ "wall_ms": 7, "cpu_ms": 6, "peak_rss_bytes": 5 });
    let added = json!({
        "reason": "because", "invalid_utf8": true, "truncated": true, "usage": usage, "compile_usage": usage,
        "compile_reused": true,
        "toolchain": "Python 9", "isolation": "a wall",
    });
    answer["exec_outcome"] = json!("WRONG_ANSWER");
    for (field, value) in added.as_object().unwrap() {
        answer["response_extensions"][field] = value.clone();
    }
    let verdict = ask(Service::default().answers(answer)).await.unwrap();
    assert_eq!((verdict.outcome, verdict.reason.as_str()), (Outcome::WrongAnswer, "because"));
    assert!(verdict.invalid_utf8 && verdict.truncated && verdict.compile_reused);
    assert_eq!((verdict.usage.wall_ms, verdict.compile_usage), (7, Some(verdict.usage)));
    assert_eq!((verdict.toolchain.as_str(), verdict.isolation.as_str()), ("Python 9", "a wall"));
}

#[tokio::test]
async fn a_wrong_program_is_a_verdict() {
    let service = Service::default().answers(json!({
        "exec_outcome": "RUNTIME_ERROR", "exec_cout": "", "exec_compile_message": "",
        "exec_runtime_message": "\nSegmentation fault\n",
        "response_extensions": { "exit_code": -11 },
    }));
    let verdict = ask(service).await.unwrap();
    assert_eq!(verdict.outcome, Outcome::RuntimeError);
    assert_eq!((verdict.exit_code, verdict.signal), (None, Some(11)));
    assert_eq!(verdict.reason, "Segmentation fault");
}

#[tokio::test]
async fn output_as_long_as_the_reference_keeps_counts_as_cut() {
    for (length, truncated) in [(2044, false), (2045, true), (2048, true), (5000, true)] {
        let verdict = ask(Service::default().answers(passed(&"x".repeat(length)))).await.unwrap();
        assert_eq!(verdict.truncated, truncated, "{length} bytes");
    }
    let mut told = passed(&"x".repeat(5000));
    told["response_extensions"]["truncated"] = json!(false);
    assert!(!ask(Service::default().answers(told)).await.unwrap().truncated);
}

#[tokio::test]
async fn failures_of_the_service_are_faults() {
    let outcome = |name: &str| json!({ "exec_outcome": name, "exec_runtime_message": "because" }).to_string();
    let cases = [
        (200, outcome("INTERNAL_ERROR"), Recovery::Retry, "internal_error"),
        (200, outcome("UNKNOWN_ERROR"), Recovery::Retry, "unknown_error"),
        (200, outcome("ARGUMENT_ERROR"), Recovery::Pend, "argument_error"),
        (200, outcome("TOOLCHAIN_MISSING"), Recovery::Pend, "toolchain_missing"),
        (200, outcome("SPLENDID"), Recovery::Pend, "bad_reply"),
        (200, "<html>busy</html>".to_owned(), Recovery::Retry, "bad_reply"),
        (200, "{\"exec_outcome\": \"PASS".to_owned(), Recovery::Retry, "bad_reply"),
        (500, "oops".to_owned(), Recovery::Retry, "http_error"),
        (502, String::new(), Recovery::Retry, "http_error"),
        (404, "no such page".to_owned(), Recovery::Stop, "http_error"),
        (401, String::new(), Recovery::Stop, "unauthorized"),
        (413, String::new(), Recovery::Pend, "job_too_large"),
    ];
    for (status, body, recovery, cause) in cases {
        let fault = ask(Service::default().raw(status, HeaderMap::new(), body.clone())).await.unwrap_err();
        assert_eq!((fault.recovery, fault.cause), (recovery, cause), "{status} {body}");
        assert!(fault.message.contains("127.0.0.1"), "{}", fault.message);
    }
    let fault =
        ask(Service::default().raw(200, HeaderMap::new(), outcome("INTERNAL_ERROR"))).await.unwrap_err();
    assert!(fault.message.ends_with("because"), "{}", fault.message);
}

#[tokio::test]
async fn an_overloaded_service_says_how_long_to_wait() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().unwrap());
    let fault = ask(Service::default().raw(429, headers, String::new())).await.unwrap_err();
    assert_eq!(fault.recovery, Recovery::Retry);
    assert_eq!(fault.retry_after.unwrap().as_secs(), 7);
}

#[tokio::test]
async fn services_take_turns_and_a_failing_one_rests() {
    let (good, other, bad) = (
        Service::default().answers(passed("good")),
        Service::default().answers(passed("other")),
        Service::default().raw(500, HeaderMap::new(), String::new()),
    );
    let urls = [good.start().await, other.start().await, bad.start().await];
    let remote = RemoteSandbox::new(&urls, Some(9)).unwrap();
    assert_eq!(remote.capacity(), 9);
    let mut faults = 0;
    for _ in 0..30 {
        match remote.run(&job()).await {
            Ok(verdict) => assert_eq!(verdict.outcome, Outcome::Passed),
            Err(fault) => {
                assert_eq!(fault.recovery, Recovery::Retry);
                faults += 1;
            }
        }
    }
    assert_eq!((faults, bad.asked().len()), (1, 1));
    assert!(good.asked().len() >= 9 && other.asked().len() >= 9);
}

#[tokio::test]
async fn nobody_listening_is_a_fault_to_retry() {
    let (_socket, closed) = common::closed_port();
    let fault =
        RemoteSandbox::new(&[format!("http://{closed}")], None).unwrap().run(&job()).await.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "unreachable"));
}

#[test]
fn what_is_no_http_url_is_refused() {
    for url in ["", "host:8080", "ftp://host", "not a url"] {
        let error = RemoteSandbox::new(&[url.to_owned()], None).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{url}");
    }
    assert_eq!(RemoteSandbox::new(&[], None).unwrap_err().exit_code(), 2);
}
