//! One call: journal, equal calls in flight, other runs and the cache, slot, retries, journal again.
//!
//! An answer counts only after it was handed to the journal's `write`; whatever happens later, it is not asked for again.

mod reuse;
mod samples;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use serde::Serialize;
use tokio::sync::Semaphore;

pub use self::reuse::Reuse;
use super::budget::{Budget, stopped};
use super::events::{Event, Observer};
use super::stop::Stop;
use crate::error::{Error, Fault, Recovery, Result, Tokens};
use crate::frame::journal::Journal;
use crate::frame::key::Key;
use crate::frame::recorded::Recorded;
use crate::llm::Model;
use crate::llm::batch::IN_BATCH;
use crate::llm::chat::{ChatRequest, Message, Reply};
use crate::llm::key::request_key;
use crate::llm::recorder::Recorder;
use crate::retry::{RetryPolicy, with_retries};
use crate::sandbox::Sandbox;
use crate::sandbox::job::{Job, Verdict};
use crate::stages::{Answer, Request, Resource};

/// What effects ask, and how hard they may.
pub struct Resources {
    /// The model; `None` when the plan asks none.
    pub model: Option<Arc<dyn Model>>,
    /// The sandbox; `None` when the plan runs nothing.
    pub sandbox: Option<Arc<dyn Sandbox>>,
    /// Model calls in flight at once.
    pub model_in_flight: usize,
    /// Jobs in the sandbox at once.
    pub sandbox_in_flight: usize,
    /// When a call is tried again.
    pub retry: RetryPolicy,
    /// Where replies are recorded besides the journal.
    pub recorder: Option<Recorder>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Stage name.
    pub stage: Arc<str>,
    /// Row id.
    pub row: String,
    /// Language of the row.
    pub language: String,
    /// Which of the row's requests.
    pub sample: u32,
}

type Pending = Shared<BoxFuture<'static, Result<Arc<Answer>, Fault>>>;

/// The calls of one run.
pub struct Calls {
    resources: Resources,
    model_slots: Semaphore,
    sandbox_slots: Semaphore,
    journals: HashMap<Arc<str>, Journal>,
    reuse: Reuse,
    /// By stage too: an answer is journaled for the stage that asked, so another stage cannot share it.
    in_flight: Mutex<HashMap<(Arc<str>, Key), Pending>>,
    /// Whether the model answers one call with several samples, as far as is known.
    gives_samples: AtomicBool,
    /// Told to stop by the user or by the first error that concerns every row.
    pub stop: Arc<Stop>,
    budget: Budget,
    observer: Arc<dyn Observer>,
}

