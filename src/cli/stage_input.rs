//! The file that `stage` reads, as the rows that stages take.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

use super::reference;
use crate::engine::stop::Stop;
use crate::error::{Error, Kind, Result};
use crate::frame::records::read_records;
use crate::frame::rejects::{RejectedRow, rows_as_json};
use crate::frame::schema::{ID, LANGUAGE, strings};
use crate::plan::Plan;
use crate::sandbox::language::Languages;
use crate::stages::{Batches, Change, Rows, Work};

/// Rows in work at a time.
const ROWS: usize = 256;

/// The records of a file.
pub struct Input {
    /// The file.
    pub file: PathBuf,
    /// Where temporary files may be.
    pub scratch: PathBuf,
    /// What they are for.
    pub plan: Arc<Plan>,
    /// Languages that rows may have.
    pub languages: Languages,
    /// Whether to go on.
    pub stop: Arc<Stop>,
}

impl Input {
    /// The rows to work on, batch by batch, and with each the records that cannot be.
    ///
    /// # Errors
    /// The file does not read, or lacks columns that stages need: also of every batch.
    pub fn read(&self) -> Result<impl Iterator<Item = Result<(RecordBatch, Vec<RejectedRow>)>> + Send + '_> {
        let mut row = 0;
        Ok(read_records(&self.file, ROWS)?.map(move |batch| {
            let batch = reference::read(&batch?, row, &self.languages)?;
            let columns: Vec<String> =
                batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
            self.plan.check(&columns).map_err(|error| error.context(self.file.display()))?;
            let split = known_languages(&self.file, &batch, row, &self.languages)?;
            row += batch.num_rows();
            Ok(split)
        }))
    }

    /// What the first stage decides about all rows, if it is a global one. Reads the whole file for it.
    ///
    /// # Errors
    /// Those of [`Input::read`]; a global stage comes after another stage.
    pub fn decide(&self) -> Result<Option<Change>> {
        let mut stages = self.plan.stages.iter();
        let first = stages.next();
        if let Some(stage) = stages.find(|stage| matches!(stage.work, Work::Global(_))) {
            return Err(Error::usage(format!(
                "stage `{}` decides about all rows together, so that it can only be the first one named",
                stage.name
            ))
            .hint("run the stages before it first, and give their output to it with --in"));
        }
        match first.map(|stage| &stage.work) {
            Some(Work::Global(stage)) => stage.decide(self).map(Some),
            _ => Ok(None),
        }
    }
}

impl Rows for Input {
    fn scan(&self, _columns: &[&str]) -> Result<Batches<'_>> {
        Ok(Box::new(self.read()?.map(|batch| match self.stop.is_set() {
            true => Err(Error::new(Kind::Interrupted, "interrupted; run the same command again")),
            false => Ok(batch?.0),
        })))
    }

    fn scratch(&self) -> &Path {
        &self.scratch
    }
}

/// The rows of languages there are, and the others: waiting would not help them, so they are rejected. `first_row` rows
/// of the file came before.
fn known_languages(
    file: &Path,
    batch: &RecordBatch,
    first_row: usize,
    languages: &Languages,
) -> Result<(RecordBatch, Vec<RejectedRow>)> {
    let names = strings(batch, LANGUAGE)?;
    let kept: BooleanArray =
        names.iter().map(|name| Some(name.is_some_and(|name| languages.get(name).is_some()))).collect();
    let strangers: Vec<usize> = (0..batch.num_rows()).filter(|row| !kept.value(*row)).collect();
    let ids = strings(batch, ID)?;
    let rejected = strangers.iter().zip(rows_as_json(batch, &strangers)?).map(|(&row, record)| {
        let name = names.is_valid(row).then(|| names.value(row));
        let (reason, detail) = match name {
            Some(name) => ("language_unknown", format!("there is no language `{name}`")),
            None => ("language_missing", "the record names no language".to_owned()),
        };
        RejectedRow {
            id: Some(ids.value(row).to_owned()),
            language: name.map(str::to_owned),
            stage: "records".into(),
            reason: reason.into(),
            detail: Some(detail),
            source: Some(format!("{}: record {}", file.display(), first_row + row + 1)),
            record: Some(record),
        }
    });
    let rejected: Vec<RejectedRow> = rejected.collect();
    let batch = filter_record_batch(batch, &kept)
        .map_err(|error| Error::usage(format!("cannot set rows aside: {error}")))?;
    Ok((batch, rejected))
}
