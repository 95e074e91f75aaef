//! What the calls of a run come to, live: one collector that the progress display, `run.json`, the metrics endpoint and
//! the log all read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::events::{Event, Observer};
use super::spending::{Prices, Spending, usd};
use crate::error::Tokens;
use crate::stages::Resource;

/// Rates are those of this many seconds past.
const WINDOW: u64 = 10;
/// Longest time that is told exactly, ms: a day.
const LONGEST_MS: u64 = 86_400_000;

/// Counts and times of the calls of one invocation, and what the run directory has spent.
pub struct Metrics {
    started: Instant,
    prices: Prices,
    state: Mutex<State>,
}

struct State {
    stages: BTreeMap<String, Stage>,
    spending: Spending,
}

/// The calls of one stage.
struct Stage {
    resource: Resource,
    in_flight: u64,
    in_flight_max: u64,
    answered: u64,
    failed: u64,
    retries: BTreeMap<&'static str, u64>,
    tokens: Tokens,
    /// Times of answered calls, ms; two digits are exact.
    took: Option<Histogram<u64>>,
    recent: VecDeque<Second>,
}

/// What was answered in one second since the start.
struct Second {
    at: u64,
    answered: u64,
    tokens: u64,
}

/// The calls of one stage at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageCalls {
    /// Stage name.
    pub stage: String,
    /// Whether it asks the model; otherwise the sandbox.
    pub model: bool,
    /// Calls in flight.
    pub in_flight: u64,
    /// Most calls in flight at once.
    pub in_flight_max: u64,
    /// Calls answered.
    pub answered: u64,
    /// Calls that failed, those tried again included.
    pub failed: u64,
    /// Calls tried again, by cause.
    pub retries: BTreeMap<String, u64>,
    /// What the calls were charged, failed ones included.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// What the tokens cost, USD; `None` when the price is not known.
    pub usd: Option<f64>,
    /// Time that half of the answered calls took at most, ms.
    pub p50_ms: u64,
    /// Time that 99 of 100 answered calls took at most, ms.
    pub p99_ms: u64,
    /// Answers a second.
    pub answers_per_s: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
}

impl Metrics {
    /// A collector for a run that has spent `earlier` before.
    pub fn new(prices: Prices, earlier: Spending) -> Self {
        let state = Mutex::new(State { stages: BTreeMap::new(), spending: earlier });
        Self { started: Instant::now(), prices, state }
    }

    /// The calls of each stage that has made any, by name. Rates are those of the last seconds.
    pub fn now(&self) -> Vec<StageCalls> {
        let second = self.started.elapsed().as_secs();
        let since = |stage: &Stage| {
            let recent = stage.recent.iter().filter(|past| past.at + WINDOW > second);
            let (answered, tokens) =
                recent.fold((0, 0), |sum, past| (sum.0 + past.answered, sum.1 + past.tokens));
            let seconds = WINDOW.min(second + 1) as f64;
            (answered as f64 / seconds, tokens as f64 / seconds)
        };
        self.each(since)
    }

    /// The calls of each stage that has made any, by name. Rates are those of the whole time.
    pub fn total(&self) -> Vec<StageCalls> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.each(|stage| (stage.answered as f64 / seconds, stage.tokens.total() as f64 / seconds))
    }

    fn each(&self, rates: impl Fn(&Stage) -> (f64, f64)) -> Vec<StageCalls> {
        let state = self.lock();
        let calls = state.stages.iter().map(|(name, stage)| {
            let (answers_per_s, tokens_per_s) = rates(stage);
            let quantile = |q| stage.took.as_ref().map_or(0, |took| took.value_at_quantile(q));
            StageCalls {
                stage: name.clone(),
                model: stage.resource == Resource::Model,
                in_flight: stage.in_flight,
                in_flight_max: stage.in_flight_max,
                answered: stage.answered,
                failed: stage.failed,
                retries: stage.retries.iter().map(|(cause, n)| ((*cause).to_owned(), *n)).collect(),
                tokens: stage.tokens,
                usd: usd(stage.tokens, self.prices.get(name)),
                p50_ms: quantile(0.5),
                p99_ms: quantile(0.99),
                answers_per_s,
                tokens_per_s,
            }
        });
        calls.collect()
    }

    /// What the run directory has spent so far, earlier invocations included.
    pub fn spending(&self) -> Spending {
        self.lock().spending.clone()
    }

    /// What the run directory has spent so far: tokens, and USD where all prices are known.
    pub fn spent(&self) -> (Tokens, Option<f64>) {
        let state = self.lock();
        (state.spending.tokens(None), state.spending.usd(None, &self.prices))
    }

    /// The prices that amounts are reckoned with.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stage(&mut self, name: &str, resource: Resource) -> &mut Stage {
        // Looked up by reference first: names are owned only once.
        if !self.stages.contains_key(name) {
            self.stages.insert(name.to_owned(), Stage::new(resource));
        }
        self.stages.entry(name.to_owned()).or_insert_with(|| Stage::new(resource))
    }
}

