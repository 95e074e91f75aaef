//! The rows of a run as one list, whichever tables and parts they lie in: read a few at a time, filtered in one pass.
//!
//! Nothing here is as large as the run: a list is the names of files and how many rows each has.

mod scan;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};

pub use self::scan::{Filter, Kinds, Progress};
use crate::error::{Error, Result};
use crate::frame::part;
use crate::frame::rejects::rows_as_json;
use crate::frame::schema::{ID, LANGUAGE, TEXT};

/// The place, and the stage, of rows in the dataset.
pub const DATASET: &str = "dataset";
/// The reason of rows that wait for an answer or for their turn.
pub const PENDING: &str = "pending";

/// Columns that say in a line what a row is about, the best first.
const ABOUT: [&str; 4] = ["question", "canonical_solution", "seed", TEXT];
/// Most characters of that line.
const ABOUT_CHARS: usize = 200;

/// Where the rows of a slice are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// They came through.
    Dataset,
    /// They left: the slice has the columns of `frame::schema::rejected_schema`.
    Rejected,
    /// They are to go through this stage next.
    Before(Arc<str>),
}

/// Rows of one file, which are all in one place.
#[derive(Debug, Clone)]
pub struct Slice {
    /// A Parquet file.
    pub file: PathBuf,
    /// The rows, as ranges that ascend and do not overlap.
    pub rows: Vec<Range<u64>>,
    /// Where they are.
    pub place: Place,
}

impl Slice {
    /// All rows of `file`.
    ///
    /// # Errors
    /// The file does not read.
    pub fn whole(file: PathBuf, place: Place) -> Result<Self> {
        let rows = part::num_rows(&file)?;
        Ok(Self { file, rows: std::iter::once(0..rows).collect(), place })
    }

    fn len(&self) -> u64 {
        self.rows.iter().map(|range| range.end - range.start).sum()
    }

    /// Where in the file the `at`-th row of the slice is.
    fn position(&self, mut at: u64) -> u64 {
        for range in &self.rows {
            let len = range.end - range.start;
            if at < len {
                return range.start + at;
            }
            at -= len;
        }
        u64::MAX
    }
}

/// Rows by their numbers, from 0.
#[derive(Debug, Default)]
pub struct Listing {
    slices: Vec<Slice>,
    /// The number of the first row of each slice, and of the row after the last.
    starts: Vec<u64>,
}

/// One row in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Row id; empty for input that never became a row.
    pub id: String,
    /// Canonical language name; empty where it is not known.
    pub language: String,
    /// `dataset`, the stage that rejected it, or the stage it waits for.
    pub stage: String,
    /// Why it was rejected, or `pending`; empty in the dataset.
    pub reason: String,
    /// One line of what it is about, or of why it was rejected.
    pub about: String,
}

/// All there is in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The row as it is listed.
    pub listed: Listed,
    /// Name and value of each column, in order; of a rejected row those that it had so far. Nulls are left out.
    pub columns: Vec<(String, String)>,
}

