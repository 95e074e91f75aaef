//! Sealed parts: what a step made of a partition, with its fingerprint and counts in the file's metadata.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;

use super::counts::Counts;
use super::executor::StepResult;
use crate::error::{Error, Result};
use crate::frame::key::Key;
use crate::frame::part;
use crate::frame::rejects::rejected_batch;
use crate::frame::run_dir::RunDir;
use crate::frame::schema::rejected_schema;

const FINGERPRINT: &str = "autocodegen.fingerprint";
const LANGUAGES: &str = "autocodegen.languages";
const COUNTS: &str = "autocodegen.counts";

/// Where the parts of one run lie.
pub(super) struct Parts<'a> {
    pub run: &'a RunDir,
}

impl Parts<'_> {
    /// Languages of the rows of partition `n` as its first step's sealed part tells, if there is one.
    pub fn languages(&self, step: &str, n: usize) -> Option<Vec<String>> {
        let metadata = part::metadata(&self.run.part(step, n as u64).ok()?).ok()?;
        serde_json::from_str(metadata.get(LANGUAGES)?).ok()
    }

    /// Counts of the sealed part, when its fingerprint is the wanted one.
    pub fn sealed(&self, step: &str, n: usize, fingerprint: Key) -> Option<Counts> {
        let metadata = part::metadata(&self.run.part(step, n as u64).ok()?).ok()?;
        if *metadata.get(FINGERPRINT)? != fingerprint.to_string() {
            return None;
        }
        serde_json::from_str(metadata.get(COUNTS)?).ok()
    }

    /// The rows of a part.
    pub fn read(&self, path: &std::path::Path) -> Result<RecordBatch> {
        let (batches, _) = part::read(path)?;
        let Some(first) = batches.first() else {
            return Ok(RecordBatch::new_empty(part::schema(path)?));
        };
        concat_batches(&first.schema(), &batches)
            .map_err(|error| Error::environment(format!("{}: {error}", path.display())))
    }

    /// Writes what `step` made of partition `n`. Complete results are sealed; others are kept aside, so that
    /// queries and the dataset see their rows, and are made anew by the next run.
    pub fn write(
        &self,
        step: &str,
        n: usize,
        fingerprint: Key,
        languages: &[String],
        result: &StepResult,
        complete: bool,
    ) -> Result<()> {
        let rejected = self.run.rejected_part(step, n as u64)?;
        if result.rejected.is_empty() {
            remove(&rejected)?;
        } else {
            let batch = rejected_batch(&result.rejected)?;
            part::seal(&rejected, &rejected_schema(), &[batch], &BTreeMap::new())?;
        }
        let json = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::environment(format!("counts of step `{step}`: {error}")))
        };
        let metadata = BTreeMap::from([
            (FINGERPRINT.to_owned(), fingerprint.to_string()),
            (LANGUAGES.to_owned(), json(serde_json::to_string(languages))?),
            (COUNTS.to_owned(), json(serde_json::to_string(&result.counts))?),
        ]);
        let (path, stale) = if complete {
            (self.run.part(step, n as u64)?, self.unsealed(step, n)?)
        } else {
            (self.unsealed(step, n)?, self.run.part(step, n as u64)?)
        };
        part::seal(&path, &result.batch.schema(), std::slice::from_ref(&result.batch), &metadata)?;
        remove(&stale)
    }

    /// The part of partition `n`, sealed or kept aside; `None` when the step never saw it.
    pub fn any(&self, step: &str, n: usize) -> Result<Option<PathBuf>> {
        let paths = [self.run.part(step, n as u64)?, self.unsealed(step, n)?];
        Ok(paths.into_iter().find(|path| path.exists()))
    }

    /// Removes whatever the step left of partition `n`.
    pub fn discard(&self, step: &str, n: usize) -> Result<()> {
        let number = n as u64;
        let files =
            [self.run.part(step, number)?, self.unsealed(step, n)?, self.run.rejected_part(step, number)?];
        files.iter().try_for_each(|path| remove(path))
    }

    fn unsealed(&self, step: &str, n: usize) -> Result<PathBuf> {
        Ok(self.run.part(step, n as u64)?.with_extension("unsealed.parquet"))
    }
}

fn remove(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}
