//! A compiler that stays and serves the compile steps of many jobs.

use serde::Deserialize;

use crate::error::{Error, Result};

/// A process that compiles on request, in a jail of its own, in place of the language's `compile` command. What it
/// reads and answers is told in `data/languages/support/jvm/CompileServer.java`. Whatever goes wrong with it, the
/// job is compiled by the plain command instead.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compiler {
    /// The command that starts it.
    pub command: Vec<String>,
    /// What a request asks for: the arguments of the plain command as far as they shape the result.
    pub arguments: Vec<String>,
    /// Requests one process serves.
    #[serde(default = "requests")]
    pub requests: u32,
    /// Why no source can execute in it: only then may jobs of several tenants share a process.
    pub safe_because: String,
}

fn requests() -> u32 {
    1000
}

impl Compiler {
    pub(super) fn check(&self) -> Result<()> {
        if self.safe_because.trim().is_empty() {
            return Err(Error::usage("key `compiler.safe_because`: says nothing")
                .hint("a compiler in which source can execute may not serve a second job"));
        }
        Ok(())
    }
}
