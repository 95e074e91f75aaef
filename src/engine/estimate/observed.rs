//! What the answers at hand say about those to come.

use std::collections::HashMap;

use super::Range;
use crate::error::{Error, Result};
use crate::frame::journal::Journal;
use crate::frame::recorded::Recorded;
use crate::llm::chat::Reply;

/// Rows whose prompt tokens are kept by row, to compare them with our own count.
const COMPARED: usize = 20_000;

/// The replies of one stage.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Tokens of prompts, as the endpoint counts them.
    pub prompt: Moments,
    /// Tokens of replies.
    pub completion: Moments,
    /// Latencies, ms.
    pub latency_ms: Moments,
    /// Tokens of prompts by row, of so many rows.
    pub(super) by_row: HashMap<String, u64>,
}

/// Number, sum and sum of squares of some values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    n: u64,
    sum: f64,
    squares: f64,
}

impl Observed {
    /// What the replies in `journal` say. Replies without usage are left out.
    ///
    /// # Errors
    /// A journal that does not read.
    pub fn of(journal: &Journal) -> Result<Self> {
        let mut observed = Self::default();
        journal.for_each(&mut |key, payload| {
            let record: Recorded<Reply> = serde_json::from_slice(payload)
                .map_err(|error| Error::environment(format!("journal record {key}: {error}")))?;
            let reply = record.answer;
            if reply.tokens().total() == 0 {
                return Ok(());
            }
            observed.prompt.add(reply.prompt_tokens as f64);
            observed.completion.add(reply.completion_tokens as f64);
            observed.latency_ms.add(reply.latency_ms as f64);
            if observed.by_row.len() < COMPARED {
                observed.by_row.insert(record.row, reply.prompt_tokens);
            }
            Ok(())
        })?;
        Ok(observed)
    }

    /// Number of replies.
    pub fn replies(&self) -> u64 {
        self.completion.n
    }
}

impl Moments {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
        self.squares += value * value;
    }

    /// The mean of all `whole` values of which these are some: give or take two standard errors.
    pub fn mean(&self, whole: u64) -> Range {
        if self.n == 0 {
            return Range::default();
        }
        let n = self.n as f64;
        let mean = self.sum / n;
        let variance = (self.squares / n - mean * mean).max(0.0) * n / (n - 1.0).max(1.0);
        let error = 2.0 * (variance / n).sqrt() * rest(self.n, whole);
        Range { low: (mean - error).max(0.0), likely: mean, high: mean + error }
    }
}

/// How much of a sample's error is left when it is `n` of `whole`: none when it is all of them.
pub(super) fn rest(n: u64, whole: u64) -> f64 {
    if n >= whole { 0.0 } else { ((whole - n) as f64 / (whole - 1).max(1) as f64).sqrt() }
}
