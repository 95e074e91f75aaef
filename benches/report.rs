//! The page about a run of 1,000,000 seeds: how long `autocodegen report` takes, in how much memory, and how large it is.
//!
//! Writes the tables as a run of `full` would have left them, wide columns included: six of ten seeds are problems, the
//! others were rejected for twelve reasons at four stages. `cargo bench --bench report [-- ROWS]`; `TMPDIR` says where
//! it writes: 1,000,000 rows need about 4 GB.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use autocodegen::frame::dataset::DatasetWriter;
use autocodegen::frame::part;
use autocodegen::frame::run_dir::RunDir;
use nix::sys::resource::{UsageWho, getrusage};

const BATCH: u64 = 8_192;
const LANGUAGES: [&str; 8] = ["cpp", "go", "java", "javascript", "python", "ruby", "rust", "shell"];
const REASONS: [(&str, &[&str]); 4] = [
    ("solution.reply", &["finish_reason_length"]),
    ("solution.extract", &["block_count", "empty_block"]),
    ("probe.capture", &["RUNTIME_ERROR", "COMPILATION_ERROR", "TIME_LIMIT_EXCEEDED", "output_too_long"]),
    (
        "verify.keep",
        &["WRONG_ANSWER", "RUNTIME_ERROR", "MEMORY_LIMIT_EXCEEDED", "TIME_LIMIT_EXCEEDED", "flaky"],
    ),
];
const DIFFICULTIES: [&str; 3] = ["hard", "medium", "easy"];

