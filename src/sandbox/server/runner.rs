//! Jobs to their end: a seat each, tried again on a fresh jail after a fault, counted.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use crate::error::{Fault, Recovery};
use crate::retry::{RetryPolicy, with_retries};
use crate::sandbox::Sandbox;
use crate::sandbox::job::{Job, Outcome, Verdict};

/// How much the latest job counts in the running mean of job times.
const LATEST: f64 = 0.1;

/// The sandbox of a service. Its faults are final: they have been retried already.
pub(super) struct Runner {
    sandbox: Arc<dyn Sandbox>,
    seats: Semaphore,
    capacity: usize,
    waiting: AtomicUsize,
    retry: RetryPolicy,
    metrics: Arc<Metrics>,
    /// Running mean of the seconds a job keeps its seat.
    mean_seconds: Mutex<f64>,
}

impl Runner {
    pub fn new(sandbox: Arc<dyn Sandbox>, retry: RetryPolicy, metrics: Arc<Metrics>) -> Self {
        let capacity = sandbox.capacity().clamp(1, Semaphore::MAX_PERMITS);
        Self {
            sandbox,
            seats: Semaphore::new(capacity),
            capacity,
            waiting: AtomicUsize::new(0),
            retry,
            metrics,
            mean_seconds: Mutex::new(0.0),
        }
    }

    /// Jobs that can run at once.
    pub fn seats(&self) -> usize {
        self.capacity
    }

    /// Jobs that run now.
    pub fn running(&self) -> usize {
        self.capacity - self.seats.available_permits()
    }

    /// Counts somebody as waiting until the guard is dropped.
    pub fn queue(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }

    /// Jobs that wait for a seat.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How long the jobs that wait now will take to be run, going by those before: at least 1 s, at most a minute.
    pub fn time_to_drain(&self) -> Duration {
        let mean = *self.mean_seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = mean * (self.waiting() + 1) as f64 / self.capacity as f64;
        Duration::from_secs_f64(seconds.ceil().clamp(1.0, 60.0))
    }

    async fn run_seated(&self, job: &Job) -> Result<Verdict, Fault> {
        let arrived = Instant::now();
        let waiting = self.queue();
        let seat = self.seats.acquire().await;
        drop(waiting);
        let _seat = seat.map_err(|error| Fault::new(Recovery::Retry, "seats", error.to_string()))?;
        self.metrics.waited(arrived.elapsed());
        let started = Instant::now();
        let mut unfinished = Unfinished(Some(&self.metrics));
        let tried = with_retries(
            &self.retry,
            pending(),
            |_| self.sandbox.run(job),
            |fault, _| {
                tracing::warn!("{fault}; trying again");
                self.metrics.fault(fault.cause);
            },
        )
        .await;
        unfinished.0 = None;
        let time = started.elapsed();
        match &tried.result {
            Ok(verdict) => {
                if verdict.compile_reused {
                    self.metrics.reused(&job.language);
                }
                let output = verdict.stdout.len() + verdict.stderr.len();
                self.metrics.ended(&job.language, verdict.outcome, time, output);
            }
            Err(fault) => {
                self.metrics.fault(fault.cause);
                self.metrics.ended(&job.language, outcome_of(fault), time, 0);
            }
        }
        let mut mean = self.mean_seconds.lock().unwrap_or_else(PoisonError::into_inner);
        *mean += LATEST * (time.as_secs_f64() - *mean);
        tried.result
    }
}

/// The name under which a fault goes out to clients that know only outcomes.
pub(super) fn outcome_of(fault: &Fault) -> Outcome {
    match fault.cause {
        "toolchain_missing" => Outcome::ToolchainMissing,
        _ => Outcome::InternalError,
    }
}

/// What happened and what to do about it, on one line.
pub(super) fn told(fault: &Fault) -> String {
    match &fault.hint {
        Some(hint) => format!("{}; {hint}", fault.message),
        None => fault.message.clone(),
    }
}

impl Sandbox for Runner {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Verdict, Fault>> {
        Box::pin(self.run_seated(job))
    }

    fn identity(&self, language: &str) -> String {
        self.sandbox.identity(language)
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn describe(&self) -> String {
        self.sandbox.describe()
    }
}

/// Counts itself for as long as it lives.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a job as cancelled when dropped before it has ended: its client has gone.
struct Unfinished<'a>(Option<&'a Metrics>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.0 {
            metrics.cancelled();
        }
    }
}
