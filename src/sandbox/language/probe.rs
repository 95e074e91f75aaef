//! Programs whose outcome is known.

use serde::Deserialize;

use super::Language;
use crate::sandbox::job::{Job, LimitOverrides, Outcome};

/// Four small programs and what must come of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// Runs and ends well.
    pub passing: Probe,
    /// Fails one of its tests.
    pub failing: Probe,
    /// Breaks while running.
    pub crashing: Probe,
    /// Never ends.
    pub looping: Probe,
    /// Ends with exit code 0 before its tests have run; see [`super::Completion`].
    pub cheating: Option<Probe>,
}

impl Probes {
    /// The probes with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        [
            ("passing", &self.passing),
            ("failing", &self.failing),
            ("crashing", &self.crashing),
            ("looping", &self.looping),
        ]
        .into_iter()
        .chain(self.cheating.as_ref().map(|probe| ("cheating", probe)))
    }
}

/// A program whose outcome is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The program, or the solution when there are tests.
    pub source: String,
    /// Tests to splice after the solution.
    pub tests: Option<String>,
    /// What must come of it.
    pub outcome: Outcome,
}

impl Probe {
    /// The job that runs it: strictly, and where it is to run out of time without wasting any.
    pub fn job(&self, language: &Language) -> Job {
        let looping = self.outcome == Outcome::TimeLimitExceeded;
        Job {
            language: language.name.clone(),
            source: self.source.clone(),
            tests: self.tests.clone(),
            limits: LimitOverrides { cpu_ms: looping.then_some(500), ..LimitOverrides::default() },
            strict: true,
            stdin: String::new(),
            variation: 0,
        }
    }
}
