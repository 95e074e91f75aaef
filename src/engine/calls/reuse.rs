//! Answers found elsewhere: in other runs and in the user's cache.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Asker, Calls, recorded};
use crate::engine::events::Event;
use crate::error::{Fault, Result};
use crate::frame::cache::Cache;
use crate::frame::journal::Journal;
use crate::frame::key::Key;
use crate::frame::recorded::Recorded;
use crate::frame::run_dir::RunDir;
use crate::llm::chat::Reply;
use crate::sandbox::job::Verdict;
use crate::stages::{Answer, Request};

/// Where answers to equal requests are looked for before anything is asked.
#[derive(Default)]
pub struct Reuse {
    /// Journals of other runs, of all their stages: an equal request has an equal key wherever it was asked.
    runs: Vec<Journal>,
    /// Replies of all runs with this model, and where this run's are kept for others.
    cache: Option<Cache>,
}

impl Reuse {
    /// Answers of `runs`, which other processes may be writing, and of `cache`.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub fn new(runs: &[RunDir], cache: Option<Cache>) -> Result<Self> {
        let mut journals = Vec::new();
        for run in runs {
            for dir in run.journals()? {
                journals.push(Journal::open_read_only(&dir)?);
            }
        }
        Ok(Self { runs: journals, cache })
    }

    /// The record of `key`. What cannot be read is told and asked again.
    fn find(&self, key: &Key) -> Option<Vec<u8>> {
        for journal in &self.runs {
            match journal.get(key) {
                Ok(Some(payload)) => return Some(payload),
                Ok(None) => {}
                Err(error) => tracing::warn!("an answer cannot be reused and is asked for again: {error}"),
            }
        }
        self.cache.as_ref()?.find(key)
    }

    /// Keeps a reply for other runs.
    pub(super) fn keep(&self, key: Key, reply: &Recorded<Reply>) {
        if let Some(cache) = &self.cache
            && let Ok(payload) = serde_json::to_vec(reply)
        {
            cache.keep(key, &payload);
        }
    }
}

impl Calls {
    /// The same calls, which look for answers in `reuse` before they ask.
    #[must_use]
    pub fn reusing(self, reuse: Reuse) -> Self {
        Self { reuse, ..self }
    }

    /// An answer from elsewhere, written down as this run's own, so that the run stands alone.
    pub(super) fn reused(
        &self,
        asker: &Asker,
        request: &Request,
        key: Key,
    ) -> Result<Option<Arc<Answer>>, Fault> {
        let Some(payload) = self.reuse.find(&key) else { return Ok(None) };
        let answer = match request {
            Request::Model { .. } => {
                self.adopt::<Reply>(asker, key, &payload)?.map(|found| Answer::Model(found.answer))
            }
            Request::Sandbox { keep_bytes, .. } => self
                .adopt::<Verdict>(asker, key, &payload)?
                .map(|found| Answer::Sandbox(found.answer.shortened(*keep_bytes))),
        };
        if answer.is_some() {
            self.observer.event(&Event::Reused(request.resource()));
        }
        Ok(answer.map(Arc::new))
    }

    /// Journals the record for `asker`; `None` when another version wrote it.
    fn adopt<A: Serialize + DeserializeOwned>(
        &self,
        asker: &Asker,
        key: Key,
        payload: &[u8],
    ) -> Result<Option<Recorded<A>>, Fault> {
        let Ok(found) = serde_json::from_slice::<Recorded<A>>(payload) else { return Ok(None) };
        let own = Recorded { reused: true, ..recorded(asker, key, found.attempts, found.answer) };
        self.write_down(asker, key, &own)?;
        Ok(Some(own))
    }
}
