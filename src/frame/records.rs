//! Record files of the `stage` command: JSONL or Parquet in, JSONL or Parquet out.
//!
//! JSON values keep their meaning from JSONL through frames to JSONL: booleans, numbers and strings become Arrow
//! columns, everything else (objects, arrays, columns of mixed types) JSON text in columns that say so in their
//! metadata, so that writing puts the values back. What changes: `null` members are left out, and where a column
//! mixes `1` and `1.5` both are floats.

mod jsonl;
mod writer;

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema};

pub use self::writer::{RecordWriter, WriteOptions, json_lines};
use crate::error::Result;
use crate::frame::columns::{is_string, json_field, json_texts};
use crate::frame::ingest::parquet::{Batches, damaged, open};
use crate::frame::lines::head_of;

/// Batches of the records in a JSONL (plain, gzip, zstd) or Parquet file: all with the same schema, at least one even
/// when the file has no record.
pub type Records = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Reads `path` in batches of `batch_rows` rows. A JSONL file is read twice: the first time for its columns.
///
/// # Errors
/// The file does not read, or a line is not a JSON object (named by its number).
pub fn read_records(path: &Path, batch_rows: usize) -> Result<Records> {
    if head_of(path, 4)?.starts_with(b"PAR1") || path.extension().is_some_and(|of| of == "parquet") {
        return read_parquet(path, batch_rows);
    }
    jsonl::read(path, batch_rows)
}

fn read_parquet(path: &Path, batch_rows: usize) -> Result<Records> {
    let file = open(path)?;
    let empty = (file.metadata().file_metadata().num_rows() == 0).then(|| file.schema().clone());
    let batches = Batches::of(path, file.with_batch_size(batch_rows))?;
    let path = path.to_owned();
    let empty = empty.map(|schema| Ok(RecordBatch::new_empty(schema)));
    let batches = empty.into_iter().chain(batches);
    Ok(Box::new(
        batches
            .map(move |batch| batch.and_then(|batch| plain(&batch).map_err(|error| damaged(&path, &error)))),
    ))
}

/// `batch` as a JSONL file of the same records gives it, which is what stages read: every kind of string column as
/// Utf8, structs and lists as JSON text.
fn plain(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if is_string(field.data_type()) && *field.data_type() != DataType::Utf8 {
            let plain =
                Field::new(field.name(), DataType::Utf8, true).with_metadata(field.metadata().clone());
            fields.push(plain.into());
            columns.push(cast(column, &DataType::Utf8)?);
        } else if field.data_type().is_nested() {
            fields.push(json_field(field.name()).into());
            columns.push(json_texts(column)?);
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Schema::new(fields).into(), columns, &options)
}
