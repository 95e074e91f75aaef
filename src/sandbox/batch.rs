//! One solution, many tests.

use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::Sandbox;
use super::job::{Job, Outcome, Verdict};
use crate::error::Fault;

/// One test of a batch. Tests that differ in their input only are one program, which is compiled once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Test code to splice after the solution; without it the solution is a whole program.
    #[serde(default)]
    pub tests: Option<String>,
    /// What the program finds on its standard input.
    #[serde(default)]
    pub stdin: String,
    /// What a passing program prints; white space at the ends of lines and of the output does not matter.
    #[serde(default)]
    pub expected_stdout: Option<String>,
}

/// What came of one test of a batch.
#[derive(Debug, Clone)]
pub enum Tested {
    /// It was run.
    Verdict(Verdict),
    /// The sandbox failed at it, which says nothing about the solution.
    Fault(Fault),
    /// It was not run: a test before it was not passed.
    Skipped,
}

/// Runs `solution`, whose own tests and input do not count, with each of `tests`; answers in their order.
///
/// As many tests run at once as the sandbox has capacity for. With `fail_fast` they run one after the other, and
/// those after the first that is not `PASSED` are skipped; a fault skips nothing. Faults are not retried here.
pub async fn run_batch(
    sandbox: &dyn Sandbox,
    solution: &Job,
    tests: &[Test],
    fail_fast: bool,
) -> Vec<Tested> {
    if fail_fast {
        let mut results = Vec::with_capacity(tests.len());
        for test in tests {
            let tested = run_one(sandbox, solution, test).await;
            let failed = matches!(&tested, Tested::Verdict(verdict) if verdict.outcome != Outcome::Passed);
            results.push(tested);
            if failed {
                break;
            }
        }
        results.resize(tests.len(), Tested::Skipped);
        return results;
    }
    let runs =
        (0..tests.len()).map(|index| async move { (index, run_one(sandbox, solution, &tests[index]).await) });
    let mut results: Vec<_> = stream::iter(runs).buffer_unordered(sandbox.capacity().max(1)).collect().await;
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, tested)| tested).collect()
}

async fn run_one(sandbox: &dyn Sandbox, solution: &Job, test: &Test) -> Tested {
    let job = Job { tests: test.tests.clone(), stdin: test.stdin.clone(), ..solution.clone() };
    match sandbox.run(&job).await {
        Ok(verdict) => Tested::Verdict(test.compared(verdict)),
        Err(fault) => Tested::Fault(fault),
    }
}

impl Test {
    /// `verdict`, or a wrong answer when a program that passed has not printed what it should.
    fn compared(&self, mut verdict: Verdict) -> Verdict {
        if let (Some(expected), Outcome::Passed) = (&self.expected_stdout, verdict.outcome)
            && let Some(line) = first_difference(expected, &verdict.stdout)
        {
            verdict.outcome = Outcome::WrongAnswer;
            verdict.reason = format!("stdout is not the expected from line {line} on");
        }
        verdict
    }
}

/// The number of the first line that differs.
fn first_difference(expected: &str, printed: &str) -> Option<usize> {
    let lines =
        |text: &str| text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let (expected, printed) = (lines(expected), lines(printed));
    let same = expected.iter().zip(&printed).take_while(|(a, b)| a == b).count();
    (same < expected.len().max(printed.len())).then_some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_at_the_ends_of_lines_does_not_matter() {
        for (expected, printed, difference) in [
            ("1\n2", "1 \n2\n\n", None),
            ("", "\n", None),
            ("1\n2\n", "1\n3\n", Some(2)),
            ("1", "1\n2", Some(2)),
            ("1\n\n2", "1\n2", Some(2)),
            ("1", " 1", Some(1)),
        ] {
            assert_eq!(first_difference(expected, printed), difference, "{expected:?} {printed:?}");
        }
    }
}
