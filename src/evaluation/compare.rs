//! Evaluations side by side: by the problems that both have scored.

use std::collections::BTreeMap;

use super::results::Scored;
use crate::stats::{Interval, bootstrap_mean, mcnemar, mean};

/// What two evaluations' scores come to, problem by problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Problems that both have scored.
    pub common: u64,
    /// pass@1 of the first on these.
    pub first: f64,
    /// pass@1 of the second on these.
    pub second: f64,
    /// 95 % interval of `first - second`, from a bootstrap over the problems.
    pub interval: Interval,
    /// Problems that the first solves and the second does not, by their first answers.
    pub only_first: u64,
    /// Problems that the second solves and the first does not.
    pub only_second: u64,
    /// Chance of a difference at least as lopsided as these two, were both equally good: McNemar's exact test, two-sided.
    pub p: f64,
}

/// What an evaluation says of one problem.
struct Solved {
    /// Share of answers that passed.
    share: f64,
    /// Whether the first answer passed.
    first: bool,
}

fn by_problem(scored: &[Scored]) -> BTreeMap<&str, Solved> {
    let mut answers: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
    for row in scored {
        answers.entry(&row.problem).or_default().push(row);
    }
    let solved = |rows: Vec<&Scored>| Solved {
        share: rows.iter().filter(|row| row.passed).count() as f64 / rows.len() as f64,
        first: rows.iter().min_by_key(|row| row.sample).is_some_and(|row| row.passed),
    };
    answers.into_iter().map(|(problem, rows)| (problem, solved(rows))).collect()
}

/// Compares `first` with `second`; `None` where they have no problem in common.
pub fn compare(first: &[Scored], second: &[Scored], seed: u64) -> Option<Comparison> {
    let (first, second) = (by_problem(first), by_problem(second));
    let pairs: Vec<(&Solved, &Solved)> =
        first.iter().filter_map(|(problem, solved)| Some((solved, second.get(problem)?))).collect();
    let differences: Vec<f64> = pairs.iter().map(|(first, second)| first.share - second.share).collect();
    let count = |holds: fn(&Solved, &Solved) -> bool| {
        pairs.iter().filter(|(first, second)| holds(first, second)).count() as u64
    };
    let (only_first, only_second) = (
        count(|first, second| first.first && !second.first),
        count(|first, second| second.first && !first.first),
    );
    let of = |share: fn(&(&Solved, &Solved)) -> f64| mean(&pairs.iter().map(share).collect::<Vec<_>>());
    Some(Comparison {
        common: pairs.len() as u64,
        first: of(|pair| pair.0.share)?,
        second: of(|pair| pair.1.share)?,
        interval: bootstrap_mean(&differences, seed)?,
        only_first,
        only_second,
        p: mcnemar(only_first, only_second),
    })
}

/// For each problem of any of `evaluations`, how many of them solve it: with at least one answer.
pub fn solvers<'a>(evaluations: impl IntoIterator<Item = &'a [Scored]>) -> BTreeMap<&'a str, u64> {
    let mut solvers = BTreeMap::new();
    for scored in evaluations {
        for (problem, solved) in by_problem(scored) {
            *solvers.entry(problem).or_default() += u64::from(solved.share > 0.0);
        }
    }
    solvers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(passed: &[bool]) -> Vec<Scored> {
        let row = |(n, passed): (usize, &bool)| Scored {
            problem: format!("p{n}"),
            passed: *passed,
            ..Scored::default()
        };
        passed.iter().enumerate().map(row).collect()
    }

    #[test]
    fn pairs_by_hand() {
        let (yes, no) = (true, false);
        let first = answers(&[yes, yes, yes, no, yes]);
        let second = answers(&[yes, no, no, yes]);
        let compared = compare(&first, &second, 1).unwrap();
        assert_eq!((compared.common, compared.only_first, compared.only_second), (4, 2, 1));
        assert_eq!((compared.first, compared.second, compared.p), (0.75, 0.5, 1.0));
        assert!(compared.interval.low < 0.25 && compared.interval.high > 0.25);
        assert_eq!(compare(&first, &[], 1), None);
        let solved = solvers([first.as_slice(), &second]);
        assert_eq!(solved.values().copied().collect::<Vec<_>>(), [2, 1, 1, 1, 1]);
    }
}
