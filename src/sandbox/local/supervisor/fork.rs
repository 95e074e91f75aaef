//! Whether a job's run may be forked from an interpreter that has started, and what happens when that goes wrong.

use std::sync::atomic::{AtomicU32, Ordering};

use super::super::protocol::Interpreter;
use super::work::{Command, STARVED};
use super::{LocalSandbox, Prepared, Turn};
use crate::error::Fault;
use crate::sandbox::job::Verdict;
use crate::sandbox::language::{Interface, Language};
use crate::sandbox::toolchain::Toolchain;

/// After so many faults of runs that were to be forked, none is any more.
const MOST: u32 = 10;

/// Counts the faults of runs that were to be forked, of one language.
#[derive(Default)]
pub(super) struct ForkFaults(AtomicU32);

impl ForkFaults {
    /// Whether runs of `language` may be forked. Other surroundings are for other hash seeds, which an interpreter
    /// settles when it starts.
    pub(super) fn allow(&self, language: &Language, toolchain: &Toolchain, variation: u32) -> bool {
        language.fork_server.is_some()
            && toolchain.library.is_some()
            && variation == 0
            && self.0.load(Ordering::Relaxed) < MOST
    }
}

impl Prepared<'_> {
    /// What `command` may be forked from.
    pub(super) fn interpreter(&self, command: &Command) -> Option<Interpreter> {
        let server = self.language.fork_server.as_ref().filter(|_| self.forked)?;
        match server.interface {
            Interface::Cpython => Some(Interpreter {
                library: self.toolchain.library.clone()?,
                argv: command.argv.clone(),
                env: command.env.clone(),
            }),
        }
    }
}

impl LocalSandbox {
    /// Runs the job. A fault of a run that was to be forked may be the fork's: the plain command has the last word.
    pub(super) async fn run_forked_or_plain(
        &self,
        job: &Prepared<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Verdict, Fault> {
        match self.run_prepared(job, turn).await {
            Err(fault) if job.forked && fault.cause != STARVED => {
                job.known.fork_faults.0.fetch_add(1, Ordering::Relaxed);
                self.run_prepared(&Prepared { forked: false, ..job.clone() }, turn).await
            }
            result => result,
        }
    }
}
