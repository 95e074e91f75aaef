//! Run directories made by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use autocodegen::engine::prices;
use autocodegen::engine::spending::Prices;
use autocodegen::frame::dataset::DatasetWriter;
use autocodegen::frame::part;
use autocodegen::frame::rejects::{RejectedRow, rejected_batch};
use autocodegen::frame::run_dir::RunDir;
use autocodegen::llm::pricing::Price;
use serde_json::{Value, json};

/// Position, name, operator, language, and rows in, spawned, kept, rejected and pending.
type Stage<'a> = (u64, &'a str, &'a str, &'a str, [u64; 5]);

/// A run directory in a folder of its own.
pub struct Run {
    _place: tempfile::TempDir,
    pub dir: PathBuf,
    run: RunDir,
}

impl Run {
    /// Without tables, and with a `run.json` of a finished run of `pipeline`.
    pub fn new(pipeline: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("mine");
        let run = RunDir::open_or_create(&dir).unwrap();
        let this = Self { _place: place, dir, run };
        this.file(&json!({"pipeline": pipeline}));
        this
    }

    /// Writes `run.json` with `fields` in it.
    pub fn file(&self, fields: &Value) {
        let key = "0".repeat(32);
        let mut file = json!({
            "version": "0.0.7",
            "pipeline": "mine",
            "fingerprints": [["solution.reply", key]],
            "model": {"model": "m", "temperature": 0.5},
            "answered_by": "m at host",
            "sandbox": "local jails",
            "manifest": [{"path": "seeds.jsonl", "size": 123456, "mtime_ns": 1}],
            "seed_options": key,
            "seeds": {"rows": 34, "duplicates": 2, "rejected": {"text_empty": 1}, "by_language": {"go": 34}},
            "partition_rows": 8,
            "state": "done",
            "wall_ms": 90_000,
        });
        let fields = fields.as_object().unwrap().clone();
        file.as_object_mut().unwrap().extend(fields);
        self.run.write_json(&file).unwrap();
    }

    /// Writes the row counts of stages.
    pub fn stages(&self, rows: &[Stage<'_>]) {
        let texts = |of: fn(&Stage<'_>) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
        };
        let numbers = |of: &dyn Fn(&Stage<'_>) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(of)))
        };
        let mut columns = vec![
            ("position", numbers(&|row| row.0)),
            ("stage", texts(|row| row.1.to_owned())),
            ("op", texts(|row| row.2.to_owned())),
            ("language", texts(|row| row.3.to_owned())),
        ];
        for (at, name) in ["rows_in", "spawned", "kept", "rejected", "pending"].into_iter().enumerate() {
            columns.push((name, numbers(&|row| row.4[at])));
        }
        for name in ["prompt_tokens", "completion_tokens", "busy_ms"] {
            columns.push((name, numbers(&|_| 61_000)));
        }
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        part::seal(&self.run.stages_table(), &batch.schema(), &[batch], &BTreeMap::new()).unwrap();
    }

    pub fn rejected(&self, rows: &[RejectedRow]) {
        write(&self.run.rejected(), &rejected_batch(rows).unwrap());
    }

    pub fn dataset(&self, columns: Vec<(&str, ArrayRef)>) {
        write(&self.run.dataset(), &RecordBatch::try_from_iter(columns).unwrap());
    }

    /// 100 replies of a stage with a price of 2 and 10 USD per million tokens, and 50 of one without.
    pub fn replies(&self) {
        let stage = |n: u64| if n < 100 { "solution.reply" } else { "question.reply" };
        let number =
            |of: fn(u64) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values((0..150).map(of))) };
        let text = |of: &dyn Fn(u64) -> &'static str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values((0..150).map(of)))
        };
        let replies = RecordBatch::try_from_iter([
            ("stage", text(&stage)),
            ("language", text(&|_| "go")),
            ("finish_reason", text(&|n| if n == 0 { "length" } else { "stop" })),
            ("prompt_tokens", number(|_| 1000)),
            ("cached_tokens", number(|_| 0)),
            ("completion_tokens", number(|_| 500)),
            ("latency_ms", number(|n| 100 * (n + 1))),
            ("reused", Arc::new(BooleanArray::from(vec![false; 150]))),
        ]);
        write(&self.run.replies(), &replies.unwrap());
        let price = Price { input: 2.0, cached_input: 0.5, output: 10.0, source: "test".into() };
        let prices = Prices::from([("solution.reply".to_owned(), price)]);
        let asking = ["solution.reply", "question.reply"].map(|stage| (stage.into(), vec!["m".to_owned()]));
        prices::write(&self.run.prices_table(), &asking, &prices).unwrap();
        let verdicts = RecordBatch::try_from_iter([
            ("stage", texts(&["probe", "verify"])),
            ("language", texts(&["go", "go"])),
            ("outcome", texts(&["PASSED", "PASSED"])),
            ("wall_ms", Arc::new(UInt64Array::from(vec![0, 40])) as ArrayRef),
        ]);
        write(&self.run.verdicts(), &verdicts.unwrap());
    }
}

fn write(dir: &Path, batch: &RecordBatch) {
    let mut writer = DatasetWriter::create(dir, &batch.schema(), &BTreeMap::new()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

/// A column of texts.
pub fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(values.iter().copied().map(Some).collect::<StringArray>())
}

/// A column of numbers.
pub fn numbers(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// A row that left at `verify` with `record`.
pub fn rejected(id: &str, reason: &str, record: &Value) -> RejectedRow {
    RejectedRow {
        id: Some(id.into()),
        language: Some("go".into()),
        stage: "verify".into(),
        reason: reason.into(),
        detail: Some(format!("why {id} left")),
        source: None,
        record: Some(record.to_string()),
    }
}

/// A run with everything there is to tell.
pub fn whole() -> Run {
    let run = Run::new("full");
    run.stages(&[
        (0, "solution.reply", "model", "go", [10, 0, 8, 2, 0]),
        (0, "solution.reply", "model", "python", [20, 0, 16, 4, 0]),
        (1, "dataset", "select", "go", [8, 0, 5, 3, 0]),
        (1, "dataset", "select", "python", [16, 0, 15, 1, 0]),
    ]);
    let program = json!({"text": "func main() {}", "canonical_solution": "```go\nreturn \"x\"\n```", "n": 7});
    run.rejected(&[
        rejected("r1", "WRONG_ANSWER", &program),
        rejected("r2", "WRONG_ANSWER", &program),
        rejected("r3", "WRONG_ANSWER", &program),
        rejected("r4", "WRONG_ANSWER", &program),
        rejected("r5", "flaky", &json!({})),
        rejected("r6", "too_easy", &json!({"difficulty": "too_easy", "pass_rate": 1.0})),
    ]);
    run.dataset(vec![
        ("id", texts(&["k1", "k2", "k3"])),
        ("language", texts(&["go", "python", "python"])),
        ("question", texts(&["Add.", "Subtract.", "Multiply."])),
        ("canonical_solution", texts(&["func f() {}", "def f(): pass", "def g(): pass"])),
        ("difficulty", texts(&["hard", "easy", "easy"])),
        ("category", texts(&["Strings", "Lists", "Lists"])),
        ("pass_rate", numbers(&[0.0, 0.75, 0.25])),
    ]);
    run.replies();
    run
}
