//! Several endpoints as one model: each call goes to the one that has most room, and from one that fails to another.
//!
//! A call waits here, in the order of arrival, until an endpoint's gate lets it through. That an endpoint
//! refuses it (429, or 503 with `Retry-After`) costs it none of its tries: it waits again, before those that were not sent yet.
//! Only when nothing was answered for as long as the pool's patience lasts are calls given up, and left pending.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

use super::gate::{Begun, Closed, Ending, Gate, Limits, Why};
use super::limits::Told;
use super::status::Status;
use crate::error::{Error, Fault, Recovery, Result};
use crate::llm::Model;
use crate::llm::chat::{ChatRequest, REQUEST_REFUSED, Reply, Sampling};
use crate::llm::client::{HttpModel, refuse_reserved};

/// How long calls wait for an endpoint that answers nothing, unless said otherwise.
pub const PATIENCE: Duration = Duration::from_secs(1800);

/// A model served by one endpoint or several.
pub struct Pool {
    endpoints: Vec<Arc<HttpModel>>,
    gates: StdMutex<Gates>,
    /// Told whenever a gate may have opened.
    changed: Notify,
    /// The turns of calls that were not sent yet, and of those that were: only who has the turn looks at the gates.
    fresh: Mutex<()>,
    again: Mutex<()>,
    waiting: AtomicUsize,
    /// Most calls in flight, at all endpoints.
    in_flight: usize,
    patience: Duration,
    draining: AtomicBool,
}

struct Gates {
    gates: Vec<Gate>,
    /// Since when calls wait and none was answered.
    stalled: Option<Instant>,
}

/// One call while it looks for an endpoint.
struct Call {
    /// Bytes of the prompt.
    bytes: usize,
    /// Endpoints that failed it or turned it down.
    failed: Vec<usize>,
    /// How many of them said that this request can never be answered.
    turned_down: usize,
    /// When an endpoint first refused it for its own load.
    refused: Option<Instant>,
    /// What it met last.
    last: Option<Fault>,
}

enum Entry {
    Go(usize, Begun),
    /// Until a gate changes, or this time.
    Wait(Instant),
    Never(Fault),
}

impl Pool {
    /// A pool of `endpoints`, each with how hard it may be asked. Calls are given up when nothing was answered for
    /// `patience`.
    ///
    /// # Errors
    /// There is no endpoint.
    pub fn new(endpoints: Vec<(HttpModel, Limits)>, patience: Duration) -> Result<Self> {
        if endpoints.is_empty() {
            return Err(Error::usage("there is no endpoint to ask").hint("name one with --base-url URL"));
        }
        let now = Instant::now();
        let in_flight = endpoints.iter().map(|(_, limits)| limits.in_flight.max(1)).sum();
        // A call that may take longer than the patience must not use it up.
        let longest = endpoints.iter().map(|(endpoint, _)| endpoint.timeout()).max().unwrap_or_default();
        let gates =
            endpoints.iter().map(|(endpoint, limits)| Gate::new(endpoint.name(), limits.clone(), now));
        Ok(Self {
            gates: StdMutex::new(Gates { gates: gates.collect(), stalled: None }),
            endpoints: endpoints.into_iter().map(|(endpoint, _)| Arc::new(endpoint)).collect(),
            changed: Notify::new(),
            fresh: Mutex::new(()),
            again: Mutex::new(()),
            waiting: AtomicUsize::new(0),
            in_flight,
            patience: patience.max(longest),
            draining: AtomicBool::new(false),
        })
    }

