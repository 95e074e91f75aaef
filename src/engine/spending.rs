//! What a run directory has spent: tokens by stage and language, counted once per call, whatever became of the row.
//!
//! The journal has every reply that was paid for, so it is what is counted when a run is resumed. `run.json` keeps the sums
//! with the number of records they cover: as long as that is the journals' length, these need not be read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Tokens};
use crate::frame::journal::Journal;
use crate::llm::pricing::Price;

/// Prices of the stages that ask a model, by stage name; stages whose model has no known price are not in it.
pub type Prices = BTreeMap<String, Price>;

/// What the calls of one stage for one language cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Paid {
    /// Replies.
    pub replies: u64,
    /// Tokens of the replies and their prompts.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Tokens of calls that failed and were charged for.
    #[serde(skip_serializing_if = "is_none")]
    pub failed: Tokens,
}

fn is_none(tokens: &Tokens) -> bool {
    *tokens == Tokens::default()
}

impl Paid {
    /// All tokens that were charged for.
    pub fn all(&self) -> Tokens {
        let mut all = self.tokens;
        all += self.failed;
        all
    }
}

/// What was paid, by stage and language.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spending {
    /// Records in the journals that these sums cover, by stage.
    pub journaled: BTreeMap<String, u64>,
    /// The sums.
    pub stages: BTreeMap<String, BTreeMap<String, Paid>>,
}

/// The part of a journaled reply that says what it cost.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    language: String,
    /// Taken over from elsewhere: paid for there.
    #[serde(default)]
    reused: bool,
    answer: Tokens,
}

impl Spending {
    /// What the journals of the stages `asking` hold, with what failed calls cost as told by `earlier`, the sums that the
    /// run last wrote down.
    ///
    /// # Errors
    /// A journal that does not read.
    pub fn of(
        journals: &HashMap<Arc<str>, Journal>,
        asking: &[Arc<str>],
        earlier: Option<&Self>,
    ) -> Result<Self> {
        let journaled = lengths(journals, asking);
        if let Some(earlier) = earlier.filter(|earlier| earlier.journaled == journaled) {
            return Ok(earlier.clone());
        }
        let mut spending = Self { journaled, ..Self::default() };
        for (stage, languages) in earlier.iter().flat_map(|earlier| &earlier.stages) {
            for (language, paid) in languages {
                spending.entry(stage, language).failed = paid.failed;
            }
        }
        for stage in asking {
            let Some(journal) = journals.get(stage) else { continue };
            journal.for_each(&mut |key, payload| {
                let record: Record = serde_json::from_slice(payload).map_err(|error| {
                    Error::environment(format!("journal record {key}: {error}")).hint(
                        "the run directory was written by another version of autocodegen: use a new --out",
                    )
                })?;
                if !record.reused {
                    spending.add(stage, &record.language, record.answer);
                }
                Ok(())
            })?;
        }
        Ok(spending)
    }

    /// The same sums, said to cover all that is in the journals now.
    #[must_use]
    pub fn covering(self, journals: &HashMap<Arc<str>, Journal>) -> Self {
        let asking: Vec<Arc<str>> = self.journaled.keys().map(|stage| stage.as_str().into()).collect();
        Self { journaled: lengths(journals, &asking), ..self }
    }

    /// Adds a reply.
    pub fn add(&mut self, stage: &str, language: &str, tokens: Tokens) {
        let paid = self.entry(stage, language);
        paid.replies += 1;
        paid.tokens += tokens;
    }

    /// Adds a failed call that was charged for.
    pub fn add_failed(&mut self, stage: &str, language: &str, tokens: Tokens) {
        self.entry(stage, language).failed += tokens;
    }

    fn entry(&mut self, stage: &str, language: &str) -> &mut Paid {
        if !self.stages.get(stage).is_some_and(|languages| languages.contains_key(language)) {
            self.stages.entry(stage.to_owned()).or_default().insert(language.to_owned(), Paid::default());
        }
        self.stages.entry(stage.to_owned()).or_default().entry(language.to_owned()).or_default()
    }

    /// Tokens charged for, of `stage` or, without one, of all stages.
    pub fn tokens(&self, stage: Option<&str>) -> Tokens {
        let mut sum = Tokens::default();
        let wanted = self.stages.iter().filter(|(name, _)| stage.is_none_or(|stage| stage == *name));
        for paid in wanted.flat_map(|(_, languages)| languages.values()) {
            sum += paid.all();
        }
        sum
    }

    /// What the tokens cost, USD: of `stage` or, without one, of all stages. `None` when tokens were charged for that
    /// have no known price.
    pub fn usd(&self, stage: Option<&str>, prices: &Prices) -> Option<f64> {
        let wanted = self.stages.keys().filter(|name| stage.is_none_or(|stage| stage == *name));
        wanted.map(|name| usd(self.tokens(Some(name)), prices.get(name))).sum()
    }
}

