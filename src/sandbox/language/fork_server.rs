//! An interpreter that is started once and forked for every job.

use serde::Deserialize;

use crate::error::{Error, Result};

/// Saves each job the interpreter's start-up: a process that has done nothing but that forks, and the child, in the
/// job's own jail, goes on as if it had just started. Whatever is wrong with it, the job is run by the plain command.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkServer {
    /// How the interpreter is driven.
    pub interface: Interface,
    /// A command that prints the path of the interpreter as a shared library, or nothing where there is none.
    pub library: Vec<String>,
    /// Why no job can execute in the process that forks, nor find another job's traces in what it is forked from.
    pub safe_because: String,
}

/// The interface of an interpreter's library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// CPython's C API, version 3.8 or later.
    Cpython,
}

impl ForkServer {
    pub(super) fn check(&self) -> Result<()> {
        if self.safe_because.trim().is_empty() {
            return Err(Error::usage("key `fork_server.safe_because`: says nothing")
                .hint("an interpreter in which a job can execute may not be forked for another"));
        }
        Ok(())
    }
}
