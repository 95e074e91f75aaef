//! `adequacy`: runs the tests against wrong solutions, and rejects rows whose tests do not notice.
//!
//! Per row the sandbox runs, each with all test columns one after the other until one does not pass:
//!
//! - the solution itself: if it does not pass, the row leaves with the outcome as the reason; if it needs more than this
//!   stage's limits, nothing can be said, and the row stays;
//! - a stub of the solution, whose functions return constants: tests that pass it are `vacuous_tests`;
//! - up to `max_mutants` mutants of the solution. Those that compile are *tried*, and tried ones that do not pass are *killed*,
//!   whatever stopped them: a loop that no longer ends is as dead as a failed assertion. Tests that kill less than
//!   `threshold` of them are `weak_tests`.
//!
//! Adds `mutants_tried`, `mutants_killed` and `adequacy`, killed by tried, null where none were tried: in languages without a
//! grammar (see `data/mutate`), and for solutions that are too slow, or in which nothing can be made wrong. Some mutants mean the same as the
//! solution, and no test can kill them: a threshold near 1 rejects good tests.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, UInt32Array};
use serde::Deserialize;

use super::keep::explain;
use super::registry::{Context, Spec};
use super::{Answer, Change, Effect, MOST_ROUNDS, Rejection, Request, Resource, Stage, Work};
use crate::error::{Error, Result};
use crate::frame::schema::{LANGUAGE, strings};
use crate::sandbox::job::{Job, LimitOverrides, Outcome, Verdict};
use crate::text::blocks::unfence;
use crate::text::mutate::{Mutant, Mutators};

const TRIED: &str = "mutants_tried";
const KILLED: &str = "mutants_killed";
const ADEQUACY: &str = "adequacy";

/// Most mutants that a pipeline may ask for: each is a program to run.
const MOST_MUTANTS: usize = 200;

/// How much of a program's output to hand back, bytes: enough to say why the solution itself failed.
const KEEP_BYTES: usize = 4 << 10;

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Column with the solution, fenced or not.
    solution: String,
    /// Columns with tests; a wrong solution has to fail one of them.
    tests: Vec<String>,
    /// Most mutants of each solution.
    #[serde(default = "max_mutants")]
    max_mutants: usize,
    /// Which mutants, where there are more.
    #[serde(default)]
    seed: u64,
    /// Least share of mutants to kill, 0 to 1.
    #[serde(default = "threshold")]
    threshold: f64,
    /// Fewer mutants than this say too little to reject a row as `weak_tests`.
    #[serde(default = "min_tried")]
    min_tried: u32,
    /// Limits that differ from the language's. Mutants that loop for ever use all the CPU time there is.
    #[serde(default)]
    limits: LimitOverrides,
    /// Whether a pass must be earned: see [`Job::strict`].
    #[serde(default = "strict")]
    strict: bool,
}

fn max_mutants() -> usize {
    12
}

fn threshold() -> f64 {
    0.5
}

fn min_tried() -> u32 {
    4
}

fn strict() -> bool {
    true
}

struct Adequacy {
    config: Config,
    mutators: Arc<Mutators>,
}

/// The programs of one row: the solution, its stub where there is one, its mutants.
struct Programs {
    solution: String,
    stub: Option<String>,
    mutants: Vec<Mutant>,
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let refuse = |what: &str, hint: &str| {
        Err(Error::usage(format!("stage `{}`: {what}", spec.name)).hint(hint.to_owned()))
    };
    if config.tests.is_empty() {
        return refuse("`tests` names no column", "name the columns whose tests are to fail wrong solutions");
    }
    if config.tests.len() > MOST_ROUNDS {
        return refuse("`tests` names too many columns", "name at most 8");
    }
    if !(0.0..=1.0).contains(&config.threshold) {
        return refuse("`threshold` is a share of mutants", "give a number between 0 and 1");
    }
    if config.max_mutants > MOST_MUTANTS {
        return refuse("`max_mutants` is too large", "give at most 200: each is a program to run");
    }
    let mutators = Arc::new(Mutators::embedded()?);
    let (sandbox, known) = (context.sandbox.clone(), mutators.clone());
    let settings = format!(
        "{} {:?} {} {} {} {} {:?} strict={}",
        config.solution,
        config.tests,
        config.max_mutants,
        config.seed,
        config.threshold,
        config.min_tried,
        config.limits,
        config.strict
    );
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "adequacy",
        needs: [&[LANGUAGE.to_owned(), config.solution.clone()], config.tests.as_slice()].concat(),
        adds: [TRIED, KILLED, ADEQUACY].map(str::to_owned).to_vec(),
        drops: vec![],
        requests: Some((Resource::Sandbox, 2 + config.max_mutants)),
        fan_out: 1,
        depends: Box::new(move |language| {
            let identity = sandbox.as_ref().map(|sandbox| sandbox.identity(language)).unwrap_or_default();
            let mutator = known.get(language).map(|mutator| mutator.identity().to_owned());
            vec![settings.clone(), identity, mutator.unwrap_or_default()]
        }),
        work: Work::Effect(Box::new(Adequacy { config, mutators })),
    })
}

impl Adequacy {
    /// The programs of one row, the same each time.
    fn programs(&self, language: &str, solution: &str) -> Programs {
        let solution = unfence(solution).into_owned();
        let Some(mutator) = self.mutators.get(language) else {
            return Programs { solution, stub: None, mutants: Vec::new() };
        };
        let mutants = mutator.mutants(&solution, self.config.seed, self.config.max_mutants);
        Programs { stub: mutator.stub(&solution), mutants, solution }
    }

