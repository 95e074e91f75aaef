//! What a sandbox is asked and what it answers.

use serde::{Deserialize, Serialize};

/// One program to run: a whole program, or a solution and tests to splice into one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Canonical language name, e.g. `python`.
    pub language: String,
    /// The program, or the solution when `tests` is given. Source text, not fenced.
    pub source: String,
    /// Test code to splice after the solution.
    pub tests: Option<String>,
    /// Limits that differ from the language's defaults.
    #[serde(default)]
    pub limits: LimitOverrides,
    /// Whether a pass must be earned: where there are tests, they must be known to have run to their end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strict: bool,
    /// What the program finds on its standard input.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stdin: String,
    /// Which surroundings to run in. 0 are the usual ones; others differ in hash seed, host name, work path and time
    /// zone, to see whether the program's output depends on them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub variation: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Limits of one job, compile and run each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// CPU time over the whole process tree, ms. Decides `TIME_LIMIT_EXCEEDED`.
    pub cpu_ms: u64,
    /// Wall-clock backstop, ms.
    pub wall_ms: u64,
    /// Memory of the whole process tree, bytes.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub pids: u64,
    /// Bytes kept of stdout and of stderr, each.
    pub output_bytes: u64,
    /// Bytes of files the job may leave in its private file system, and the largest single file.
    pub file_bytes: u64,
}

/// Limits a caller sets; `None` takes the language's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOverrides {
    /// See [`Limits::cpu_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// See [`Limits::wall_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// See [`Limits::memory_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// See [`Limits::pids`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// See [`Limits::output_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// See [`Limits::file_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
}

impl LimitOverrides {
    /// `defaults` with these overrides put in.
    pub fn over(&self, defaults: Limits) -> Limits {
        Limits {
            cpu_ms: self.cpu_ms.unwrap_or(defaults.cpu_ms),
            wall_ms: self.wall_ms.unwrap_or(defaults.wall_ms),
            memory_bytes: self.memory_bytes.unwrap_or(defaults.memory_bytes),
            pids: self.pids.unwrap_or(defaults.pids),
            output_bytes: self.output_bytes.unwrap_or(defaults.output_bytes),
            file_bytes: self.file_bytes.unwrap_or(defaults.file_bytes),
        }
    }
}

/// How a program ended. Names are those of the reference service, with the last three added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum Outcome {
    Passed,
    WrongAnswer,
    TimeLimitExceeded,
    CompilationError,
    SyntaxError,
    RuntimeError,
    InternalError,
    ArgumentError,
    UnknownError,
    MemoryLimitExceeded,
    OutputLimitExceeded,
    ToolchainMissing,
}

impl Outcome {
    /// The name as it stands in JSON and in frames, e.g. `TIME_LIMIT_EXCEEDED`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::WrongAnswer => "WRONG_ANSWER",
            Self::TimeLimitExceeded => "TIME_LIMIT_EXCEEDED",
            Self::CompilationError => "COMPILATION_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::RuntimeError => "RUNTIME_ERROR",
            Self::InternalError => "INTERNAL_ERROR",
            Self::ArgumentError => "ARGUMENT_ERROR",
            Self::UnknownError => "UNKNOWN_ERROR",
            Self::MemoryLimitExceeded => "MEMORY_LIMIT_EXCEEDED",
            Self::OutputLimitExceeded => "OUTPUT_LIMIT_EXCEEDED",
            Self::ToolchainMissing => "TOOLCHAIN_MISSING",
        }
    }
}

/// Resources one run of a program used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall-clock time, ms.
    pub wall_ms: u64,
    /// User + system CPU time of the whole process tree, ms.
    pub cpu_ms: u64,
    /// Peak resident memory of the process tree, bytes.
    pub peak_rss_bytes: u64,
}

/// What came of a job. A fault of the sandbox itself is not a verdict but a [`crate::error::Fault`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// How the program ended.
    pub outcome: Outcome,
    /// Standard output of the run up to the output limit; invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error of the run up to the output limit; invalid UTF-8 replaced.
    pub stderr: String,
    /// What the compiler said, when it refused the program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub compile_message: String,
    /// One line saying why the outcome is what it is; empty when PASSED.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Exit code, when the program exited.
    pub exit_code: Option<i32>,
    /// Signal number, when a signal ended the program.
    pub signal: Option<i32>,
    /// Whether stdout or stderr went past the output limit and was cut.
    #[serde(default)]
    pub truncated: bool,
    /// Whether stdout or stderr held invalid UTF-8.
    #[serde(default)]
    pub invalid_utf8: bool,
    /// The limits that compiling and running were each held to, where the sandbox says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Usage of the run.
    pub usage: Usage,
    /// Usage of compiling, where the language compiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compile_usage: Option<Usage>,
    /// Whether that was used for an earlier job with the same compile step, whose result this job was given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compile_reused: bool,
    /// Toolchain version, e.g. `Python 3.11.7`.
    pub toolchain: String,
    /// Isolation in force, e.g. `namespaces+cgroup-v1+seccomp`.
    pub isolation: String,
}

impl Verdict {
    /// The verdict with at most `bytes` of each text the program or its compiler wrote, marked as truncated when
    /// that cuts stdout or stderr.
    #[must_use]
    pub fn shortened(mut self, bytes: usize) -> Self {
        self.truncated |= self.stdout.len().max(self.stderr.len()) > bytes;
        for text in [&mut self.stdout, &mut self.stderr, &mut self.compile_message] {
            if text.len() > bytes {
                text.truncate(text.floor_char_boundary(bytes));
                text.shrink_to_fit();
            }
        }
        self
    }
}
