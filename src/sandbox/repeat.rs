//! Running a job several times, in surroundings that differ on purpose, to see whether its verdict can be trusted.

use super::job::{Job, Verdict};
use super::{Sandbox, run_with_retries};
use crate::error::Fault;

/// The verdicts of the same job, run in different surroundings.
#[derive(Debug, Clone)]
pub struct Repeated {
    /// The verdict in each, the usual surroundings first; never empty.
    pub verdicts: Vec<Verdict>,
    /// What differs between the first verdict and another, one line; `None` when the job is steady.
    pub difference: Option<String>,
}

/// Runs `job` in the usual surroundings and in `times - 1` others: each differs in hash seed, time zone and, every
/// other time, host name and work path.
///
/// # Errors
/// A fault of the sandbox in any of the runs.
pub async fn run_repeated(sandbox: &dyn Sandbox, job: &Job, times: u32) -> Result<Repeated, Fault> {
    let mut verdicts = Vec::new();
    for variation in 0..times.max(1) {
        verdicts.push(run_with_retries(sandbox, &Job { variation, ..job.clone() }).await?);
    }
    let difference = verdicts.iter().enumerate().skip(1).find_map(|(number, verdict)| {
        difference(&verdicts[0], verdict).map(|what| format!("run {} of {times}: {what}", number + 1))
    });
    Ok(Repeated { verdicts, difference })
}

/// What of a program's behaviour differs between two verdicts, one line. Of stderr only its being empty counts: messages
/// hold paths and times that no test looks at.
pub fn difference(first: &Verdict, other: &Verdict) -> Option<String> {
    if first.outcome != other.outcome {
        return Some(format!("{} instead of {}", other.outcome.name(), first.outcome.name()));
    }
    if first.exit_code != other.exit_code {
        return Some(format!("exit code {:?} instead of {:?}", other.exit_code, first.exit_code));
    }
    if first.stdout != other.stdout {
        let same = first.stdout.lines().zip(other.stdout.lines()).take_while(|(a, b)| a == b).count();
        let [first, other] = [first, other].map(|verdict| shown(verdict.stdout.lines().nth(same)));
        return Some(format!("stdout differs from line {} on: {other} instead of {first}", same + 1));
    }
    (first.stderr.is_empty() != other.stderr.is_empty()).then(|| "stderr is empty in one run only".to_owned())
}

/// The beginning of a line that a program printed, with its control characters escaped.
fn shown(line: Option<&str>) -> String {
    const MOST: usize = 80;
    let Some(line) = line else { return "no line".to_owned() };
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}...", &line[..end]),
        None => format!("{line:?}"),
    }
}
