//! How often each value came: sums and quantiles of it are exact, and those of many can be added.

use std::collections::HashMap;

/// Values up to here are counted in a vector that grows as they come.
const DENSE: i64 = 1 << 16;

/// Values that wait until they are counted together: cells take turns row by row, and each has more counters than fit
/// into a core's nearest memory.
const WAITING: usize = 1_024;

/// Numbers of times that values came.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    dense: Vec<u32>,
    sparse: HashMap<i64, u64>,
    waiting: Vec<i64>,
}

impl Histogram {
    /// Counts `value` once more. A table has fewer than 2^32 rows.
    pub(super) fn add(&mut self, value: i64) {
        self.waiting.push(value);
        if self.waiting.len() >= WAITING {
            self.count_waiting();
        }
    }

    fn count_waiting(&mut self) {
        for value in self.waiting.drain(..) {
            match self.dense.get_mut(usize::try_from(value).unwrap_or(usize::MAX)) {
                Some(times) => *times += 1,
                None if (0..DENSE).contains(&value) => {
                    let at = value as usize;
                    self.dense.resize((at + 1).next_power_of_two(), 0);
                    self.dense[at] += 1;
                }
                None => *self.sparse.entry(value).or_default() += 1,
            }
        }
    }

    /// Adds all that `other` has counted.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.dense.len() < other.dense.len() {
            self.dense.resize(other.dense.len(), 0);
        }
        for (mine, more) in self.dense.iter_mut().zip(&other.dense) {
            *mine += more;
        }
        for (value, times) in &other.sparse {
            *self.sparse.entry(*value).or_default() += times;
        }
        for value in &other.waiting {
            self.add(*value);
        }
    }

    /// The values that came, ascending, and how often each did.
    pub(super) fn sorted(&mut self) -> Vec<(i64, u64)> {
        self.count_waiting();
        let dense = self.dense.iter().enumerate().filter(|(_, times)| **times > 0);
        let mut all: Vec<(i64, u64)> =
            dense.map(|(value, times)| (value as i64, u64::from(*times))).collect();
        all.extend(self.sparse.iter().map(|(value, times)| (*value, *times)));
        all.sort_unstable();
        all
    }
}

/// The quantile `q` (0 to 1) of values in ascending order, each with how often it came; between two values it is
/// interpolated. `None` of no values.
pub(super) fn quantile(sorted: &[(i64, u64)], q: f64) -> Option<f64> {
    let count: u64 = sorted.iter().map(|(_, times)| times).sum();
    let position = count.checked_sub(1)? as f64 * q;
    let value = |rank: f64| {
        let mut before = 0;
        let found = sorted.iter().find(|(_, times)| {
            before += times;
            rank < before as f64
        });
        found.map(|(value, _)| *value as f64)
    };
    let (low, high) = (value(position.floor())?, value(position.ceil())?);
    Some(low + (high - low) * (position - position.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut values: Vec<i64> =
            (0..999).map(|n| (n * 7_919) % 1_000 - 20).chain([1 << 40, i64::MIN, 65_536]).collect();
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        for (n, value) in values.iter().enumerate() {
            if n % 3 == 0 { one.add(*value) } else { other.add(*value) }
        }
        one.merge(&other);
        values.sort_unstable();
        let sorted = one.sorted();
        let again: Vec<i64> =
            sorted.iter().flat_map(|(value, times)| vec![*value; *times as usize]).collect();
        assert_eq!(again, values);
        for q in [0.0, 0.25, 0.5, 0.9, 0.99, 1.0] {
            let at = (values.len() - 1) as f64 * q;
            let (low, high) = (values[at.floor() as usize] as f64, values[at.ceil() as usize] as f64);
            assert_eq!(quantile(&sorted, q), Some(low + (high - low) * at.fract()), "{q}");
        }
        assert_eq!(quantile(&[], 0.5), None);
    }
}
