//! One endpoint's gate: how many calls may be there at once, when the next one may go, and whether it works at all.
//!
//! Everything an endpoint's answers say about its load ends up here: refusals close the gate for as long as they ask, or for
//! a growing while where they do not say; refusals and time-outs lower the limit of calls in flight, answers raise it
//! again; faults in a row open the circuit breaker, and one call at a time finds out when the endpoint is back. The
//! gate never waits: it says what the time is to try again.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::limits::{Left, Told};
use super::status::{EndpointStatus, Wait};
use crate::error::Fault;
use crate::retry::Backoff;

/// By how much a refusal lowers the limit of calls in flight.
const LOWERED: f64 = 0.7;
/// The limit is never lowered below this part of the most: a server that refuses at random is no reason to come to a halt.
const LEAST: f64 = 1.0 / 16.0;
/// Faults in a row that open the breaker.
const FAULTS: u32 = 8;
/// Shortest and longest first and last wait of the breaker, and of refusals that do not say for how long.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How much one answer counts in running means.
const NEW: f64 = 0.05;
/// Tokens of a byte of prompt and of a reply, before the first answers tell.
const FIRST_GUESS: (f64, f64) = (0.3, 512.0);

/// How hard an endpoint may be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Most calls in flight.
    pub in_flight: usize,
    /// Most requests a minute, if there is a limit.
    pub requests_per_min: Option<NonZeroU32>,
    /// Most tokens a minute, of prompts and replies together, if there is a limit.
    pub tokens_per_min: Option<NonZeroU32>,
    /// How many calls it gets beside other endpoints: twice the weight, twice the calls.
    pub weight: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 64, requests_per_min: None, tokens_per_min: None, weight: 1.0 }
    }
}

/// A call on its way to the endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    at: Instant,
    probe: bool,
}

/// How a call ended, as far as it concerns the endpoint.
#[derive(Debug)]
pub(super) enum Ending {
    /// A reply.
    Answered {
        /// Bytes of the prompt.
        bytes: usize,
        /// Tokens of prompt and reply, 0 where not reported.
        tokens: (u64, u64),
    },
    /// A refusal of this one request: the endpoint works.
    Turned,
    /// The endpoint takes no call now.
    Refused {
        /// How long it asks to wait, if it says.
        wait: Option<Duration>,
    },
    /// The endpoint, or the way to it, failed.
    Failed {
        /// Whether too much load may be why.
        overloaded: bool,
    },
    /// Nothing is known: the call was given up.
    Abandoned,
}

/// Why no call may go to the endpoint now, and when one may. `None`: when another one ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Closed {
    pub until: Option<Instant>,
    pub why: Why,
}

/// Why a gate is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// As many calls are in flight as may be.
    Full,
    /// The endpoint refused a call.
    RateLimited,
    /// It said that its limit is used up.
    UsedUp,
    /// The user's own limit a minute.
    Stated,
    /// It failed again and again.
    Broken,
}

#[derive(Debug)]
enum Breaker {
    Closed,
    Open { since: Instant, until: Instant, probing: bool },
}

/// The gate of one endpoint.
pub(super) struct Gate {
    /// Host and port.
    name: String,
    limits: Limits,
    in_flight: usize,
    /// Calls that may be in flight now.
    limit: f64,
    /// How many were when the endpoint last refused one: up to there the limit rises fast.
    refused_at: f64,
    /// When the limit was last lowered.
    lowered: Option<Instant>,
    shut: Option<Instant>,
    pauses: Backoff,
    requests_left: Left,
    tokens_left: Left,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Cells still to be taken out of the buckets for the call that is next.
    owed: Option<(u32, u32)>,
    breaker: Breaker,
    breaks: Backoff,
    faults_in_a_row: u32,
    /// Running mean of calls that failed.
    fault_rate: f64,
    tokens_per_byte: f64,
    tokens_per_reply: f64,
    answered: u64,
    faults: BTreeMap<&'static str, u64>,
    last_fault: Option<&'static str>,
    /// Why the endpoint is asked no more.
    out: Option<Fault>,
}

