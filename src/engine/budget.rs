//! The budget of a run: no call to the model is made that it cannot be expected to pay for.
//!
//! Before each attempt the budget sets aside what it expects the call to cost, and afterwards books what it did cost. A
//! call that does not fit beside those in flight waits for them; when none is in flight and it still does not fit, the
//! budget is spent and the run stops. What is spent beyond the cap is at most what the calls in flight cost more than
//! expected.
//!
//! Expected is the mean of the stage's calls so far, and for its first calls the worst: a token for every three bytes of
//! the prompt and as many as the reply may have.
//!
//! What a batch service was asked is *promised*: it stays set aside until its answer is found in the journal, and what
//! does not fit beside it is left for a later pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::spending::{Prices, Spending};
use super::stop::Stop;
use crate::error::{Error, Fault, Kind, Recovery, Tokens};
use crate::frame::key::Key;
use crate::llm::chat::ChatRequest;

/// Bytes that a token has at least, on average over a prompt.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens expected of a first reply that has no limit.
const UNLIMITED_REPLY: u64 = 4096;

/// What a run directory may spend in all. Earlier invocations count.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Caps {
    /// USD.
    pub usd: Option<f64>,
    /// Tokens of prompts and replies together.
    pub tokens: Option<u64>,
}

/// What there is to spend, and what of it is spent or set aside.
pub struct Budget {
    caps: Caps,
    prices: Prices,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Default)]
struct State {
    spent: Amount,
    aside: Amount,
    /// Calls that something is set aside for.
    in_flight: u64,
    /// What is set aside for requests that are in batches.
    promised: HashMap<Key, Amount>,
    /// Per stage.
    booked: HashMap<Arc<str>, Booked>,
}

/// Calls that were answered, the replies they gave, and what all that was charged.
#[derive(Default)]
struct Booked {
    calls: u64,
    replies: u64,
    tokens: Tokens,
}

#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    tokens: u64,
    usd: f64,
}

/// What is set aside for one call; given back when dropped without being settled.
pub struct Hold<'a> {
    budget: Option<&'a Budget>,
    stage: Arc<str>,
    key: Key,
    aside: Amount,
}

impl Budget {
    /// A budget of `caps`, of which `earlier` is spent already. A cap on USD counts only stages that have a price.
    pub fn new(caps: Caps, prices: Prices, earlier: &Spending) -> Self {
        let mut state = State::default();
        for stage in earlier.stages.keys() {
            let tokens = earlier.tokens(Some(stage));
            let usd = prices.get(stage).map_or(0.0, |price| price.of(tokens));
            state.spent = state.spent.plus(Amount { tokens: tokens.total(), usd });
        }
        Self { caps, prices, state: Mutex::new(state), settled: Notify::new() }
    }

    /// No budget: everything may be asked.
    pub fn unlimited() -> Self {
        Self::new(Caps::default(), Prices::default(), &Spending::default())
    }

