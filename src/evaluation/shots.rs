//! Prompts for base models: a few solved problems of the same language, then the problem.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::benchmark::Problem;
use crate::frame::key::Key;
use crate::text::answer::after_prompt;
use crate::text::blocks::{render, unfence};

/// Problems of a benchmark, each with the solved problems to show before it.
#[derive(Debug)]
pub struct Shots {
    /// Positions of the problems that were picked, language by language.
    pub picked: Vec<usize>,
    /// For each picked problem, the solved ones to show before it, as text.
    pub texts: Vec<String>,
}

impl Shots {
    /// Picks at most `quota` of `problems` of each language (all, where there is none) and `shots` others of the language for each of
    /// them. The choice depends on `seed` and the problems' ids alone. The problems shown are not among the picked as long as the
    /// language has enough of them, and never show the solution of the problem they precede.
    pub fn pick(problems: &[Problem], quota: Option<usize>, shots: usize, seed: u64) -> Self {
        let mut by_language: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, problem) in problems.iter().enumerate() {
            by_language.entry(&problem.language).or_default().push(at);
        }
        let (mut picked, mut texts) = (Vec::new(), Vec::new());
        for (language, mut order) in by_language {
            order.sort_by_key(|at| &problems[*at].id);
            Rng::with_seed(seed_of(seed, language)).shuffle(&mut order);
            let wanted = quota.unwrap_or(order.len()).min(order.len());
            for &at in &order[..wanted] {
                let problem = &problems[at];
                let others = order.iter().rev().map(|other| &problems[*other]);
                let shown =
                    others.filter(|other| other.id != problem.id && other.question != problem.question);
                picked.push(at);
                texts.push(shown.take(shots).map(shot).collect());
            }
        }
        Self { picked, texts }
    }
}

fn seed_of(seed: u64, language: &str) -> u64 {
    let key = Key::of(&[&seed.to_le_bytes()[..], language.as_bytes()]);
    key.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A solved problem, as the prompt goes on after it.
fn shot(problem: &Problem) -> String {
    let code = unfence(&problem.canonical_solution);
    let code = match &problem.begins {
        Some((prompt, entry_point)) => after_prompt(&code, prompt, entry_point, true),
        None => code,
    };
    format!(
        "[Problem]\n{}\n\n[Code Solution]\n{}\n[Code Solution End]\n\n",
        problem.question.trim_end(),
        render(&problem.language, code.trim_end())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(count: usize) -> Vec<Problem> {
        (0..count)
            .map(|n| Problem {
                id: format!("p{n}"),
                language: if n % 2 == 0 { "go" } else { "r" }.into(),
                question: format!("Question {n}."),
                canonical_solution: format!("```r\nsolution {n}\n```"),
                ..Problem::default()
            })
            .collect()
    }

    #[test]
    fn a_quota_per_language_and_no_solution_of_its_own() {
        let problems = problems(20);
        let shots = Shots::pick(&problems, Some(4), 3, 7);
        assert_eq!(shots.picked.len(), 8);
        for (&at, text) in shots.picked.iter().zip(&shots.texts) {
            assert_eq!(text.matches("[Code Solution End]").count(), 3);
            assert!(!text.contains(&format!("solution {at}\n")));
            let language = |at: usize| &problems[at].language;
            let shown: Vec<usize> =
                (0..20).filter(|other| text.contains(&format!("solution {other}\n"))).collect();
            assert!(
                shown.iter().all(|other| language(*other) == language(at) && !shots.picked.contains(other))
            );
        }
    }

    #[test]
    fn the_choice_depends_on_ids_and_seed_alone() {
        let problems = problems(20);
        let ids = |problems: &[Problem], seed| -> Vec<String> {
            let shots = Shots::pick(problems, Some(5), 3, seed);
            shots.picked.iter().map(|at| problems[*at].id.clone()).collect()
        };
        let reversed: Vec<Problem> = problems.iter().rev().cloned().collect();
        assert_eq!(ids(&problems, 1), ids(&reversed, 1));
        assert_ne!(ids(&problems, 1), ids(&problems, 2));
        let few = Shots::pick(&problems[..2], None, 3, 1);
        assert_eq!(few.texts, ["", ""]);
    }
}
