//! A verdict for sandboxes of tests and benches that run nothing.

use autocodegen::sandbox::job::{Outcome, Usage, Verdict};

/// The program passed and printed `stdout`.
pub fn passed(stdout: String) -> Verdict {
    Verdict {
        outcome: Outcome::Passed,
        stdout,
        stderr: String::new(),
        compile_message: String::new(),
        reason: String::new(),
        exit_code: Some(0),
        signal: None,
        truncated: false,
        invalid_utf8: false,
        limits: None,
        usage: Usage::default(),
        compile_usage: None,
        compile_reused: false,
        toolchain: "none".to_owned(),
        isolation: "none".to_owned(),
    }
}
