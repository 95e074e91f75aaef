//! Scores of an evaluation: pass@k, rates and intervals, all together and by group.
//!
//! A rate is the mean over problems of the share of a problem's answers; intervals come from a bootstrap over problems.

use std::collections::BTreeMap;

use super::results::Scored;
use crate::stats::{Interval, bootstrap_mean, mean, pass_at_k};

/// Values of k that are told unless others are asked for.
pub const USUAL_K: [u32; 4] = [1, 5, 10, 100];

/// A rate and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Between 0 and 1.
    pub value: f64,
    /// Where it may be.
    pub interval: Interval,
}

/// The scores of a group of answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Problems with a scored answer.
    pub problems: u64,
    /// Scored answers.
    pub answers: u64,
    /// Answers that passed.
    pub passed: u64,
    /// pass@k by k: those that every problem has enough answers for.
    pub pass_at: BTreeMap<u32, Rate>,
    /// Share whose public tests passed, where there are any apart.
    pub demo: Option<Rate>,
    /// Share whose full tests passed.
    pub full: Rate,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// All answers together.
    pub all: Scores,
    /// By language.
    pub by_language: BTreeMap<String, Scores>,
    /// By difficulty, where the benchmark has one.
    pub by_difficulty: BTreeMap<String, Scores>,
    /// By category, where the benchmark has one.
    pub by_category: BTreeMap<String, Scores>,
    /// pass@1 after each round of the conversation.
    pub rounds: Vec<Rate>,
    /// Answers by outcome.
    pub outcomes: BTreeMap<String, u64>,
}

impl Report {
    /// The report on `scored`, of an evaluation of `rounds` rounds, with pass@k for `ks`. `None` where nothing is scored.
    pub fn of(scored: &[Scored], ks: &[u32], rounds: u32, seed: u64) -> Option<Self> {
        let all: Vec<&Scored> = scored.iter().collect();
        let group = |key: &dyn Fn(&Scored) -> Option<String>| -> BTreeMap<String, Scores> {
            let mut groups: BTreeMap<String, Vec<&Scored>> = BTreeMap::new();
            for row in scored {
                if let Some(key) = key(row) {
                    groups.entry(key).or_default().push(row);
                }
            }
            groups.into_iter().filter_map(|(key, rows)| Some((key, Scores::of(&rows, ks, seed)?))).collect()
        };
        let mut outcomes = BTreeMap::new();
        for row in scored {
            *outcomes.entry(row.outcome.clone()).or_default() += 1;
        }
        let after = |round: u32| share(&all, seed, move |row| Some(row.passed && row.round <= round));
        Some(Self {
            all: Scores::of(&all, ks, seed)?,
            by_language: group(&|row| Some(row.language.clone())),
            by_difficulty: group(&|row| row.difficulty.clone()),
            by_category: group(&|row| row.category.clone()),
            rounds: (1..=rounds).filter_map(after).collect(),
            outcomes,
        })
    }
}

impl Scores {
    /// The scores of `rows`; `None` of none.
    fn of(rows: &[&Scored], ks: &[u32], seed: u64) -> Option<Self> {
        let mut problems: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for row in rows {
            let (answers, passed) = problems.entry(&row.problem).or_default();
            *answers += 1;
            *passed += u64::from(row.passed);
        }
        let pass_at = ks.iter().filter_map(|&k| {
            let values: Option<Vec<f64>> =
                problems.values().map(|&(answers, passed)| pass_at_k(answers, passed, k.into())).collect();
            Some((k, rate(&values?, seed)?))
        });
        Some(Self {
            problems: problems.len() as u64,
            answers: rows.len() as u64,
            passed: problems.values().map(|(_, passed)| passed).sum(),
            pass_at: pass_at.collect(),
            demo: share(rows, seed, |row| row.demo),
            full: share(rows, seed, |row| Some(row.full))?,
        })
    }

    /// The chance that one answer passes.
    pub fn pass_at_1(&self) -> Option<&Rate> {
        self.pass_at.get(&1)
    }
}

/// The mean over problems of the share of answers for which `holds`; answers for which it says nothing are left out.
fn share(rows: &[&Scored], seed: u64, holds: impl Fn(&Scored) -> Option<bool>) -> Option<Rate> {
    let mut problems: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for row in rows {
        if let Some(held) = holds(row) {
            let (answers, holding) = problems.entry(&row.problem).or_default();
            *answers += 1;
            *holding += u32::from(held);
        }
    }
    let values: Vec<f64> =
        problems.values().map(|(answers, holding)| f64::from(*holding) / f64::from(*answers)).collect();
    rate(&values, seed)
}

fn rate(values: &[f64], seed: u64) -> Option<Rate> {
    Some(Rate { value: mean(values)?, interval: bootstrap_mean(values, seed)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(problem: &str, sample: u32, passed: bool) -> Scored {
        Scored {
            problem: problem.into(),
            sample,
            language: if problem.starts_with('g') { "go" } else { "r" }.into(),
            passed,
            full: passed,
            demo: Some(true),
            outcome: if passed { "PASSED" } else { "WRONG_ANSWER" }.into(),
            round: 1 + sample % 2,
            ..Scored::default()
        }
    }

    #[test]
    fn numbers_by_hand() {
        // g: 1 of 4 passed, r: 3 of 4. pass@1 = (1/4 + 3/4) / 2; pass@2 = (1/2 + 1) / 2.
        let mut scored: Vec<Scored> = (0..4).map(|n| answer("g", n, n == 1)).collect();
        scored.extend((0..4).map(|n| answer("r", n, n != 2)));
        let report = Report::of(&scored, &[1, 2, 5], 2, 1).unwrap();
        let value = |rate: &Rate| (rate.value * 1e6).round() / 1e6;
        let of =
            |scores: &Scores| scores.pass_at.iter().map(|(k, rate)| (*k, value(rate))).collect::<Vec<_>>();
        assert_eq!(of(&report.all), [(1, 0.5), (2, 0.75)]);
        assert_eq!(of(&report.by_language["go"]), [(1, 0.25), (2, 0.5)]);
        assert_eq!((report.all.problems, report.all.answers, report.all.passed), (2, 8, 4));
        assert_eq!((value(&report.all.full), value(report.all.demo.as_ref().unwrap())), (0.5, 1.0));
        // In the first round: samples 0 of r; 0 of g failed. In the second: 1 of g, 1 and 3 of r.
        assert_eq!(report.rounds.iter().map(value).collect::<Vec<_>>(), [0.125, 0.5]);
        assert_eq!(report.outcomes["WRONG_ANSWER"], 4);
        assert!(report.by_difficulty.is_empty());
        assert_eq!(Report::of(&[], &[1], 1, 1), None);
    }

    #[test]
    fn a_problem_with_fewer_answers_has_no_say_in_a_larger_k() {
        let scored = [answer("g", 0, true), answer("r", 0, false), answer("r", 1, true)];
        let report = Report::of(&scored, &[1, 2], 1, 1).unwrap();
        assert_eq!(report.all.pass_at.keys().copied().collect::<Vec<_>>(), [1]);
        assert_eq!(report.all.pass_at_1().unwrap().value, 0.75);
        assert_eq!(report.by_language["r"].pass_at[&2].value, 1.0);
    }
}
