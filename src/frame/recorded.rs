//! Answers written down with what they answer: lines of a recording, records of a journal.

use serde::{Deserialize, Serialize};

use crate::frame::key::Key;

/// One line of a recording and one record of a journal: an answer and what it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded<A> {
    /// Journal key. Hand-written recordings may leave it out and are then found by (stage, row, sample).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Stage that asked.
    pub stage: String,
    /// Id of the row that asked.
    pub row: String,
    /// Language of the row that asked.
    #[serde(default)]
    pub language: String,
    /// Which of several requests of the row.
    #[serde(default)]
    pub sample: u32,
    /// Attempts it took, faults included.
    #[serde(default = "one")]
    pub attempts: u32,
    /// Whether it was found in another run or the cache: not asked, and not paid, by this run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// The answer.
    pub answer: A,
}

fn one() -> u32 {
    1
}
