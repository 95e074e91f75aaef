//! Rows on their way to their splits.

use std::path::PathBuf;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

use super::{ClosedShards, Place, Selection, Shape, ShardWriter};
use crate::error::{Error, Result};
use crate::frame::records::WriteOptions;

/// Writes rows in a shape, each to its split, each split to its shards.
pub struct SplitWriter<'a> {
    shape: &'a dyn Shape,
    splits: Vec<Split>,
}

struct Split {
    name: String,
    writer: ShardWriter,
    rows: u64,
}

impl<'a> SplitWriter<'a> {
    /// A writer for splits with these names, files and numbers of rows.
    ///
    /// # Errors
    /// A file cannot be created.
    pub fn create(
        shape: &'a dyn Shape,
        splits: Vec<(String, Vec<PathBuf>, u64)>,
        options: &WriteOptions,
    ) -> Result<Self> {
        let schema = shape.schema();
        let split = |(name, paths, rows)| {
            Ok(Split { name, writer: ShardWriter::create(paths, rows, &schema, options)?, rows: 0 })
        };
        Ok(Self { shape, splits: splits.into_iter().map(split).collect::<Result<_>>()? })
    }

    /// Adds the rows of `batch`, each to the split that `to` says.
    ///
    /// # Errors
    /// The disk, and rows that do not have the shape.
    pub fn write(&mut self, batch: &RecordBatch, to: &[u8]) -> Result<()> {
        for (number, split) in self.splits.iter_mut().enumerate() {
            let here = filter(batch, to, |to| usize::from(to) == number)?;
            if here.num_rows() > 0 {
                let place = Place { split: &split.name, first: split.rows };
                split.rows += here.num_rows() as u64;
                split.writer.write(&self.shape.rows(&here, &place)?)?;
            }
        }
        Ok(())
    }

    /// The files of each split, once all of them are whole.
    ///
    /// # Errors
    /// The disk.
    pub fn close(self) -> Result<Vec<ClosedShards>> {
        self.splits.into_iter().map(|split| split.writer.close()).collect()
    }
}

/// The rows of `batch` that go somewhere, and where.
///
/// # Errors
/// `to` has another length.
pub fn selected(batch: &RecordBatch, to: &[u8]) -> Result<(RecordBatch, Vec<u8>)> {
    let goes = |to: u8| to != Selection::NOWHERE;
    Ok((filter(batch, to, goes)?, to.iter().copied().filter(|to| goes(*to)).collect()))
}

fn filter(batch: &RecordBatch, to: &[u8], stays: impl Fn(u8) -> bool) -> Result<RecordBatch> {
    if to.iter().all(|to| stays(*to)) {
        return Ok(batch.clone());
    }
    let mask: BooleanArray = to.iter().map(|to| Some(stays(*to))).collect();
    filter_record_batch(batch, &mask).map_err(|error| Error::usage(format!("cannot pick rows: {error}")))
}
