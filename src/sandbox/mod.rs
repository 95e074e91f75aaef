//! Running untrusted programs: jobs in, verdicts out.

pub mod batch;
pub mod job;
pub mod language;
pub mod local;
pub mod remote;
pub mod repeat;
pub mod server;
pub mod splice;
pub mod token;
pub mod toolchain;

use futures::future::BoxFuture;

use crate::error::Fault;
use job::{Job, Verdict};

/// Something that runs jobs: in local jails, at a remote service, or a constant for benchmarks.
pub trait Sandbox: Send + Sync {
    /// Runs one job once. A fault is the sandbox's own failure; the caller retries, it never scores it.
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Verdict, Fault>>;

    /// What a verdict for `language` depends on besides the job: language entry and toolchain version.
    /// Part of the journal key and of stage fingerprints.
    fn identity(&self, language: &str) -> String;

    /// How many jobs it can usefully run at once.
    fn capacity(&self) -> usize;

    /// What it is and how it isolates, for people.
    fn describe(&self) -> String;
}
