//! Takes request files to a batch service and their answers into the journal.
//!
//! Every step is written down before and after it is made, and every future here may be dropped at any time: what a kill
//! or a Ctrl-C leaves is picked up by the next [`Driver`] of the same folder.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::gather::Gatherer;
use super::import::{Import, JournalOf, Report};
use super::job::{IMPORTED, Job, custom_ids};
use super::request_files::RequestFiles;
use super::service::{Batch, BatchService};
use crate::error::{Error, Fault, Recovery, Result};
use crate::frame::journal::Journal;
use crate::frame::key::Key;
use crate::llm::fault::printable;
use crate::retry::{RetryPolicy, with_retries};

/// Without news, polls come further apart, up to so many times the first wait.
const MOST_PATIENCE: f64 = 10.0;
const PATIENCE_GROWTH: f64 = 1.5;

/// How batches are driven.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Most batches at the service at once.
    pub active: usize,
    /// First wait between looks at a batch.
    pub poll: Duration,
    /// When a call to the service, and a request that failed in a batch, is tried again.
    pub retry: RetryPolicy,
}

/// Why [`Driver::news`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Another pass over the rows finds answers, or requests to gather again.
    Changed,
    /// Nothing is at the service and nothing waits to be sent.
    Idle,
}

/// The batches of one run.
pub struct Driver {
    dir: PathBuf,
    service: BatchService,
    gatherer: Arc<Gatherer>,
    options: Options,
    /// What is not imported yet, by number.
    jobs: Vec<Job>,
    /// How often a request has failed.
    failures: HashMap<Key, u32>,
    /// Batches that failed as a whole, one after the other.
    failed_in_a_row: u32,
    changed: bool,
    patience: f64,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl Driver {
    /// Drives what `gatherer` gathers, and what an earlier process left, in the folder `dir`. `tell` is told what happens,
    /// for people.
    ///
    /// # Errors
    /// The disk.
    pub fn open(
        dir: &Path,
        service: BatchService,
        gatherer: Arc<Gatherer>,
        options: Options,
        tell: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self> {
        let (done, jobs): (Vec<Job>, Vec<Job>) = Job::all(dir)?.into_iter().partition(Job::is_imported);
        for job in done {
            // Still there where a process died right after it had imported the answers.
            remove(&RequestFiles::path(dir, job.number))?;
        }
        for job in &jobs {
            gatherer.hold(custom_ids(dir, job.number)?);
        }
        Ok(Self {
            dir: dir.to_owned(),
            service,
            gatherer,
            options,
            jobs,
            failures: HashMap::new(),
            failed_in_a_row: 0,
            changed: false,
            patience: 1.0,
            tell,
        })
    }

    /// Number for the first request file of a new process in the folder `dir`.
    ///
    /// # Errors
    /// The disk.
    pub fn next_number(dir: &Path) -> Result<u32> {
        Ok(Job::all(dir)?.last().map_or(1, |job| job.number + 1))
    }

    /// Batches at the service, each with a shell command that cancels it.
    pub fn at_the_service(&self) -> Vec<(String, String)> {
        let ids = self.jobs.iter().filter_map(|job| job.batch_id.clone());
        ids.map(|id| (id.clone(), self.service.cancel_command(&id))).collect()
    }

    /// Sends, polls and imports until there is news. `journal` gives the journals that answers go into.
    ///
    /// # Errors
    /// The service refuses or cannot be reached after all tries; the disk. What is at the service goes on there.
    pub async fn news(&mut self, journal: JournalOf<'_>) -> Result<News> {
        loop {
            let (written, pass_over) = self.gatherer.take_written();
            for written in written {
                let job = Job::new(written.number, written.requests);
                job.save(&self.dir)?;
                self.jobs.push(job);
            }
            self.send_waiting().await?;
            self.poll(journal).await?;
            if std::mem::take(&mut self.changed) {
                self.patience = 1.0;
                return Ok(News::Changed);
            }
            if self.jobs.is_empty() {
                if pass_over {
                    return Ok(News::Idle);
                }
                self.gatherer.news().await;
                continue;
            }
            let wait = self.options.poll.mul_f64(self.patience);
            self.patience = (self.patience * PATIENCE_GROWTH).min(MOST_PATIENCE);
            tokio::select! {
                () = self.gatherer.news() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sends waiting jobs, as many as may be at the service.
    async fn send_waiting(&mut self) -> Result<()> {
        for at in 0..self.jobs.len() {
            let active = self.jobs.iter().filter(|job| job.batch_id.is_some()).count();
            if active >= self.options.active.max(1) {
                break;
            }
            if self.jobs[at].batch_id.is_none() {
                self.send(at).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, at: usize) -> Result<()> {
        if self.failed_in_a_row > 0 {
            let patience = f64::from(1 << self.failed_in_a_row.min(4)).min(MOST_PATIENCE);
            tokio::time::sleep(self.options.poll.mul_f64(patience)).await;
        }
        // With a file id from before, the batch may exist: a process died, or an answer was lost.
        let known = self.jobs[at].file_id.clone();
        let file_id = match &known {
            Some(id) => id.clone(),
            None => {
                let path = RequestFiles::path(&self.dir, self.jobs[at].number);
                let id = self.call(|| self.service.upload(&path)).await?;
                self.jobs[at].file_id = Some(id.clone());
                self.jobs[at].save(&self.dir)?;
                id
            }
        };
        let batch = self.find_or_create(&file_id, &self.jobs[at].mark, known.is_some()).await?;
        let job = &mut self.jobs[at];
        (self.tell)(&format!("{}: {} requests sent", shown(&batch.id), job.requests));
        job.batch_id = Some(batch.id);
        job.status = batch.status;
        job.save(&self.dir)
    }

    /// The batch of an uploaded file. It is never made twice: after a fault that leaves open whether it was made, it is
    /// looked for first.
    async fn find_or_create(&self, file_id: &str, mark: &str, may_exist: bool) -> Result<Batch> {
        let attempt = async |attempt: u32| {
            if may_exist || attempt > 1 {
                let found = self.service.find(file_id, mark).await;
                if let Some(batch) = found.map_err(unlisted)? {
                    return Ok(batch);
                }
            }
            self.service.create(file_id, mark).await
        };
        let tried =
            with_retries(&self.options.retry, pending(), attempt, |fault, wait| self.retrying(fault, wait));
        Ok(tried.await.result?)
    }

    /// Looks at every batch, and imports those that have ended.
    async fn poll(&mut self, journal: JournalOf<'_>) -> Result<()> {
        let mut at = 0;
        while at < self.jobs.len() {
            let Some(id) = self.jobs[at].batch_id.clone() else {
                at += 1;
                continue;
            };
            let batch = self.call(|| self.service.batch(&id)).await?;
            if batch.status != self.jobs[at].status {
                (self.tell)(&format!("{}: {}{}", shown(&id), shown(&batch.status), done(&batch)));
                self.jobs[at].status.clone_from(&batch.status);
                self.patience = 1.0;
            }
            if matches!(batch.status.as_str(), "completed" | "failed" | "expired" | "cancelled") {
                self.collect(at, &batch, journal).await?;
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Takes the results of a batch that has ended, and forgets its job.
    async fn collect(&mut self, at: usize, batch: &Batch, journal: JournalOf<'_>) -> Result<()> {
        let number = self.jobs[at].number;
        let mut results = Vec::new();
        for (id, name) in [(&batch.output_file_id, "output"), (&batch.error_file_id, "errors")] {
            let Some(id) = id.as_ref().filter(|id| !id.is_empty()) else { continue };
            let path = self.dir.join(format!("{name}-{number:05}.jsonl"));
            self.call(|| self.service.download(id, &path)).await?;
            results.push(path);
        }
        // No waiting from here to the end: whoever drops this future drops it before or after.
        tokio::task::block_in_place(|| {
            let report = self.import(number, batch, &results, journal)?;
            (self.tell)(&summary(batch, &report));
            let job = &mut self.jobs[at];
            IMPORTED.clone_into(&mut job.status);
            job.save(&self.dir)?;
            self.jobs.remove(at);
            self.changed = true;
            results.push(RequestFiles::path(&self.dir, number));
            results.iter().try_for_each(|path| remove(path))
        })
    }

    fn import(
        &mut self,
        number: u32,
        batch: &Batch,
        results: &[PathBuf],
        journal: JournalOf<'_>,
    ) -> Result<Report> {
        let mut open: HashSet<Key> = custom_ids(&self.dir, number)?;
        let (outcomes, report) = (Vec::new(), Report::default());
        let (asked, secret) = (|key: &Key| self.gatherer.asked(key), self.service.secret());
        let mut import = Import { asked: &asked, journal, secret, outcomes, report };
        for path in results {
            import.file(path)?;
        }
        let Import { mut outcomes, mut report, .. } = import;
        // Of several lines about a request the first decides.
        outcomes.retain(|(key, _)| open.remove(key));
        // The answers are safe before their request file goes.
        for stage in report.imported.keys() {
            journal(stage).map_or(Ok(()), Journal::sync)?;
        }
        let fault = without_result(batch);
        if !open.is_empty() {
            let lines = report.errors.entry(fault.cause).or_default();
            lines.count += open.len() as u64;
            lines.first.clone_from(&fault.message);
        }
        outcomes.extend(open.into_iter().map(|key| (key, Some(fault.clone()))));
        let failed = batch.status == "failed";
        self.failed_in_a_row = if failed { self.failed_in_a_row + 1 } else { 0 };
        for (key, fault) in outcomes {
            match fault {
                None => self.gatherer.release(&key),
                Some(fault) => self.failed(key, fault),
            }
        }
        Ok(report)
    }

    /// A request that a batch did not answer is gathered again, unless that is pointless or was tried often enough.
    fn failed(&mut self, key: Key, fault: Fault) {
        let failures = self.failures.entry(key).or_default();
        *failures += 1;
        if fault.recovery == Recovery::Retry && *failures < self.options.retry.tries {
            self.gatherer.release(&key);
        } else {
            let recovery = if fault.recovery == Recovery::Retry { Recovery::Pend } else { fault.recovery };
            self.gatherer.refuse(key, Fault { recovery, ..fault });
        }
    }

    /// Calls the service until it answers.
    async fn call<T, F: Future<Output = Result<T, Fault>>>(&self, call: impl Fn() -> F) -> Result<T> {
        let tried = with_retries(
            &self.options.retry,
            pending(),
            |_| call(),
            |fault, wait| self.retrying(fault, wait),
        );
        Ok(tried.await.result?)
    }

    fn retrying(&self, fault: &Fault, wait: Duration) {
        (self.tell)(&format!(
            "batch service: {}; next try in {:.0} s",
            fault.message,
            wait.as_secs_f64().ceil()
        ));
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// The fault of the requests that the results of `batch` say nothing of.
fn without_result(batch: &Batch) -> Fault {
    let first = batch.errors.pointer("/data/0").unwrap_or(&Value::Null);
    let text = |name: &str| first.get(name).and_then(Value::as_str).unwrap_or_default();
    let (recovery, cause) = match batch.status.as_str() {
        "expired" => (Recovery::Retry, "batch_expired"),
        // Whoever cancels a batch does not want it made again at once.
        "cancelled" => (Recovery::Pend, "batch_cancelled"),
        // Too many requests waiting at the service: there is room later. All else will be no better then.
        "failed" if text("code").contains("limit") => (Recovery::Retry, "batch_failed"),
        "failed" => (Recovery::Pend, "batch_failed"),
        _ => (Recovery::Retry, "no_result"),
    };
    let why = match text("message") {
        "" => String::new(),
        message => format!(": {}", printable(message)),
    };
    Fault::new(
        recovery,
        cause,
        format!("batch {} has ended ({}){why}", shown(&batch.id), shown(&batch.status)),
    )
}

/// Looking for a batch failed.
fn unlisted(fault: Fault) -> Fault {
    if fault.recovery == Recovery::Retry {
        return fault;
    }
    fault.hint(
        "whether this batch was made cannot be told, and it is not made twice: look at the service; if it is there, put its \
         id into the newest batches/batch-*.json as \"batch_id\", if not, delete that file",
    )
}

fn done(batch: &Batch) -> String {
    let count = |name: &str| batch.request_counts.get(name).and_then(Value::as_u64);
    match (count("completed"), count("total")) {
        (Some(completed), Some(total)) if total > 0 => format!(", {completed} of {total} answered"),
        _ => String::new(),
    }
}

fn summary(batch: &Batch, report: &Report) -> String {
    let mut text = format!("{}: {} answers are in the journal", shown(&batch.id), report.imported());
    if !report.errors.is_empty() {
        let causes: BTreeMap<_, _> =
            report.errors.iter().map(|(cause, lines)| (cause, lines.count)).collect();
        let causes: Vec<String> = causes.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
        text += &format!("; without one: {}", causes.join(", "));
    }
    for (lines, what) in [(&report.unknown, "never asked"), (&report.malformed, "unreadable")] {
        if lines.count > 0 {
            text += &format!("; {what}: {} lines ({})", lines.count, printable(&lines.first));
        }
    }
    text
}

/// What a service calls something, for people.
fn shown(name: &str) -> String {
    printable(name)
}
