//! Row counts: for every stage and language, in + spawned = kept + rejected + pending.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stages::Answer;

/// What became of the rows of one language at one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Rows that arrived.
    pub rows_in: u64,
    /// Rows the stage made of them besides themselves.
    pub spawned: u64,
    /// Rows that went on.
    pub kept: u64,
    /// Rows that left, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Rows without an answer yet.
    pub pending: u64,
    /// Tokens of prompts, as endpoints reported them.
    pub prompt_tokens: u64,
    /// Tokens of replies, as endpoints reported them.
    pub completion_tokens: u64,
    /// Time that calls took, summed, ms: latency of replies, wall time of runs with compiling.
    pub busy_ms: u64,
}

impl Tally {
    /// Rows that left, all reasons together.
    pub fn rejected_rows(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Whether every row is accounted for.
    pub fn adds_up(&self) -> bool {
        self.rows_in + self.spawned == self.kept + self.rejected_rows() + self.pending
    }

    /// Adds the tokens and the time that an answer took.
    pub fn measure(&mut self, answer: &Answer) {
        match answer {
            Answer::Model(reply) => {
                self.prompt_tokens += reply.prompt_tokens;
                self.completion_tokens += reply.completion_tokens;
                self.busy_ms += reply.latency_ms;
            }
            Answer::Sandbox(verdict) => {
                let compiled = verdict.compile_usage.filter(|_| !verdict.compile_reused);
                let compiling = compiled.map_or(0, |usage| usage.wall_ms);
                self.busy_ms += verdict.usage.wall_ms + compiling;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.spawned += other.spawned;
        self.kept += other.kept;
        self.pending += other.pending;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.busy_ms += other.busy_ms;
        for (reason, rows) in &other.rejected {
            *self.rejected.entry(reason.clone()).or_default() += rows;
        }
    }
}

/// Tallies by stage and language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<String, BTreeMap<String, Tally>>);

impl Counts {
    /// The tally of `stage` and `language`, made if it is not there yet.
    pub fn tally(&mut self, stage: &str, language: &str) -> &mut Tally {
        self.0.entry(stage.to_owned()).or_default().entry(language.to_owned()).or_default()
    }

    /// Adds everything `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (stage, languages) in &other.0 {
            for (language, tally) in languages {
                self.tally(stage, language).merge(tally);
            }
        }
    }

    /// The tally of `stage` over all languages.
    pub fn stage(&self, stage: &str) -> Tally {
        let mut sum = Tally::default();
        for tally in self.0.get(stage).into_iter().flat_map(BTreeMap::values) {
            sum.merge(tally);
        }
        sum
    }

    /// Rows pending at any stage.
    pub fn pending(&self) -> u64 {
        self.0.values().flat_map(BTreeMap::values).map(|tally| tally.pending).sum()
    }
}
