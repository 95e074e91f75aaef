//! The dispatcher: which partitions are under way, what each resumes from, and how the run ends.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tokio::task::JoinSet;

use super::calls::Calls;
use super::counts::Counts;
use super::events::Event;
use super::executor::{execute, on_rayon};
use super::parts::Parts;
use crate::error::{Error, Result};
use crate::frame::ingest::SeedStore;
use crate::frame::run_dir::RunDir;
use crate::frame::schema::{LANGUAGE, strings};
use crate::plan::Plan;

/// A run: a plan, its seeds, and what its effects ask.
pub struct Engine {
    /// What to do.
    pub plan: Arc<Plan>,
    /// To which rows.
    pub seeds: Arc<SeedStore>,
    /// Identifies the seeds in fingerprints: other seeds, other parts.
    pub seeds_fingerprint: String,
    /// Where results go.
    pub run: Arc<RunDir>,
    /// The calls of effects.
    pub calls: Arc<Calls>,
    /// Rows of a partition. Fixed for the life of a run directory.
    pub partition_rows: usize,
    /// Partitions under way at once.
    pub active: usize,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What became of the rows, sealed parts of earlier runs included.
    pub counts: Counts,
    /// Why the run stopped early, if it did.
    pub stopped: Option<Error>,
}

/// One partition's way: the rows as of some step, and whether all its rows are there.
struct Progress {
    batch: RecordBatch,
    complete: bool,
    languages: Vec<String>,
}

impl Engine {
    /// Number of partitions.
    pub fn partitions(&self) -> usize {
        (self.seeds.rows() as usize).div_ceil(self.partition_rows)
    }

    /// Takes every partition through every step.
    ///
    /// # Errors
    /// Only what makes going on pointless, such as a full disk while sealing. Stopping on request, or because no call can
    /// succeed, is in [`Outcome::stopped`]; rows without an answer are pending in its counts.
    pub async fn run(self: &Arc<Self>) -> Result<Outcome> {
        let mut counts = Counts::default();
        let mut under_way = JoinSet::new();
        let mut failed = None;
        let mut todo = 0..self.partitions();
        loop {
            while under_way.len() < self.active.max(1) && !self.calls.stop.is_set() {
                let Some(n) = todo.next() else { break };
                let engine = self.clone();
                under_way.spawn(async move { engine.partition(n).await });
            }
            match under_way.join_next().await {
                None => break,
                Some(Ok(Ok(partition))) => counts.merge(&partition),
                Some(Ok(Err(error))) => {
                    self.calls.stop.interrupt();
                    failed.get_or_insert(error);
                }
                Some(Err(panic)) => {
                    self.calls.stop.interrupt();
                    failed.get_or_insert(Error::environment(format!("a partition's task died: {panic}")));
                }
            }
        }
        self.calls.sync()?;
        match failed {
            Some(error) => Err(error),
            None => Ok(Outcome {
                counts: self.with_untouched(counts, todo)?,
                stopped: self.calls.stop.take_cause(),
            }),
        }
    }

    /// Partitions that were never begun: what is sealed of them, and the rest pending, so that counts add up.
    fn with_untouched(&self, mut counts: Counts, todo: std::ops::Range<usize>) -> Result<Counts> {
        for n in todo {
            let (sealed, at, left) = self.resume(n)?;
            counts.merge(&sealed);
            let (Some(left), Some(step)) = (left, self.plan.steps.get(at)) else { continue };
            let stage = &self.plan.stages[step.stages.start];
            for language in strings(&left.batch, LANGUAGE)?.iter() {
                let tally = counts.tally(&stage.name, language.unwrap_or_default());
                tally.rows_in += 1;
                tally.pending += 1;
            }
        }
        Ok(counts)
    }

    async fn partition(self: &Arc<Self>, n: usize) -> Result<Counts> {
        let engine = self.clone();
        let (mut counts, mut at, from) = on_rayon(move || engine.resume(n)).await?;
        let sealed = at.checked_sub(1).map_or(0, |last| self.plan.steps[last].stages.end);
        for stage in &self.plan.stages[..sealed] {
            let tally = counts.stage(&stage.name);
            self.calls.observer().event(&Event::Stage { stage: &stage.name, tally: &tally, fresh: false });
        }
        let Some(mut progress) = from else { return Ok(counts) };
        let fingerprints = self.plan.fingerprints(&self.seeds_fingerprint, &progress.languages);
        while let Some(step) = self.plan.steps.get(at) {
            let result = execute(&self.plan, step.stages.clone(), progress.batch, &self.calls).await?;
            counts.merge(&result.counts);
            progress.complete &= result.counts.pending() == 0;
            let (engine, name, fingerprint) = (self.clone(), step.name.clone(), fingerprints[at]);
            let (languages, complete) = (progress.languages.clone(), progress.complete);
            progress.batch = on_rayon(move || {
                Parts { run: &engine.run }.write(&name, n, fingerprint, &languages, &result, complete)?;
                Ok(result.batch)
            })
            .await?;
            at += 1;
        }
        Ok(counts)
    }

    /// What is sealed of partition `n`: counts, the first step still to do, and the rows to do it with (`None` when
    /// nothing is left to do).
    fn resume(&self, n: usize) -> Result<(Counts, usize, Option<Progress>)> {
        let parts = Parts { run: &self.run };
        let steps = &self.plan.steps;
        let mut counts = Counts::default();
        let languages = steps.first().and_then(|step| parts.languages(&step.name, n)).unwrap_or_default();
        let fingerprints = self.plan.fingerprints(&self.seeds_fingerprint, &languages);
        let mut done = 0;
        for (step, fingerprint) in steps.iter().zip(fingerprints) {
            let Some(sealed) = parts.sealed(&step.name, n, fingerprint) else { break };
            counts.merge(&sealed);
            done += 1;
        }
        // What follows was made from something else, or is not complete: it is made anew from the journal.
        for step in &steps[done..] {
            parts.discard(&step.name, n)?;
        }
        match done {
            0 => Ok((counts, 0, Some(self.start(n)?))),
            done if done == steps.len() => Ok((counts, done, None)),
            done => {
                let batch = parts.read(&self.run.part(&steps[done - 1].name, n as u64)?)?;
                Ok((counts, done, Some(Progress { batch, complete: true, languages })))
            }
        }
    }

    fn start(&self, n: usize) -> Result<Progress> {
        let batch = self.seeds_of(n)?;
        let mut languages: Vec<String> = strings(&batch, LANGUAGE)?
            .iter()
            .map(|language| language.unwrap_or_default().to_owned())
            .collect();
        languages.sort();
        languages.dedup();
        Ok(Progress { batch, complete: true, languages })
    }

    fn seeds_of(&self, n: usize) -> Result<RecordBatch> {
        let start = n * self.partition_rows;
        let len = self.partition_rows.min(self.seeds.rows() as usize - start);
        self.seeds.read(start as u64, len)
    }
}

/// Rows of a partition for `rows` seeds: small inputs get small partitions, so that stages overlap there too.
pub fn partition_rows(rows: u64, wanted: Option<usize>) -> usize {
    wanted.unwrap_or_else(|| (rows.div_ceil(64) as usize).clamp(8, 1024)).max(1)
}

/// Partitions to have under way: enough rows for every slot several times over, never fewer than four partitions.
pub fn active_partitions(partition_rows: usize, in_flight: usize) -> usize {
    in_flight.saturating_mul(6).div_ceil(partition_rows).max(4)
}