impl Gate {
    pub(super) fn new(name: String, limits: Limits, now: Instant) -> Self {
        let most = limits.in_flight.max(1);
        Self {
            name,
            in_flight: 0,
            limit: most as f64,
            refused_at: most as f64,
            lowered: None,
            shut: None,
            pauses: pauses(),
            requests_left: Left::default(),
            tokens_left: Left::default(),
            requests: limits.requests_per_min.map(|limit| Bucket::new(limit, now)),
            tokens: limits.tokens_per_min.map(|limit| Bucket::new(limit, now)),
            owed: None,
            breaker: Breaker::Closed,
            breaks: pauses(),
            faults_in_a_row: 0,
            fault_rate: 0.0,
            tokens_per_byte: FIRST_GUESS.0,
            tokens_per_reply: FIRST_GUESS.1,
            answered: 0,
            faults: BTreeMap::new(),
            last_fault: None,
            out: None,
            limits,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Calls there now.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Why the endpoint is asked no more, if it is not.
    pub(super) fn out(&self) -> Option<&Fault> {
        self.out.as_ref()
    }

    /// Asks the endpoint no more. Whether this is news.
    pub(super) fn take_out(&mut self, fault: &Fault) -> bool {
        let news = self.out.is_none();
        self.out.get_or_insert_with(|| fault.clone());
        news
    }

    /// Whether the breaker lets calls through.
    pub(super) fn works(&self) -> bool {
        self.out.is_none() && matches!(self.breaker, Breaker::Closed)
    }

    /// What the endpoint's last fault was counted as.
    pub(super) fn last_fault(&self) -> Option<&'static str> {
        self.last_fault
    }

    /// How loaded the endpoint is in relation to what it can take; the lower, the sooner it is asked.
    pub(super) fn load(&self) -> f64 {
        let load = (self.in_flight + 1) as f64 / (self.limits.weight * self.limit);
        load * (1.0 + 4.0 * self.fault_rate)
    }

    /// Lets a call with a prompt of `bytes` through, or says why not and when.
    pub(super) fn enter(&mut self, bytes: usize, now: Instant) -> Result<Begun, Closed> {
        let tokens = self.tokens_of(bytes);
        let probe = match &self.breaker {
            Breaker::Closed => false,
            Breaker::Open { probing: true, .. } => return Err(Closed { until: None, why: Why::Broken }),
            Breaker::Open { until, .. } if now < *until => {
                return Err(Closed { until: Some(*until), why: Why::Broken });
            }
            Breaker::Open { .. } => true,
        };
        if let Some(until) = self.shut.filter(|until| now < *until) {
            return Err(Closed { until: Some(until), why: Why::RateLimited });
        }
        if self.in_flight >= self.limit as usize {
            return Err(Closed { until: None, why: Why::Full });
        }
        let in_flight = self.in_flight as u64;
        // Calls in flight may be counted by the endpoint already or not: what is left may be less by as many.
        let used_up = [
            (self.requests_left, in_flight),
            (self.tokens_left, in_flight * u64::from(tokens) + u64::from(tokens) - 1),
        ];
        for (left, spoken_for) in used_up {
            if let Some(reset) = left.used_up(spoken_for, now) {
                return Err(Closed { until: Some(reset), why: Why::UsedUp });
            }
        }
        self.pay(tokens, now).map_err(|until| Closed { until: Some(until), why: Why::Stated })?;
        if let Breaker::Open { probing, .. } = &mut self.breaker {
            *probing = true;
        }
        self.in_flight += 1;
        Ok(Begun { at: now, probe })
    }

    /// Takes a call out of the buckets, over several tries if need be.
    fn pay(&mut self, tokens: u32, now: Instant) -> Result<(), Instant> {
        if self.requests.is_none() && self.tokens.is_none() {
            return Ok(());
        }
        let (requests, tokens) = self.owed.get_or_insert((1, tokens));
        if let Some(bucket) = &self.requests {
            bucket.take(requests, now)?;
        }
        if let Some(bucket) = &self.tokens {
            bucket.take(tokens, now)?;
        }
        self.owed = None;
        Ok(())
    }

    /// What a call with a prompt of `bytes` is expected to take.
    fn tokens_of(&self, bytes: usize) -> u32 {
        (bytes as f64 * self.tokens_per_byte + self.tokens_per_reply).clamp(1.0, 1e9) as u32
    }

    /// A call has ended. `told` is what the response's headers said, if there was one.
    pub(super) fn leave(&mut self, begun: Begun, ending: &Ending, told: Told, now: Instant) {
        let was_full = self.in_flight + 1 >= self.limit as usize;
        self.in_flight -= 1;
        if told != Told::default() {
            self.requests_left.hear(told.requests, begun.at, now);
            self.tokens_left.hear(told.tokens, begun.at, now);
        }
        match ending {
            Ending::Answered { bytes, tokens } => {
                self.answered += 1;
                self.fault_rate *= 1.0 - NEW;
                self.alive(begun.probe);
                self.pauses = pauses();
                if was_full {
                    self.raise();
                }
                self.learn(*bytes, *tokens);
            }
            Ending::Turned => self.alive(begun.probe),
            Ending::Refused { wait } => {
                self.alive(begun.probe);
                let first = self.lower(begun.at, now);
                // Calls that were under way together are refused together: one pause for all of them.
                let pause = wait.or_else(|| if first { self.pauses.next() } else { None });
                self.shut = self.shut.max(pause.map(|pause| now + pause));
            }
            Ending::Failed { overloaded } => {
                self.fault_rate += NEW * (1.0 - self.fault_rate);
                if *overloaded {
                    self.lower(begun.at, now);
                }
                self.fail(begun, now);
            }
            Ending::Abandoned => {
                if let (true, Breaker::Open { probing, .. }) = (begun.probe, &mut self.breaker) {
                    *probing = false;
                }
            }
        }
    }

    /// Counts a fault by its cause.
    pub(super) fn count(&mut self, cause: &'static str) {
        *self.faults.entry(cause).or_default() += 1;
        self.last_fault = Some(cause);
    }

    /// The endpoint answers: the breaker closes, a few calls at a time at first.
    fn alive(&mut self, probe: bool) {
        self.faults_in_a_row = 0;
        if probe && matches!(self.breaker, Breaker::Open { .. }) {
            self.breaker = Breaker::Closed;
            self.breaks = pauses();
            self.refused_at = self.limit;
            self.limit = self.least();
        }
    }

    fn fail(&mut self, begun: Begun, now: Instant) {
        match self.breaker {
            // Sent before it opened, this call tells nothing new.
            Breaker::Open { since, .. } if begun.at <= since && !begun.probe => return,
            Breaker::Open { .. } => {}
            Breaker::Closed => {
                self.faults_in_a_row += 1;
                if self.faults_in_a_row < FAULTS {
                    return;
                }
            }
        }
        let pause = self.breaks.next().unwrap_or(PAUSES.1);
        self.breaker = Breaker::Open { since: now, until: now + pause, probing: false };
    }

    fn least(&self) -> f64 {
        (self.limits.in_flight as f64 * LEAST).max(1.0)
    }

    /// Additive increase: one call more for every round of answers, in larger steps up to where the endpoint last refused
    /// and, well above that, where it does not mind at all.
    fn raise(&mut self) {
        let step = match self.limit < self.refused_at {
            true => ((self.refused_at - self.limit) / 2.0).max(1.0),
            false => (self.limit / 20.0).max(1.0),
        };
        self.limit = (self.limit + step / self.limit).min(self.limits.in_flight.max(1) as f64);
    }

    /// Multiplicative decrease, once for all calls that were under way together. Whether this was the first of them.
    fn lower(&mut self, sent: Instant, now: Instant) -> bool {
        if self.lowered.is_some_and(|lowered| sent <= lowered) {
            return false;
        }
        self.lowered = Some(now);
        // Where fewer calls were under way than may be, those few were too many.
        let used = self.limit.min((self.in_flight + 1) as f64);
        self.refused_at = used;
        self.limit = (used * LOWERED).max(self.least());
        true
    }

    fn learn(&mut self, bytes: usize, (prompt, reply): (u64, u64)) {
        if bytes > 0 && prompt > 0 {
            self.tokens_per_byte += NEW * (prompt as f64 / bytes as f64 - self.tokens_per_byte);
        }
        if reply > 0 {
            self.tokens_per_reply += NEW * (reply as f64 - self.tokens_per_reply);
        }
    }

    /// How the endpoint is doing.
    pub(super) fn status(&self, now: Instant) -> EndpointStatus {
        let broken = match self.breaker {
            Breaker::Open { probing: true, .. } => Some((None, Why::Broken)),
            Breaker::Open { until, .. } => Some((Some(until), Why::Broken)),
            Breaker::Closed => None,
        };
        let used_up =
            [self.requests_left, self.tokens_left].into_iter().filter_map(|left| left.used_up(0, now));
        let waits = [broken, self.shut.map(|until| (Some(until), Why::RateLimited))].into_iter().flatten();
        let mut waits = waits.chain(used_up.map(|reset| (Some(reset), Why::UsedUp)));
        let wait = waits
            .find(|(until, _)| until.is_none_or(|until| now < until))
            .map(|(until, why)| Wait { why: self.words(why), left: until.map(|until| until - now) });
        EndpointStatus {
            name: self.name.clone(),
            in_flight: self.in_flight,
            limit: self.limit as usize,
            answered: self.answered,
            faults: self.faults.clone(),
            wait,
            out: self.out.as_ref().map(|fault| fault.message.clone()),
        }
    }

    /// Why the gate is closed, for people.
    pub(super) fn words(&self, why: Why) -> String {
        let name = &self.name;
        match why {
            Why::Full => format!("{name} is busy"),
            Why::RateLimited => format!("rate limited by {name}"),
            Why::UsedUp => format!("the limit of {name} is used up"),
            Why::Stated => format!("the limits stated for {name}"),
            Why::Broken => format!("{name} fails ({})", self.last_fault.unwrap_or("unknown")),
        }
    }
}

fn pauses() -> Backoff {
    Backoff::new(PAUSES.0, PAUSES.1)
}
