//! Texts that are looked for in others: by runs of words they share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use super::shingles::{gram_hash, token_hash, words};

/// Of ten words of a run, so many have to be different ones and no numbers. Others prove nothing: everybody counts from 1 to
/// 10, imports one thing after the other, and loops over `i`, `j` and `k`.
const DIFFERENT: usize = 7;
/// Set in the hash of a word that is no number.
const LETTER: u64 = 1 << 63;

/// The hashes of the words of `text`.
pub fn word_hashes(text: &str) -> Vec<u64> {
    let hash = |word: &str| match word.starts_with(|c: char| c.is_numeric()) {
        true => token_hash(word) & !LETTER,
        false => token_hash(word) | LETTER,
    };
    words(text).map(hash).collect()
}

/// What counts as shared.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Words of a run that two texts share.
    pub size: usize,
    /// A text with fewer words than that is looked for as a whole, if it has this many.
    pub least: usize,
    /// Runs that more known rows than this share are boilerplate, and prove nothing.
    pub common: usize,
    /// Share of the runs of a known text, from 0 to 1, that has to be there; at least one.
    pub share: f64,
}

/// Texts that are known, by their runs of words.
pub struct Known {
    rules: Rules,
    texts: Vec<Text>,
    /// By the number of words: all runs of so many. Made when first asked for.
    runs: Vec<OnceLock<Runs>>,
    /// By the number of words: short texts as a whole.
    wholes: Vec<OnceLock<Runs>>,
}

/// Runs that prove something.
struct Runs {
    /// The texts that have each.
    texts: HashMap<u64, Vec<u32>>,
    /// How many each text has.
    counts: HashMap<u32, usize>,
}

struct Text {
    row: u32,
    words: Vec<u64>,
}

/// A run of words that a text shares with a known one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The known text, by the order in which texts were added.
    pub known: usize,
    /// The words of the other text.
    pub words: Range<usize>,
}

impl Known {
    /// No texts.
    pub fn new(rules: Rules) -> Self {
        let maps = || (0..=rules.size).map(|_| OnceLock::new()).collect();
        Self { rules, texts: Vec::new(), runs: maps(), wholes: maps() }
    }

    /// Adds a text of the known row `row`.
    pub fn add(&mut self, row: u32, text: &str) {
        self.texts.push(Text { row, words: word_hashes(text) });
    }

    /// The first run of words of `text`, given by its [`word_hashes`], that is of a known text of which enough is there. A
    /// text of fewer words than a run has is looked for as a whole in the known ones.
    pub fn find(&self, text: &[u64]) -> Option<Shared> {
        let Rules { size, least, share, .. } = self.rules;
        let run = text.len().min(size);
        let share = if text.len() < size { 0.0 } else { share };
        if run >= least
            && let Some(shared) = first(text, run, self.runs(run), share)
        {
            return Some(shared);
        }
        (least..size.min(text.len() + 1)).find_map(|len| first(text, len, self.wholes(len), 0.0))
    }

    fn runs(&self, len: usize) -> &Runs {
        self.runs[len].get_or_init(|| self.index(len, |_| true))
    }

    fn wholes(&self, len: usize) -> &Runs {
        self.wholes[len].get_or_init(|| self.index(len, |text| text.words.len() == len))
    }

    /// The runs of `len` words of the texts that are `wanted`, without those that too many rows share.
    fn index(&self, len: usize, wanted: impl Fn(&Text) -> bool) -> Runs {
        // The texts, and how many rows they are of.
        let mut seen: HashMap<u64, (Vec<u32>, usize)> = HashMap::new();
        for (n, text) in self.texts.iter().enumerate().filter(|(_, text)| wanted(text)) {
            for run in text.words.windows(len).filter(|run| tells(run)) {
                let (texts, rows) = seen.entry(gram_hash(run)).or_default();
                let last = texts.last().copied();
                *rows += usize::from(last.is_none_or(|last| self.texts[last as usize].row != text.row));
                // One more than counts is enough to see that it is too many.
                if last != Some(n as u32) && *rows <= self.rules.common {
                    texts.push(n as u32);
                }
            }
        }
        seen.retain(|_, (_, rows)| *rows <= self.rules.common);
        let mut counts = HashMap::new();
        for text in seen.values().flat_map(|(texts, _)| texts) {
            *counts.entry(*text).or_default() += 1;
        }
        Runs { texts: seen.into_iter().map(|(run, (texts, _))| (run, texts)).collect(), counts }
    }
}

/// Whether a run says enough to tell where it is from.
fn tells(run: &[u64]) -> bool {
    let mut different: Vec<u64> = run.iter().copied().filter(|word| word & LETTER != 0).collect();
    different.sort_unstable();
    different.dedup();
    different.len() * 10 >= run.len() * DIFFERENT
}

