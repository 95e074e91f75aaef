//! What is before a global stage: the rows of the step before, complete or not, and the decision about all of them.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;

use super::Engine;
use super::counts::Counts;
use super::events::Event;
use super::parts::Parts;
use crate::error::{Error, Fault, Kind, Recovery, Result};
use crate::frame::key::Key;
use crate::frame::part::{self, Scan};
use crate::frame::schema::{ID, LANGUAGE, strings};
use crate::stages::{Batches, Change, Rows, Work};

/// Rows read at once where they are seeds.
const SEED_ROWS: usize = 1024;

/// What a global stage decided about all rows.
pub(super) struct Decision {
    change: Change,
    /// Rows of each partition.
    rows: Vec<usize>,
}

impl Decision {
    /// What it means for partition `n`.
    pub fn of(&self, n: usize) -> Change {
        self.change.of(self.rows[..n].iter().sum(), self.rows[n])
    }
}

/// The rows before the global stage that step `at` begins with.
pub(super) struct Barrier<'a> {
    engine: &'a Engine,
    at: usize,
}

impl<'a> Barrier<'a> {
    pub fn before(engine: &'a Engine, at: usize) -> Self {
        Self { engine, at }
    }

    /// Names all its rows by what they are; `None` while partitions lack some of theirs.
    pub fn input(&self) -> Result<Option<Key>> {
        let Some(step) = self.step_before() else {
            return Ok(Some(Key::of(&["seeds", &self.engine.seeds_fingerprint])));
        };
        let mut contents = Vec::new();
        for n in 0..self.engine.partitions() {
            let part = self.engine.run.part(step, n as u64)?;
            if !part.exists() {
                return Ok(None);
            }
            contents.push(part::content(&part)?.to_string());
        }
        Ok(Some(Key::of(&contents)))
    }

    /// Has the stage decide. Takes as long as reading all rows does; stops when the run does.
    pub fn decide(&self) -> Result<Decision> {
        let engine = self.engine;
        let mut rows = Vec::new();
        for n in 0..engine.partitions() {
            rows.push(match self.step_before() {
                None => engine.seeds_at(n).1,
                Some(step) => part::num_rows(&engine.run.part(step, n as u64)?)? as usize,
            });
        }
        let stage = engine.plan.global(self.at);
        let Some((stage, Work::Global(global))) = stage.map(|stage| (&*stage.name, &stage.work)) else {
            return Err(Error::environment("a step without a global stage has nothing to decide"));
        };
        let change = match self.step_before() {
            None => global.decide(&Seeds { engine, stage }),
            Some(_) => global.decide(&Sealed { engine, stage, parts: self.parts()? }),
        }?;
        Ok(Decision { change, rows })
    }

    /// Counts its rows as pending at the stage, because others have not come so far: `missing` of them.
    pub fn wait(&self, missing: u64) -> Result<Counts> {
        let mut counts = Counts::default();
        let Some(stage) = self.engine.plan.global(self.at) else { return Ok(counts) };
        let waits = format!("decides about all rows together, and {missing} are pending before it");
        let fault = Fault::new(Recovery::Pend, WAITS, waits);
        let columns = [ID, LANGUAGE].map(str::to_owned).into();
        for batch in Scan::new(self.parts()?, Some(columns)) {
            let batch = batch?;
            for (id, language) in strings(&batch, ID)?.iter().zip(strings(&batch, LANGUAGE)?) {
                let tally = counts.tally(&stage.name, language.unwrap_or_default());
                tally.rows_in += 1;
                tally.pending += 1;
                let row = id.unwrap_or_default();
                self.engine.calls.observer().event(&Event::Pending {
                    stage: &stage.name,
                    row,
                    fault: &fault,
                });
            }
        }
        Ok(counts)
    }

    fn step_before(&self) -> Option<&'a str> {
        Some(&self.engine.plan.steps[self.at.checked_sub(1)?].name)
    }

    /// What the step before has made of every partition that it has seen.
    fn parts(&self) -> Result<Vec<PathBuf>> {
        let parts = Parts { run: &self.engine.run };
        let mut paths = Vec::new();
        for n in 0..self.engine.partitions() {
            paths.extend(self.step_before().map(|step| parts.any(step, n)).transpose()?.flatten());
        }
        Ok(paths)
    }
}

/// Cause of rows that are pending because others are.
pub const WAITS: &str = "waits_for_pending";

/// Sealed parts, one after the other.
struct Sealed<'a> {
    engine: &'a Engine,
    stage: &'a str,
    parts: Vec<PathBuf>,
}

impl Rows for Sealed<'_> {
    fn scan(&self, columns: &[&str]) -> Result<Batches<'_>> {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        let batches = Scan::new(self.parts.clone(), Some(columns));
        Ok(Box::new(batches.map(|batch| read(self.engine, self.stage, batch))))
    }

    fn scratch(&self) -> &Path {
        self.engine.run.path()
    }
}

/// Seeds, one after the other.
struct Seeds<'a> {
    engine: &'a Engine,
    stage: &'a str,
}

impl Rows for Seeds<'_> {
    fn scan(&self, _columns: &[&str]) -> Result<Batches<'_>> {
        let seeds = &self.engine.seeds;
        let batches = (0..seeds.rows()).step_by(SEED_ROWS).map(|start| seeds.read(start, SEED_ROWS));
        Ok(Box::new(batches.map(|batch| read(self.engine, self.stage, batch))))
    }

    fn scratch(&self) -> &Path {
        self.engine.run.path()
    }
}

/// `batch` for the stage called `stage`, unless the run is to stop.
fn read(engine: &Engine, stage: &str, batch: Result<RecordBatch>) -> Result<RecordBatch> {
    if engine.calls.stop.is_set() {
        return Err(Error::new(Kind::Interrupted, "the run stops"));
    }
    let batch = batch?;
    engine.calls.observer().event(&Event::Deciding { stage, rows: batch.num_rows() as u64 });
    Ok(batch)
}
