//! Column names and the few helpers every reader of a frame needs.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use crate::error::{Error, Result};

/// Row id: see [`crate::frame::key::row_id`].
pub const ID: &str = "id";
/// The snippet a row started from. `seed` in the finished dataset.
pub const TEXT: &str = "text";
/// Canonical language name.
pub const LANGUAGE: &str = "language";

/// The string column `name` of `batch`.
///
/// # Errors
/// The column is missing or not Utf8.
pub fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    let column =
        batch.column_by_name(name).ok_or_else(|| Error::usage(format!("there is no column `{name}`")))?;
    column
        .as_any()
        .downcast_ref::<StringArray>()
        .ok_or_else(|| Error::usage(format!("column `{name}` has type {}, not a string", column.data_type())))
}

/// `batch` with the columns `added` put in, replacing those of the same name, and without `dropped`.
///
/// # Errors
/// A column's length differs from the batch's.
pub fn with_columns(
    batch: &RecordBatch,
    added: Vec<(&str, ArrayRef)>,
    dropped: &[&str],
) -> Result<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name().as_str();
        if !dropped.contains(&name) && !added.iter().any(|(added, _)| *added == name) {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    for (name, column) in added {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| Error::usage(format!("columns do not fit: {error}")))
}

/// The schema of the `rejected` frames: why rows left, and what they had so far.
pub fn rejected_schema() -> Arc<Schema> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        text(ID),
        text(LANGUAGE),
        text("stage"),
        text("reason"),
        text("detail"),
        text("source"),
        text("record"),
    ]))
}
