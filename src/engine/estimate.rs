//! What a run will cost, in tokens, USD and hours, reckoned stage by stage.
//!
//! The prompts of the first model stage are rendered and counted. Everything after it depends on answers that are not there
//! yet: it is reckoned from the answers that the run directory has (a pilot's, an interrupted run's), and without these
//! from the bundled figures in `data/estimate.toml`.

mod figures;
mod observed;
mod prompts;
mod sample;

use std::collections::BTreeMap;

use serde::Serialize;

pub use figures::Figures;
pub use observed::Observed;
pub use prompts::FirstPrompts;
pub use sample::sample;

use super::counts::Counts;
use super::spending::Prices;
use crate::error::{Result, Tokens};
use crate::llm::tokens::Tokenizer;
use crate::plan::Plan;
use crate::stages::{Resource, Stage, Work};

/// Answers that a figure is worth reckoning from.
pub const ENOUGH: u64 = 5;
/// How much less and more than the bundled figures a model may say.
const GUESS: (f64, f64) = (0.5, 2.0);
/// How much less and more than by the bundled figures may be kept.
const GUESS_KEPT: (f64, f64) = (0.8, 1.2);

/// A number that is not known exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Range {
    /// Hardly less than this.
    pub low: f64,
    /// Most likely.
    pub likely: f64,
    /// Hardly more than this.
    pub high: f64,
}

impl Range {
    /// A number that is known.
    pub fn exact(value: f64) -> Self {
        Self { low: value, likely: value, high: value }
    }

    fn times(self, other: Self) -> Self {
        Self { low: self.low * other.low, likely: self.likely * other.likely, high: self.high * other.high }
    }

    fn by(self, factor: f64) -> Self {
        self.times(Self::exact(factor))
    }

    fn plus(self, other: Self) -> Self {
        Self { low: self.low + other.low, likely: self.likely + other.likely, high: self.high + other.high }
    }

    fn around(value: f64, (low, high): (f64, f64)) -> Self {
        Self { low: value * low, likely: value, high: value * high }
    }

    fn at_most(self, most: f64) -> Self {
        Self { low: self.low.min(most), likely: self.likely.min(most), high: self.high.min(most) }
    }
}

/// What one stage will take.
#[derive(Debug, Clone, Serialize)]
pub struct StageEstimate {
    /// Stage name.
    pub stage: String,
    /// Whether it asks the model; otherwise the sandbox.
    pub model: bool,
    /// Requests to the model, or programs run.
    pub requests: Range,
    /// Tokens of prompts.
    pub prompt_tokens: Range,
    /// Tokens of replies.
    pub completion_tokens: Range,
    /// USD; `None` when the price is not known.
    pub usd: Option<Range>,
    /// Hours at the parallelism of the run.
    pub hours: Range,
    /// What it was reckoned from.
    pub basis: String,
}

/// What a run will take.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// Its stages that ask something, in order.
    pub stages: Vec<StageEstimate>,
    /// Tokens of prompts.
    pub prompt_tokens: Range,
    /// Tokens of replies.
    pub completion_tokens: Range,
    /// USD; `None` when a price is not known.
    pub usd: Option<Range>,
    /// Hours: stages work side by side, so that the busier of model and sandbox decides.
    pub hours: Range,
    /// Rows that will come out at the end.
    pub rows: Range,
}

/// Everything that an estimate is made of.
pub struct Question<'a> {
    /// What will be run.
    pub plan: &'a Plan,
    /// The first stage's prompts, counted.
    pub first: FirstPrompts,
    /// Rows that answers at hand were given to, and what became of them.
    pub counts: &'a Counts,
    /// Answers at hand, by stage.
    pub observed: &'a BTreeMap<String, Observed>,
    /// What stands in for answers that are missing.
    pub figures: &'a Figures,
    /// Prices by stage.
    pub prices: &'a Prices,
    /// Model calls at once.
    pub model_parallel: usize,
    /// Programs at once.
    pub sandbox_parallel: usize,
}

/// Reckons what a run takes.
///
/// # Errors
/// A prompt stage that cannot be rendered at all: a defect of the pipeline.
pub fn estimate(question: &Question<'_>) -> Result<Estimate> {
    let all = question.first.rows as f64;
    let mut rows = Range::exact(all);
    let mut stages = Vec::new();
    let mut prompt: Option<&Stage> = None;
    for stage in &question.plan.stages {
        match stage.requests {
            Some((Resource::Model, per_row)) => {
                stages.push(question.model(stage, prompt, rows.by(per_row as f64))?);
            }
            Some((Resource::Sandbox, per_row)) => {
                stages.push(question.sandbox(stage, rows.by(per_row as f64)));
            }
            None => {}
        }
        if matches!(stage.work, Work::Derived(_)) {
            prompt = Some(stage);
        }
        rows = rows.times(question.kept(stage)).at_most(all);
    }
    let sum = |of: fn(&StageEstimate) -> Range| stages.iter().map(of).fold(Range::default(), Range::plus);
    let hours = |model: bool| {
        let of_one = stages.iter().filter(|stage| stage.model == model).map(|stage| stage.hours);
        of_one.fold(Range::default(), Range::plus)
    };
    let (model, sandbox) = (hours(true), hours(false));
    Ok(Estimate {
        prompt_tokens: sum(|stage| stage.prompt_tokens),
        completion_tokens: sum(|stage| stage.completion_tokens),
        usd: stages
            .iter()
            .filter(|stage| stage.model)
            .map(|stage| stage.usd)
            .try_fold(Range::default(), |sum, usd| usd.map(|usd| sum.plus(usd))),
        hours: Range {
            low: model.low.max(sandbox.low),
            likely: model.likely.max(sandbox.likely),
            high: model.high.max(sandbox.high),
        },
        rows,
        stages,
    })
}

