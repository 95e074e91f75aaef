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

use std::future::pending;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::Fault;
use crate::retry::{RetryPolicy, with_retries};
use job::{Job, Verdict};

/// Attempts at one job and the waits between them: what a sandbox fails at it mostly fails at for a moment only.
pub const RETRIES: RetryPolicy = RetryPolicy {
    tries: 4,
    min_wait: Duration::from_millis(50),
    max_wait: Duration::from_secs(1),
    max_retry_after: Duration::from_secs(10),
};

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

/// Runs one job for someone who waits for it: faults that may pass are retried a few times, each on a fresh jail.
///
/// # Errors
/// A fault that did not pass.
pub async fn run_with_retries(sandbox: &dyn Sandbox, job: &Job) -> Result<Verdict, Fault> {
    let on_retry = |fault: &Fault, _| tracing::info!("sandbox fault {}, trying again: {fault}", fault.cause);
    with_retries(&RETRIES, pending(), |_| sandbox.run(job), on_retry).await.result
}
