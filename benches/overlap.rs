//! Do model and sandbox work overlap? 300 Python seeds end to end, against a chat endpoint on loopback that takes
//! 2 s for every reply, 64 requests in flight, programs run in real jails.
//!
//! Three runs: everything (T), the same endpoint with a sandbox that runs nothing (M), and an endpoint that
//! answers at once with the real sandbox (S). T may be at most 1.3 times the larger of M and S.
//! `cargo bench --bench overlap [-- SEEDS]`; needs python3.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use autocodegen::frame::key::Key;
use autocodegen::llm::client::{Endpoint, HttpModel};
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::local::{LAUNCHER_ARGUMENT, LocalSandbox, Options, launcher_main};
use axum::routing::post;
use axum::{Json, Router};
use common::ConstantSandbox;
use serde_json::{Value, json};

const SEEDS: u64 = 300;
const SEED_BYTES: usize = 1000;
const IN_FLIGHT: usize = 64;
const LATENCY: Duration = Duration::from_secs(2);
const TARGET: f64 = 1.3;

fn main() -> ExitCode {
    // Before anything starts a thread: the launcher forks.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == LAUNCHER_ARGUMENT) {
        return launcher_main();
    }
    let seeds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(SEEDS);
    let dir = tempfile::tempdir().unwrap();
    common::write_seeds(&dir.path().join("seeds.jsonl"), seeds, SEED_BYTES);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let run = |name, latency, real| runtime.block_on(seconds(dir.path(), name, latency, real, seeds));
    let model = run("model", LATENCY, false);
    let sandbox = run("sandbox", Duration::ZERO, true);
    let both = run("both", LATENCY, true);
    let ratio = both / model.max(sandbox);
    println!("{seeds} seeds, {IN_FLIGHT} in flight, {} s latency", LATENCY.as_secs());
    println!("model alone M = {model:.1} s, sandbox alone S = {sandbox:.1} s, both T = {both:.1} s");
    println!("T / max(M, S) = {ratio:.2} (target: at most {TARGET})");
    ExitCode::SUCCESS
}

/// Wall time of one run, without ingest.
async fn seconds(dir: &Path, name: &str, latency: Duration, real: bool, seeds: u64) -> f64 {
    let sandbox: Arc<dyn Sandbox> = match real {
        true => Arc::new(LocalSandbox::start(Options::default()).unwrap()),
        false => Arc::new(ConstantSandbox::default()),
    };
    let endpoint = Endpoint::new(serve(latency).await, None);
    let model = Arc::new(HttpModel::new(endpoint).unwrap());
    let phases = common::run(&dir.join("seeds.jsonl"), &dir.join(name), model, sandbox, IN_FLIGHT).await;
    assert_eq!(phases.counts.stage(&phases.last).kept, seeds, "{:?}", phases.counts);
    (phases.plan + phases.tables).as_secs_f64()
}

/// Starts an endpoint and returns its base URL.
async fn serve(latency: Duration) -> String {
    let answer = move |Json(request): Json<Value>| async move {
        tokio::time::sleep(latency).await;
        let prompt = request["messages"].to_string();
        Json(json!({
            "model": "bench",
            "choices": [{"message": {"content": reply(&prompt)}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt.len() / 4, "completion_tokens": 100},
        }))
    };
    let app = Router::new().route("/v1/chat/completions", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    base_url
}

/// A reply that fits the step which the prompt is of. Solutions differ from prompt to prompt.
fn reply(prompt: &str) -> String {
    if prompt.contains("You write programming problems") {
        return "<question>\nGive the n-th number of the sequence.\n</question>".into();
    }
    let block = |code: String| format!("```python\n{code}\n```\n");
    let main = |name: &str, line: &str| {
        block(format!("def {name}():\n    {line}\n\nif __name__ == \"__main__\":\n    {name}()"))
    };
    if prompt.contains("uses plain `assert` statements") {
        return main("test", "assert nth(0) >= 0") + &main("test", "assert nth(0) != nth(1)");
    }
    let sum = Key::of(&[prompt]).as_bytes()[..4].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    let solution = block(format!("def nth(n: int) -> int:\n    return 3 * n + {sum}"));
    solution
        + &main("demo_testing", "print(nth(1))")
        + &main("full_testing", "print([nth(n) for n in range(9)])")
}
