//! Errors of the program and faults of its effects.
//!
//! An [`Error`] ends the command: it carries what failed, a hint with the next thing to do, and a kind that
//! decides the exit code. A [`Fault`] is the network's or the sandbox's own failure while answering one
//! request: it never becomes a verdict or a reply, and its [`Recovery`] tells the executor what to do next.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command ended; decides its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bad usage, configuration or input: exit code 2.
    Usage,
    /// The environment lacks something: toolchain, isolation, key, disk space: exit code 3.
    Environment,
    /// The budget is spent: state is safe: exit code 4.
    Budget,
    /// The user interrupted: state is safe: exit code 130.
    Interrupted,
}

/// An error that ends the command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// An error of `kind`; `message` says what failed and where.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// Bad usage, configuration or input.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something the environment lacks.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(Kind::Environment, message)
    }

    /// An I/O error on `path` while doing `what` ("read", "write", "create", ...).
    ///
    /// A full disk is an environment error whose hint says that running again resumes.
    pub fn io(what: &str, path: &Path, source: std::io::Error) -> Self {
        let message = format!("cannot {what} {}: {source}", path.display());
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::environment(message)
                .hint("free some disk space and run the same command again: it resumes"),
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::NotADirectory
            | std::io::ErrorKind::IsADirectory
            | std::io::ErrorKind::InvalidInput => {
                Self::usage(message).hint("check that the path is spelt correctly")
            }
            std::io::ErrorKind::PermissionDenied => {
                Self::usage(message).hint("check the permissions of this path")
            }
            _ => Self::environment(message),
        }
    }

    /// The same error with a hint: the next thing to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with `context: ` before its message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Why the command ended.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The next thing to do, if there is one to suggest.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The process exit code: 2 usage, 3 environment, 4 budget, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Environment => 3,
            Kind::Budget => 4,
            Kind::Interrupted => 130,
        }
    }
}

/// What the executor does with a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Try the same request again after a backoff; out of tries, the row is pending.
    Retry,
    /// Asking again in this run is pointless (a toolchain is missing): the row is pending.
    Pend,
    /// No request of this run can succeed (401, unknown model, disk full): stop and say so.
    Stop,
}

/// A failure of the network or the sandbox itself while answering one request. Never a verdict.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What the executor does about it.
    pub recovery: Recovery,
    /// A short stable name of the cause for counting: `rate_limited`, `timeout`, `toolchain_missing`, ...
    pub cause: &'static str,
    /// What happened, for people. Never contains a secret.
    pub message: String,
    /// The next thing to do, for people.
    pub hint: Option<String>,
    /// How long the other side asked us to wait.
    pub retry_after: Option<Duration>,
    /// What the other side charges for the failed request, where it says so. Boxed: nearly no fault has it.
    pub billed: Option<Box<Tokens>>,
}

/// Tokens of model calls, as endpoints count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Tokens of prompts, cached ones included.
    #[serde(rename = "prompt_tokens")]
    pub prompt: u64,
    /// Those of them that the endpoint had cached, which are cheaper.
    #[serde(rename = "cached_tokens")]
    pub cached: u64,
    /// Tokens of replies, reasoning included.
    #[serde(rename = "completion_tokens")]
    pub completion: u64,
}

impl Tokens {
    /// Of prompts and replies together.
    pub fn total(&self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }
}

impl std::ops::AddAssign for Tokens {
    // An endpoint may report any number.
    fn add_assign(&mut self, other: Self) {
        self.prompt = self.prompt.saturating_add(other.prompt);
        self.cached = self.cached.saturating_add(other.cached);
        self.completion = self.completion.saturating_add(other.completion);
    }
}

impl Fault {
    /// A fault with the given recovery and cause.
    pub fn new(recovery: Recovery, cause: &'static str, message: impl Into<String>) -> Self {
        Self { recovery, cause, message: message.into(), hint: None, retry_after: None, billed: None }
    }

    /// The same fault with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault with the wait that the other side asked for.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The same fault of a request that is charged for.
    #[must_use]
    pub fn billed(mut self, tokens: Tokens) -> Self {
        self.billed = (tokens != Tokens::default()).then(|| Box::new(tokens));
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let error = Self::environment(fault.message);
        match fault.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
