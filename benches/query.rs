//! A question about 10,000,000 rows, asked of `autocodegen query` and of DuckDB: how fast, in how much memory.
//!
//! Writes a run's table `verdicts` the way a run writes it, then asks each for pass rate, exact median and sums by
//! language, each in a process of its own so that peak memory is its own. Both read the same files, and their answers
//! must be equal. `cargo bench --bench query`; needs a Python with `duckdb` in the virtual environment
//! `AUTOCODEGEN_READERS`, which `tests/run.sh` makes, or on the PATH.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use autocodegen::analytics::output::{Format, render};
use autocodegen::analytics::tables::Tables;
use autocodegen::frame::dataset::DatasetWriter;
use autocodegen::frame::run_dir::RunDir;

const ROWS: usize = 10_000_000;
const BATCH: usize = 8_192;
/// Times each question is asked; the first counts on its own, the best of all as well.
const TIMES: usize = 5;

const LANGUAGES: [&str; 20] = [
    "cpp",
    "csharp",
    "dart",
    "elixir",
    "go",
    "java",
    "javascript",
    "julia",
    "kotlin",
    "perl",
    "php",
    "python",
    "r",
    "racket",
    "ruby",
    "rust",
    "scala",
    "shell",
    "swift",
    "typescript",
];
const OUTCOMES: [&str; 4] = ["PASSED", "WRONG_ANSWER", "RUNTIME_ERROR", "TIME_LIMIT_EXCEEDED"];

const QUESTIONS: [(&str, &str); 4] = [
    (
        "pass rate, median, sums by language",
        "SELECT language, COUNT(*) AS runs, AVG(CASE WHEN outcome = 'PASSED' THEN 1.0 ELSE 0.0 END) AS pass_rate,
           MEDIAN(wall_ms) AS median_ms, SUM(wall_ms) AS wall_ms, SUM(cpu_ms) AS cpu_ms, SUM(peak_rss_bytes) AS peak
         FROM verdicts GROUP BY language ORDER BY language",
    ),
    (
        "the same without the median",
        "SELECT language, COUNT(*) AS runs, AVG(CASE WHEN outcome = 'PASSED' THEN 1.0 ELSE 0.0 END) AS pass_rate,
           SUM(wall_ms) AS wall_ms, SUM(cpu_ms) AS cpu_ms
         FROM verdicts GROUP BY language ORDER BY language",
    ),
    (
        "medians by outcome of slow programs",
        "SELECT language, outcome, COUNT(*) AS runs, MEDIAN(cpu_ms) AS median_ms, MAX(cpu_ms) AS cpu_ms
         FROM verdicts WHERE wall_ms > 1000 GROUP BY language, outcome ORDER BY language, outcome",
    ),
    (
        // Grouped by a number: polars answers.
        "longest run by memory, grouped by a number",
        "SELECT peak_rss_bytes, COUNT(*) AS runs, MAX(wall_ms) AS wall_ms FROM verdicts
         GROUP BY peak_rss_bytes ORDER BY wall_ms DESC, peak_rss_bytes LIMIT 5",
    ),
];

const DUCKDB: &str = r#"
import duckdb, sys, time
files, question, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = duckdb.connect()
connection.sql(f"CREATE VIEW verdicts AS SELECT * FROM read_parquet('{files}')")
for _ in range(times):
    started = time.perf_counter()
    rows = connection.sql(question).fetchall()
    print("took", time.perf_counter() - started)
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]
print("peak", int(peak) * 1024)
for row in rows:
    print("row", *(value if isinstance(value, str) else f"{float(value):.6f}" for value in row))
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("ask") => ask(Path::new(&arguments[2]), &arguments[3]),
        _ => compare(),
    }
}

/// Takes the place of `autocodegen query`, and says how long it took.
fn ask(run: &Path, question: &str) {
    let mut answer = None;
    for _ in 0..TIMES {
        let started = Instant::now();
        let frame = Tables::open(&RunDir::open_read_only(run).unwrap()).unwrap().ask(question).unwrap();
        println!("took {}", started.elapsed().as_secs_f64());
        answer = Some(frame);
    }
    println!("peak {}", common::peak_bytes());
    let json = render(&mut answer.unwrap(), Format::Json).unwrap();
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&json).unwrap();
    for row in rows {
        let cells = row.values().map(|value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => format!("{:.6}", value.as_f64().unwrap()),
        });
        println!("row {}", cells.collect::<Vec<_>>().join(" "));
    }
}

