//! How it is known that the tests of a program ran to their end, and did not merely end with exit code 0.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Pattern, Variant, all};
use crate::error::Result;

/// Programs made of a solution and tests find a secret at descriptor 3 and must write it to descriptor 4 when the
/// tests have run to their end; both can also be opened as `/dev/fd/3` and `/dev/fd/4`. A program that ends earlier,
/// even with exit code 0, has not passed.
///
/// It catches solutions that end the process, not attackers inside it: what the tests can do, the solution can do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Code put between the solution and the tests.
    pub before: Option<String>,
    /// Code put after the tests: writes the secret.
    pub after: Option<String>,
    /// Code put where the splicer says that the tests begin or end, where that is neither before nor after their text:
    /// instead of the name of go's `main`, before the last `end` in pascal.
    pub entry: Option<String>,
    /// Ways for the tests themselves to end the process after a success, rewritten in their text.
    #[serde(default)]
    pub exits: Vec<Exit>,
    /// The output of the tests' own framework that says that all tests ran; counts like the secret.
    pub report: Option<Pattern>,
    /// Files put into the work folder, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Files of `data/languages/support`, which languages share, put into the work folder under these names.
    #[serde(default)]
    pub harness: BTreeMap<String, String>,
    /// Instead of the language's own command.
    pub compile: Option<Vec<String>>,
    /// Instead of the language's own command.
    pub run: Option<Vec<String>>,
    /// Instead of the commands of the language's variants, by name.
    #[serde(default, rename = "variant")]
    pub variants: BTreeMap<String, Variant>,
}

/// A rewriting of the tests' text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// What to find.
    pub pattern: Pattern,
    /// What to put in its place; `$1` stands for the first group of the pattern.
    pub with: String,
}

impl Completion {
    /// Takes the shared files it names into its own.
    pub(super) fn load_harness(&mut self) -> Result<()> {
        for (name, shared) in &self.harness {
            self.files.insert(name.clone(), all::support(shared, "completion.harness")?);
        }
        Ok(())
    }

    /// `tests` with the code around them that writes the secret.
    pub fn around(&self, tests: &str) -> String {
        let mut text = tests.to_owned();
        for exit in &self.exits {
            text = exit.pattern.0.replace_all(&text, exit.with.as_str()).into_owned();
        }
        let parts = [self.before.as_deref(), Some(&text), self.after.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    /// Whether this output holds the report of a test framework that all tests ran.
    pub fn is_reported(&self, output: &str) -> bool {
        self.report.as_ref().is_some_and(|pattern| pattern.0.is_match(output))
    }
}
