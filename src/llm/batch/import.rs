//! Result files into the journal.

use std::collections::BTreeMap;
use std::path::Path;

use super::asked::Asked;
use super::results::{self, ResultLine};
use crate::error::{Error, Fault, Result};
use crate::frame::journal::Journal;
use crate::frame::key::Key;
use crate::frame::lines::{Line, LineChunks};
use crate::frame::recorded::Recorded;
use crate::llm::chat::Reply;
use crate::llm::secret::Secret;

/// What became of the lines of result files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Answers that went into the journal, by stage.
    pub imported: BTreeMap<String, u64>,
    /// Lines about requests that the journal had an answer to.
    pub repeated: u64,
    /// Requests without an answer: how many and the first, by cause.
    pub errors: BTreeMap<&'static str, Lines>,
    /// Lines whose `custom_id` this run never asked.
    pub unknown: Lines,
    /// Lines that are no results.
    pub malformed: Lines,
}

/// Lines that are alike.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// How many.
    pub count: u64,
    /// The first: file, line and what is wrong.
    pub first: String,
}

impl Lines {
    fn add(&mut self, path: &Path, number: u64, what: &str) {
        self.count += 1;
        if self.count == 1 {
            self.first = format!("{}:{number}: {what}", path.display());
        }
    }
}

impl Report {
    /// Answers that went into the journal.
    pub fn imported(&self) -> u64 {
        self.imported.values().sum()
    }

    /// Whether every line was an answer.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.unknown.count == 0 && self.malformed.count == 0
    }
}

/// Finds the journal of a stage.
pub type JournalOf<'a> = &'a (dyn Fn(&str) -> Option<&'a Journal> + Sync);

/// Result files on their way into the journal.
pub struct Import<'a, 'j> {
    /// Who asked a request.
    pub asked: &'a dyn Fn(&Key) -> Result<Vec<Asked>>,
    /// Where its answer goes.
    pub journal: JournalOf<'j>,
    /// The key the batch was made with: replies that hold it lose it.
    pub secret: Option<&'a Secret>,
    /// What became of the requests that lines were about: `None` where the journal has an answer now.
    pub outcomes: Vec<(Key, Option<Fault>)>,
    /// What became of the lines.
    pub report: Report,
}

impl Import<'_, '_> {
    /// Takes in the file at `path`, plain, `.gz` or `.zst`. Of several answers to a request the first one counts; an error
    /// does not count where there is an answer.
    ///
    /// # Errors
    /// The file does not read, or the journal cannot be written. Bad lines are in the report and lose nothing else.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        for chunk in LineChunks::open(path)? {
            for (number, line) in chunk?.lines() {
                match line {
                    Line::TooLong(_) => self.report.malformed.add(path, number, "the line is too long"),
                    Line::Whole(line) => match results::parse(line) {
                        Ok(line) => self.line(path, number, line)?,
                        Err(what) => self.report.malformed.add(path, number, &what),
                    },
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, path: &Path, number: u64, line: ResultLine) -> Result<()> {
        let ResultLine { custom_id, outcome } = line;
        let key = custom_id.parse::<Key>().ok();
        let asked = key.map(|key| (self.asked)(&key)).transpose()?.unwrap_or_default();
        let (Some(key), false) = (key, asked.is_empty()) else {
            let id: String = custom_id.chars().take(80).collect();
            self.report.unknown.add(path, number, &format!("custom_id {id:?} was never asked"));
            return Ok(());
        };
        let mut open = Vec::new();
        for asked in asked {
            let journal = (self.journal)(&asked.stage).ok_or_else(|| {
                Error::usage(format!("the run has no stage `{}`, which asked {key}", asked.stage))
            })?;
            if !journal.contains(&key)? {
                open.push((asked, journal));
            }
        }
        if open.is_empty() {
            self.report.repeated += 1;
            self.outcomes.push((key, None));
            return Ok(());
        }
        let mut reply = match outcome {
            Ok(reply) => reply,
            Err(fault) => {
                self.report.errors.entry(fault.cause).or_default().add(path, number, &fault.message);
                self.outcomes.push((key, Some(fault)));
                return Ok(());
            }
        };
        if let Some(secret) = self.secret {
            for text in [&mut reply.output, &mut reply.reasoning, &mut reply.model, &mut reply.finish_reason]
            {
                secret.scrub_reply(text);
            }
        }
        for (asked, journal) in open {
            *self.report.imported.entry(asked.stage.clone()).or_default() += 1;
            journal.append(key, &payload(asked, reply.clone())?)?;
        }
        self.outcomes.push((key, None));
        Ok(())
    }
}

/// The journal record of an answer.
fn payload(asked: Asked, answer: Reply) -> Result<Vec<u8>> {
    let Asked { key, stage, row, language, sample } = asked;
    let recorded =
        Recorded { key: Some(key), stage, row, language, sample, attempts: 1, reused: false, answer };
    serde_json::to_vec(&recorded).map_err(|error| Error::environment(format!("the answer to {key}: {error}")))
}
