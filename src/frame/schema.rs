//! Column names and the few helpers every reader of a frame needs.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema};

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

/// A column and its field.
pub type Column = (FieldRef, ArrayRef);

/// A nullable column called `name`.
pub fn column(name: &str, values: ArrayRef) -> Column {
    (Arc::new(Field::new(name, values.data_type().clone(), true)), values)
}

/// The columns of `batch` for whose names `stays` holds, in order.
pub fn columns_where(batch: &RecordBatch, stays: impl Fn(&str) -> bool) -> Vec<Column> {
    let columns = batch.schema_ref().fields().iter().cloned().zip(batch.columns().iter().cloned());
    columns.filter(|(field, _)| stays(field.name())).collect()
}

/// A batch of `rows` rows made of `columns`.
///
/// # Errors
/// A column has another length.
pub fn batch_of(rows: usize, columns: Vec<Column>) -> Result<RecordBatch> {
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| Error::usage(format!("columns do not fit together: {error}")))
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
