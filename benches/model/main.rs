//! `cargo bench --bench model [-- SCENARIO...]`: the model stage in one process, journal on, against a loopback server in
//! another. Scenarios: throughput (beside `oha` or `wrk` if they are installed), latency, rate, errors, faults; `memory` asks
//! 1,000,000 requests and runs only when named. Ends with an error where a row is lost or asked twice.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod server;

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use autocodegen::engine::calls::{Calls, Resources};
use autocodegen::engine::counts::Tally;
use autocodegen::engine::events::Silent;
use autocodegen::engine::executor::execute;
use autocodegen::engine::stop::Stop;
use autocodegen::frame::journal::Journal;
use autocodegen::frame::schema::{batch_of, column};
use autocodegen::llm::chat::{Message, Sampling};
use autocodegen::llm::client::{Endpoint, HttpModel};
use autocodegen::llm::pool::{PATIENCE, Pool};
use autocodegen::llm::{Limits, Model};
use autocodegen::plan::Plan;
use autocodegen::plan::pipeline::Pipeline;
use autocodegen::retry::RetryPolicy;
use autocodegen::stages::registry::Context;
use autocodegen::text::template::Templates;
use futures::stream::{self, StreamExt};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use server::{Behaviour, Server};

const STAGE: &str = "ask.reply";
const PROMPT_BYTES: usize = 2048;
/// Rows of a partition.
const ROWS: usize = 256;

/// What asking came to.
struct Asked {
    wall: Duration,
    /// CPU time of this process, the journal's thread included.
    cpu: Duration,
    tally: Tally,
    faults: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == server::ARGUMENT) {
        return server::main(&arguments[1..]);
    }
    let named: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|name| !name.starts_with("--")).collect();
    let wanted = |name: &str| named.contains(&name) || (named.is_empty() && name != "memory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("throughput") {
            throughput().await;
        }
        if wanted("latency") {
            let server = Server::start(Behaviour { latency_ms: 200, ..Behaviour::default() });
            let asked = ask(&server, 20_000, 256, 600).await;
            report("200 ms a reply, 256 in flight", 20_000, &asked, &server);
        }
        if wanted("rate") {
            for (in_flight, latency_ms, retry_after_ms) in [(64, 0, 1000), (256, 0, 1000), (64, 200, 1000), (64, 0, 20)] {
                let limits = Behaviour { latency_ms, retry_after_ms, per_second: Some(50.0), ..Behaviour::default() };
                let server = Server::start(limits);
                let asked = ask(&server, 2000, in_flight, 600).await;
                let name = format!("50 requests/s admitted, {in_flight} in flight, {latency_ms} ms, Retry-After {retry_after_ms} ms");
                report(&name, 2000, &asked, &server);
            }
        }
        if wanted("errors") {
            let server = Server::start(Behaviour { errors: 20, latency_ms: 20, ..Behaviour::default() });
            let asked = ask(&server, 2000, 64, 600).await;
            report("20 % of answers 500, 64 in flight", 2000, &asked, &server);
        }
        if wanted("faults") {
            let server = Server::start(Behaviour { faults: 30, latency_ms: 5, ..Behaviour::default() });
            let asked = ask(&server, 20_000, 256, 2).await;
            report("30 % faults of five kinds, 256 in flight, time-out 2 s", 20_000, &asked, &server);
        }
        if wanted("memory") {
            let server = Server::start(Behaviour::default());
            for rows in [100_000, 1_000_000] {
                let asked = ask(&server, rows, 256, 600).await;
                let peak = peak_mib();
                println!("memory: {rows} requests, {:.0} /s, peak {peak} MiB", per_second(rows, asked.wall));
            }
        }
    });
}

async fn throughput() {
    const REQUESTS: usize = 100_000;
    let server = Server::start(Behaviour::default());
    // The first run opens connections and fills caches.
    ask(&server, 5000, 256, 600).await;
    let before = server.count();
    let asked = ask(&server, REQUESTS, 256, 600).await;
    assert_eq!(server.count().replies - before.replies, REQUESTS as u64, "rows were lost or asked twice");
    let ours = per_second(REQUESTS, asked.wall);
    println!(
        "throughput: {ours:.0} requests/s, {:.3} ms CPU a call, 2 KB prompts and replies, 256 in flight, journal on",
        asked.cpu.as_secs_f64() * 1e3 / REQUESTS as f64
    );
    match reference(&server, REQUESTS) {
        Some((tool, theirs)) => {
            println!("throughput: {tool} {theirs:.0} requests/s; ours is {:.2} of it", ours / theirs)
        }
        None => println!("throughput: neither oha nor wrk is installed: nothing to compare with"),
    }
}

/// Requests a second that a load generator gets from the server.
fn reference(server: &Server, requests: usize) -> Option<(&'static str, f64)> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/chat/completions", server.base_url);
    let body = serde_json::json!({"model": "bench", "messages": [{"role": "user", "content": prompt(0)}]})
        .to_string();
    let path = folder.path().join("body.json");
    std::fs::write(&path, &body).unwrap();
    let oha = Command::new("oha")
        .args(["-n", &requests.to_string(), "-c", "256", "-m", "POST", "-T", "application/json"])
        .args(["--no-tui", "--output-format", "json", "-D"])
        .args([path.as_os_str(), url.as_ref()])
        .output();
    if let Ok(ran) = oha
        && let Ok(report) = serde_json::from_slice::<serde_json::Value>(&ran.stdout)
    {
        return Some(("oha", report["summary"]["requestsPerSec"].as_f64()?));
    }
    let script = folder.path().join("post.lua");
    let lua = format!(
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body}]==]\n"
    );
    std::fs::write(&script, lua).unwrap();
    let wrk = Command::new("wrk")
        .args(["-t2", "-c256", "-d10s", "-s"])
        .args([script.as_os_str(), url.as_ref()])
        .output();
    let text = String::from_utf8(wrk.ok()?.stdout).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    Some(("wrk", line.trim().parse().ok()?))
}

