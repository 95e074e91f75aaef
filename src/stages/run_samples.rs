//! `run_samples`: takes the program out of each of a row's sampled answers and runs it with the row's tests.
//!
//! Reads the column that `model` writes with `samples_into`, and writes another of as many JSON objects: `code`, `passed` and
//! `outcome`, the sandbox's or the reason why there was nothing to run. An answer without a program is an answer that did
//! not pass; one whose request was refused is none. Nor is a fault of the sandbox: the row is pending until all its programs have a verdict.

use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::registry::{Context, Spec};
use super::sampled::{self, Sampled};
use super::{Answer, Change, Effect, Rejection, Request, Resource, Stage, Work};
use crate::error::{Error, Result};
use crate::frame::schema::{LANGUAGE, strings};
use crate::sandbox::job::{Job, LimitOverrides, Outcome};
use crate::text::blocks::{blocks, unfence};

/// The outcome of an answer in which no code is found.
const NO_CODE: &str = "no_code";

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Column with the sampled answers, which is dropped.
    answers: String,
    /// Column with the tests that every program is run with.
    tests: String,
    /// Column for what became of the answers.
    #[serde(default = "samples")]
    into: String,
    /// Answers of a row that are run, the first ones.
    #[serde(default = "ten")]
    at_most: usize,
    /// Limits that differ from the language's.
    #[serde(default)]
    limits: LimitOverrides,
    /// Whether a pass must be earned: see [`Job::strict`].
    #[serde(default = "yes")]
    strict: bool,
}

fn samples() -> String {
    "samples".to_owned()
}

fn ten() -> usize {
    10
}

fn yes() -> bool {
    true
}

/// What became of one answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ran {
    /// The program, where the answer has one.
    pub code: Option<String>,
    /// Whether it passed all tests.
    pub passed: bool,
    /// Outcome of its run, or why there was none.
    pub outcome: String,
}

struct RunSamples {
    stage: String,
    config: Config,
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    if config.at_most == 0 {
        return Err(Error::usage(format!("stage `{}`: `at_most` is 0", spec.name))
            .hint("leave it out, or say how many answers of a row are to be run"));
    }
    let sandbox = context.sandbox.clone();
    let limits = serde_json::to_string(&config.limits)
        .map_err(|error| Error::usage(format!("stage `{}`: limits: {error}", spec.name)))?;
    let own = format!(
        "{} {} {} {} strict={}",
        config.answers, config.tests, config.into, config.at_most, config.strict
    );
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "run_samples",
        needs: vec![LANGUAGE.to_owned(), config.answers.clone(), config.tests.clone()],
        adds: vec![config.into.clone()],
        drops: vec![config.answers.clone()],
        requests: Some((Resource::Sandbox, config.at_most)),
        fan_out: 1,
        depends: Box::new(move |language| {
            let identity = sandbox.as_ref().map(|sandbox| sandbox.identity(language)).unwrap_or_default();
            vec![own.clone(), limits.clone(), identity]
        }),
        work: Work::Effect(Box::new(RunSamples { stage: spec.name.clone(), config })),
    })
}

/// The program of an answer: its first fenced block that is not blank.
fn program(answer: &Sampled) -> Option<String> {
    let mut bodies = blocks(&answer.output).map(|block| block.body);
    bodies.find(|body| !body.trim().is_empty() && answer.problem.is_none()).map(|body| body.into_owned())
}

impl RunSamples {
    /// The answers of every row that are run.
    fn answers(&self, batch: &RecordBatch) -> Result<Vec<Result<Vec<Sampled>, String>>> {
        let mut rows = sampled::read(batch, &self.config.answers)?;
        for answers in rows.iter_mut().flatten() {
            answers.retain(|answer| !answer.is_refused());
            answers.truncate(self.config.at_most);
        }
        Ok(rows)
    }
}

impl Effect for RunSamples {
    fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>> {
        let languages = strings(batch, LANGUAGE)?;
        let tests = strings(batch, &self.config.tests)?;
        let rows = self.answers(batch)?.into_iter().enumerate().map(|(row, answers)| {
            let job = |source| {
                let job = Job {
                    language: languages.value(row).to_owned(),
                    source,
                    tests: Some(unfence(tests.value(row)).into_owned()),
                    limits: self.config.limits,
                    strict: self.config.strict,
                    stdin: String::new(),
                    variation: 0,
                };
                // Nothing but the outcome is kept of these runs; what they printed is in the journal.
                Request::Sandbox { job: Box::new(job), keep_bytes: 0 }
            };
            answers.unwrap_or_default().iter().filter_map(program).map(job).collect()
        });
        Ok(rows.collect())
    }

    fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change> {
        let mut change = Change::default();
        let mut texts = Vec::with_capacity(batch.num_rows());
        for (row, (sampled, verdicts)) in self.answers(batch)?.into_iter().zip(answers).enumerate() {
            let mut outcomes = verdicts.iter().filter_map(|answer| match answer {
                Answer::Sandbox(verdict) => Some(verdict.outcome),
                Answer::Model(_) => None,
            });
            let sampled = sampled.unwrap_or_else(|detail| {
                change.rejected.push(Rejection { row, reason: "bad_samples".into(), detail });
                Vec::new()
            });
            let ran: Vec<Ran> = sampled.iter().map(|answer| ran(answer, &mut outcomes)).collect();
            texts.push(sampled::text(&ran)?);
        }
        change.add.push((self.config.into.clone(), sampled::column(&self.stage, texts)?));
        Ok(change)
    }
}

/// What became of `answer`; the outcomes are those of the row's programs, in order.
fn ran(answer: &Sampled, outcomes: &mut impl Iterator<Item = Outcome>) -> Ran {
    let Some(code) = program(answer) else {
        let outcome = answer.problem.clone().unwrap_or_else(|| NO_CODE.to_owned());
        return Ran { code: None, passed: false, outcome };
    };
    let outcome = outcomes.next().unwrap_or(Outcome::UnknownError);
    Ran { code: Some(code), passed: outcome == Outcome::Passed, outcome: outcome.name().to_owned() }
}