impl Calls {
    /// Calls to `resources`, journaled per stage in `journals`.
    pub fn new(
        resources: Resources,
        journals: HashMap<Arc<str>, Journal>,
        stop: Arc<Stop>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        if let Some(model) = resources.model.clone() {
            stop.then(move || model.drain());
        }
        let gives_samples = resources.model.as_ref().is_some_and(|model| model.gives_samples());
        Self {
            model_slots: Semaphore::new(resources.model_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            sandbox_slots: Semaphore::new(resources.sandbox_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            resources,
            journals,
            reuse: Reuse::default(),
            in_flight: Mutex::default(),
            gives_samples: AtomicBool::new(gives_samples),
            stop,
            budget: Budget::unlimited(),
            observer,
        }
    }

    /// The same calls, of which those to the model cost no more than `budget`.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The observer of this run.
    pub fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// The journals, by stage.
    pub fn journals(&self) -> &HashMap<Arc<str>, Journal> {
        &self.journals
    }

    /// The journal of `stage`.
    pub fn journal(&self, stage: &str) -> Option<&Journal> {
        self.journals.get(stage)
    }

    /// Rows of one partition to have under way at once: enough for every slot, and for calls that wait for their next
    /// try. The others cost no more than their requests.
    pub fn rows_under_way(&self, resource: Resource) -> usize {
        let slots = match resource {
            Resource::Model => self.resources.model_in_flight,
            Resource::Sandbox => self.resources.sandbox_in_flight,
        };
        slots.saturating_mul(4).max(64)
    }

    /// Makes everything journaled so far safe from a power cut.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.journals.values().try_for_each(Journal::sync)
    }

    /// Answers `request`: from the journal, by joining an equal call in flight, or by asking.
    ///
    /// # Errors
    /// A fault means the row stays pending.
    pub async fn answer(self: &Arc<Self>, asker: Asker, request: Request) -> Result<Arc<Answer>, Fault> {
        let key = self.key(&asker, &request)?;
        if let Some(answer) = self.find(&asker, &request, key)? {
            return Ok(answer);
        }
        let call = {
            let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
            let call = (asker.stage.clone(), key);
            let begin = || {
                let calls = self.clone();
                let call = call.clone();
                async move {
                    let result = calls.ask(&asker, request, key).await;
                    calls.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
                    result
                }
                .boxed()
                .shared()
            };
            in_flight.entry(call.clone()).or_insert_with(begin).clone()
        };
        call.await
    }

    /// Journal key: hash of everything the answer depends on.
    fn key(&self, asker: &Asker, request: &Request) -> Result<Key, Fault> {
        match request {
            Request::Model { sampling, messages } => Ok(request_key(sampling, messages, asker.sample)),
            Request::Sandbox { job, .. } => {
                let identity = self.sandbox()?.identity(&job.language);
                let job = serde_json::to_vec(&**job).map_err(|error| internal(&error))?;
                Ok(Key::of(&[identity.as_bytes(), &job]))
            }
        }
    }

    fn find(&self, asker: &Asker, request: &Request, key: Key) -> Result<Option<Arc<Answer>>, Fault> {
        let Some(journal) = self.journals.get(&asker.stage) else { return Ok(None) };
        let Some(payload) = journal.get(&key).map_err(|error| self.broken(error))? else { return Ok(None) };
        let decoded = match request {
            Request::Model { .. } => {
                serde_json::from_slice::<Recorded<Reply>>(&payload).map(|found| Answer::Model(found.answer))
            }
            Request::Sandbox { keep_bytes, .. } => serde_json::from_slice::<Recorded<Verdict>>(&payload)
                .map(|found| Answer::Sandbox(found.answer.shortened(*keep_bytes))),
        };
        // A record that passed its checksum but does not decode was written by another version: ask again.
        let Ok(answer) = decoded else { return Ok(None) };
        if let Answer::Model(reply) = &answer {
            self.budget.redeem(key, &asker.stage, reply.tokens());
        }
        self.observer.event(&Event::Found(request.resource()));
        Ok(Some(Arc::new(answer)))
    }

    async fn ask(&self, asker: &Asker, request: Request, key: Key) -> Result<Arc<Answer>, Fault> {
        // Another asker may have been answered between our first look and this call's start.
        if let Some(answer) = self.find(asker, &request, key)? {
            return Ok(answer);
        }
        if let Some(answer) = self.reused(asker, &request, key)? {
            return Ok(answer);
        }
        let result = match request {
            Request::Model { sampling, messages } => {
                let request = ChatRequest {
                    key,
                    stage: asker.stage.clone(),
                    row: asker.row.clone(),
                    language: asker.language.clone(),
                    sample: asker.sample,
                    sampling,
                    messages,
                };
                self.ask_model(asker, &request).await
            }
            Request::Sandbox { job, keep_bytes } => self
                .ask_sandbox(asker, &job, key)
                .await
                .map(|verdict| Answer::Sandbox(verdict.shortened(keep_bytes))),
        };
        if let Err(fault) = &result
            && fault.recovery == Recovery::Stop
        {
            self.stop.fail(fault.clone().into());
        }
        result.map(Arc::new)
    }

    async fn ask_model(&self, asker: &Asker, request: &ChatRequest) -> Result<Answer, Fault> {
        let (mut replies, attempts) = self.attempt_model(asker, request, || 1).await?;
        match replies.pop() {
            Some(reply) => self.keep_reply(asker, request.key, &request.messages, attempts, reply),
            None => Err(internal(&"the model gave no reply and no reason")),
        }
    }

    /// Asks for as many replies as `count` says at each attempt, within the budget. Gives 1 to `count` replies, and the
    /// attempts it took.
    async fn attempt_model(
        &self,
        asker: &Asker,
        request: &ChatRequest,
        count: impl Fn() -> u32 + Sync,
    ) -> Result<(Vec<Reply>, u32), Fault> {
        let model = self.resources.model.as_ref().ok_or_else(|| internal(&"no model is configured"))?;
        let attempt = || {
            let attempt = async {
                let count = count();
                let hold = self.budget.admit(request, count, &self.stop).await?;
                let call = model.ask_samples(request, count);
                let charge = |replies: &Vec<Reply>| tokens_of(replies);
                let asked = self.told(asker, Resource::Model, call, charge).await;
                match &asked {
                    Err(fault) if fault.cause == IN_BATCH => hold.promise(),
                    _ => hold.settle(charged(&asked, charge), asked.as_ref().map_or(0, Vec::len)),
                }
                asked
            };
            attempt.boxed()
        };
        self.with_retries(asker, Resource::Model, attempt).await
    }

    /// Writes a reply down. It counts from here on.
    fn keep_reply(
        &self,
        asker: &Asker,
        key: Key,
        messages: &[Message],
        attempts: u32,
        reply: Reply,
    ) -> Result<Answer, Fault> {
        let recorded = recorded(asker, key, attempts, reply);
        // Recorded first: what the journal has is never asked again, so a kill in between would leave a gap here.
        if let Some(recorder) = &self.resources.recorder {
            recorder.record(&recorded, messages).map_err(|error| self.broken(error))?;
        }
        self.write_down(asker, key, &recorded)?;
        self.reuse.keep(key, &recorded);
        Ok(Answer::Model(recorded.answer))
    }

    async fn ask_sandbox(&self, asker: &Asker, job: &Job, key: Key) -> Result<Verdict, Fault> {
        let sandbox = self.sandbox()?;
        let attempt = || self.told(asker, Resource::Sandbox, sandbox.run(job), |_| Tokens::default()).boxed();
        let (verdict, attempts) = self.with_retries(asker, Resource::Sandbox, attempt).await?;
        self.write_down(asker, key, &recorded(asker, key, attempts, &verdict))?;
        Ok(verdict)
    }

    /// Attempts until one answers. Only an attempt holds a slot: a call that waits for its next try keeps no other
    /// from being made.
    async fn with_retries<'a, T>(
        &'a self,
        asker: &'a Asker,
        resource: Resource,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, Fault>>,
    ) -> Result<(T, u32), Fault> {
        let slots = match resource {
            Resource::Model => &self.model_slots,
            Resource::Sandbox => &self.sandbox_slots,
        };
        let in_slot = async |_| {
            let _slot = slots.acquire().await.map_err(|error| internal(&error))?;
            if self.stop.is_set() {
                return Err(stopped());
            }
            attempt().await
        };
        let told =
            |fault: &Fault, wait| self.observer.event(&Event::Retry { stage: &asker.stage, fault, wait });
        let tried = with_retries(&self.resources.retry, self.stop.wait(), in_slot, told).await;
        tried.result.map(|answer| (answer, tried.attempts))
    }