/// The first run that `text` shares with one of which it has at least `share` of the runs.
fn first(text: &[u64], len: usize, runs: &Runs, share: f64) -> Option<Shared> {
    if runs.texts.is_empty() {
        return None;
    }
    let mut seen = HashSet::new();
    // By known text: the first run, and how many.
    let mut shared: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for (at, run) in text.windows(len).enumerate() {
        let run = gram_hash(run);
        let Some(texts) = runs.texts.get(&run).filter(|_| seen.insert(run)) else { continue };
        for known in texts {
            shared.entry(*known).or_insert((at, 0)).1 += 1;
        }
    }
    let enough = |known: &u32, count: usize| count as f64 >= share * runs.counts[known] as f64;
    let found = shared.into_iter().filter(|(known, (_, count))| enough(known, *count));
    let (known, (at, _)) = found.min_by_key(|(known, (at, _))| (*at, *known))?;
    Some(Shared { known: known as usize, words: at..at + len })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(rules: Rules, texts: &[&str]) -> Known {
        let mut known = Known::new(rules);
        texts.iter().enumerate().for_each(|(row, text)| known.add(row as u32, text));
        known
    }

    const RULES: Rules = Rules { size: 5, least: 3, common: 2, share: 0.0 };

    #[test]
    fn long_texts_share_runs_and_short_ones_are_found_whole() {
        let known = known(RULES, &["a b c d e f g", "x y z", "p q"]);
        let find = |text: &str| known.find(&word_hashes(text)).map(|shared| (shared.known, shared.words));
        assert_eq!(find("1 2 B, c; D(e) f 3"), Some((0, 2..7)));
        assert_eq!(find("b c d e 1 f"), None);
        assert_eq!(find("1 2 3 4 x y z 5"), Some((1, 4..7)));
        assert_eq!(find("x y"), None);
        assert_eq!(find("1 2 3 4 5 p q"), None, "two words are too few to tell");
        assert_eq!(find("c d e"), Some((0, 0..3)), "a short text is a piece of a known one");
        assert_eq!(find(""), None);
    }

    #[test]
    fn numbers_and_the_same_words_again_prove_nothing() {
        let known =
            known(RULES, &["sum of 1 2 3 4 5 6 7 and more of them", "import java util import java io File"]);
        for (text, found) in [
            ("x 1 2 3 4 5 6 7", false),
            ("7 and more of them", true),
            ("import java util import java", false),
            ("util import java io File", true),
        ] {
            assert_eq!(known.find(&word_hashes(text)).is_some(), found, "{text}");
        }
    }

    #[test]
    fn enough_of_a_text_has_to_be_there() {
        let texts = ["a b c d e f g h i j k l m n", "a b c d e f x y"];
        let find = |share, text: &str| {
            let known = known(Rules { share, ..RULES }, &texts);
            known.find(&word_hashes(text)).map(|shared| (shared.known, shared.words))
        };
        // Two of the ten runs of one, two of the four of the other.
        assert_eq!(find(0.2, "0 a b c d e f 0"), Some((0, 1..6)));
        assert_eq!(find(0.5, "0 a b c d e f 0"), Some((1, 1..6)));
        assert_eq!(find(0.6, "0 a b c d e f 0"), None);
        assert_eq!(find(0.5, "a b c d e a b c d e a b c d e"), None, "said again is said once");
        assert_eq!(find(1.0, "c d e"), Some((0, 0..3)));
    }

    #[test]
    fn what_many_rows_share_proves_nothing() {
        let boilerplate = "public static void main string args";
        let known = known(RULES, &[boilerplate, boilerplate, boilerplate, "one two three four five"]);
        assert_eq!(known.find(&word_hashes(&format!("x {boilerplate}"))), None);
        assert!(known.find(&word_hashes("one two three four five")).is_some());
        // Said three times by one row, it is that row's own.
        let known = self::known(RULES, &[&[boilerplate; 3].join(" ")]);
        assert!(known.find(&word_hashes(boilerplate)).is_some());
    }

    proptest! {
        #[test]
        fn found_is_what_a_search_finds(
            texts in prop::collection::vec(prop::collection::vec(LETTER..LETTER + 9, 0..12), 0..4),
            text in prop::collection::vec(LETTER..LETTER + 9, 0..12),
        ) {
            let rules = Rules { common: usize::MAX, ..RULES };
            let mut known = Known::new(rules);
            known.texts = texts.iter().map(|words| Text { row: 0, words: words.clone() }).collect();
            let within = |text: &[u64], run: &[u64]| text.windows(run.len().max(1)).any(|window| window == run);
            let has = |text: &[u64], run: &[u64]| tells(run) && within(text, run);
            let size = text.len().min(rules.size);
            let expected = size >= rules.least && text.windows(size).any(|run| texts.iter().any(|known| has(known, run)))
                || texts.iter().any(|known| (rules.least..rules.size).contains(&known.len()) && has(&text, known));
            let found = known.find(&text);
            prop_assert_eq!(found.is_some(), expected);
            if let Some(shared) = found {
                prop_assert!(has(&texts[shared.known], &text[shared.words]));
            }
        }
    }
}