impl Question<'_> {
    fn model(&self, stage: &Stage, prompt: Option<&Stage>, requests: Range) -> Result<StageEstimate> {
        let observed = self.observed.get(&*stage.name).filter(|observed| observed.replies() >= ENOUGH);
        let is_first = self.first.stage.as_deref() == Some(&*stage.name);
        let figures = self.figures.of(&stage.name);
        let whole = self.first.rows;
        let (completions, seconds, basis) = match observed {
            Some(observed) => (
                observed.completion.mean(whole),
                observed.latency_ms.mean(whole).by(1e-3),
                format!("{} replies of its own", observed.replies()),
            ),
            None => {
                let completion = Range::around(figures.reply, GUESS);
                let seconds = completion.by(1.0 / self.figures.tokens_per_second());
                let from = if self.figures.knows(&stage.name) { "bundled replies" } else { "a guess" };
                (completion, seconds.plus(Range::exact(self.figures.start_seconds())), from.to_owned())
            }
        };
        let (prompts, basis) = match (is_first, observed) {
            (true, observed) => {
                let ratio = observed.map_or(1.0, |observed| self.first.ratio(observed));
                let mean = self.first.mean().by(ratio);
                (mean, format!("{}; {basis}", self.first.how()))
            }
            (false, Some(observed)) => (observed.prompt.mean(whole), basis),
            (false, None) => {
                let template = prompt.map(|prompt| self.first.template_tokens(prompt)).transpose()?;
                let contents = Range::around(figures.contents, GUESS);
                (
                    contents.plus(Range::exact(template.unwrap_or_default())),
                    format!("template counted; {basis}"),
                )
            }
        };
        let (prompt_tokens, completion_tokens) = (requests.times(prompts), requests.times(completions));
        let usd = self.prices.get(&*stage.name).map(|price| {
            let usd = |of: fn(Range) -> f64| {
                let (prompt, completion) = (of(prompt_tokens) as u64, of(completion_tokens) as u64);
                // What an endpoint will have cached is not known: nothing is taken off for it.
                price.of(Tokens { prompt, cached: 0, completion })
            };
            Range {
                low: usd(|range| range.low),
                likely: usd(|range| range.likely),
                high: usd(|range| range.high),
            }
        });
        let parallel = (self.model_parallel.max(1) as f64).min(requests.likely.max(1.0));
        let hours = requests.times(seconds).by(1.0 / 3600.0 / parallel);
        let stage = stage.name.to_string();
        Ok(StageEstimate {
            stage,
            model: true,
            requests,
            prompt_tokens,
            completion_tokens,
            usd,
            hours,
            basis,
        })
    }

    fn sandbox(&self, stage: &Stage, requests: Range) -> StageEstimate {
        let tally = self.counts.stage(&stage.name);
        let per_row = stage.requests.map_or(1, |(_, per_row)| per_row).max(1) as u64;
        let programs = (tally.rows_in - tally.pending.min(tally.rows_in)) * per_row;
        let (seconds, basis) = if programs >= ENOUGH && tally.busy_ms > 0 {
            let seconds = tally.busy_ms as f64 / 1000.0 / programs as f64;
            (Range::around(seconds, (0.8, 1.25)), format!("{programs} runs of its own"))
        } else {
            (Range::around(self.figures.of(&stage.name).seconds, GUESS), "bundled programs".to_owned())
        };
        let parallel = (self.sandbox_parallel.max(1) as f64).min(requests.likely.max(1.0));
        StageEstimate {
            stage: stage.name.to_string(),
            model: false,
            requests,
            prompt_tokens: Range::default(),
            completion_tokens: Range::default(),
            usd: Some(Range::default()),
            hours: requests.times(seconds).by(1.0 / 3600.0 / parallel),
            basis,
        }
    }

    /// The share of the rows that come to `stage` and go on.
    fn kept(&self, stage: &Stage) -> Range {
        let tally = self.counts.stage(&stage.name);
        let decided = tally.kept + tally.rejected_rows();
        if decided < ENOUGH {
            // Only what judges rows loses any.
            let share = self.figures.kept(&stage.name, stage.op);
            let guess = if share < 1.0 { GUESS_KEPT } else { (1.0, 1.0) };
            return Range::around(share, guess).at_most(1.0);
        }
        let (n, share) = (decided as f64, tally.kept as f64 / decided as f64);
        // As if two more had been decided, one each way: 12 of 12 does not mean all of a million.
        let smoothed = (tally.kept as f64 + 1.0) / (n + 2.0);
        let error = 2.0 * (smoothed * (1.0 - smoothed) / n).sqrt() * observed::rest(decided, self.first.rows);
        Range { low: (share - error).max(0.0), likely: share, high: (share + error).min(1.0) }
    }
}

/// The vocabulary that the prompts of `model` are counted with, and how well it fits.
pub fn counted_with(model: &str) -> String {
    let tokenizer = Tokenizer::of(model);
    match Tokenizer::is_own(model) {
        true => tokenizer.to_string(),
        false => format!("{tokenizer}, standing in for the model's own vocabulary"),
    }
}
