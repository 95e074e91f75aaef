//! `keep`: keeps the rows whose runs all PASSED; the others leave with the outcome as the reason.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, StringArray};
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::run::{SUCCESS, result_column};
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::strings;
use crate::sandbox::job::{Outcome, Verdict};

/// Most of what a program printed that goes into a report, characters of each stream.
const REPORTED_CHARS: usize = 1000;

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Test columns whose runs are judged.
    tests: Vec<String>,
    /// Column for what the runs came to, in words for a prompt. Default: none.
    report_into: Option<String>,
}

struct Keep {
    config: Config,
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let columns: Vec<String> =
        config.tests.iter().map(|tests| result_column(tests)).chain([SUCCESS.to_owned()]).collect();
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "keep",
        needs: columns.clone(),
        adds: config.report_into.iter().cloned().collect(),
        drops: columns,
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{:?} {:?}", config.tests, config.report_into)),
        work: Work::Pure(Box::new(Keep { config })),
    })
}

impl Pure for Keep {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let runs = Runs::of(batch, &self.config.tests)?;
        let rejected = (0..batch.num_rows()).filter_map(|row| runs.failure(row)).collect();
        let mut change = Change { rejected, ..Change::default() };
        if let Some(name) = &self.config.report_into {
            let reports: StringArray = (0..batch.num_rows()).map(|row| Some(runs.report(row))).collect();
            change.add.push((name.clone(), Arc::new(reports)));
        }
        Ok(change)
    }
}

/// The verdicts of a batch's runs, read back from its result columns.
pub(super) struct Runs<'a> {
    success: &'a BooleanArray,
    results: Vec<(&'a str, &'a StringArray)>,
}

impl<'a> Runs<'a> {
    pub(super) fn of(batch: &'a RecordBatch, tests: &'a [String]) -> Result<Self> {
        let success = batch
            .column_by_name(SUCCESS)
            .and_then(|column| column.as_any().downcast_ref::<BooleanArray>())
            .ok_or_else(|| Error::usage(format!("there is no boolean column `{SUCCESS}`")))?;
        let results = tests
            .iter()
            .map(|tests| Ok((tests.as_str(), strings(batch, &result_column(tests))?)))
            .collect::<Result<_>>()?;
        Ok(Self { success, results })
    }

    /// The verdict of one run. `None` when the column holds something else.
    pub(super) fn verdict(&self, run: usize, row: usize) -> Option<Verdict> {
        let (_, column) = self.results.get(run)?;
        serde_json::from_str(column.value(row)).ok()
    }

    /// What the runs of `row` came to, in words.
    fn report(&self, row: usize) -> String {
        let runs = self.results.iter().enumerate().map(|(run, (tests, _))| match self.verdict(run, row) {
            Some(verdict) => format!("{tests}: {}{}", verdict.outcome.name(), told(&verdict)),
            None => format!("{tests}: no verdict"),
        });
        runs.collect::<Vec<_>>().join("\n")
    }

    /// Why `row` cannot stay: its first run that did not pass.
    pub(super) fn failure(&self, row: usize) -> Option<Rejection> {
        if self.success.value(row) {
            return None;
        }
        for (run, (tests, _)) in self.results.iter().enumerate() {
            match self.verdict(run, row) {
                Some(verdict) if verdict.outcome == Outcome::Passed => {}
                Some(verdict) => {
                    let reason = verdict.outcome.name().to_owned();
                    return Some(Rejection {
                        row,
                        reason,
                        detail: format!("{tests}: {}", explain(&verdict)),
                    });
                }
                None => {
                    let detail = format!("{tests}: its result is not a verdict");
                    return Some(Rejection { row, reason: "bad_result".into(), detail });
                }
            }
        }
        Some(Rejection { row, reason: "not_successful".into(), detail: "`success` is false".into() })
    }
}

/// How a program ended and the end of what it printed.
fn told(verdict: &Verdict) -> String {
    let exit = verdict.exit_code.map_or(String::new(), |code| format!(", exit code {code}"));
    let printed =
        [("stdout", &verdict.stdout), ("stderr", &verdict.stderr)].map(|(name, text)| match text.trim() {
            "" => format!(", {name} is empty"),
            text => format!(", {name} ends with:\n{}", tail(text, REPORTED_CHARS)),
        });
    exit + &printed.concat()
}

/// The last `chars` characters of `text`.
fn tail(text: &str, chars: usize) -> &str {
    &text[text.char_indices().rev().nth(chars - 1).map_or(0, |(at, _)| at)..]
}

/// A verdict in a sentence: the reason, and the last lines of what the program or its compiler said.
pub(super) fn explain(verdict: &Verdict) -> String {
    let said = [&verdict.compile_message, &verdict.stderr, &verdict.stdout];
    let said = said.into_iter().find(|text| !text.trim().is_empty()).map(|text| text.trim()).unwrap_or("");
    match (verdict.reason.as_str(), tail(said, 400)) {
        ("", said) => said.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, said) => format!("{reason}: {said}"),
    }
}
