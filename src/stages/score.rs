//! `score`: what the runs of a row came to, in columns; the row stays whatever they came to.
//!
//! Adds `passed` (all runs PASSED), for every test column such as `full_test_func` a column `full_passed`, `outcome` and `message` (of the
//! first run that did not pass: its verdict's name, and what the sandbox said), `round`, and `retry`, the opposite of `passed`.
//! Rows that nothing was run for keep what an earlier `score` said of them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array};
use serde::Deserialize;

use super::keep::Runs;
use super::registry::{Context, Spec};
use super::run::{SUCCESS, result_column};
use super::{Change, Pure, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::strings;
use crate::sandbox::job::{Outcome, Verdict};

/// Column that says whether all runs of a row passed.
pub const PASSED: &str = "passed";
/// Column with the verdict that a row's runs came to.
pub const OUTCOME: &str = "outcome";
/// Column with what the sandbox said about it.
pub const MESSAGE: &str = "message";
/// Column with the round of the conversation that the score is of, from 1.
pub const ROUND: &str = "round";
/// Column that says whether another round is wanted.
pub const RETRY: &str = "retry";

/// Most of what a program or its compiler wrote that goes into the message, characters: the end, where the error is.
const TOLD: usize = 2000;

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Test columns whose runs are scored; the first that did not pass is told of.
    tests: Vec<String>,
    /// Which round of the conversation this is. From the second on, rows have scores already.
    #[serde(default = "first")]
    round: u32,
}

fn first() -> u32 {
    1
}

/// `full_test_func` -> `full_passed`.
pub fn passed_column(tests: &str) -> String {
    let name = tests.strip_suffix("_func").unwrap_or(tests);
    format!("{}_passed", name.strip_suffix("_test").unwrap_or(name))
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let runs: Vec<String> =
        config.tests.iter().map(|tests| result_column(tests)).chain([SUCCESS.to_owned()]).collect();
    let mut adds = [PASSED, OUTCOME, MESSAGE, ROUND, RETRY].map(str::to_owned).to_vec();
    adds.extend(config.tests.iter().map(|tests| passed_column(tests)));
    let needs = if config.round > 1 { [runs.as_slice(), &adds].concat() } else { runs.clone() };
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "score",
        needs,
        adds,
        drops: runs,
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{:?} {}", config.tests, config.round)),
        work: Work::Pure(Box::new(config)),
    })
}

/// What one row's runs came to.
struct Score {
    passed: Vec<bool>,
    outcome: &'static str,
    message: String,
}

impl Config {
    fn score(&self, runs: &Runs<'_>, row: usize) -> Result<Score> {
        let verdicts = (0..self.tests.len()).map(|run| {
            runs.verdict(run, row)
                .ok_or_else(|| Error::usage(format!("the result of `{}` is not a verdict", self.tests[run])))
        });
        let verdicts: Vec<Verdict> = verdicts.collect::<Result<_>>()?;
        let failed = verdicts.iter().find(|verdict| verdict.outcome != Outcome::Passed);
        Ok(Score {
            passed: verdicts.iter().map(|verdict| verdict.outcome == Outcome::Passed).collect(),
            outcome: failed.map_or(Outcome::Passed, |verdict| verdict.outcome).name(),
            message: failed.map(message).unwrap_or_default(),
        })
    }
}

impl Pure for Config {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let rows = batch.num_rows();
        let runs = Runs::of(batch, &self.tests)?;
        let ran = |row: usize| {
            self.tests.first().is_some_and(|tests| {
                strings(batch, &result_column(tests)).is_ok_and(|column| column.is_valid(row))
            })
        };
        let scores: Vec<Option<Score>> = (0..rows)
            .map(|row| ran(row).then(|| self.score(&runs, row)).transpose())
            .collect::<Result<_>>()?;
        let before = Before { batch, has: self.round > 1 };
        let mut add: Vec<(String, ArrayRef)> = Vec::new();
        let passed: BooleanArray = (0..rows)
            .map(|row| match &scores[row] {
                Some(score) => Some(score.passed.iter().all(|passed| *passed)),
                None => before.flag(PASSED, row),
            })
            .collect();
        let retry: BooleanArray = passed.iter().map(|passed| passed.map(|passed| !passed)).collect();
        for (at, tests) in self.tests.iter().enumerate() {
            let name = passed_column(tests);
            let column: BooleanArray = (0..rows)
                .map(|row| match &scores[row] {
                    Some(score) => Some(score.passed[at]),
                    None => before.flag(&name, row),
                })
                .collect();
            add.push((name, Arc::new(column)));
        }
        let text = |name, of: fn(&Score) -> &str| -> StringArray {
            let value = |row: usize| match &scores[row] {
                Some(score) => Some(of(score).to_owned()),
                None => before.text(name, row),
            };
            (0..rows).map(value).collect()
        };
        let round: UInt32Array = (0..rows)
            .map(|row| match &scores[row] {
                Some(_) => Some(self.round),
                None => before.round(row),
            })
            .collect();
        add.push((OUTCOME.into(), Arc::new(text(OUTCOME, |score| score.outcome))));
        add.push((MESSAGE.into(), Arc::new(text(MESSAGE, |score| &score.message))));
        add.push((PASSED.into(), Arc::new(passed)));
        add.push((RETRY.into(), Arc::new(retry)));
        add.push((ROUND.into(), Arc::new(round)));
        Ok(Change { add, ..Change::default() })
    }
}

/// What an earlier `score` said of rows.
struct Before<'a> {
    batch: &'a RecordBatch,
    has: bool,
}

impl Before<'_> {
    fn column<T: 'static>(&self, name: &str, row: usize) -> Option<&T> {
        let column = self.batch.column_by_name(name).filter(|column| self.has && column.is_valid(row))?;
        column.as_any().downcast_ref()
    }

    fn flag(&self, name: &str, row: usize) -> Option<bool> {
        self.column::<BooleanArray>(name, row).map(|column| column.value(row))
    }

    fn text(&self, name: &str, row: usize) -> Option<String> {
        self.column::<StringArray>(name, row).map(|column| column.value(row).to_owned())
    }

    fn round(&self, row: usize) -> Option<u32> {
        self.column::<UInt32Array>(ROUND, row).map(|column| column.value(row))
    }
}

/// What the sandbox says about a program that did not pass: why, and the end of what it or its compiler wrote.
fn message(verdict: &Verdict) -> String {
    let said = [&verdict.compile_message, &verdict.stderr, &verdict.stdout];
    let said = said.into_iter().map(|text| text.trim()).find(|text| !text.is_empty()).unwrap_or_default();
    let start = said.char_indices().rev().nth(TOLD - 1).map_or(0, |(at, _)| at);
    let said = &said[start..];
    match (verdict.reason.as_str(), said) {
        ("", said) => said.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, said) => format!("{reason}\n{said}"),
    }
}
