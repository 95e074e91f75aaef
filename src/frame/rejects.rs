//! Rows that left the pipeline, with the reason and what they had so far.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_json::LineDelimitedWriter;
use arrow_select::take::take_record_batch;

use crate::error::{Error, Result};
use crate::frame::schema::rejected_schema;

/// One rejected row; a row of [`rejected_schema`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectedRow {
    /// Row id; `None` for input that never became a row.
    pub id: Option<String>,
    /// Canonical language name, if known.
    pub language: Option<String>,
    /// Stage that rejected the row.
    pub stage: String,
    /// Short stable code to count by, such as `bad_json`.
    pub reason: String,
    /// What exactly was wrong, for people.
    pub detail: Option<String>,
    /// `file:line` for a row of the input.
    pub source: Option<String>,
    /// The row's columns so far, as the text of a JSON object.
    pub record: Option<String>,
}

/// `rows` as a batch of [`rejected_schema`].
///
/// # Errors
/// More than 2 GiB of text in one column.
pub fn rejected_batch(rows: &[RejectedRow]) -> Result<RecordBatch> {
    let required = |field: fn(&RejectedRow) -> &String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(field)))
    };
    let optional = |field: fn(&RejectedRow) -> &Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(rows.iter().map(|row| field(row).as_deref())))
    };
    let columns = vec![
        optional(|row| &row.id),
        optional(|row| &row.language),
        required(|row| &row.stage),
        required(|row| &row.reason),
        optional(|row| &row.detail),
        optional(|row| &row.source),
        optional(|row| &row.record),
    ];
    RecordBatch::try_new(rejected_schema(), columns)
        .map_err(|error| Error::usage(format!("rejected rows do not fit their table: {error}")))
}

/// The given rows of `batch`, each as the text of a JSON object without line breaks. Nulls are left out.
///
/// # Errors
/// A row beyond the end of the batch, and a column type that has no JSON form.
pub fn rows_as_json(batch: &RecordBatch, rows: &[usize]) -> Result<Vec<String>> {
    let no_json = |error| Error::usage(format!("rows cannot be written as JSON: {error}"));
    if let Some(row) = rows.iter().find(|row| **row >= batch.num_rows()) {
        return Err(Error::usage(format!("there is no row {row} in a batch of {}", batch.num_rows())));
    }
    let indices = UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64));
    let picked = take_record_batch(batch, &indices).map_err(no_json)?;
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    writer.write(&picked).and_then(|()| writer.finish()).map_err(no_json)?;
    // Line breaks inside strings are escaped, so each line is one row.
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}
