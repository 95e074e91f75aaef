//! Values that rows can be filtered by, with how many rows have them.

use std::collections::BTreeMap;

use super::state::State;
use crate::analytics::rows::Filter;

/// What a filter looks at besides texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet {
    /// The row's language.
    Language,
    /// Where the row is.
    Stage,
    /// Why it was rejected.
    Reason,
}

impl Facet {
    /// Its name.
    pub fn name(self) -> &'static str {
        ["language", "stage", "reason"][self as usize]
    }

    /// What `filter` wants of it.
    pub fn of(self, filter: &mut Filter) -> &mut Option<String> {
        match self {
            Self::Language => &mut filter.language,
            Self::Stage => &mut filter.stage,
            Self::Reason => &mut filter.reason,
        }
    }
}

/// A value being chosen. Values are looked up anew each time: they may still be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What is chosen.
    pub facet: Facet,
    /// Which value is selected; 0 is all of them.
    pub cursor: usize,
}

impl State {
    /// The values of `facet` that rows have which the rest of the filter leaves (a text apart), with how many; the most frequent
    /// first.
    pub fn values(&self, facet: Facet) -> Vec<(&str, u64)> {
        let mut rest = self.filter.clone();
        *facet.of(&mut rest) = None;
        let mut values: BTreeMap<&str, u64> = BTreeMap::new();
        for (kind, rows) in &self.kinds {
            let value = &kind[facet as usize];
            if !value.is_empty() && rest.admits(kind.each_ref().map(String::as_str)) {
                *values.entry(value).or_default() += rows;
            }
        }
        let mut values: Vec<(&str, u64)> = values.into_iter().collect();
        values.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        values
    }
}