    /// Sets aside what `request` is expected to cost, after waiting for calls in flight if need be. `count` is how many
    /// replies it asks for.
    ///
    /// # Errors
    /// The run is to stop, because the budget is spent or for another reason: `stop` then knows why. Batches have to come
    /// back before it is known whether there is room. The row stays pending.
    pub async fn admit(&self, request: &ChatRequest, count: u32, stop: &Stop) -> Result<Hold<'_>, Fault> {
        let hold = |budget, aside| Hold { budget, stage: request.stage.clone(), key: request.key, aside };
        if self.caps == Caps::default() {
            return Ok(hold(None, Amount::default()));
        }
        if let Some(asked_again) = self.take_promise(request.key) {
            return Ok(hold(Some(self), asked_again));
        }
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            // Whatever is settled from here on is noticed.
            settled.as_mut().enable();
            {
                let mut state = self.lock();
                let expected = self.expected(&state, request, count);
                if self.fits(state.spent.plus(state.aside).plus(expected)) {
                    state.aside = state.aside.plus(expected);
                    state.in_flight += 1;
                    return Ok(hold(Some(self), expected));
                }
                if !state.promised.is_empty() {
                    return Err(Fault::new(
                        Recovery::Pend,
                        "budget",
                        "what is in batches may cost all that is left of the budget",
                    ));
                }
                if state.in_flight == 0 {
                    stop.fail(self.spent(&state, expected));
                    return Err(stopped());
                }
            }
            tokio::select! {
                () = settled => {}
                () = stop.wait() => return Err(stopped()),
            }
        }
    }

    /// What is set aside for the request `key`, if that is in a batch: it becomes a call in flight again.
    fn take_promise(&self, key: Key) -> Option<Amount> {
        let mut state = self.lock();
        let aside = state.promised.remove(&key)?;
        state.in_flight += 1;
        Some(aside)
    }

    /// Books what a request of `stage` was charged if it was in a batch, now that its answer is there.
    pub fn redeem(&self, key: Key, stage: &Arc<str>, tokens: Tokens) {
        if self.caps != Caps::default()
            && let Some(aside) = self.take_promise(key)
        {
            Hold { budget: Some(self), stage: stage.clone(), key, aside }.settle(tokens, 1);
        }
    }

    fn expected(&self, state: &State, request: &ChatRequest, count: u32) -> Amount {
        let mut tokens = match state.booked.get(&request.stage) {
            Some(Booked { calls, replies, tokens }) => Tokens {
                prompt: tokens.prompt / calls,
                cached: tokens.cached / calls,
                completion: tokens.completion / replies,
            },
            None => {
                let bytes: usize = request.messages.iter().map(|message| message.content.len()).sum();
                let most = request.sampling.max_tokens.map_or(UNLIMITED_REPLY, u64::from);
                Tokens { prompt: bytes as u64 / BYTES_PER_TOKEN, cached: 0, completion: most }
            }
        };
        tokens.completion *= u64::from(count.max(1));
        self.amount(&request.stage, tokens)
    }

    fn amount(&self, stage: &str, tokens: Tokens) -> Amount {
        let usd = self.prices.get(stage).map_or(0.0, |price| price.of(tokens));
        Amount { tokens: tokens.total(), usd }
    }

    fn fits(&self, sum: Amount) -> bool {
        self.caps.usd.is_none_or(|cap| sum.usd <= cap) && self.caps.tokens.is_none_or(|cap| sum.tokens <= cap)
    }

    fn spent(&self, state: &State, next: Amount) -> Error {
        let mut caps = Vec::new();
        if let Some(cap) = self.caps.usd {
            let (spent, next) = (state.spent.usd, next.usd);
            caps.push(format!("{spent:.4} of {cap} USD are spent, the next call takes about {next:.4}"));
        }
        if let Some(cap) = self.caps.tokens {
            let (spent, next) = (state.spent.tokens, next.tokens);
            caps.push(format!("{spent} of {cap} tokens are spent, the next call takes about {next}"));
        }
        Error::new(Kind::Budget, format!("the budget is spent: {}", caps.join("; ")))
            .hint("everything answered so far is kept: raise --max-usd or --max-total-tokens and run the same command again")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold<'_> {
    /// Books what the call was charged, nothing for most that failed, and how many `replies` it gave.
    pub fn settle(mut self, tokens: Tokens, replies: usize) {
        let Some(budget) = self.budget.take() else { return };
        let mut state = budget.lock();
        state.spent = state.spent.plus(budget.amount(&self.stage, tokens));
        // Endpoints that report no usage tell nothing about the next call either.
        if replies > 0 && tokens != Tokens::default() {
            let booked = state.booked.entry(self.stage.clone()).or_default();
            booked.calls += 1;
            booked.replies += replies as u64;
            booked.tokens += tokens;
        }
        budget.give_back(&mut state, self.aside);
    }

    /// Keeps set aside what is set aside: the request is in a batch.
    pub fn promise(mut self) {
        let Some(budget) = self.budget.take() else { return };
        let mut state = budget.lock();
        state.in_flight -= 1;
        state.promised.insert(self.key, self.aside);
        budget.settled.notify_waiters();
    }
}

impl Budget {
    fn give_back(&self, state: &mut State, aside: Amount) {
        state.in_flight -= 1;
        state.aside = match state.in_flight {
            // Sums of fractions do not end at nothing by themselves.
            0 if state.promised.is_empty() => Amount::default(),
            _ => Amount {
                tokens: state.aside.tokens.saturating_sub(aside.tokens),
                usd: state.aside.usd - aside.usd,
            },
        };
        self.settled.notify_waiters();
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.take() {
            budget.give_back(&mut budget.lock(), self.aside);
        }
    }
}

