//! The sandbox's own failures, made by a sandbox that fails as told: they go out under their names, and are never
//! verdicts. And clients too slow to wait for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use autocodegen::error::{Fault, Recovery};
use autocodegen::retry::RetryPolicy;
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Verdict};
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::remote::RemoteSandbox;
use autocodegen::sandbox::server::{Ceilings, Options, serve};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client;
use super::verdict::passed;

/// Fails in this order, then passes everything with its source as output, after a time.
struct Failing(Mutex<VecDeque<Fault>>, Duration);

impl Sandbox for Failing {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Verdict, Fault>> {
        let fault = self.0.lock().unwrap().pop_front();
        let passed = passed(job.source.clone());
        Box::pin(async move {
            tokio::time::sleep(self.1).await;
            fault.map_or(Ok(passed), Err)
        })
    }

    fn identity(&self, language: &str) -> String {
        language.to_owned()
    }

    fn capacity(&self) -> usize {
        1
    }

    fn describe(&self) -> String {
        "a sandbox that fails".to_owned()
    }
}

/// A service over a sandbox with these faults ahead; its URL.
async fn service(faults: Vec<Fault>) -> String {
    slow_service(faults, Duration::ZERO).await
}

async fn slow_service(faults: Vec<Fault>, time: Duration) -> String {
    service_with(faults, time, 1 << 30).await
}

async fn service_with(faults: Vec<Fault>, time: Duration, answer_bytes: u64) -> String {
    let millisecond = Duration::from_millis(1);
    let retry =
        RetryPolicy { tries: 3, min_wait: millisecond, max_wait: millisecond, max_retry_after: millisecond };
    let options = Options {
        queue: 8,
        max_request_bytes: 1 << 26,
        answer_bytes,
        ceilings: Ceilings { cpu_ms: 10_000, memory_bytes: 1 << 30 },
        token: None,
        retry,
        patience: Duration::from_millis(500),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sandbox = Arc::new(Failing(Mutex::new(faults.into()), time));
    let languages = Languages::embedded().unwrap();
    tokio::spawn(serve(listener, sandbox, languages, options, std::future::pending()));
    url
}

async fn ask(url: &str, path: &str, body: Value) -> Value {
    let response = client().post(format!("{url}{path}")).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

fn broken() -> Fault {
    Fault::new(Recovery::Retry, "launcher", "sandbox: the launcher died").hint("look at the disk")
}

fn missing() -> Fault {
    Fault::new(Recovery::Pend, "toolchain_missing", "the python toolchain is missing python3")
        .hint("install it with: apt-get install -y python3")
}

fn everything() -> Value {
    json!({
        "src_uid": "f", "lang": "python", "source_code": "program", "func_code": "program", "main_code": "",
        "language": "python", "code": "program", "source": "program", "tests": ["1", "2"], "fail_fast": true,
    })
}

#[tokio::test]
async fn a_fault_that_passes_is_not_seen() {
    let url = service(vec![broken(), broken()]).await;
    let answer = ask(&url, "/submit", everything()).await;
    assert_eq!((&answer["exec_outcome"], &answer["exec_cout"]), (&json!("PASSED"), &json!("program")));
    let metrics = client().get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("faults_total{cause=\"launcher\"} 2\n"), "{metrics}");
    assert!(metrics.contains("jobs_total{language=\"python\",outcome=\"PASSED\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_fault_that_stays_is_an_internal_error_with_its_cause() {
    let url = service(vec![broken(); 9]).await;
    let answer = ask(&url, "/submit", everything()).await;
    assert_eq!(answer["exec_outcome"], "INTERNAL_ERROR");
    let message = answer["exec_runtime_message"].as_str().unwrap();
    assert!(message.contains("the launcher died") && message.contains("look at the disk"), "{message}");
    assert_eq!(answer["response_extensions"]["fault"], "launcher");

    let run = ask(&url, "/run_code", everything()).await;
    assert_eq!((&run["status"], &run["run_result"]), (&json!("SandboxError"), &Value::Null));
    assert!(run["message"].as_str().unwrap().contains("the launcher died"));

    // A fault is no failure of the solution: the next test is run.
    let batch = ask(&url, "/batch", everything()).await;
    let error = &batch["results"][0];
    assert_eq!((&error["verdict"], &error["error"]["outcome"]), (&Value::Null, &json!("INTERNAL_ERROR")));
    assert_eq!((&error["error"]["cause"], &batch["errors"]), (&json!("launcher"), &json!(1)));
    assert_eq!(batch["results"][1]["verdict"]["outcome"], "PASSED");

    let ours = RemoteSandbox::new(&[service(vec![broken(); 3]).await], None).unwrap();
    let job = Job { language: "python".into(), source: "1".into(), ..Job::default() };
    let fault = ours.run(&job).await.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "internal_error"));
    assert!(fault.message.contains("the launcher died"), "{fault}");
    assert!(ours.run(&job).await.is_ok());
}

#[tokio::test]
async fn a_missing_toolchain_names_its_package() {
    let url = service(vec![missing(); 5]).await;
    let answer = ask(&url, "/submit", everything()).await;
    assert_eq!(answer["exec_outcome"], "TOOLCHAIN_MISSING");
    assert!(answer["exec_runtime_message"].as_str().unwrap().contains("apt-get install -y python3"));
    let run = ask(&url, "/run_code", everything()).await;
    assert_eq!(run["status"], "SandboxError");
    let batch = ask(&url, "/batch", everything()).await;
    assert_eq!(batch["results"][0]["error"]["outcome"], "TOOLCHAIN_MISSING");
    let ours = RemoteSandbox::new(&[url], None).unwrap();
    let job = Job { language: "python".into(), source: "1".into(), ..Job::default() };
    let fault = ours.run(&job).await.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Pend, "toolchain_missing"));
}