fn lengths(journals: &HashMap<Arc<str>, Journal>, stages: &[Arc<str>]) -> BTreeMap<String, u64> {
    stages.iter().filter_map(|stage| Some((stage.to_string(), journals.get(stage)?.len()))).collect()
}

/// What `tokens` cost at `price`, USD; nothing costs nothing, whatever the price.
pub fn usd(tokens: Tokens, price: Option<&Price>) -> Option<f64> {
    match price {
        _ if tokens == Tokens::default() => Some(0.0),
        price => price.map(|price| price.of(tokens)),
    }
}

/// The spending of a run as `run.json` has it: the sums, and what they cost at today's prices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// All that was spent, USD; `None` when a price is not known.
    pub usd: Option<f64>,
    /// By stage, USD.
    pub usd_by_stage: BTreeMap<String, Option<f64>>,
    /// By language, USD.
    pub usd_by_language: BTreeMap<String, Option<f64>>,
    /// What it was reckoned with.
    pub prices: Prices,
    /// What was paid for.
    #[serde(flatten)]
    pub spending: Spending,
}

impl Cost {
    /// `spending` at `prices`.
    pub fn of(spending: Spending, prices: &Prices) -> Self {
        let mut usd_by_language: BTreeMap<String, Option<f64>> = BTreeMap::new();
        for (stage, languages) in &spending.stages {
            for (language, paid) in languages {
                let sum = usd_by_language.entry(language.clone()).or_insert(Some(0.0));
                *sum = sum.zip(usd(paid.all(), prices.get(stage))).map(|(sum, more)| sum + more);
            }
        }
        Self {
            usd: spending.usd(None, prices),
            usd_by_stage: spending
                .stages
                .keys()
                .map(|stage| (stage.clone(), spending.usd(Some(stage), prices)))
                .collect(),
            usd_by_language,
            prices: prices.clone(),
            spending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::key::Key;

    fn price(output: f64) -> Price {
        Price { input: 1.0, cached_input: 1.0, output, source: "test".into() }
    }

    fn tokens(prompt: u64, completion: u64) -> Tokens {
        Tokens { prompt, cached: 0, completion }
    }

    #[test]
    fn a_price_that_is_not_known_makes_the_sum_unknown_not_nothing() {
        let mut spending = Spending::default();
        spending.add("a", "go", tokens(1_000_000, 0));
        spending.add("b", "go", tokens(0, 500_000));
        spending.add("b", "lua", tokens(0, 0));
        spending.add_failed("b", "go", tokens(0, 500_000));
        let both = Prices::from([("a".into(), price(2.0)), ("b".into(), price(2.0))]);
        let cost = Cost::of(spending.clone(), &both);
        assert_eq!(
            (cost.usd, cost.usd_by_stage["b"], cost.usd_by_language["go"]),
            (Some(3.0), Some(2.0), Some(3.0))
        );
        let one = Prices::from([("a".into(), price(2.0))]);
        let cost = Cost::of(spending, &one);
        assert_eq!((cost.usd, cost.usd_by_stage["a"], cost.usd_by_stage["b"]), (None, Some(1.0), None));
        assert_eq!((cost.usd_by_language["go"], cost.usd_by_language["lua"]), (None, Some(0.0)));
        let json = serde_json::to_value(&cost).unwrap();
        assert!(
            json["usd"].is_null() && json["stages"]["b"]["go"]["failed"]["completion_tokens"] == 500_000,
            "{json}"
        );
        assert_eq!(serde_json::from_value::<Cost>(json).unwrap(), cost);
    }

    #[test]
    fn the_journal_is_read_only_when_it_has_grown_since() {
        let folder = tempfile::tempdir().unwrap();
        let stage: Arc<str> = "a".into();
        let journal = Journal::open(folder.path()).unwrap();
        let write = |n: u64| {
            let record = serde_json::json!({
                "stage": "a", "row": "r", "language": "go", "sample": 0, "attempts": 1,
                "answer": {"output": "x", "finish_reason": "stop", "prompt_tokens": n, "completion_tokens": 1},
            });
            journal.append(Key::of(&[n.to_string()]), record.to_string().as_bytes()).unwrap();
        };
        (1..=3).for_each(write);
        let mut kept = Spending::default();
        kept.add_failed("a", "go", tokens(7, 0));
        write(4);
        let journals = HashMap::from([(stage.clone(), journal)]);
        let asking = [stage];
        let read = Spending::of(&journals, &asking, Some(&kept)).unwrap();
        assert_eq!(read.stages["a"]["go"], Paid { replies: 4, tokens: tokens(10, 4), failed: tokens(7, 0) });
        assert_eq!((read.tokens(None), read.journaled["a"]), (tokens(17, 4), 4));
        let mut trusted = read.clone();
        trusted.add_failed("a", "go", tokens(100, 0));
        assert_eq!(Spending::of(&journals, &asking, Some(&trusted)).unwrap(), trusted);
        trusted.journaled.insert("a".into(), 3);
        assert_eq!(Spending::of(&journals, &asking, Some(&trusted)).unwrap().stages["a"]["go"].replies, 4);
    }
}