struct Measured {
    first: f64,
    best: f64,
    peak: u64,
    rows: Vec<String>,
}

fn measure(command: &mut Command) -> Measured {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let values = |name: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.strip_prefix(name)?.trim().to_owned())).collect()
    };
    let took: Vec<f64> = values("took").iter().map(|value| value.parse().unwrap()).collect();
    Measured {
        first: took[0],
        best: took.iter().copied().fold(f64::INFINITY, f64::min),
        peak: values("peak")[0].parse().unwrap(),
        rows: values("row"),
    }
}

fn python() -> PathBuf {
    let venv = std::env::var_os("AUTOCODEGEN_READERS").map(PathBuf::from);
    let venv = venv.or_else(|| Some(std::env::home_dir()?.join(".cache/autocodegen-readers")));
    venv.map(|venv| venv.join("bin/python3"))
        .filter(|python| python.exists())
        .unwrap_or_else(|| "python3".into())
}

fn compare() {
    let folder = std::env::temp_dir().join("autocodegen-bench-query");
    let run = RunDir::open_or_create(&folder).unwrap();
    if !run.verdicts().exists() {
        write(&run.verdicts());
    }
    let files: Vec<PathBuf> = autocodegen::frame::dataset::files(&run.verdicts()).unwrap();
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    println!("{ROWS} rows, {} files, {} MB", files.len(), bytes / 1_000_000);
    let me = std::env::current_exe().unwrap();
    for (name, question) in QUESTIONS {
        let ours = measure(Command::new(&me).arg("ask").arg(&folder).arg(question));
        let pattern = run.verdicts().join("*.parquet");
        let duckdb = measure(
            Command::new(python()).args(["-c", DUCKDB]).arg(pattern).arg(question).arg(TIMES.to_string()),
        );
        assert_eq!(ours.rows, duckdb.rows, "{name}");
        println!("{name}:");
        for (who, of) in [("autocodegen query", &ours), ("duckdb", &duckdb)] {
            let (first, best, peak) = (of.first, of.best, of.peak / (1 << 20));
            println!("  {who:18} {first:.3} s at first, {best:.3} s at best of {TIMES}, {peak} MiB peak");
        }
    }
    if std::env::var_os("KEEP").is_none() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// Writes the table: languages and outcomes in no order, times skewed as programs' times are.
fn write(dir: &Path) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    };
    let mut writer = None;
    for start in (0..ROWS).step_by(BATCH) {
        let rows = BATCH.min(ROWS - start);
        let (mut languages, mut outcomes) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let [mut walls, mut cpus, mut peaks] = [(); 3].map(|()| Vec::with_capacity(rows));
        for _ in 0..rows {
            languages.push(LANGUAGES[random() as usize % LANGUAGES.len()]);
            outcomes.push(OUTCOMES[(random() % 16).saturating_sub(12) as usize]);
            // A few ms for most, tens of seconds for some.
            let wall = 1 + random() % (30 << (random() % 11));
            walls.push(wall);
            cpus.push(wall * (random() % 1_000) / 1_000);
            peaks.push(4_096 * (2_000 + random() % (1_000 << (random() % 6))));
        }
        let columns: [(&str, ArrayRef); 5] = [
            ("language", Arc::new(StringArray::from(languages))),
            ("outcome", Arc::new(StringArray::from(outcomes))),
            ("wall_ms", Arc::new(UInt64Array::from(walls))),
            ("cpu_ms", Arc::new(UInt64Array::from(cpus))),
            ("peak_rss_bytes", Arc::new(UInt64Array::from(peaks))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let writer = writer
            .get_or_insert_with(|| DatasetWriter::create(dir, &batch.schema(), &BTreeMap::new()).unwrap());
        writer.write(&batch).unwrap();
    }
    writer.unwrap().finish().unwrap();
}