/// Sends `first`, then `byte` every 50 ms; what came back until the service closed the connection, and when.
async fn drip(url: &str, first: &str, byte: &[u8]) -> (String, Duration) {
    let started = Instant::now();
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    to.write_all(first.as_bytes()).await.unwrap();
    let dripping = async {
        while to.write_all(byte).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = from.read_to_end(&mut answer) => {}
        () = dripping => {}
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("{first:?} is waited for"),
    }
    (String::from_utf8_lossy(&answer).into_owned(), started.elapsed())
}

#[tokio::test]
async fn slow_requests_are_not_waited_for() {
    let url = service(Vec::new()).await;
    let head = "POST /submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let asked = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    for (first, byte, answered) in [
        ("", "", ""),
        ("", "G", ""),
        (head, "X: y\r\n", ""),
        (&format!("{head}Content-Length: 5000\r\n\r\n"), " ", "HTTP/1.1 408"),
        (&format!("{head}Transfer-Encoding: chunked\r\n\r\n"), "1\r\n \r\n", "HTTP/1.1 408"),
        // After an answer the time starts anew.
        (asked, "", "HTTP/1.1 200"),
        (asked, "G", "HTTP/1.1 200"),
    ] {
        let (answer, time) = drip(&url, first, byte.as_bytes()).await;
        assert!(answer.starts_with(answered), "{first:?}: {answer}");
        assert!((450..3000).contains(&time.as_millis()), "{first:?}: {time:?}");
    }
}

#[tokio::test]
async fn answers_not_taken_hold_up_further_jobs_until_they_are_given_up() {
    // Enough for one job of the default output limit.
    let url = service_with(Vec::new(), Duration::ZERO, 80 << 20).await;
    let mut greedy = everything();
    greedy["source_code"] = json!("x".repeat(12 << 20));
    let client = client();
    let post = || client.post(format!("{url}/submit"));
    // The head of the answer has come, and nobody reads the rest.
    let untaken = post().json(&greedy).send().await.unwrap();
    let started = Instant::now();
    let answer = ask(&url, "/submit", everything()).await;
    assert_eq!(answer["exec_outcome"], "PASSED");
    // The patience of this service with those who take nothing.
    assert!(started.elapsed() > Duration::from_millis(300), "{:?}", started.elapsed());
    assert!(untaken.bytes().await.is_err());
}

#[tokio::test]
async fn silence_while_a_program_runs_is_no_fault() {
    // Twice the patience of this service.
    let url = slow_service(Vec::new(), Duration::from_secs(1)).await;
    let answer = ask(&url, "/submit", everything()).await;
    assert_eq!(answer["exec_outcome"], "PASSED");
    // And a connection may be used for longer than that.
    let client = client();
    for _ in 0..4 {
        let response = client.get(format!("{url}/health")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
