//! From how a program ended to what that means. Pure: no I/O, no clocks.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use nix::sys::signal::Signal;

use super::protocol::{Exceeded, Limits, Report};
use super::supervisor::Captured;
use crate::sandbox::job::Outcome;
use crate::sandbox::language::Language;

/// One finished step: the launcher's report and the output.
#[derive(Debug)]
pub(super) struct Run {
    pub report: Report,
    /// The work folder as the step has left it, where another step follows and nothing was left elsewhere.
    pub left: Option<OwnedFd>,
    pub limits: Limits,
    pub stdout: Captured,
    pub stderr: Captured,
    /// Whether the step was ended because it wrote beyond all measure.
    pub flooded: bool,
    /// Whether the program said, by the secret it was given, that its tests ran to their end; `None` when it was not
    /// asked to.
    pub completed: Option<bool>,
}

/// The outcome and one line of reason (empty for `PASSED`).
pub(super) type Judgement = (Outcome, String);

/// Whether wall time ran out because the machine gave the step no cores, not because the step idled: one of its
/// threads waited for a core for a quarter of the wall time, and the step did not wear itself out at its memory
/// limit. Such an end says nothing about the program.
pub(super) fn was_starved(run: &Run) -> bool {
    let report = &run.report;
    report.exceeded == Some(Exceeded::Wall)
        && report.oom_kills == 0
        && report.waited_ms.saturating_mul(4) >= report.wall_ms
}

/// What a compiler's run means; `None` when the program compiled.
pub(super) fn compiling(run: &Run) -> Option<Judgement> {
    if let Some((outcome, reason)) = over_limit(run) {
        return Some((outcome, format!("compiling: {reason}")));
    }
    let reason = abnormal_end(&run.report)?;
    Some((Outcome::CompilationError, format!("the compiler ended with {reason}")))
}

/// What a program's run means. Limits come first, then failure marks even where the exit code is 0, then the exit
/// code.
pub(super) fn running(run: &Run, language: &Language) -> Judgement {
    if let Some(judgement) = over_limit(run) {
        return judgement;
    }
    let end = abnormal_end(&run.report);
    let (stdout, stderr) = (lossy(&run.stdout), lossy(&run.stderr));
    if end.is_some() && language.is_syntax_error(&stderr) {
        return (Outcome::SyntaxError, last_line(&stderr).to_owned());
    }
    let mark = language.failure_marks.iter().find(|mark| stdout.contains(*mark) || stderr.contains(*mark));
    if let Some(mark) = mark {
        return (Outcome::WrongAnswer, format!("the output contains {mark:?}"));
    }
    if let Some(reason) = end {
        return (Outcome::RuntimeError, format!("the program ended with {reason}"));
    }
    let reported = |run: &Run| {
        let completion = language.completion.as_ref();
        run.completed != Some(false)
            || completion.is_some_and(|c| c.is_reported(&stdout) || c.is_reported(&stderr))
    };
    if reported(run) {
        (Outcome::Passed, String::new())
    } else {
        (Outcome::WrongAnswer, "the program ended before its tests had run to their end".to_owned())
    }
}

fn over_limit(run: &Run) -> Option<Judgement> {
    let (report, limits) = (&run.report, &run.limits);
    if run.flooded {
        return Some((Outcome::OutputLimitExceeded, "it wrote far more than the output limit".to_owned()));
    }
    if report.oom_kills > 0 || report.exceeded == Some(Exceeded::Memory) {
        let mib = limits.memory_bytes >> 20;
        return Some((Outcome::MemoryLimitExceeded, format!("it needed more than {mib} MiB of memory")));
    }
    // The kernel's own limit, which only a busy launcher lets come first.
    let of_kernel = (report.signal == Some(Signal::SIGXCPU as i32)).then_some(Exceeded::Cpu);
    let reason = match report.exceeded.or(of_kernel)? {
        Exceeded::Cpu => format!("it used more than {} ms of CPU time", limits.cpu_ms),
        _ => format!("it had not ended after {} ms", limits.wall_ms),
    };
    Some((Outcome::TimeLimitExceeded, reason))
}

/// How a program ended, unless it exited with 0.
fn abnormal_end(report: &Report) -> Option<String> {
    match (report.exit_code, report.signal) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit code {code}")),
        (None, Some(signal)) => Some(match Signal::try_from(signal) {
            Ok(known) => format!("signal {signal} ({known})"),
            Err(_) => format!("signal {signal}"),
        }),
        (None, None) => Some("no exit code".to_owned()),
    }
}

fn lossy(captured: &Captured) -> Cow<'_, str> {
    String::from_utf8_lossy(&captured.bytes)
}

fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| line.contains("rror")).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::language::Languages;

    const LIMITS: Limits = Limits {
        cpu_ms: 1000,
        wall_ms: 4000,
        memory_bytes: 1 << 28,
        pids: 8,
        output_bytes: 100,
        file_bytes: 1 << 20,
    };

    /// A run of 4 s that ended with `exit_code` and left `stderr`.
    fn run(exit_code: i32, stderr: &str) -> Run {
        Run {
            report: Report {
                exit_code: Some(exit_code),
                signal: None,
                exceeded: None,
                oom_kills: 0,
                wall_ms: 4000,
                cpu_ms: 10,
                peak_rss_bytes: 0,
                waited_ms: 0,
            },
            left: None,
            limits: LIMITS,
            stdout: Captured::default(),
            stderr: Captured { bytes: stderr.into(), truncated: false },
            flooded: false,
            completed: None,
        }
    }

    fn python(run: &Run) -> Outcome {
        running(run, Languages::embedded().unwrap().get("python").unwrap()).0
    }

    #[test]
    fn a_failure_mark_counts_more_than_the_exit_code() {
        assert_eq!(python(&run(0, "")), Outcome::Passed);
        assert_eq!(python(&run(0, "caught an AssertionError")), Outcome::WrongAnswer);
        assert_eq!(python(&run(1, "AssertionError")), Outcome::WrongAnswer);
        assert_eq!(python(&run(1, "KeyError")), Outcome::RuntimeError);
    }

    #[test]
    fn a_limit_counts_more_than_a_failure_mark() {
        let mut late = run(1, "AssertionError");
        late.report.signal = Some(Signal::SIGXCPU as i32);
        assert_eq!(python(&late), Outcome::TimeLimitExceeded);
        late.report.exceeded = Some(Exceeded::Cpu);
        assert_eq!(python(&late), Outcome::TimeLimitExceeded);
        late.report.oom_kills = 1;
        assert_eq!(python(&late), Outcome::MemoryLimitExceeded);
        late.flooded = true;
        assert_eq!(python(&late), Outcome::OutputLimitExceeded);
    }

    #[test]
    fn only_a_wall_expiry_that_waited_for_cores_is_starvation() {
        let mut slow = run(0, "");
        slow.report.waited_ms = 1000;
        assert!(!was_starved(&slow));
        slow.report.exceeded = Some(Exceeded::Wall);
        assert!(was_starved(&slow));
        slow.report.waited_ms = 999;
        assert!(!was_starved(&slow));
    }

    #[test]
    fn a_compiler_that_goes_over_a_limit_has_not_refused_the_program() {
        assert!(compiling(&run(0, "warning")).is_none());
        assert_eq!(compiling(&run(1, "error")).unwrap().0, Outcome::CompilationError);
        let mut bomb = run(1, "");
        bomb.report.exceeded = Some(Exceeded::Cpu);
        assert_eq!(compiling(&bomb).unwrap().0, Outcome::TimeLimitExceeded);
    }
}