type Columns = Vec<(&'static str, ArrayRef)>;

fn main() {
    let rows = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    write(&RunDir::open_or_create(&dir).unwrap(), rows);
    let started = Instant::now();
    let output =
        Command::new(env!("CARGO_BIN_EXE_autocodegen")).args(["report", "--run"]).arg(&dir).output().unwrap();
    let took = started.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() / 1024;
    let page = std::fs::metadata(dir.join("report.html")).unwrap().len();
    println!(
        "{rows} seeds: {:.1} s, {peak} MiB peak, a page of {} KB from tables of {} MB",
        took.as_secs_f64(),
        page / 1000,
        ["dataset", "rejected", "replies", "verdicts"]
            .map(|table| size(&dir.join(table)))
            .iter()
            .sum::<u64>()
            / 1_000_000
    );
    if std::env::var_os("KEEP").is_some() {
        println!("{}", place.keep().display());
    }
}

fn size(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn write(run: &RunDir, rows: u64) {
    let kept = rows * 6 / 10;
    let key = "0".repeat(32);
    let file = serde_json::json!({
        "version": "bench", "pipeline": "full", "fingerprints": [], "model": {"model": "m"}, "answered_by": "m", "sandbox": "none",
        "manifest": [], "seed_options": key, "seeds": {"rows": rows, "duplicates": 0, "rejected": {}, "by_language": {}},
        "partition_rows": 1024, "state": "done",
    });
    run.write_json(&file).unwrap();
    let stages = batch(stages(rows, kept));
    part::seal(&run.stages_table(), &stages.schema(), &[stages], &BTreeMap::new()).unwrap();
    let prices = batch(vec![
        ("stage", texts(0..3, |n| stage(n).to_owned())),
        ("input_usd", parts(0..3, |_| 2.0)),
        ("cached_input_usd", parts(0..3, |_| 0.5)),
        ("output_usd", parts(0..3, |_| 10.0)),
    ]);
    part::seal(&run.prices_table(), &prices.schema(), &[prices], &BTreeMap::new()).unwrap();
    table(&run.dataset(), kept, |rows| {
        vec![
            ("id", texts(rows.clone(), |n| format!("{n:032x}"))),
            ("language", texts(rows.clone(), language)),
            ("question", texts(rows.clone(), |n| text(n, 1200))),
            ("canonical_solution", texts(rows.clone(), |n| program(n, 1000))),
            ("full_test_func", texts(rows.clone(), |n| program(n, 800))),
            ("difficulty", texts(rows.clone(), |n| DIFFICULTIES[(mix(n) % 3) as usize].to_owned())),
            ("category", texts(rows.clone(), |n| format!("category {}", mix(n + 7) % 20))),
            ("pass_rate", parts(rows, |n| (mix(n) % 10) as f64 / 10.0)),
        ]
    });
    let lost = rows - kept;
    table(&run.rejected(), lost, |rows| {
        // Those of one stage are together, as runs write them.
        let reason = |n: u64| {
            let (stage, reasons) = REASONS[(4 * n / lost) as usize];
            (stage, reasons[(mix(n) % reasons.len() as u64) as usize])
        };
        vec![
            ("id", texts(rows.clone(), |n| format!("{n:032x}"))),
            ("language", texts(rows.clone(), language)),
            ("stage", texts(rows.clone(), |n| reason(n).0.to_owned())),
            ("reason", texts(rows.clone(), |n| reason(n).1.to_owned())),
            ("detail", texts(rows.clone(), |n| text(n, 120))),
            ("source", texts(rows.clone(), |_| String::new())),
            (
                "record",
                texts(rows, |n| {
                    serde_json::json!({"text": program(n, 1000), "output": text(n, 2000)}).to_string()
                }),
            ),
        ]
    });
    table(&run.replies(), rows * 5 / 2, |rows| {
        vec![
            ("stage", texts(rows.clone(), |n| stage(n).to_owned())),
            ("id", texts(rows.clone(), |n| format!("{n:032x}"))),
            ("language", texts(rows.clone(), language)),
            ("model", texts(rows.clone(), |_| "m".to_owned())),
            (
                "finish_reason",
                texts(rows.clone(), |n| if mix(n).is_multiple_of(50) { "length" } else { "stop" }.to_owned()),
            ),
            ("output", texts(rows.clone(), |n| text(n, 400))),
            ("prompt_tokens", wholes(rows.clone(), |n| 500 + mix(n) % 1500)),
            ("cached_tokens", wholes(rows.clone(), |n| mix(n) % 500)),
            ("completion_tokens", wholes(rows.clone(), |n| 200 + mix(n + 1) % 3000)),
            ("latency_ms", wholes(rows.clone(), |n| 500 + mix(n + 2) % (2000 << (mix(n) % 5)))),
            ("reused", Arc::new(rows.map(|n| Some(n % 9 == 0)).collect::<BooleanArray>()) as ArrayRef),
        ]
    });
    table(&run.verdicts(), rows * 3, |rows| {
        vec![
            ("stage", texts(rows.clone(), |n| ["probe", "verify"][(n % 2) as usize].to_owned())),
            ("id", texts(rows.clone(), |n| format!("{n:032x}"))),
            ("language", texts(rows.clone(), language)),
            (
                "outcome",
                texts(rows.clone(), |n| {
                    ["PASSED", "WRONG_ANSWER"][usize::from(mix(n).is_multiple_of(8))].to_owned()
                }),
            ),
            ("stdout", texts(rows.clone(), |n| text(n, 100))),
            ("wall_ms", wholes(rows, |n| 1 + mix(n) % (30 << (mix(n + 1) % 8)))),
        ]
    });
}

/// Rows are lost evenly at the stages that lose any.
fn stages(rows: u64, kept: u64) -> Columns {
    let names =
        ["solution.reply", "solution.extract", "probe", "probe.capture", "verify", "verify.keep", "dataset"];
    let lost = |at: u64| (rows - kept) * [0, 1, 2, 2, 3, 3, 4, 4][at as usize] / 4;
    let each = LANGUAGES.len() as u64;
    let all = || 0..names.len() as u64 * each;
    let figure = |of: &dyn Fn(u64) -> u64| wholes(all(), |n| of(n / each) / each);
    vec![
        ("position", wholes(all(), |n| n / each)),
        ("stage", texts(all(), |n| names[(n / each) as usize].to_owned())),
        ("op", texts(all(), |_| "model".to_owned())),
        ("language", texts(all(), |n| LANGUAGES[(n % each) as usize].to_owned())),
        ("rows_in", figure(&|at| rows - lost(at))),
        ("spawned", figure(&|_| 0)),
        ("kept", figure(&|at| rows - lost(at + 1))),
        ("rejected", figure(&|at| lost(at + 1) - lost(at))),
        ("pending", figure(&|_| 0)),
        ("prompt_tokens", figure(&|_| 1)),
        ("completion_tokens", figure(&|_| 1)),
        ("busy_ms", figure(&|_| 1_000_000)),
    ]
}

/// Writes `rows` rows, batch by batch, as the table `dir`.
fn table(dir: &Path, rows: u64, columns: impl Fn(std::ops::Range<u64>) -> Columns) {
    let mut writer = None;
    for start in (0..rows).step_by(BATCH as usize) {
        let batch = batch(columns(start..(start + BATCH).min(rows)));
        let create = || DatasetWriter::create(dir, &batch.schema(), &BTreeMap::new()).unwrap();
        writer.get_or_insert_with(create).write(&batch).unwrap();
    }
    writer.unwrap().finish().unwrap();
}

fn batch(columns: Columns) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn texts(rows: std::ops::Range<u64>, of: impl Fn(u64) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.map(of)))
}

fn wholes(rows: std::ops::Range<u64>, of: impl Fn(u64) -> u64) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(rows.map(of)))
}

fn parts(rows: std::ops::Range<u64>, of: impl Fn(u64) -> f64) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(rows.map(of)))
}

fn stage(n: u64) -> &'static str {
    ["solution.reply", "tests.reply", "question.reply"][(n % 3) as usize]
}

fn language(n: u64) -> String {
    LANGUAGES[(mix(n) % 8) as usize].to_owned()
}

/// A number that looks as if it had nothing to do with `n`.
fn mix(n: u64) -> u64 {
    let n = (n ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (n ^ (n >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}

/// A text of about `chars` characters that no other row has, of lines that are all different.
fn text(n: u64, chars: usize) -> String {
    let lines = 0..(chars / 60 + 1) as u64;
    lines
        .map(|line| format!("The sum of all even numbers is {:x} in case {n}.{line}.\n", mix(64 * n + line)))
        .collect()
}

fn program(n: u64, chars: usize) -> String {
    let lines = 0..(chars / 60 + 1) as u64;
    lines
        .map(|line| {
            format!("    total += {:#x} * values[{line}]  # the next of the list\n", mix(64 * n + line))
        })
        .collect()
}
