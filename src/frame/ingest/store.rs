//! The seed frame read back.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::error::{Error, Result};

/// A finished seed frame. Rows are addressed by their position.
#[derive(Debug)]
pub struct SeedStore {
    schema: SchemaRef,
}

impl SeedStore {
    /// Opens the seed frame in `seed_dir`.
    ///
    /// # Errors
    /// There is no seed frame, or a file of it does not read.
    pub fn open(seed_dir: &Path) -> Result<Self> {
        let _ = seed_dir;
        Err(Error::usage("not there yet"))
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        0
    }

    /// `id`, `language`, `text`, then the user's own columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Rows `start..start + len`, fewer at the end.
    ///
    /// # Errors
    /// A file does not read.
    pub fn read(&self, start: u64, len: usize) -> Result<RecordBatch> {
        let _ = (start, len);
        Err(Error::usage("not there yet"))
    }
}
