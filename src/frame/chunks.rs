//! Row groups of a table read one by one, in any order and by any thread, for those who count.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use crate::error::{Error, Result};
use crate::frame::contained;

/// A file whose row groups are read with text as dictionaries, as it is stored where values repeat.
pub struct Chunks {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    columns: ProjectionMask,
}

impl Chunks {
    /// Opens the file for reading the `columns`.
    ///
    /// # Errors
    /// I/O errors, a file that is not whole Parquet, a column that is not there.
    pub fn open(path: &Path, columns: &[String]) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        contained::panics(
            || {
                let failed = |error: parquet::errors::ParquetError| damaged(path, &error);
                let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(failed)?;
                let fields: Vec<Arc<Field>> = plain.schema().fields().iter().map(as_dictionary).collect();
                let schema = Schema::new(fields);
                let picked = columns.iter().map(|name| schema.index_of(name));
                let picked = picked.collect::<Result<Vec<_>, _>>().map_err(|error| damaged(path, &error))?;
                let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
                let metadata =
                    ArrowReaderMetadata::try_new(plain.metadata().clone(), options).map_err(failed)?;
                let columns = ProjectionMask::roots(metadata.parquet_schema(), picked);
                Ok(Self { path: path.to_owned(), metadata, columns })
            },
            |why| damaged(path, &why),
        )
    }

    /// Number of row groups.
    pub fn len(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Gives each batch of the row group `number` to `take`: columns in the order of the file, text as dictionaries with
    /// `i32` keys.
    ///
    /// # Errors
    /// Those of `take`, I/O errors, and damage.
    pub fn read(&self, number: usize, take: &mut dyn FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        let path = &self.path;
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        contained::panics(
            || {
                let rows = self.metadata.metadata().row_group(number).num_rows();
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                    .with_projection(self.columns.clone())
                    .with_row_groups(vec![number])
                    .with_batch_size(usize::try_from(rows).unwrap_or(1).clamp(1, MOST_ROWS));
                for batch in builder.build().map_err(|error| damaged(path, &error))? {
                    take(&batch.map_err(|error| damaged(path, &error))?)?;
                }
                Ok(())
            },
            |why| damaged(path, &why),
        )
    }
}

/// Most rows of a batch.
const MOST_ROWS: usize = 65_536;

/// The field with text as a dictionary.
fn as_dictionary(field: &Arc<Field>) -> Arc<Field> {
    match field.data_type() {
        DataType::Utf8 => {
            let of = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(field.as_ref().clone().with_data_type(of))
        }
        _ => field.clone(),
    }
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("cannot read {} as Parquet: {why}", path.display()))
}