impl Listing {
    /// The rows of `slices`, in order.
    pub fn new(slices: Vec<Slice>) -> Self {
        let slices: Vec<Slice> = slices.into_iter().filter(|slice| slice.len() > 0).collect();
        let mut starts = vec![0];
        for slice in &slices {
            starts.push(starts.last().copied().unwrap_or(0) + slice.len());
        }
        Self { slices, starts }
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows with these numbers, which ascend. Memory is that of the rows and of the pages they lie in.
    ///
    /// # Errors
    /// A number beyond the last row; a file that does not read.
    pub fn read(&self, numbers: &[u64]) -> Result<Vec<Listed>> {
        let mut listed = Vec::with_capacity(numbers.len());
        self.pick(numbers, Some(&[ID, LANGUAGE, "stage", "reason", "detail"]), &mut |slice, batch| {
            for row in 0..batch.num_rows() {
                listed.push(self::listed(slice, batch, row));
            }
            Ok(())
        })?;
        Ok(listed)
    }

    /// Everything in the row `number`.
    ///
    /// # Errors
    /// A number beyond the last row; a file that does not read.
    pub fn record(&self, number: u64) -> Result<Record> {
        let mut found = None;
        self.pick(&[number], None, &mut |slice, batch| {
            found = Some(Record { listed: listed(slice, batch, 0), columns: columns(slice, batch)? });
            Ok(())
        })?;
        found.ok_or_else(|| changed(number))
    }

    /// Reads rows with these numbers: `columns`, those of [`ABOUT`] that come first in their file besides, or all.
    fn pick(
        &self,
        numbers: &[u64],
        columns: Option<&[&str]>,
        each: &mut dyn FnMut(&Slice, &RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let mut rest = numbers;
        while let Some(first) = rest.first() {
            let at = self.starts.partition_point(|start| start <= first).saturating_sub(1);
            let slice = self.slices.get(at).ok_or_else(|| changed(*first))?;
            let (inside, after) = rest.split_at(rest.partition_point(|row| *row < self.starts[at + 1]));
            rest = after;
            let wanted = match columns {
                None => None,
                Some(columns) => {
                    let schema = part::schema(&slice.file)?;
                    let about = ABOUT.into_iter().find(|name| schema.index_of(name).is_ok());
                    Some(columns.iter().copied().chain(about).collect::<Vec<_>>())
                }
            };
            let place = |row: &u64| slice.position(row - self.starts[at]);
            let ranges: Vec<Range<u64>> = inside.iter().map(place).map(|row| row..row + 1).collect();
            let mut read = 0;
            for batch in part::pick(&slice.file, wanted.as_deref(), &ranges)? {
                let batch = batch?;
                read += batch.num_rows();
                each(slice, &batch)?;
            }
            if read != inside.len() {
                return Err(changed(inside[read.min(inside.len() - 1)]));
            }
        }
        Ok(())
    }
}

/// The row `row` of a batch of `slice`.
fn listed(slice: &Slice, batch: &RecordBatch, row: usize) -> Listed {
    let text = |name: &str| text(batch, name, row).unwrap_or_default();
    let (stage, reason, about) = match &slice.place {
        Place::Rejected => (text("stage"), text("reason"), text("detail")),
        place => {
            let about = ABOUT.into_iter().map(text).find(|text| !text.is_empty()).unwrap_or_default();
            match place {
                Place::Before(stage) => (&**stage, PENDING, about),
                _ => (DATASET, "", about),
            }
        }
    };
    Listed {
        id: text(ID).to_owned(),
        language: text(LANGUAGE).to_owned(),
        stage: stage.to_owned(),
        reason: reason.to_owned(),
        about: line_of(about),
    }
}

/// The first line that says something, shortened.
fn line_of(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("```"));
    let mut saying = lines.filter(|line| line.contains(char::is_alphanumeric));
    let first = saying.next().unwrap_or_default();
    // A heading of Markdown, or a comment; not `#include`.
    let marks = first.trim_start_matches('#');
    let text = if marks.starts_with(' ') { marks.trim_start() } else { first };
    text.chars().take(ABOUT_CHARS).collect()
}

/// The text in `row` of the column `name`, where there is such a column and a text in it.
fn text<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> Option<&'a str> {
    let values = batch.column_by_name(name)?.as_string_opt::<i32>()?;
    values.is_valid(row).then(|| values.value(row))
}

/// What the only row of `batch` has.
fn columns(slice: &Slice, batch: &RecordBatch) -> Result<Vec<(String, String)>> {
    let mut columns = Vec::new();
    let mut json = rows_as_json(batch, &[0])?.pop().unwrap_or_default();
    if slice.place == Place::Rejected {
        let own = ["stage", "reason", "detail", "source"];
        let told = own.iter().filter_map(|name| Some(((*name).to_owned(), text(batch, name, 0)?.to_owned())));
        columns.extend(told);
        json = text(batch, "record", 0).unwrap_or_default().to_owned();
    }
    match serde_json::from_str(&json) {
        Ok(serde_json::Value::Object(fields)) => {
            columns.extend(fields.into_iter().map(|(name, value)| (name, plain(value))));
        }
        // Input that never became a row is what it was.
        _ if !json.is_empty() => columns.push(("record".to_owned(), json)),
        _ => {}
    }
    Ok(columns)
}

fn plain(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

fn changed(number: u64) -> Error {
    Error::usage(format!("row {number} is not where it was: the run has gone on"))
        .hint("start `autocodegen view` again")
}
