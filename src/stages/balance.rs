//! `balance`: of each language, a wanted number of rows, taken from its categories in turn so that none dominates.
//!
//! Of a category, harder rows go first, then whichever a seeded hash of the id puts first. The order of the categories is
//! a seeded one, too: it decides who gets a row more where the number does not divide. A category that runs out is passed
//! over. Rows that are not picked leave as `not_sampled`.

use std::collections::BTreeMap;

use arrow_array::{Array, StringArray};
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::{Change, Global, Rejection, Rows, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::key::Key;
use crate::frame::schema::{ID, LANGUAGE, strings};

/// Keys of the operator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Most rows of a language.
    per_language: usize,
    /// Column that rows are grouped by. Rows without a value are a category of their own.
    #[serde(default = "category")]
    category: String,
    /// Column that says which rows of a category go first.
    difficulty: Option<String>,
    /// Its values, from the first to go to the last; other values come after them.
    #[serde(default = "harder_first")]
    order: Vec<String>,
    /// Another seed picks other rows.
    #[serde(default)]
    seed: u64,
}

fn category() -> String {
    "category".into()
}

fn harder_first() -> Vec<String> {
    ["hard", "medium", "easy"].map(str::to_owned).into()
}

struct Balance {
    config: Config,
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    if config.per_language == 0 {
        return Err(Error::usage(format!("stage `{}`: `per_language` is at least 1", spec.name)));
    }
    let mut needs = vec![ID.to_owned(), LANGUAGE.to_owned(), config.category.clone()];
    needs.extend(config.difficulty.clone());
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "balance",
        needs,
        adds: vec![],
        drops: vec![],
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{config:?}")),
        work: Work::Global(Box::new(Balance { config })),
    })
}

/// Where a row stands in its category: by difficulty, by the hash of its id, by its number.
type Standing = (usize, u64, usize);

impl Global for Balance {
    fn decide(&self, rows: &dyn Rows) -> Result<Change> {
        let Config { category, difficulty, order, .. } = &self.config;
        let mut columns = vec![ID, LANGUAGE, category];
        columns.extend(difficulty.as_deref());
        // Language, then category.
        let mut groups: BTreeMap<String, BTreeMap<String, Vec<Standing>>> = BTreeMap::new();
        let mut count = 0;
        for batch in rows.scan(&columns)? {
            let batch = batch?;
            let text = |name: &str| strings(&batch, name);
            let (ids, languages, categories) = (text(ID)?, text(LANGUAGE)?, text(category)?);
            let difficulties = difficulty.as_deref().map(text).transpose()?;
            for row in 0..batch.num_rows() {
                let rank = difficulties.and_then(|texts| order.iter().position(|of| of == value(texts, row)));
                let standing = (rank.unwrap_or(order.len()), self.lot(value(ids, row)), count);
                let language = groups.entry(value(languages, row).to_owned()).or_default();
                language.entry(value(categories, row).to_owned()).or_default().push(standing);
                count += 1;
            }
        }
        let mut rejected = Vec::new();
        for (language, categories) in groups {
            let names: Vec<&str> = categories.keys().map(String::as_str).collect();
            let sizes: Vec<usize> = categories.values().map(Vec::len).collect();
            let shares = self.shares(&language, &names, &sizes);
            for ((name, mut rows), share) in categories.into_iter().zip(shares) {
                rows.sort_unstable();
                let detail = format!("{share} of the {} {language} rows of `{name}` are taken", rows.len());
                rejected.extend(rows[share..].iter().map(|(_, _, row)| Rejection {
                    row: *row,
                    reason: "not_sampled".into(),
                    detail: detail.clone(),
                }));
            }
        }
        rejected.sort_unstable_by_key(|rejection| rejection.row);
        Ok(Change { rejected, ..Change::default() })
    }
}

impl Balance {
    /// How many rows each category of a language gives, of those it has.
    fn shares(&self, language: &str, names: &[&str], sizes: &[usize]) -> Vec<usize> {
        let mut turns: Vec<usize> = (0..names.len()).collect();
        turns.sort_by_key(|at| self.lot(&format!("{language}\n{}", names[*at])));
        let mut shares = vec![0; names.len()];
        let mut left = self.config.per_language.min(sizes.iter().sum());
        while left > 0 {
            for at in &turns {
                if left > 0 && shares[*at] < sizes[*at] {
                    shares[*at] += 1;
                    left -= 1;
                }
            }
        }
        shares
    }

    /// A number that depends on the seed and `of` alone.
    fn lot(&self, of: &str) -> u64 {
        let key = Key::of(&["balance", &self.config.seed.to_string(), of]);
        key.as_bytes()[..8].iter().fold(0, |lot, byte| lot << 8 | u64::from(*byte))
    }
}

fn value(texts: &StringArray, row: usize) -> &str {
    if texts.is_valid(row) { texts.value(row) } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(per_language: usize, sizes: &[usize]) -> Vec<usize> {
        let order = harder_first();
        let config = Config { per_language, category: category(), difficulty: None, order, seed: 1 };
        let names: Vec<String> = (0..sizes.len()).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Balance { config }.shares("go", &names, sizes)
    }

    #[test]
    fn categories_give_alike_until_they_run_out() {
        assert_eq!(shares(9, &[10, 1, 100]), [4, 1, 4]);
        assert_eq!(shares(6, &[2, 2, 2]), [2, 2, 2]);
        assert_eq!(shares(100, &[3, 0, 4]), [3, 0, 4]);
        let uneven = shares(10, &[50, 50, 50]);
        assert_eq!(uneven.iter().sum::<usize>(), 10);
        assert!(uneven.iter().all(|share| (3..=4).contains(share)), "{uneven:?}");
    }
}