    /// Most calls in flight, at all endpoints together.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The endpoint, where there is only one.
    pub fn only(&self) -> Option<Arc<HttpModel>> {
        match self.endpoints.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }
    }

    /// The addresses of all endpoints, in the same order however they were named.
    pub fn address(&self) -> String {
        let mut urls: Vec<&str> = self.endpoints.iter().map(|endpoint| endpoint.base_url()).collect();
        urls.sort_unstable();
        urls.join(" ")
    }

    /// Whether an endpoint is on this machine.
    pub fn is_local(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.is_local())
    }

    /// Checks every endpoint before anything is paid for; those that cannot serve are left out with a warning.
    ///
    /// # Errors
    /// No endpoint is left: what the first of them says.
    pub async fn check(&self, sampling: &Sampling) -> Result<()> {
        refuse_reserved(sampling)?;
        let checks = join_all(self.endpoints.iter().map(|endpoint| endpoint.probe(sampling))).await;
        let serving = checks.iter().any(Result::is_ok);
        for (at, check) in checks.into_iter().enumerate() {
            match check {
                Err(fault) if !serving => return Err(fault.into()),
                // It may come up yet.
                Err(fault) if fault.cause == "connection" => {
                    tracing::warn!("{fault}; the other endpoints are asked meanwhile");
                }
                Err(fault) => drop(self.take_out(at, &fault)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The same where every endpoint has to serve: they have other models, too, and are not left out for lack of this one.
    ///
    /// # Errors
    /// What the first says that cannot serve.
    pub(super) async fn check_all(&self, sampling: &Sampling) -> Result<()> {
        refuse_reserved(sampling)?;
        let checks = join_all(self.endpoints.iter().map(|endpoint| endpoint.probe(sampling))).await;
        match checks.into_iter().find_map(Result::err) {
            Some(fault) if fault.cause == "not_found" && self.endpoints.len() > 1 => Err(Error::from(fault)
                .hint("say with `serves` in a file of --endpoints which models each endpoint has")),
            Some(fault) => Err(fault.into()),
            None => Ok(()),
        }
    }

    /// 1 to `count` replies.
    async fn answer(&self, request: &ChatRequest, count: u32) -> Result<Vec<Reply>, Fault> {
        let bytes = request.messages.iter().map(|message| message.content.len()).sum();
        let mut call = Call { bytes, failed: Vec::new(), turned_down: 0, refused: None, last: None };
        loop {
            let permit = self.enter(&call).await?;
            let at = permit.at;
            let (result, told) = self.endpoints[at].send(request, count).await;
            let fault = match result {
                Ok(replies) => {
                    let sum = |tokens: fn(&Reply) -> u64| replies.iter().map(tokens).sum();
                    let tokens = (sum(|reply| reply.prompt_tokens), sum(|reply| reply.completion_tokens));
                    permit.end(&Ending::Answered { bytes, tokens }, told, None);
                    return Ok(replies);
                }
                Err(fault) => fault,
            };
            let ending = ending_of(&fault);
            permit.end(&ending, told, Some(fault.cause));
            match (ending, fault.recovery) {
                (Ending::Refused { .. }, _) => {
                    call.refused.get_or_insert_with(Instant::now);
                }
                (_, Recovery::Stop) => {
                    if !self.take_out(at, &fault) {
                        return Err(fault);
                    }
                }
                (_, Recovery::Retry | Recovery::Pend) => {
                    call.failed.push(at);
                    call.turned_down += usize::from(fault.cause == REQUEST_REFUSED);
                    if !self.gates().another(&call) {
                        return self.given_back(&call, fault, count);
                    }
                }
            }
            call.last = Some(fault);
        }
    }

    /// What becomes of a call that no endpoint is left for.
    fn given_back(&self, call: &Call, fault: Fault, count: u32) -> Result<Vec<Reply>, Fault> {
        // Of a request for several replies, that may be what is refused.
        match fault.cause == REQUEST_REFUSED && count == 1 {
            false => Err(fault),
            // Final only when everybody says so: an endpoint that is down for now may take longer prompts.
            true if call.turned_down < self.gates().serving() => {
                Err(Fault { recovery: Recovery::Retry, ..fault })
            }
            true => Ok(vec![Reply::request_refused(fault.message)]),
        }
    }

    /// Asks the endpoint `at` no more in this run. Whether another one is left.
    fn take_out(&self, at: usize, fault: &Fault) -> bool {
        let mut gates = self.gates();
        let news = gates.gates[at].take_out(fault);
        let left = gates.serving() > 0;
        if news && left {
            let name = gates.gates[at].name();
            tracing::warn!("{name} is asked no more, the other endpoints are: {fault}");
        }
        drop(gates);
        self.changed.notify_waiters();
        left
    }

    /// Waits for an endpoint that takes the call.
    async fn enter(&self, call: &Call) -> Result<Permit<'_>, Fault> {
        let try_enter = || self.gates().enter(call, self.patience, Instant::now());
        let sent_before = call.last.is_some();
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Entry::Go(at, begun) = try_enter()
        {
            return Ok(Permit { pool: self, at, begun, open: true });
        }
        let _waiting = Waiting::new(&self.waiting);
        let _turn = if sent_before { self.again.lock().await } else { self.fresh.lock().await };
        loop {
            // Before looking at the gates: what changes after that look must wake this wait.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.draining.load(Ordering::Acquire) {
                return Err(Fault::new(
                    Recovery::Pend,
                    "stopped",
                    "the run stopped before this was answered",
                ));
            }
            match try_enter() {
                Entry::Go(at, begun) => return Ok(Permit { pool: self, at, begun, open: true }),
                Entry::Never(fault) => return Err(fault),
                // Whether it is time or something changed: the next look tells.
                Entry::Wait(until) => drop(timeout_at(until, changed).await),
            }
        }
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a fault means for the endpoint it came from.
fn ending_of(fault: &Fault) -> Ending {
    let overloaded = matches!(fault.cause, "overloaded" | "server_error") && fault.retry_after.is_some();
    match fault.recovery {
        Recovery::Retry if overloaded || fault.cause == "rate_limited" => {
            Ending::Refused { wait: fault.retry_after }
        }
        Recovery::Retry => Ending::Failed { overloaded: matches!(fault.cause, "overloaded" | "timeout") },
        Recovery::Pend | Recovery::Stop => Ending::Turned,
    }
}

impl Gates {
    /// Endpoints that are still asked.
    fn serving(&self) -> usize {
        self.gates.iter().filter(|gate| gate.out().is_none()).count()
    }

    /// Whether there is a working endpoint that `call` has not been to.
    fn another(&self, call: &Call) -> bool {
        self.gates.iter().enumerate().any(|(at, gate)| gate.works() && !call.failed.contains(&at))
    }

    /// Lets `call` through to the endpoint with most room.
    fn enter(&mut self, call: &Call, patience: Duration, now: Instant) -> Entry {
        let open_to = |(at, gate): &(usize, &Gate)| match call.failed.is_empty() {
            true => gate.out().is_none(),
            false => gate.works() && !call.failed.contains(at),
        };
        let mut order: Vec<usize> = self.gates.iter().enumerate().filter(open_to).map(|(at, _)| at).collect();
        if order.is_empty() {
            let out = || self.gates.iter().find_map(Gate::out).cloned();
            let nobody = || Fault::new(Recovery::Retry, "no_endpoint", "no endpoint is left to ask");
            return Entry::Never(call.last.clone().or_else(out).unwrap_or_else(nobody));
        }
        order.sort_by(|a, b| self.gates[*a].load().total_cmp(&self.gates[*b].load()));
        let mut soonest: Option<(Instant, usize, Why)> = None;
        for &at in &order {
            match self.gates[at].enter(call.bytes, now) {
                Ok(begun) => return Entry::Go(at, begun),
                Err(Closed { until: Some(until), why })
                    if soonest.is_none_or(|(first, ..)| until < first) =>
                {
                    soonest = Some((until, at, why));
                }
                Err(_) => {}
            }
        }
        let stalled = *self.stalled.get_or_insert(now);
        let deadline = call.refused.map_or(stalled, |refused| refused.min(stalled)) + patience;
        let busy = order.iter().any(|at| self.gates[*at].in_flight() > 0);
        match soonest {
            Some((until, at, why)) if now >= deadline || (!busy && until > deadline) => {
                Entry::Never(self.given_up(at, why, patience, until - now))
            }
            None if now >= deadline => {
                Entry::Never(self.given_up(order[0], Why::Full, patience, Duration::ZERO))
            }
            soonest => Entry::Wait(soonest.map_or(deadline, |(until, ..)| until.min(deadline))),
        }
    }

    fn given_up(&self, at: usize, why: Why, patience: Duration, wait: Duration) -> Fault {
        let gate = &self.gates[at];
        let cause = match why {
            Why::Broken => gate.last_fault().unwrap_or("connection"),
            _ => "rate_limited",
        };
        let message = format!(
            "no endpoint answered within the patience of {} s: {}, the next try is {} s away",
            patience.as_secs(),
            gate.words(why),
            wait.as_secs_f64().ceil()
        );
        Fault::new(Recovery::Pend, cause, message)
            .hint("run the same command again later, or with a larger --patience")
    }
}

/// A call that is at an endpoint; however it ends, its place there becomes free.
struct Permit<'a> {
    pool: &'a Pool,
    at: usize,
    begun: Begun,
    open: bool,
}

impl Permit<'_> {
    fn end(mut self, ending: &Ending, told: Told, fault: Option<&'static str>) {
        self.leave(ending, told, fault);
    }

    fn leave(&mut self, ending: &Ending, told: Told, fault: Option<&'static str>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let mut gates = self.pool.gates();
        let gate = &mut gates.gates[self.at];
        gate.leave(self.begun, ending, told, Instant::now());
        if let Some(cause) = fault {
            gate.count(cause);
        }
        if matches!(ending, Ending::Answered { .. } | Ending::Turned) {
            gates.stalled = None;
        }
        drop(gates);
        self.pool.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.leave(&Ending::Abandoned, Told::default(), None);
    }
}

/// Counts a call as waiting for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Model for Pool {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(async move {
            let mut replies = self.answer(request, 1).await?;
            // There is at least one.
            Ok(replies.swap_remove(0))
        })
    }

    fn ask_samples<'a>(
        &'a self,
        request: &'a ChatRequest,
        count: u32,
    ) -> BoxFuture<'a, Result<Vec<Reply>, Fault>> {
        Box::pin(self.answer(request, count))
    }

    fn status(&self) -> Option<Status> {
        let now = Instant::now();
        let endpoints = self.gates().gates.iter().map(|gate| gate.status(now)).collect();
        Some(Status { endpoints, waiting: self.waiting.load(Ordering::Relaxed) })
    }

    fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }
}
