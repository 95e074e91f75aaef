//! The bundled figures: `data/estimate.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};

const BUNDLED: &str = include_str!("../../../data/estimate.toml");

/// Operators that send rows away.
const JUDGES: [&str; 7] =
    ["model", "extract_blocks", "extract_section", "capture", "keep", "critic", "difficulty"];

/// What stands in for answers that a run does not have yet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    other: StageFigures,
    speed: Speed,
    #[serde(default)]
    stage: BTreeMap<String, StageFigures>,
}

/// Figures of one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StageFigures {
    /// Tokens of a prompt beside those of its template, mean.
    pub contents: f64,
    /// Tokens of a reply, mean.
    pub reply: f64,
    /// Share of the rows that go on.
    pub kept: Option<f64>,
    /// Time of one program, seconds.
    pub seconds: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Speed {
    start: f64,
    tokens_per_second: f64,
}

impl Figures {
    /// The bundled figures.
    ///
    /// # Errors
    /// They do not parse: a defect of the program.
    pub fn bundled() -> Result<Self> {
        toml::from_str(BUNDLED).map_err(|error| Error::usage(format!("data/estimate.toml: {error}")))
    }

    /// The figures of `stage`, or those for stages that are not known.
    pub fn of(&self, stage: &str) -> StageFigures {
        self.stage.get(stage).copied().unwrap_or(self.other)
    }

    /// Whether there are figures of `stage` itself.
    pub fn knows(&self, stage: &str) -> bool {
        self.stage.contains_key(stage)
    }

    /// Share of the rows that go on from `stage`, whose operator is `op`.
    pub(super) fn kept(&self, stage: &str, op: &str) -> f64 {
        match self.stage.get(stage).and_then(|figures| figures.kept) {
            Some(kept) => kept,
            None if JUDGES.contains(&op) => self.other.kept.unwrap_or(1.0),
            None => 1.0,
        }
    }

    /// Time before a reply begins, seconds.
    pub(super) fn start_seconds(&self) -> f64 {
        self.speed.start
    }

    /// How fast a reply comes.
    pub(super) fn tokens_per_second(&self) -> f64 {
        self.speed.tokens_per_second.max(f64::MIN_POSITIVE)
    }
}