/// A row whose call was not made.
pub(super) fn stopped() -> Fault {
    Fault::new(Recovery::Pend, "stopped", "the run stopped before this was answered")
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), usd: self.usd + other.usd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::key::Key;
    use crate::llm::chat::{Message, Sampling};
    use crate::llm::pricing::Price;

    fn request(bytes: usize) -> ChatRequest {
        ChatRequest {
            key: Key::of(&["k"]),
            stage: "a".into(),
            row: "r".into(),
            language: "go".into(),
            sample: 0,
            sampling: Arc::new(Sampling { model: "m".into(), max_tokens: Some(100), ..Sampling::default() }),
            messages: vec![Message { role: "user".into(), content: "x".repeat(bytes) }].into(),
        }
    }

    fn tokens(prompt: u64, completion: u64) -> Tokens {
        Tokens { prompt, cached: 0, completion }
    }

    fn budget(usd: Option<f64>, tokens: Option<u64>, earlier: &Spending) -> Budget {
        let price = Price { input: 1.0, cached_input: 1.0, output: 1.0, source: "test".into() };
        Budget::new(Caps { usd, tokens }, Prices::from([("a".into(), price)]), earlier)
    }

    /// Whether a call may be made now; `None` when it would have to wait.
    async fn admitted<'a>(budget: &'a Budget, stop: &Stop) -> Option<Result<Hold<'a>, Fault>> {
        let request = request(300);
        tokio::time::timeout(std::time::Duration::from_millis(20), budget.admit(&request, 1, stop)).await.ok()
    }

    #[tokio::test]
    async fn the_first_calls_are_expected_to_cost_the_worst_and_later_ones_the_mean() {
        let stop = Stop::default();
        // Room for two worst calls of 200 tokens each.
        let budget = budget(None, Some(450), &Spending::default());
        let first = admitted(&budget, &stop).await.unwrap().unwrap();
        let second = admitted(&budget, &stop).await.unwrap().unwrap();
        assert!(admitted(&budget, &stop).await.is_none(), "the third waits");
        first.settle(tokens(20, 30), 1);
        // 50 spent, 200 aside, 50 expected each: four fit.
        let mut more = Vec::new();
        for _ in 0..4 {
            more.push(admitted(&budget, &stop).await.unwrap().unwrap());
        }
        assert!(admitted(&budget, &stop).await.is_none());
        assert!(!stop.is_set());
        second.settle(tokens(0, 0), 0);
        more.push(admitted(&budget, &stop).await.unwrap().unwrap());
        more.drain(..).for_each(|hold| hold.settle(tokens(40, 40), 1));
        // 450 spent.
        assert!(matches!(admitted(&budget, &stop).await, Some(Err(_))));
        let error = stop.take_cause().unwrap();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("450 of 450 tokens"), "{error}");
        assert!(error.hint_text().unwrap().contains("--max-total-tokens"));
    }

    #[tokio::test]
    async fn what_was_spent_before_counts_and_an_abandoned_call_does_not() {
        let stop = Stop::default();
        let mut earlier = Spending::default();
        earlier.add("a", "go", tokens(500_000, 300_000));
        let budget = budget(Some(0.800_25), None, &earlier);
        drop(admitted(&budget, &stop).await.unwrap().unwrap());
        let hold = admitted(&budget, &stop).await.unwrap().unwrap();
        hold.settle(tokens(0, 200), 1);
        assert!(matches!(admitted(&budget, &stop).await, Some(Err(_))));
        let error = stop.take_cause().unwrap().to_string();
        assert!(error.contains("0.8002 of 0.80025 USD"), "{error}");
    }

    #[tokio::test]
    async fn what_is_in_batches_stays_aside_until_its_answer_is_there() {
        // Room for one worst call of 200 tokens.
        let (stop, budget) = (Stop::default(), budget(None, Some(250), &Spending::default()));
        admitted(&budget, &stop).await.unwrap().unwrap().promise();
        // The same request again is no other one.
        admitted(&budget, &stop).await.unwrap().unwrap().promise();
        let mut other = request(300);
        other.key = Key::of(&["other"]);
        let fault = budget.admit(&other, 1, &stop).await.err().unwrap();
        assert_eq!((fault.cause, fault.recovery), ("budget", Recovery::Pend));
        assert!(!stop.is_set());
        budget.redeem(other.key, &"a".into(), tokens(1000, 0));
        budget.redeem(request(300).key, &"a".into(), tokens(60, 40));
        // 100 spent, and 100 expected from now on.
        budget.admit(&other, 1, &stop).await.unwrap().settle(tokens(100, 40), 1);
        let fault = budget.admit(&other, 1, &stop).await.err().unwrap();
        assert_eq!((fault.cause, stop.take_cause().unwrap().exit_code()), ("stopped", 4));
    }

    #[tokio::test]
    async fn who_waits_is_let_go_when_the_run_stops() {
        let (stop, budget) = (Stop::default(), budget(None, Some(200), &Spending::default()));
        let _held = admitted(&budget, &stop).await.unwrap().unwrap();
        let request = request(300);
        let (waited, ()) = tokio::join!(budget.admit(&request, 1, &stop), async { stop.interrupt() });
        assert_eq!(waited.err().unwrap().cause, "stopped");
    }

    #[tokio::test]
    async fn without_caps_nothing_waits() {
        let (stop, budget) = (Stop::default(), Budget::unlimited());
        let request = request(1 << 20);
        let mut held = Vec::new();
        for _ in 0..1000 {
            held.push(budget.admit(&request, 1, &stop).await.unwrap());
        }
        assert!(!stop.is_set());
    }
}
