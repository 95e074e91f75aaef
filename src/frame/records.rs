//! Record files of the `stage` command: JSONL or Parquet in, JSONL or Parquet out.

use std::path::Path;

use arrow_array::RecordBatch;

use crate::error::{Error, Result};

/// Batches of the records in a JSONL (plain, gzip, zstd) or Parquet file: all with the same schema, at least one even
/// when the file has no record.
pub type Records = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Reads `path` in batches of `batch_rows` rows.
///
/// # Errors
/// The file does not read, or a line is not a JSON object (named by its number).
pub fn read_records(path: &Path, batch_rows: usize) -> Result<Records> {
    let _ = (path, batch_rows);
    Err(Error::usage("not there yet"))
}

/// Writes a JSONL (`.gz` and `.zst` compress) or `.parquet` file, which appears only when finished.
pub struct RecordWriter {
    rows: u64,
}

impl RecordWriter {
    /// A writer for `path`; the extension decides the format.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let _ = path;
        Err(Error::usage("not there yet"))
    }

    /// Appends the rows of `batch`. Nulls are left out of JSONL.
    ///
    /// # Errors
    /// The disk, or a schema other than that of the first batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Puts the file in place and says how many rows it has. Without this call nothing appears.
    ///
    /// # Errors
    /// The disk.
    pub fn finish(self) -> Result<u64> {
        Ok(self.rows)
    }
}
