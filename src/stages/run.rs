//! `run`: splices the solution with each test column and runs the programs in the sandbox.
//!
//! Adds `success` and, for every test column such as `full_test_func`, a result column `full_test_result` with
//! the verdict as JSON text. Judging the verdicts is left to `capture` and `keep`.
//!
//! With `repeat = N` every program that passes is run N times, each time in other surroundings (see [`Job::variation`]). Rows
//! whose runs end differently, or print something else, are rejected as `flaky`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::{Answer, Change, Effect, MOST_ROUNDS, Rejection, Request, Resource, Stage, Work};
use crate::error::{Error, Result};
use crate::frame::schema::{LANGUAGE, strings};
use crate::sandbox::job::{Job, LimitOverrides, Outcome};
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

/// Most runs of one program that a pipeline may ask for: all but the first are follow-ups.
const MOST_RUNS: u32 = MOST_ROUNDS as u32;

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
        let tests = 0..self.config.tests.len();
        let row = |row| tests.clone().map(|run| self.request(batch, row, run, 0)).collect();
        (0..batch.num_rows()).map(row).collect()
    }

    /// A program that passed is run again until it has been run often enough, or is known to be flaky.
    fn follow_up(
        &self,
        batch: &RecordBatch,
        row: usize,
        request: usize,
        answers: &[Answer],
    ) -> Option<Request> {
        let repetition = u32::try_from(answers.len()).ok().filter(|done| *done < self.config.repeat)?;
        let all_passed = answers
            .iter()
            .all(|answer| matches!(answer, Answer::Sandbox(verdict) if verdict.outcome == Outcome::Passed));
        if !all_passed || first_difference(answers).is_some() {
            return None;
        }
        self.request(batch, row, request, repetition).ok()
    }

    fn fold_all(&self, batch: &RecordBatch, answers: Vec<Vec<Vec<Answer>>>) -> Result<Change> {
        let flaky = answers.iter().enumerate().filter_map(|(row, runs)| self.flaky(row, runs)).collect();
        // Repetitions only tell whether the first runs can be trusted.
        let first = |run: Vec<Answer>| run.into_iter().next();
        let firsts: Vec<Vec<Answer>> =
            answers.into_iter().map(|runs| runs.into_iter().filter_map(first).collect()).collect();
        Ok(Change { rejected: flaky, ..self.fold(batch, &firsts)? })
    }

    fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change> {
        let passed = |answer: &Answer| matches!(answer, Answer::Sandbox(v) if v.outcome == Outcome::Passed);
        let success: BooleanArray = answers
            .iter()
            .map(|runs| Some(runs.len() == self.config.tests.len() && runs.iter().all(passed)))
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
        Ok(Change { add, ..Change::default() })
    }
}

impl Run {
    /// The program of the solution and the `run`-th tests of a row, in the surroundings `variation`.
    fn request(&self, batch: &RecordBatch, row: usize, run: usize, variation: u32) -> Result<Request> {
        let job = Job {
            language: strings(batch, LANGUAGE)?.value(row).to_owned(),
            source: unfence(strings(batch, &self.config.solution)?.value(row)).into_owned(),
            tests: Some(unfence(strings(batch, &self.config.tests[run])?.value(row)).into_owned()),
            limits: self.config.limits,
            strict: self.config.strict,
            stdin: String::new(),
            variation,
        };
        Ok(Request::Sandbox { job: Box::new(job), keep_bytes: self.keep_bytes })
    }

    /// Why a row is flaky, if it is.
    fn flaky(&self, row: usize, runs: &[Vec<Answer>]) -> Option<Rejection> {
        let mut differences = runs.iter().zip(&self.config.tests).filter_map(|(answers, tests)| {
            let (number, what) = first_difference(answers)?;
            Some(format!("{tests}: run {number} of {}: {what}", self.config.repeat))
        });
        differences.next().map(|detail| Rejection { row, reason: "flaky".to_owned(), detail })
    }
}

/// The first run of a program that differs from the first, by its number from 1, and what differs.
fn first_difference(answers: &[Answer]) -> Option<(usize, String)> {
    let mut verdicts = answers.iter().enumerate().filter_map(|(number, answer)| match answer {
        Answer::Sandbox(verdict) => Some((number + 1, verdict)),
        Answer::Model(_) => None,
    });
    let (_, first) = verdicts.next()?;
    verdicts.find_map(|(number, verdict)| Some((number, difference(first, verdict)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(repeat: u32) -> Run {
        let tests = vec!["demo_test_func".to_owned(), "full_test_func".to_owned()];
        let solution = "canonical_solution".to_owned();
        let config = Config { solution, tests, limits: LimitOverrides::default(), strict: true, repeat };
        Run { config, keep_bytes: KEEP_BYTES }
    }

    fn answer(outcome: Outcome, stdout: &str) -> Answer {
        let verdict = serde_json::json!({
            "outcome": outcome, "stdout": stdout, "stderr": "", "exit_code": 0, "signal": null,
            "usage": { "wall_ms": 1, "cpu_ms": 1, "peak_rss_bytes": 1 }, "toolchain": "", "isolation": "",
        });
        Answer::Sandbox(serde_json::from_value(verdict).unwrap())
    }

    fn batch() -> RecordBatch {
        let names = ["language", "canonical_solution", "demo_test_func", "full_test_func"];
        let columns = names.map(|name| (name, Arc::new(StringArray::from(vec![name])) as ArrayRef));
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn only_what_passes_is_run_again_and_only_until_it_is_known_to_be_flaky() {
        let next = |repeat: u32, answers: &[Answer]| match run(repeat).follow_up(&batch(), 0, 1, answers)? {
            Request::Sandbox { job, .. } => Some((job.variation, job.tests.unwrap())),
            Request::Model { .. } => None,
        };
        let again = |variation| Some((variation, "full_test_func".to_owned()));
        let (one, other) = (|| answer(Outcome::Passed, "1"), || answer(Outcome::Passed, "2"));
        assert_eq!(next(1, &[one()]), None);
        assert_eq!((next(3, &[one()]), next(3, &[one(), one()])), (again(1), again(2)));
        assert_eq!(next(3, &[one(), one(), one()]), None);
        assert_eq!(next(3, &[one(), other()]), None);
        assert_eq!(next(3, &[answer(Outcome::TimeLimitExceeded, "1")]), None);
    }

    #[test]
    fn the_first_runs_are_what_is_kept_and_a_difference_in_any_rejects() {
        let passed = |stdout| answer(Outcome::Passed, stdout);
        let runs = vec![vec![vec![passed("a"), passed("a")], vec![passed("b"), passed("b"), passed("c")]]];
        let change = run(3).fold_all(&batch(), runs).unwrap();
        let rejection = Rejection {
            row: 0,
            reason: "flaky".into(),
            detail: "full_test_func: run 3 of 3: stdout differs from line 1 on: \"c\" instead of \"b\""
                .into(),
        };
        assert_eq!(change.rejected, [rejection]);
        let (_, result) = change.add.iter().find(|(name, _)| name == "full_test_result").unwrap();
        let result = result.as_any().downcast_ref::<StringArray>().unwrap();
        assert!(result.value(0).contains("\"stdout\":\"b\""), "{}", result.value(0));
    }
}
