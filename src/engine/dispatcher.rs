//! The dispatcher: which partitions are under way, what each resumes from, and how the run ends.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use tokio::task::JoinSet;

use super::barrier::{Barrier, Decision};
use super::calls::Calls;
use super::counts::Counts;
use super::events::Event;
use super::executor::{execute, on_disk};
use super::parts::Parts;
use crate::error::{Error, Kind, Result};
use crate::frame::ingest::SeedStore;
use crate::frame::key::Key;
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

/// Steps between two global stages, which partitions stream through.
struct Section {
    steps: Range<usize>,
    /// What came to the global stages so far, that at its head included.
    inputs: Vec<Key>,
    /// What the stage at its head decided; `None` where there is none, or all partitions have what it decided already.
    decision: Option<Decision>,
}

/// One partition's way: the rows as of some step, and whether all its rows are there.
struct Progress {
    batch: RecordBatch,
    complete: bool,
    languages: Vec<String>,
}

/// What is sealed of a partition in a section: counts, the first step still to do, and the languages of its rows.
struct Sealed {
    counts: Counts,
    at: usize,
    languages: Vec<String>,
}

/// Where a partition goes on: counts of what is sealed, the first step still to do, and the rows to do it with.
struct Resumed {
    counts: Counts,
    at: usize,
    left: Option<Progress>,
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
        let mut inputs = Vec::new();
        for steps in self.plan.sections() {
            if self.plan.global(steps.start).is_some() {
                let (engine, at, missing) = (self.clone(), steps.start, counts.pending());
                match on_disk(move || engine.pass(at, missing)).await? {
                    Ok(input) => inputs.push(input),
                    Err(waiting) => {
                        counts.merge(&waiting);
                        break;
                    }
                }
            }
            let section = Section { steps, inputs: inputs.clone(), decision: None };
            let engine = self.clone();
            let section = Arc::new(on_disk(move || engine.decide(section)).await?);
            counts.merge(&self.section(&section).await?);
        }
        Ok(Outcome { counts, stopped: self.calls.stop.take_cause() })
    }

    /// What is before the global stage at the head of step `at`; or, while that is not complete, the counts of the rows that
    /// wait there.
    fn pass(&self, at: usize, missing: u64) -> Result<Result<Key, Counts>> {
        let barrier = Barrier::before(self, at);
        if let Some(input) = barrier.input()? {
            return Ok(Ok(input));
        }
        // What is there was decided about other rows.
        for step in &self.plan.steps[at..] {
            (0..self.partitions()).try_for_each(|n| Parts { run: &self.run }.discard(&step.name, n))?;
        }
        barrier.wait(missing).map(Err)
    }

    /// Has the global stage at the head of the section decide, where partitions need that.
    fn decide(&self, mut section: Section) -> Result<Section> {
        let at = section.steps.start;
        if self.plan.global(at).is_none() || self.calls.stop.is_set() {
            return Ok(section);
        }
        let decided = (0..self.partitions()).all(|n| self.sealed(n, &section).at > at);
        if !decided {
            match Barrier::before(self, at).decide() {
                Ok(decision) => section.decision = Some(decision),
                // Told to stop while it read: no partition is begun from here on.
                Err(error) if error.kind() == Kind::Interrupted && self.calls.stop.is_set() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(section)
    }

    /// Takes every partition through the steps of a section.
    async fn section(self: &Arc<Self>, section: &Arc<Section>) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut under_way = JoinSet::new();
        let mut failed = None;
        let mut todo = 0..self.partitions();
        loop {
            while under_way.len() < self.active.max(1) && !self.calls.stop.is_set() {
                let Some(n) = todo.next() else { break };
                let (engine, section) = (self.clone(), section.clone());
                under_way.spawn(async move { engine.partition(n, &section).await });
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
            None => self.with_untouched(counts, todo, section),
        }
    }

    /// Partitions that were never begun: what is sealed of them, and the rest pending, so that counts add up.
    fn with_untouched(&self, mut counts: Counts, todo: Range<usize>, section: &Section) -> Result<Counts> {
        for n in todo {
            let Resumed { counts: sealed, at, left } = self.resume(n, section)?;
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

    async fn partition(self: &Arc<Self>, n: usize, section: &Arc<Section>) -> Result<Counts> {
        let (engine, of) = (self.clone(), section.clone());
        let Resumed { mut counts, mut at, left } = on_disk(move || engine.resume(n, &of)).await?;
        let steps = &self.plan.steps;
        for stage in
            steps[section.steps.start..at].iter().flat_map(|step| &self.plan.stages[step.stages.clone()])
        {
            let tally = counts.stage(&stage.name);
            self.calls.observer().event(&Event::Stage { stage: &stage.name, tally: &tally, fresh: false });
        }
        let Some(mut progress) = left else { return Ok(counts) };
        let fingerprints =
            self.plan.fingerprints(&self.seeds_fingerprint, &progress.languages, &section.inputs);
        while at < section.steps.end {
            let step = &steps[at];
            let decided = section.decision.as_ref().filter(|_| at == section.steps.start);
            let decided = decided.map(|decision| decision.of(n));
            let result =
                execute(&self.plan, step.stages.clone(), progress.batch, decided, &self.calls).await?;
            counts.merge(&result.counts);
            progress.complete &= result.counts.pending() == 0;
            let (engine, name, fingerprint) = (self.clone(), step.name.clone(), fingerprints[at]);
            let (languages, complete) = (progress.languages.clone(), progress.complete);
            progress.batch = on_disk(move || {
                Parts { run: &engine.run }.write(&name, n, fingerprint, &languages, &result, complete)?;
                Ok(result.batch)
            })
            .await?;
            at += 1;
        }
        Ok(counts)
    }

    /// What is sealed of partition `n` in a section, and the rows to go on with (`None` when nothing is left to do). What
    /// follows was made from something else, or is not complete: it is removed, and made anew from the journal.
    fn resume(&self, n: usize, section: &Section) -> Result<Resumed> {
        let parts = Parts { run: &self.run };
        let steps = &self.plan.steps;
        let Sealed { counts, at, languages } = self.sealed(n, section);
        let left = if at == section.steps.end {
            None
        } else {
            steps[at..].iter().try_for_each(|step| parts.discard(&step.name, n))?;
            match at.checked_sub(1) {
                None => Some(self.start(n)?),
                Some(before) => {
                    let batch = parts.read(&self.run.part(&steps[before].name, n as u64)?)?;
                    Some(Progress { batch, complete: true, languages })
                }
            }
        };
        Ok(Resumed { counts, at, left })
    }

    /// What is sealed of partition `n` in a section.
    fn sealed(&self, n: usize, section: &Section) -> Sealed {
        let parts = Parts { run: &self.run };
        let steps = &self.plan.steps;
        let mut counts = Counts::default();
        let languages = steps.first().and_then(|step| parts.languages(&step.name, n)).unwrap_or_default();
        let fingerprints = self.plan.fingerprints(&self.seeds_fingerprint, &languages, &section.inputs);
        let mut at = section.steps.start;
        while at < section.steps.end
            && let Some(sealed) = parts.sealed(&steps[at].name, n, fingerprints[at])
        {
            counts.merge(&sealed);
            at += 1;
        }
        Sealed { counts, at, languages }
    }

    fn start(&self, n: usize) -> Result<Progress> {
        let (start, len) = self.seeds_at(n);
        let batch = self.seeds.read(start as u64, len)?;
        let mut languages: Vec<String> = strings(&batch, LANGUAGE)?
            .iter()
            .map(|language| language.unwrap_or_default().to_owned())
            .collect();
        languages.sort();
        languages.dedup();
        Ok(Progress { batch, complete: true, languages })
    }

    /// The first seed of partition `n`, and how many it has.
    pub(super) fn seeds_at(&self, n: usize) -> (usize, usize) {
        let start = n * self.partition_rows;
        (start, self.partition_rows.min(self.seeds.rows() as usize - start))
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