impl Stage {
    fn new(resource: Resource) -> Self {
        Self {
            resource,
            in_flight: 0,
            in_flight_max: 0,
            answered: 0,
            failed: 0,
            retries: BTreeMap::new(),
            tokens: Tokens::default(),
            took: Histogram::new_with_max(LONGEST_MS, 2).ok(),
            recent: VecDeque::new(),
        }
    }

    fn answered(&mut self, second: u64, took: Duration, tokens: Tokens) {
        self.answered += 1;
        if let Some(histogram) = &mut self.took {
            histogram.saturating_record(took.as_millis() as u64);
        }
        if self.recent.back().is_none_or(|last| last.at != second) {
            self.recent.push_back(Second { at: second, answered: 0, tokens: 0 });
            if self.recent.len() as u64 > WINDOW {
                self.recent.pop_front();
            }
        }
        if let Some(last) = self.recent.back_mut() {
            last.answered += 1;
            last.tokens += tokens.total();
        }
    }
}

impl Observer for Metrics {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Asking { stage, resource } => {
                let mut state = self.lock();
                let stage = state.stage(stage, *resource);
                stage.in_flight += 1;
                stage.in_flight_max = stage.in_flight_max.max(stage.in_flight);
            }
            Event::Asked { stage: name, language, resource, took, tokens, fault } => {
                let second = self.started.elapsed().as_secs();
                let mut state = self.lock();
                let stage = state.stage(name, *resource);
                stage.in_flight = stage.in_flight.saturating_sub(1);
                stage.tokens += *tokens;
                match fault {
                    None => stage.answered(second, *took, *tokens),
                    Some(_) => stage.failed += 1,
                }
                match (resource, fault) {
                    (Resource::Model, None) => state.spending.add(name, language, *tokens),
                    (Resource::Model, Some(_)) if *tokens != Tokens::default() => {
                        state.spending.add_failed(name, language, *tokens);
                    }
                    _ => {}
                }
            }
            Event::Retry { stage, fault, .. } => {
                if let Some(stage) = self.lock().stages.get_mut(*stage) {
                    *stage.retries.entry(fault.cause).or_default() += 1;
                }
            }
            Event::Stage { .. } | Event::Deciding { .. } | Event::Found(_) | Event::Reused(_) => {}
            Event::Pending { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Fault, Recovery};
    use crate::llm::pricing::Price;

    const STAGE: &str = "a.reply";

    fn ask(metrics: &Metrics, ms: u64, completion: u64, fault: Option<&Fault>) {
        let resource = Resource::Model;
        metrics.event(&Event::Asking { stage: STAGE, resource });
        let tokens = Tokens { prompt: 0, cached: 0, completion };
        let took = Duration::from_millis(ms);
        metrics.event(&Event::Asked { stage: STAGE, language: "go", resource, took, tokens, fault });
    }

    #[test]
    fn calls_add_up_and_percentiles_are_those_of_the_answered() {
        let price = Price { input: 1.0, cached_input: 1.0, output: 2.0, source: "test".into() };
        let mut earlier = Spending::default();
        earlier.add(STAGE, "go", Tokens { prompt: 0, cached: 0, completion: 1_000_000 });
        let metrics = Metrics::new(Prices::from([(STAGE.to_owned(), price)]), earlier);
        (1..=100).for_each(|n| ask(&metrics, n, 10, None));
        let fault = Fault::new(Recovery::Retry, "timeout", "late");
        ask(&metrics, 60_000, 0, Some(&fault));
        ask(&metrics, 60_000, 5, Some(&fault));
        metrics.event(&Event::Retry { stage: STAGE, fault: &fault, wait: Duration::ZERO });
        metrics.event(&Event::Asking { stage: STAGE, resource: Resource::Model });

        let now = metrics.now().remove(0);
        assert_eq!((now.in_flight, now.in_flight_max, now.answered, now.failed), (1, 1, 100, 2));
        assert_eq!((now.p50_ms, now.p99_ms, now.retries["timeout"]), (50, 99, 1));
        assert_eq!((now.tokens.completion, now.usd), (1005, Some(0.002_01)));
        assert!(now.answers_per_s >= 50.0 && now.tokens_per_s >= 500.0, "{now:?}");
        let (tokens, usd) = metrics.spent();
        assert_eq!((tokens.completion, usd), (1_001_005, Some(2.002_01)));
        assert_eq!(metrics.spending().stages[STAGE]["go"].failed.completion, 5);
    }

    #[test]
    fn a_call_longer_than_a_day_is_a_day() {
        let metrics = Metrics::new(Prices::new(), Spending::default());
        ask(&metrics, LONGEST_MS * 3, 1, None);
        let total = metrics.total().remove(0);
        assert!(total.p99_ms >= LONGEST_MS && total.usd.is_none(), "{total:?}");
    }
}
