//! Which recorded reply answers a request.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::frame::journal::Journal;
use crate::frame::key::Key;
use crate::frame::recorded::Recorded;
use crate::frame::run_dir::RunDir;
use crate::llm::chat::{Message, Reply, Sampling};
use crate::llm::key::{conversation_key, key_of_fields};
use crate::llm::recording::Recording;

/// Replies that may be given: recordings in memory, journals of runs on disk.
pub struct Answers {
    recording: Recording,
    journals: Vec<Journal>,
    /// Models the replies were recorded with.
    models: Vec<String>,
}

/// The part of `run.json` that says which model answered.
#[derive(Deserialize)]
struct RunModel {
    model: Sampling,
}

/// What a request asks for.
pub(super) struct Asked {
    /// The fields of its body that change the reply, messages left out.
    pub fields: Map<String, Value>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// How many samples.
    pub n: u32,
}

impl Asked {
    /// The model it asks.
    pub fn model(&self) -> &str {
        self.fields.get("model").and_then(Value::as_str).unwrap_or_default()
    }

    /// The key that the asking run journals sample `sample` under.
    pub fn key(&self, sample: u32) -> Key {
        key_of_fields(self.fields.clone(), &self.messages, sample)
    }
}

impl Answers {
    /// Replies from `paths`: recordings (`--record` makes them) and run directories.
    ///
    /// # Errors
    /// A path does not read, or is neither.
    pub fn load(paths: &[PathBuf]) -> Result<Self> {
        let (runs, files): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|path| path.is_dir());
        let files: Vec<PathBuf> = files.into_iter().cloned().collect();
        let mut answers = Self::of_recording(Recording::load(&files)?);
        for run in runs {
            answers.add_run(run)?;
        }
        Ok(answers)
    }

    /// Replies from a recording.
    pub fn of_recording(recording: Recording) -> Self {
        let models = recording.models();
        Self { recording, journals: Vec::new(), models }
    }

    /// How many replies and other answers there are; one that was recorded again counts again.
    pub fn len(&self) -> u64 {
        self.recording.len() as u64 + self.journals.iter().map(Journal::len).sum::<u64>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn models(&self) -> &[String] {
        &self.models
    }

    fn add_run(&mut self, path: &Path) -> Result<()> {
        let run = RunDir::open_read_only(path)?;
        if let Some(RunModel { model }) = run.read_json()?
            && !self.models.contains(&model.model)
        {
            self.models.push(model.model);
        }
        for stage in run.journals()? {
            self.journals.push(Journal::open_read_only(&stage)?);
        }
        Ok(())
    }

    /// The reply to sample `sample`: to the very same request; to the same asked of a model it was recorded with; or,
    /// where the recording has the conversation, to that, however it was sampled.
    ///
    /// # Errors
    /// A journal does not read.
    pub(super) fn find(&self, asked: &Asked, sample: u32) -> Result<Option<Reply>> {
        if let Some(reply) = self.of_key(asked.key(sample))? {
            return Ok(Some(reply));
        }
        for model in &self.models {
            let mut fields = asked.fields.clone();
            fields.insert("model".to_owned(), Value::from(model.as_str()));
            if let Some(reply) = self.of_key(key_of_fields(fields, &asked.messages, sample))? {
                return Ok(Some(reply));
            }
        }
        Ok(self.recording.of_conversation(conversation_key(&asked.messages), sample).cloned())
    }

    fn of_key(&self, key: Key) -> Result<Option<Reply>> {
        if let Some(reply) = self.recording.of_key(&key) {
            return Ok(Some(reply.clone()));
        }
        for journal in &self.journals {
            // The same journal may hold verdicts, under keys of their own.
            let recorded =
                journal.get(&key)?.map(|payload| serde_json::from_slice::<Recorded<Reply>>(&payload));
            if let Some(Ok(recorded)) = recorded {
                return Ok(Some(recorded.answer));
            }
        }
        Ok(None)
    }
}