    /// Makes one attempt and tells the observer of it. `tokens` says what an answer is charged.
    async fn told<T>(
        &self,
        asker: &Asker,
        resource: Resource,
        attempt: BoxFuture<'_, Result<T, Fault>>,
        tokens: fn(&T) -> Tokens,
    ) -> Result<T, Fault> {
        self.observer.event(&Event::Asking { stage: &asker.stage, resource });
        let started = Instant::now();
        let result = attempt.await;
        self.observer.event(&Event::Asked {
            stage: &asker.stage,
            language: &asker.language,
            resource,
            took: started.elapsed(),
            tokens: charged(&result, tokens),
            fault: result.as_ref().err(),
        });
        result
    }

    fn write_down<A: Serialize>(&self, asker: &Asker, key: Key, recorded: &Recorded<A>) -> Result<(), Fault> {
        let Some(journal) = self.journals.get(&asker.stage) else { return Ok(()) };
        let payload = serde_json::to_vec(recorded).map_err(|error| internal(&error))?;
        journal.append(key, &payload).map_err(|error| self.broken(error))
    }

    fn sandbox(&self) -> Result<&Arc<dyn Sandbox>, Fault> {
        self.resources.sandbox.as_ref().ok_or_else(|| internal(&"no sandbox is configured"))
    }

    /// Our own files cannot be written or read: no call may be made whose answer could not be kept.
    fn broken(&self, error: Error) -> Fault {
        let fault = Fault::new(Recovery::Pend, "journal", error.to_string());
        self.stop.fail(error);
        fault
    }
}

impl Request {
    /// Whom it asks.
    pub fn resource(&self) -> Resource {
        match self {
            Self::Model { .. } => Resource::Model,
            Self::Sandbox { .. } => Resource::Sandbox,
        }
    }
}

fn recorded<A>(asker: &Asker, key: Key, attempts: u32, answer: A) -> Recorded<A> {
    Recorded {
        key: Some(key),
        stage: asker.stage.to_string(),
        row: asker.row.clone(),
        language: asker.language.clone(),
        sample: asker.sample,
        attempts,
        reused: false,
        answer,
    }
}

/// What replies are charged, all together.
fn tokens_of(replies: &[Reply]) -> Tokens {
    replies.iter().fold(Tokens::default(), |mut sum, reply| {
        sum += reply.tokens();
        sum
    })
}

/// What an attempt is charged, answered or not.
fn charged<T>(result: &Result<T, Fault>, tokens: fn(&T) -> Tokens) -> Tokens {
    match result {
        Ok(answer) => tokens(answer),
        Err(fault) => fault.billed.as_deref().copied().unwrap_or_default(),
    }
}

fn internal(error: &dyn std::fmt::Display) -> Fault {
    Fault::new(Recovery::Pend, "internal", error.to_string())
}
