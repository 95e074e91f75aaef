//! Splits: which part of a dataset a problem belongs to.

use std::str::FromStr;

use crate::frame::key::{Key, root_id};

/// Most splits: a row's fits into a byte, with one value left for rows without.
const MOST: usize = 255;

/// Named shares of a dataset, such as `train=0.95,test=0.05`.
///
/// A problem's split depends on nothing but its root id: it stays the same when the dataset grows, and all samples and
/// translations of one problem are in one split.
#[derive(Debug, Clone, PartialEq)]
pub struct Splits(Vec<(String, f64)>);

impl Default for Splits {
    /// Everything is `train`.
    fn default() -> Self {
        Self(vec![("train".into(), 1.0)])
    }
}

impl Splits {
    /// Names, in the order given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Names and shares, in the order given.
    pub fn shares(&self) -> &[(String, f64)] {
        &self.0
    }

    /// Whether everything is in one split.
    pub fn is_single(&self) -> bool {
        self.0.len() == 1
    }

    /// The number of the split that the row `id` is in; `parent` is the id of the row it was made of, if there is one.
    pub fn of(&self, id: &str, parent: Option<&str>) -> usize {
        let own = root_id(id);
        // A row id names its root itself; ids of another make do not.
        let root = if own == id { parent.map_or(own, root_id) } else { own };
        let key = Key::of(&["split", root]);
        let (bytes, _) = key.as_bytes().split_at(8);
        let number = bytes.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        // The 53 upper bits are a fraction that a float holds exactly.
        let point = (number >> 11) as f64 / (1u64 << 53) as f64;
        let mut end = 0.0;
        let found = self.0.iter().position(|(_, share)| {
            end += share;
            point < end
        });
        found.unwrap_or(self.0.len() - 1)
    }
}

impl FromStr for Splits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut splits: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, share) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is no NAME=FRACTION, such as train=0.95"))?;
            let name = name.trim();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(format!("`{name}` is no name of a split: letters, digits and _ make one"));
            }
            if splits.iter().any(|(other, _)| other == name) {
                return Err(format!("the split `{name}` is there twice"));
            }
            let share = share.trim().parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
            splits.push((
                name.to_owned(),
                share.ok_or_else(|| format!("the fraction of `{name}` is not in 0 to 1"))?,
            ));
        }
        let sum: f64 = splits.iter().map(|(_, share)| share).sum();
        if (sum - 1.0).abs() > 1e-9 {
            return Err(format!("the fractions add up to {sum}, not to 1"));
        }
        if splits.len() > MOST {
            return Err(format!("more than {MOST} splits"));
        }
        Ok(Self(splits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::key::{child_id, row_id};

    #[test]
    fn what_is_no_split_is_refused() {
        for (text, said) in [
            ("", "NAME=FRACTION"),
            ("train", "NAME=FRACTION"),
            ("train=0.5", "add up to 0.5"),
            ("train=0.9,test=0.2", "not to 1"),
            ("train=0.5,train=0.5", "twice"),
            ("train=nan,test=0.5", "fraction of `train`"),
            ("train=1,test=0", "fraction of `test`"),
            ("train=-1,test=2", "fraction of `train`"),
            ("../x=1", "no name"),
            ("=1", "no name"),
        ] {
            let error = text.parse::<Splits>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let splits: Splits = "train=0.7, valid=0.2,test=0.1".parse().unwrap();
        assert_eq!(splits.names().collect::<Vec<_>>(), ["train", "valid", "test"]);
    }

    #[test]
    fn shares_are_kept_and_relatives_stay_together() {
        let splits: Splits = "train=0.9,test=0.1".parse().unwrap();
        let mut test = 0;
        for n in 0..20_000 {
            let seed = row_id("go", &n.to_string(), 0);
            let at = splits.of(&seed, None);
            test += at;
            let child = child_id(&seed, "rust");
            assert_eq!(splits.of(&child, Some(&seed)), at);
            assert_eq!(splits.of(&child_id(&child, "0"), Some(&child)), at);
            assert_eq!(splits.of(&row_id("go", &n.to_string(), 2), None), at);
            let foreign = format!("HumanEval/{n}");
            assert_eq!(splits.of("other-id", Some(&foreign)), splits.of(&foreign, None));
        }
        assert!((1_850..2_150).contains(&test), "{test} of 20000");
    }

    #[test]
    fn a_split_is_for_ever() {
        let splits: Splits = "a=0.25,b=0.25,c=0.25,d=0.25".parse().unwrap();
        let of: Vec<usize> = (0..12).map(|n| splits.of(&row_id("go", &n.to_string(), 0), None)).collect();
        assert_eq!(of, [2, 2, 0, 1, 3, 0, 2, 2, 0, 2, 1, 3]);
    }
}