/// Takes `rows` rows through a model stage.
async fn ask(server: &Server, rows: usize, in_flight: usize, timeout: u64) -> Asked {
    let folder =
        tempfile::tempdir_in(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into())).unwrap();
    let pipeline = folder.path().join("bench.toml");
    std::fs::write(&pipeline, format!("name = \"bench\"\n[[stage]]\nname = \"{STAGE}\"\nop = \"model\"\n"))
        .unwrap();
    let pipeline = Pipeline::load(pipeline.to_str().unwrap()).unwrap();
    let templates = Arc::new(Templates::load(None).unwrap());
    let sampling = Sampling {
        model: "bench".into(),
        temperature: Some(0.0),
        max_tokens: Some(4096),
        ..Sampling::default()
    };
    let context = Context {
        templates: &templates,
        sampling: &sampling,
        sandbox: None,
        max_output_bytes: 16_384,
        decontaminate: None,
    };
    let plan = Arc::new(Plan::build(&pipeline, &context).unwrap());
    let endpoint =
        Endpoint { timeout: Duration::from_secs(timeout), ..Endpoint::new(&server.base_url, None) };
    let client = HttpModel::new(endpoint).unwrap();
    let pool =
        Arc::new(Pool::new(vec![(client, Limits { in_flight, ..Limits::default() })], PATIENCE).unwrap());
    let resources = Resources {
        model: Some(pool.clone()),
        sandbox: None,
        model_in_flight: in_flight,
        sandbox_in_flight: 1,
        retry: RetryPolicy { tries: 20, max_wait: Duration::from_secs(2), ..RetryPolicy::default() },
        recorder: None,
    };
    let journal = Journal::open(&folder.path().join("journal")).unwrap();
    let journals = HashMap::from([(Arc::from(STAGE), journal)]);
    let calls = Arc::new(Calls::new(resources, journals, Arc::new(Stop::default()), Arc::new(Silent)));

    let started = Instant::now();
    let cpu = cpu_time();
    let partitions = (0..rows).step_by(ROWS).map(|start| {
        let (plan, calls) = (plan.clone(), calls.clone());
        async move {
            let batch = batch(start..rows.min(start + ROWS));
            tokio::spawn(async move {
                execute(&plan, 0..1, batch, None, &calls).await.unwrap().counts.stage(STAGE)
            })
            .await
            .unwrap()
        }
    });
    let active = (in_flight * 6).div_ceil(ROWS).max(4);
    let tallies: Vec<Tally> = stream::iter(partitions).buffer_unordered(active).collect().await;
    let (wall, cpu) = (started.elapsed(), cpu_time() - cpu);
    let journaled = calls.journal(STAGE).unwrap().len();
    let mut tally = Tally::default();
    for part in &tallies {
        tally.rows_in += part.rows_in;
        tally.kept += part.kept;
        tally.pending += part.pending;
    }
    assert_eq!(tally.rows_in, rows as u64);
    assert_eq!(tally.kept, journaled, "what is kept is what was written down");
    let faults = &pool.status().unwrap().endpoints[0].faults;
    let faults: Vec<String> = faults.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    Asked { wall, cpu, tally, faults: faults.join(", ") }
}

/// Rows with the numbers `rows`.
fn batch(rows: std::ops::Range<usize>) -> RecordBatch {
    let texts = |value: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new(rows.clone().map(|row| Some(value(row))).collect::<StringArray>())
    };
    let messages =
        |row| serde_json::to_string(&[Message { role: "user".into(), content: prompt(row) }]).unwrap();
    let columns = vec![
        column("id", texts(&|row| format!("row-{row}"))),
        column("language", texts(&|_| "python".to_owned())),
        column("messages", texts(&messages)),
    ];
    batch_of(rows.len(), columns).unwrap()
}

/// A prompt of 2 KB that is no other row's.
fn prompt(row: usize) -> String {
    let words = "def add(a, b):\n    return a + b  # as the caller wants\n";
    format!("{row:08}\n").chars().chain(words.chars().cycle()).take(PROMPT_BYTES).collect()
}

fn report(name: &str, rows: usize, asked: &Asked, server: &Server) {
    let count = server.count();
    let Asked { wall, cpu, tally, faults } = asked;
    println!(
        "{name}: {rows} rows in {:.1} s, {:.0} rows/s, {:.3} ms CPU a row; {} kept, {} pending, {} lost; server: {} \
         requests, {} whole replies; faults: {faults}",
        wall.as_secs_f64(),
        per_second(rows, *wall),
        cpu.as_secs_f64() * 1e3 / rows as f64,
        tally.kept,
        tally.pending,
        rows as u64 - tally.kept - tally.pending,
        count.asked,
        count.replies,
    );
    assert_eq!(tally.kept + tally.pending, rows as u64, "rows were lost");
    assert_eq!(count.replies, tally.kept, "whole replies were wasted or asked for twice");
}

fn per_second(requests: usize, wall: Duration) -> f64 {
    requests as f64 / wall.as_secs_f64()
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(us.unsigned_abs())
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
