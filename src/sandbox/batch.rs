//! One solution, many tests.

use futures::{StreamExt, stream};

use super::Sandbox;
use super::job::{Job, Outcome, Verdict};
use crate::error::Fault;

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

/// Runs `solution`, whose own tests do not count, with each of `tests`; answers in their order.
///
/// As many tests run at once as the sandbox has capacity for. With `fail_fast` they run one after the other, and
/// those after the first that is not `PASSED` are skipped; a fault skips nothing. Faults are not retried here.
pub async fn run_batch(
    sandbox: &dyn Sandbox,
    solution: &Job,
    tests: &[String],
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

async fn run_one(sandbox: &dyn Sandbox, solution: &Job, test: &str) -> Tested {
    let job = Job { tests: Some(test.to_owned()), ..solution.clone() };
    match sandbox.run(&job).await {
        Ok(verdict) => Tested::Verdict(verdict),
        Err(fault) => Tested::Fault(fault),
    }
}
