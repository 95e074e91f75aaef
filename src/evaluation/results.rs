//! What an evaluation's rows came to, read back from its run directory.

use std::path::Path;

use arrow_array::{Array, BooleanArray, RecordBatch, StringArray, UInt32Array};
use serde_json::Value;

use super::frame::{PROBLEM_ID, SAMPLE};
use super::pipeline::NAME;
use crate::engine::run_file::RunFile;
use crate::error::{Error, Result};
use crate::frame::dataset;
use crate::frame::part::Scan;
use crate::frame::run_dir::RunDir;
use crate::frame::schema::{ID, LANGUAGE, strings};
use crate::stages::{MESSAGE, OUTCOME, PASSED, ROUND, passed_column};

/// One scored answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scored {
    /// Id of the row.
    pub id: String,
    /// Id of the problem.
    pub problem: String,
    /// Which answer to the problem, from 0.
    pub sample: u32,
    /// Language.
    pub language: String,
    /// Difficulty, where the benchmark has one.
    pub difficulty: Option<String>,
    /// Category, where the benchmark has one.
    pub category: Option<String>,
    /// Whether all tests passed.
    pub passed: bool,
    /// Whether the public tests passed, where there are any apart.
    pub demo: Option<bool>,
    /// Whether the full tests passed.
    pub full: bool,
    /// Name of the verdict; for an answer that never ran, why.
    pub outcome: String,
    /// What the sandbox said.
    pub message: String,
    /// The round of the conversation that this is of, from 1.
    pub round: u32,
}

/// An evaluation's directory.
#[derive(Debug)]
pub struct Evaluation {
    /// Its `run.json`.
    pub file: RunFile,
    /// What was scored.
    pub scored: Vec<Scored>,
}

impl Evaluation {
    /// The evaluation in `dir`.
    ///
    /// # Errors
    /// There is none, or it does not read.
    pub fn read(dir: &Path) -> Result<Self> {
        Self::of(&RunDir::open_read_only(dir)?)
    }

    /// The evaluation in the open directory `run`.
    ///
    /// # Errors
    /// It holds something else, or does not read.
    pub fn of(run: &RunDir) -> Result<Self> {
        let hint = "name a folder that `autocodegen evaluate --out` has written";
        let shown = run.path().display();
        let file: Option<RunFile> = run.read_json()?;
        let file = file.ok_or_else(|| Error::usage(format!("{shown} has no run.json yet")).hint(hint))?;
        if file.pipeline != NAME {
            let what = format!("{shown} holds a run of `{}`, not an evaluation", file.pipeline);
            return Err(Error::usage(what).hint(hint));
        }
        let mut scored = Vec::new();
        for batch in Scan::new(dataset::files(&run.dataset())?, None) {
            read(&batch?, &mut scored)?;
        }
        for batch in Scan::new(dataset::files(&run.rejected())?, None) {
            read_rejected(&batch?, &mut scored)?;
        }
        Ok(Self { file, scored })
    }

    /// Rows without a score yet.
    pub fn pending(&self) -> u64 {
        self.file.counts.pending()
    }
}

fn read(batch: &RecordBatch, scored: &mut Vec<Scored>) -> Result<()> {
    let (ids, problems, languages) =
        (strings(batch, ID)?, strings(batch, PROBLEM_ID)?, strings(batch, LANGUAGE)?);
    let (outcomes, messages) = (strings(batch, OUTCOME)?, strings(batch, MESSAGE)?);
    let (difficulties, categories) = (strings(batch, "difficulty")?, strings(batch, "category")?);
    let flag = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_any().downcast_ref::<BooleanArray>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let number = |name: &str, row: usize| {
        let column = batch.column_by_name(name)?.as_any().downcast_ref::<UInt32Array>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let optional =
        |column: &StringArray, row: usize| column.is_valid(row).then(|| column.value(row).to_owned());
    for row in 0..batch.num_rows() {
        scored.push(Scored {
            id: ids.value(row).to_owned(),
            problem: problems.value(row).to_owned(),
            sample: number(SAMPLE, row).unwrap_or(0),
            language: languages.value(row).to_owned(),
            difficulty: optional(difficulties, row),
            category: optional(categories, row),
            passed: flag(PASSED, row).unwrap_or(false),
            demo: flag(&passed_column("demo_test_func"), row),
            full: flag(&passed_column("full_test_func"), row).unwrap_or(false),
            outcome: outcomes.value(row).to_owned(),
            message: optional(messages, row).unwrap_or_default(),
            round: number(ROUND, row).unwrap_or(1),
        });
    }
    Ok(())
}

/// Rows that left on the way have an answer that is no program (empty, refused, cut off): it has not passed. Those that never were rows
/// are no answers.
fn read_rejected(batch: &RecordBatch, scored: &mut Vec<Scored>) -> Result<()> {
    let [ids, languages, stages, reasons, details, records] =
        [ID, LANGUAGE, "stage", "reason", "detail", "record"].map(|name| strings(batch, name));
    let (ids, languages, stages) = (ids?, languages?, stages?);
    let (reasons, details, records) = (reasons?, details?, records?);
    for row in (0..batch.num_rows()).filter(|row| stages.value(*row) != "seed") {
        let record: Value = serde_json::from_str(records.value(row)).unwrap_or_default();
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        let demo = passed_column("demo_test_func");
        scored.push(Scored {
            id: ids.value(row).to_owned(),
            problem: text(PROBLEM_ID).unwrap_or_else(|| ids.value(row).to_owned()),
            sample: record[SAMPLE].as_u64().and_then(|sample| u32::try_from(sample).ok()).unwrap_or(0),
            language: languages.value(row).to_owned(),
            difficulty: text("difficulty"),
            category: text("category"),
            passed: false,
            // A row of a benchmark with public tests still has them.
            demo: (record[&demo].is_boolean() || record["demo_test_func"].is_string()).then_some(false),
            full: false,
            outcome: reasons.value(row).to_owned(),
            message: details.value(row).to_owned(),
            round: record[ROUND].as_u64().and_then(|round| u32::try_from(round).ok()).unwrap_or(1),
        });
    }
    Ok(())
}
