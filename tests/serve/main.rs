//! `sandbox serve`: the real binary, asked over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bounds;
mod conformance;
mod endpoints;
mod faults;
mod lifetime;
mod metrics;
mod submit;

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/verdict.rs"]
mod verdict;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const TOKEN: &str = "AUTOCODEGEN_SANDBOX_TOKEN";

/// A running service of a test's own; killed when dropped.
struct Server {
    child: Child,
    url: String,
    client: Client,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// `None` (and said so) where there can be no jails.
    fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        Self::with_token(test, arguments, None)
    }

    fn with_token(test: &str, arguments: &[&str], token: Option<&str>) -> Option<Self> {
        let listen = if arguments.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"][..] };
        let mut child = command(token)
            .args(listen)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let Some(url) = first.strip_prefix("serving on ").and_then(|rest| rest.split(',').next()) else {
            lines.read_to_string(&mut first).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(3), "{first}");
            common::skip(test, &first);
            return None;
        };
        let url = url.to_owned();
        let stderr = Arc::new(Mutex::new(first));
        let log = Arc::clone(&stderr);
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
                log.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Some(Self { child, url, client: client(), stderr, reader: Some(reader) })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).json(body).send().await.unwrap()
    }

    /// The answer to a request, which must be 200.
    async fn ask(&self, path: &str, body: Value) -> Value {
        let response = self.post(path, &body).await;
        assert_eq!(response.status(), StatusCode::OK, "{path} {body}");
        response.json().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    async fn submit(&self, language: &str, source: &str) -> Value {
        self.ask("/submit", json!({ "src_uid": "t", "lang": language, "source_code": source })).await
    }

    /// A number that `/metrics` tells, 0 when it tells none.
    async fn metric(&self, name: &str) -> f64 {
        let page = self.client.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for the end; the exit code and all of stderr.
    fn wait(mut self) -> (Option<i32>, String) {
        let started = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(started.elapsed() < Duration::from_secs(30), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        self.reader.take().unwrap().join().unwrap();
        (code, self.stderr.lock().unwrap().clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(token: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command.args(["sandbox", "serve"]).env_remove(TOKEN);
    if let Some(token) = token {
        command.env(TOKEN, token);
    }
    command
}

fn client() -> Client {
    // Fails when another client of this process has installed it already.
    let _already = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(120)).build().unwrap()
}

/// Whether a process with these words in its command line is there; jails are visible from outside.
fn is_running(words: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line: Vec<u8> = line.into_iter().map(|byte| if byte == 0 { b' ' } else { byte }).collect();
        String::from_utf8_lossy(&line).contains(words)
    })
}

/// Waits until `condition` holds.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
