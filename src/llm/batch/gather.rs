//! Models that do not answer: one writes requests to files, one asks nothing at all.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::asked::{Asked, AskedIndex};
use super::request_files::{RequestFiles, Written};
use crate::error::{Fault, Recovery, Result};
use crate::frame::key::Key;
use crate::llm::Model;
use crate::llm::chat::{ChatRequest, Reply};

/// Writes every request to a file, once, and answers none: the rows stay pending until answers are imported.
///
/// What is remembered of a request is its key and where it is noted, about 100 bytes; the rows themselves go on through
/// the engine and are not held, however many requests wait.
pub struct Gatherer {
    state: Mutex<State>,
    /// What rows wait for.
    waiting: Fault,
    /// Told of every complete file, and of the end of a pass.
    news: Notify,
}

struct State {
    asked: AskedIndex,
    files: RequestFiles,
    /// Requests in a file whose answers have not come back.
    held: HashSet<Key>,
    /// Requests that will not be written again, and why.
    refused: HashMap<Key, Fault>,
    /// Complete files that nobody has taken yet.
    written: Vec<Written>,
    pass_over: bool,
}

impl Gatherer {
    /// Gathers requests into `files` and notes in `asked` who asks them. Rows wait with the cause and message of `waiting`.
    pub fn new(asked: AskedIndex, files: RequestFiles, waiting: Fault) -> Self {
        let (held, refused, written) = (HashSet::new(), HashMap::new(), Vec::new());
        let state = State { asked, files, held, refused, written, pass_over: false };
        Self { state: Mutex::new(state), waiting, news: Notify::new() }
    }

    /// Counts these requests as written: they are in a file already.
    pub fn hold(&self, keys: impl IntoIterator<Item = Key>) {
        self.lock().held.extend(keys);
    }

    /// The answer to `key` has come, or is to be asked for again.
    pub fn release(&self, key: &Key) {
        self.lock().held.remove(key);
    }

    /// Asking for `key` again is pointless: its rows stay pending with `fault`.
    pub fn refuse(&self, key: Key, fault: Fault) {
        let mut state = self.lock();
        state.held.remove(&key);
        state.refused.insert(key, fault);
    }

    /// A pass over the rows begins.
    pub fn begin_pass(&self) {
        self.lock().pass_over = false;
    }

    /// The pass is over: completes the last files.
    ///
    /// # Errors
    /// The disk.
    pub fn end_pass(&self) -> Result<()> {
        let mut state = self.lock();
        let last = state.files.finish()?;
        state.keep(last)?;
        state.pass_over = true;
        self.news.notify_one();
        Ok(())
    }

    /// The complete files since the last call, and whether no more will come in this pass.
    pub fn take_written(&self) -> (Vec<Written>, bool) {
        let mut state = self.lock();
        (std::mem::take(&mut state.written), state.pass_over)
    }

    /// Resolves when there may be something new in [`Gatherer::take_written`].
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Who asked `key`.
    ///
    /// # Errors
    /// The disk.
    pub fn asked(&self, key: &Key) -> Result<Vec<Asked>> {
        self.lock().asked.get(key)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gather(&self, request: &ChatRequest) -> Fault {
        let mut state = self.lock();
        if let Some(fault) = state.refused.get(&request.key) {
            return fault.clone();
        }
        match state.gather(request) {
            Ok(true) => self.news.notify_one(),
            Ok(false) => {}
            Err(fault) => return fault,
        }
        self.waiting.clone()
    }
}

impl State {
    /// Writes the request unless it is written; true when that completed a file.
    fn gather(&mut self, request: &ChatRequest) -> Result<bool, Fault> {
        let asked = Asked {
            key: request.key,
            stage: request.stage.to_string(),
            row: request.row.clone(),
            language: request.language.clone(),
            sample: request.sample,
        };
        let broken = |error: crate::error::Error| {
            let fault = Fault::new(Recovery::Stop, "requests_file", error.to_string());
            match error.hint_text() {
                Some(hint) => fault.hint(hint),
                None => fault,
            }
        };
        if self.held.contains(&request.key) {
            // Another stage may ask the same.
            return self.asked.add(&asked).map(|()| false).map_err(broken);
        }
        let line = self.files.line(request)?;
        self.asked.add(&asked).map_err(broken)?;
        let full = self.files.push(&request.sampling.model, &line).map_err(broken)?;
        self.held.insert(request.key);
        let is_full = full.is_some();
        self.keep(full).map_err(broken)?;
        Ok(is_full)
    }

    fn keep(&mut self, written: impl IntoIterator<Item = Written>) -> Result<()> {
        let mut written = written.into_iter().peekable();
        if written.peek().is_some() {
            // Before anybody sends the file: who asked must be known when answers come.
            self.asked.sync()?;
            self.written.extend(written);
        }
        Ok(())
    }
}

impl Model for Gatherer {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(std::future::ready(Err(self.gather(request))))
    }

    /// Each sample is a request of its own in the file.
    fn gives_samples(&self) -> bool {
        false
    }
}

/// Asks nothing: rows without an answer in the journal stay pending.
#[derive(Debug, Clone, Copy)]
pub struct NothingAsked;

impl Model for NothingAsked {
    fn ask<'a>(&'a self, _request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        let fault =
            Fault::new(Recovery::Pend, "not_asked", "the journal has no answer, and nothing is asked").hint(
                "`autocodegen requests export` writes these requests to files; or run without --no-ask",
            );
        Box::pin(std::future::ready(Err(fault)))
    }

    fn gives_samples(&self) -> bool {
        false
    }
}
