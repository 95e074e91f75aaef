//! Seeds of 1 KB through the whole `synthesize` plan, when neither the model nor the sandbox takes any time:
//! rows per second of each phase, and whether memory stays the same from 100,000 rows to 1,000,000.
//!
//! Every size runs in a process of its own, for a peak memory of its own. Replies are the same text with the
//! row's id in the program, so that no two programs and no two later prompts are equal and all seven calls of each
//! row are made, journaled and sealed. `cargo bench --bench plan [-- ROWS ROWS]`; `TMPDIR` says where it writes:
//! 1,000,000 rows need about 15 GB.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use autocodegen::error::Fault;
use autocodegen::llm::Model;
use autocodegen::llm::chat::{ChatRequest, Reply};
use autocodegen::llm::constant::ConstantModel;
use common::ConstantSandbox;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

const SEED_BYTES: usize = 1000;
const CHILD: &str = "AUTOCODEGEN_BENCH_PLAN";
const LIMIT_BYTES: u64 = 1 << 30;

const SOLUTION: &str = "```python
# ROW
def scaled(values: list[int], factor: int) -> list[int]:
    \"\"\"Multiplies every value by the factor; refuses a factor of zero.\"\"\"
    if factor == 0:
        raise ValueError(\"the factor must not be zero\")
    return [factor * value for value in values]
```
```python
def demo_testing():
    print(scaled([1, 2, 3], 14)[2])

if __name__ == \"__main__\":
    demo_testing()
```
```python
def full_testing():
    print(scaled([1, 2, 3], 14)[2])

if __name__ == \"__main__\":
    full_testing()
```
";

const TESTS: &str = "```python
def test():
    assert scaled([1, 2, 3], 14)[2] == 42

if __name__ == \"__main__\":
    test()
```
```python
def test():
    assert scaled([1, 2, 3], 14) == [14, 28, 42]

if __name__ == \"__main__\":
    test()
```
";

const QUESTION: &str =
    "<question>\nWrite a function that multiplies every number of a list by a factor.\n</question>\n";

/// The constant model, with the id of the asking row in its replies.
struct RowModel(ConstantModel);

impl Model for RowModel {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        async {
            let mut reply = self.0.ask(request).await?;
            reply.output = reply.output.replace("ROW", &request.row);
            Ok(reply)
        }
        .boxed()
    }
}

/// What a child process measured.
#[derive(Serialize, Deserialize)]
struct Measured {
    rows: u64,
    kept: u64,
    ingest_s: f64,
    plan_s: f64,
    tables_s: f64,
    ingest_peak: u64,
    peak: u64,
}

fn main() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return println!("{}", serde_json::to_string(&measure(Path::new(&dir))).unwrap());
    }
    let sizes: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![100_000, 1_000_000] } else { sizes };
    let measured: Vec<Measured> = sizes.iter().map(|rows| in_child(*rows)).collect();
    let rate = |rows: u64, seconds: f64| rows as f64 / seconds;
    println!("     rows  ingest/s    plan/s  tables/s     all/s  seconds  peak MiB (of ingest)");
    for m in &measured {
        let all = m.ingest_s + m.plan_s + m.tables_s;
        println!(
            "{:9} {:9.0} {:9.0} {:9.0} {:9.0} {:8.1} {:9} ({})",
            m.rows,
            rate(m.rows, m.ingest_s),
            rate(m.rows, m.plan_s),
            rate(m.rows, m.tables_s),
            rate(m.rows, all),
            all,
            m.peak >> 20,
            m.ingest_peak >> 20
        );
        assert_eq!(m.kept, m.rows, "every row must come through");
    }
    if let [small, .., large] = measured.as_slice() {
        let speed = |m: &Measured| rate(m.rows, m.ingest_s + m.plan_s + m.tables_s);
        println!(
            "large to small: peak memory {:.2}x, rows/s {:.2}x; 1 GiB is {}",
            large.peak as f64 / small.peak as f64,
            speed(large) / speed(small),
            if large.peak.max(small.peak) <= LIMIT_BYTES { "kept" } else { "EXCEEDED" }
        );
    }
}

/// Writes the seeds and measures them in a process of its own.
fn in_child(rows: u64) -> Measured {
    let dir = tempfile::tempdir().unwrap();
    common::write_seeds(&dir.path().join("seeds.jsonl"), rows, SEED_BYTES);
    let child = Command::new(std::env::current_exe().unwrap()).env(CHILD, dir.path()).output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    serde_json::from_slice(&child.stdout).unwrap()
}

fn measure(dir: &Path) -> Measured {
    let reply = |text: &str| Reply {
        output: text.to_owned(),
        finish_reason: "stop".into(),
        model: "constant".into(),
        prompt_tokens: 500,
        completion_tokens: 200,
        ..Reply::default()
    };
    let replies = [("solution.reply", SOLUTION), ("tests.reply", TESTS), ("question.reply", QUESTION)];
    let replies: HashMap<_, _> = replies.map(|(stage, text)| (stage.to_owned(), reply(text))).into();
    let model = Arc::new(RowModel(ConstantModel::new(replies, None)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (seeds, out) = (dir.join("seeds.jsonl"), dir.join("run"));
    let phases = runtime.block_on(common::run(&seeds, &out, model, Arc::new(ConstantSandbox::default()), 64));
    Measured {
        rows: phases.counts.stage("solution.reply").rows_in,
        kept: phases.counts.stage(&phases.last).kept,
        ingest_s: phases.ingest.as_secs_f64(),
        plan_s: phases.plan.as_secs_f64(),
        tables_s: phases.tables.as_secs_f64(),
        ingest_peak: phases.ingest_peak,
        peak: common::peak_bytes(),
    }
}
