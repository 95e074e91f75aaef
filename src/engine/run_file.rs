//! `run.json`: what a run is, how far it came, and what it took.

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::metrics::StageCalls;
use super::spending::Cost;
use crate::frame::ingest::{Ingested, ManifestEntry};
use crate::frame::key::Key;
use crate::llm::chat::Sampling;

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Seeds are read, work is under way (or was, when the process died).
    Running,
    /// Every row is kept or rejected.
    Done,
    /// Rows are pending; running again picks them up.
    Pending,
}

/// The contents of `run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunFile {
    /// Version of autocodegen that wrote it.
    pub version: String,
    /// Name of the pipeline: a run directory belongs to one.
    pub pipeline: String,
    /// Hash of each step over all languages seen, by step name.
    pub fingerprints: Vec<(String, Key)>,
    /// Hash of the templates: their directory in `templates/`.
    #[serde(default)]
    pub templates: Option<Key>,
    /// Model and sampling.
    pub model: Sampling,
    /// What answered, for people.
    pub answered_by: String,
    /// Isolation or service that ran programs.
    pub sandbox: String,
    /// Input files as they were when the seeds were read.
    pub manifest: Vec<ManifestEntry>,
    /// What the seeds were read with, hashed: other options, other seeds.
    pub seed_options: Key,
    /// What ingest did.
    pub seeds: SeedCounts,
    /// Rows of a partition; fixed from here on.
    pub partition_rows: usize,
    /// How far it came.
    pub state: State,
    /// What became of the rows, by stage and language; tokens and time included.
    #[serde(default)]
    pub counts: Counts,
    /// What the run directory has spent, all invocations together.
    #[serde(default)]
    pub cost: Cost,
    /// The calls of the last invocation, by stage.
    #[serde(default)]
    pub calls: Vec<StageCalls>,
    /// Wall time of the last invocation, ms.
    #[serde(default)]
    pub wall_ms: u64,
}

/// Row counts of an ingest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedCounts {
    /// Rows kept.
    pub rows: u64,
    /// Exact repeats dropped.
    pub duplicates: u64,
    /// Rows rejected, by reason.
    pub rejected: std::collections::BTreeMap<String, u64>,
    /// Rows kept, by language.
    pub by_language: std::collections::BTreeMap<String, u64>,
}

impl From<&Ingested> for SeedCounts {
    fn from(ingested: &Ingested) -> Self {
        Self {
            rows: ingested.rows,
            duplicates: ingested.duplicates,
            rejected: ingested.rejected_by_reason.clone(),
            by_language: ingested.by_language.clone(),
        }
    }
}

impl RunFile {
    /// How many partitions the seeds are cut into.
    pub fn partitions(&self) -> usize {
        self.seeds.rows.div_ceil(self.partition_rows.max(1) as u64) as usize
    }

    /// Fingerprint of the seeds: parts of other seeds do not fit this run.
    pub fn seeds_fingerprint(&self) -> String {
        let manifest = serde_json::to_string(&self.manifest).unwrap_or_default();
        Key::of(&[manifest, self.seed_options.to_string(), self.partition_rows.to_string()]).to_string()
    }
}