    fn request(&self, language: &str, source: &str, tests: &str) -> Request {
        let job = Job {
            language: language.to_owned(),
            source: source.to_owned(),
            tests: Some(unfence(tests).into_owned()),
            limits: self.config.limits,
            strict: self.config.strict,
            ..Job::default()
        };
        Request::Sandbox { job: Box::new(job), keep_bytes: KEEP_BYTES }
    }

    /// What the runs of one row say about its tests: tried, killed, and why the row leaves.
    fn judge(&self, row: usize, programs: &Programs, verdicts: &[&Verdict]) -> Judgement {
        let mut verdicts = verdicts.iter().copied();
        let mut judgement = Judgement::default();
        let mut reject = |reason: &str, detail: String| {
            judgement.rejection = Some(Rejection { row, reason: reason.to_owned(), detail });
        };
        match verdicts.next().map(|verdict| (verdict.outcome, verdict)) {
            Some((Outcome::Passed, _)) => {}
            // It passed before, with more.
            None | Some((Outcome::TimeLimitExceeded | Outcome::MemoryLimitExceeded, _)) => return judgement,
            Some((outcome, verdict)) => {
                reject(outcome.name(), format!("the solution itself: {}", explain(verdict)));
                return judgement;
            }
        }
        let stub = programs.stub.as_ref().and_then(|_| verdicts.next());
        if stub.is_some_and(|verdict| verdict.outcome == Outcome::Passed) {
            let tests = self.config.tests.join(", ");
            reject("vacuous_tests", format!("{tests}: a solution whose functions return constants passes"));
        }
        let mut survivor = None;
        for (mutant, verdict) in programs.mutants.iter().zip(verdicts) {
            match verdict.outcome {
                Outcome::CompilationError | Outcome::SyntaxError => {}
                Outcome::Passed => {
                    judgement.tried += 1;
                    survivor = survivor.or(Some(mutant));
                }
                _ => {
                    judgement.tried += 1;
                    judgement.killed += 1;
                }
            }
        }
        if let (None, Some(adequacy), Some(survivor)) = (&judgement.rejection, judgement.adequacy(), survivor)
            && adequacy < self.config.threshold
            && judgement.tried >= self.config.min_tried
        {
            let (killed, tried) = (judgement.killed, judgement.tried);
            let detail = format!("{killed} of {tried} mutants killed; one that passes: {survivor}");
            judgement.rejection = Some(Rejection { row, reason: "weak_tests".to_owned(), detail });
        }
        judgement
    }
}

#[derive(Default)]
struct Judgement {
    tried: u32,
    killed: u32,
    rejection: Option<Rejection>,
}

impl Judgement {
    fn adequacy(&self) -> Option<f64> {
        (self.tried > 0).then(|| f64::from(self.killed) / f64::from(self.tried))
    }
}

impl Effect for Adequacy {
    fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>> {
        let languages = strings(batch, LANGUAGE)?;
        let solutions = strings(batch, &self.config.solution)?;
        let tests = strings(batch, &self.config.tests[0])?;
        let rows = (0..batch.num_rows()).map(|row| {
            let programs = self.programs(languages.value(row), solutions.value(row));
            if programs.stub.is_none() && programs.mutants.is_empty() {
                return Vec::new();
            }
            let wrong = programs.mutants.iter().map(|mutant| &mutant.source);
            let sources = [&programs.solution].into_iter().chain(&programs.stub).chain(wrong);
            sources.map(|source| self.request(languages.value(row), source, tests.value(row))).collect()
        });
        Ok(rows.collect())
    }

    /// A program that passed the tests of one column is run with those of the next.
    fn follow_up(
        &self,
        batch: &RecordBatch,
        row: usize,
        request: usize,
        answers: &[Answer],
    ) -> Option<Request> {
        let Some(Answer::Sandbox(Verdict { outcome: Outcome::Passed, .. })) = answers.last() else {
            return None;
        };
        let column = self.config.tests.get(answers.len())?;
        let text = |name: &str| strings(batch, name).ok().map(|values| values.value(row));
        let (language, tests) = (text(LANGUAGE)?, text(column)?);
        let programs = self.programs(language, text(&self.config.solution)?);
        let wrong = programs.mutants.iter().map(|mutant| &mutant.source);
        let source = [&programs.solution].into_iter().chain(&programs.stub).chain(wrong).nth(request)?;
        Some(self.request(language, source, tests))
    }

    fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change> {
        let languages = strings(batch, LANGUAGE)?;
        let solutions = strings(batch, &self.config.solution)?;
        let judgements = answers.iter().enumerate().map(|(row, answers)| {
            let verdicts: Vec<&Verdict> = answers
                .iter()
                .filter_map(|answer| match answer {
                    Answer::Sandbox(verdict) => Some(verdict),
                    Answer::Model(_) => None,
                })
                .collect();
            match verdicts.is_empty() {
                true => Judgement::default(),
                false => {
                    self.judge(row, &self.programs(languages.value(row), solutions.value(row)), &verdicts)
                }
            }
        });
        let judgements: Vec<Judgement> = judgements.collect();
        let tried: UInt32Array = judgements.iter().map(|judgement| Some(judgement.tried)).collect();
        let killed: UInt32Array = judgements.iter().map(|judgement| Some(judgement.killed)).collect();
        let adequacy: Float64Array = judgements.iter().map(Judgement::adequacy).collect();
        let columns: [(&str, ArrayRef); 3] =
            [(TRIED, Arc::new(tried)), (KILLED, Arc::new(killed)), (ADEQUACY, Arc::new(adequacy))];
        Ok(Change {
            add: columns.into_iter().map(|(name, values)| (name.to_owned(), values)).collect(),
            rejected: judgements.into_iter().filter_map(|judgement| judgement.rejection).collect(),
            ..Change::default()
        })
    }
}
