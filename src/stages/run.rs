//! `run`: splices the solution with each test column and runs the programs in the sandbox.
//!
//! Adds `success` and, for every test column such as `full_test_func`, a result column `full_test_result` with
//! the verdict as JSON text. Judging the verdicts is left to `capture` and `keep`.
//!
//! With `repeat = N` every program is run N times, each time in other surroundings (see [`Job::variation`]). Rows whose runs
//! end differently, or print something else, are rejected as `flaky`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::{Answer, Change, Effect, Rejection, Request, Resource, Stage, Work};
use crate::error::{Error, Result};
use crate::frame::schema::{LANGUAGE, strings};
use crate::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use crate::sandbox::repeat::difference;
use crate::text::blocks::unfence;

/// Column that says whether all runs of the row PASSED.
pub const SUCCESS: &str = "success";

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Column with the solution, fenced or not.
    solution: String,
    /// Columns with tests; one run each.
    tests: Vec<String>,
    /// Limits that differ from the language's.
    #[serde(default)]
    limits: LimitOverrides,
    /// Whether a pass must be earned: see [`Job::strict`].
    #[serde(default = "yes")]
    strict: bool,
    /// How often each program is run.
    #[serde(default = "once")]
    repeat: u32,
}

fn yes() -> bool {
    true
}

fn once() -> u32 {
    1
}

/// Most runs of one program that a pipeline may ask for.
const MOST_RUNS: u32 = 20;

struct Run {
    config: Config,
    /// See [`Request::Sandbox`].
    keep_bytes: usize,
}

/// Least of a program's output to keep in frames, bytes: enough for people to see what it did.
const KEEP_BYTES: usize = 64 << 10;

/// The result column of a test column: `full_test_func` -> `full_test_result`.
pub fn result_column(tests: &str) -> String {
    format!("{}_result", tests.strip_suffix("_func").unwrap_or(tests))
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    if config.tests.is_empty() {
        return Err(Error::usage(format!("stage `{}`: `tests` names no column", spec.name))
            .hint("name the columns whose tests are to be run with the solution"));
    }
    if !(1..=MOST_RUNS).contains(&config.repeat) {
        return Err(Error::usage(format!("stage `{}`: `repeat` is {}", spec.name, config.repeat))
            .hint(format!("give a number of runs from 1 to {MOST_RUNS}")));
    }
    let results: Vec<String> = config.tests.iter().map(|tests| result_column(tests)).collect();
    let sandbox = context.sandbox.clone();
    let limits = serde_json::to_string(&config.limits)
        .map_err(|error| Error::usage(format!("stage `{}`: limits: {error}", spec.name)))?;
    let mut columns = format!("{} {:?} strict={}", config.solution, config.tests, config.strict);
    // Only where it is more than once: runs made before there were repetitions stay what they are.
    if config.repeat > 1 {
        columns += &format!(" repeat={}", config.repeat);
    }
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "run",
        needs: [&[LANGUAGE.to_owned(), config.solution.clone()], config.tests.as_slice()].concat(),
        adds: [&[SUCCESS.to_owned()], results.as_slice()].concat(),
        drops: vec![],
        requests: Some((Resource::Sandbox, config.tests.len() * config.repeat as usize)),
        fan_out: 1,
        depends: Box::new(move |language| {
            let identity = sandbox.as_ref().map(|sandbox| sandbox.identity(language)).unwrap_or_default();
            vec![columns.clone(), limits.clone(), identity]
        }),
        work: Work::Effect(Box::new(Run { config, keep_bytes: context.max_output_bytes.max(KEEP_BYTES) })),
    })
}

impl Effect for Run {
    fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>> {
        let languages = strings(batch, LANGUAGE)?;
        let solutions = strings(batch, &self.config.solution)?;
        let tests = self.config.tests.iter().map(|name| strings(batch, name)).collect::<Result<Vec<_>>>()?;
        let rows = (0..batch.num_rows()).map(|row| {
            let request = |variation: u32, tests: &StringArray| {
                let job = Job {
                    language: languages.value(row).to_owned(),
                    source: unfence(solutions.value(row)).into_owned(),
                    tests: Some(unfence(tests.value(row)).into_owned()),
                    limits: self.config.limits,
                    strict: self.config.strict,
                    stdin: String::new(),
                    variation,
                };
                Request::Sandbox { job: Box::new(job), keep_bytes: self.keep_bytes }
            };
            // Repetitions come last: a larger `repeat` finds the runs of a smaller one in the journal.
            let runs = |variation| tests.iter().map(move |tests| request(variation, tests));
            (0..self.config.repeat).flat_map(runs).collect()
        });
        Ok(rows.collect())
    }

    fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change> {
        let passed = |answer: &Answer| matches!(answer, Answer::Sandbox(v) if v.outcome == Outcome::Passed);
        let success: BooleanArray = answers
            .iter()
            .map(|runs| Some(runs.len() >= self.config.tests.len() && runs.iter().all(passed)))
            .collect();
        let mut add: Vec<(String, ArrayRef)> = vec![(SUCCESS.into(), Arc::new(success))];
        for (run, tests) in self.config.tests.iter().enumerate() {
            let verdicts = answers.iter().map(|runs| match runs.get(run) {
                Some(Answer::Sandbox(verdict)) => serde_json::to_string(verdict).map(Some),
                _ => Ok(None),
            });
            let verdicts: Vec<Option<String>> = verdicts.collect::<Result<_, _>>().map_err(|error| {
                Error::usage(format!("a verdict of `{tests}` cannot be written as JSON: {error}"))
            })?;
            let bytes: usize = verdicts.iter().flatten().map(String::len).sum();
            if i32::try_from(bytes).is_err() {
                return Err(Error::usage(format!(
                    "the runs of `{tests}` printed {bytes} bytes in one partition"
                ))
                .hint(
                    "give a smaller --max-output-bytes, or start a new run with a smaller --partition-size",
                ));
            }
            let column = StringArray::from(verdicts);
            debug_assert_eq!(column.len(), batch.num_rows());
            add.push((result_column(tests), Arc::new(column)));
        }
        let flaky = answers.iter().enumerate().filter_map(|(row, runs)| self.flaky(row, runs));
        Ok(Change { add, rejected: flaky.collect(), ..Change::default() })
    }
}

impl Run {
    /// Why a row is flaky: the first of its repeated runs that differs from the first run of the same program.
    fn flaky(&self, row: usize, runs: &[Answer]) -> Option<Rejection> {
        let verdict = |run: usize| match runs.get(run) {
            Some(Answer::Sandbox(verdict)) => Some(verdict),
            _ => None,
        };
        let tests = self.config.tests.len();
        (tests..runs.len()).find_map(|run| {
            let difference = unlike(verdict(run % tests)?, verdict(run)?)?;
            let (tests, number) = (&self.config.tests[run % tests], run / tests + 1);
            let detail = format!("{tests}: run {number} of {}: {difference}", self.config.repeat);
            Some(Rejection { row, reason: "flaky".to_owned(), detail })
        })
    }
}

/// What makes two runs of a program unlike. One that fails alike each time has failed, whatever it says.
fn unlike(first: &Verdict, other: &Verdict) -> Option<String> {
    let has_failed = first.outcome == other.outcome && first.outcome != Outcome::Passed;
    if has_failed { None } else { difference(first, other) }
}
