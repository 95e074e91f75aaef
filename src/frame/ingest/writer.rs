//! The seed frame and the rejected rows on their way to disk: beside the target, renamed when complete.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use arrow_select::coalesce::BatchCoalescer;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;

use super::block::Rejection;
use crate::error::{Error, Result};
use crate::frame::atomic::{self, NewFile};
use crate::frame::schema;

/// Rows of a row group.
pub(super) const GROUP_ROWS: usize = 1024;
/// Row groups of a file.
const FILE_GROUPS: usize = 64;

/// Compression and statistics of all frames written here.
pub(in crate::frame) fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Every value differs: a dictionary would only be built to be thrown away.
        .set_column_dictionary_enabled(ColumnPath::from(schema::ID), false)
        .set_column_dictionary_enabled(ColumnPath::from(schema::TEXT), false)
        // A row group is held in memory until it is complete.
        .set_max_row_group_bytes(Some(32 << 20))
        .build()
}

fn unwritten(path: &Path, error: parquet::errors::ParquetError) -> Error {
    use std::error::Error as _;
    match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(source) => Error::io("write", path, source.kind().into()),
        None => Error::environment(format!("cannot write {}: {error}", path.display())),
    }
}

/// Writes `seeds-NNNNN.parquet` files of fixed sizes. Dropped before [`SeedWriter::finish`] it leaves nothing.
pub(super) struct SeedWriter {
    target: PathBuf,
    dir: PathBuf,
    schema: SchemaRef,
    rows: BatchCoalescer,
    file: Option<OpenFile>,
    files: usize,
    finished: bool,
}

struct OpenFile {
    path: PathBuf,
    writer: SerializedFileWriter<File>,
    columns: ArrowRowGroupWriterFactory,
    groups: usize,
}

impl SeedWriter {
    pub(super) fn create(target: &Path, schema: SchemaRef) -> Result<Self> {
        let dir = atomic::temp_dir(target)?;
        let rows = BatchCoalescer::new(schema.clone(), GROUP_ROWS);
        Ok(Self { target: target.into(), dir, schema, rows, file: None, files: 0, finished: false })
    }

    /// Appends rows; whole row groups go to disk, encoded on all cores.
    pub(super) fn push(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        for batch in batches {
            self.rows.push_batch(batch).map_err(|error| self.unfit(&error))?;
        }
        self.write_groups()
    }

    fn unfit(&self, error: &dyn std::fmt::Display) -> Error {
        Error::environment(format!("cannot put rows into {}: {error}", self.dir.display()))
    }

    fn write_groups(&mut self) -> Result<()> {
        let mut groups: Vec<RecordBatch> = std::iter::from_fn(|| self.rows.next_completed_batch()).collect();
        while !groups.is_empty() {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(OpenFile::create(&self.dir, self.files, &self.schema)?),
            };
            let rest = groups.split_off(groups.len().min(FILE_GROUPS - file.groups));
            file.append(&groups)?;
            groups = rest;
            if file.groups == FILE_GROUPS {
                self.close_file()?;
            }
        }
        Ok(())
    }

    fn close_file(&mut self) -> Result<()> {
        if let Some(file) = self.file.take() {
            self.files += 1;
            let closed = file.writer.into_inner().map_err(|error| unwritten(&file.path, error))?;
            closed.sync_all().map_err(|error| Error::io("write", &file.path, error))?;
        }
        Ok(())
    }

    /// Puts the frame in place of whatever `target` was.
    pub(super) fn finish(mut self) -> Result<()> {
        self.rows.finish_buffered_batch().map_err(|error| self.unfit(&error))?;
        self.write_groups()?;
        self.close_file()?;
        atomic::replace_dir(&self.dir, &self.target)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for SeedWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: what is left goes when the run is next opened.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl OpenFile {
    fn create(dir: &Path, number: usize, schema: &SchemaRef) -> Result<Self> {
        let path = dir.join(format!("seeds-{number:05}.parquet"));
        let file = File::create(&path).map_err(|error| Error::io("create", &path, error))?;
        let (writer, columns) = ArrowWriter::try_new(file, schema.clone(), Some(properties()))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|error| unwritten(&path, error))?;
        Ok(Self { path, writer, columns, groups: 0 })
    }

    fn append(&mut self, groups: &[RecordBatch]) -> Result<()> {
        let first = self.groups;
        let encoded: Vec<Vec<ArrowColumnChunk>> = groups
            .par_iter()
            .enumerate()
            .map(|(n, group)| encode(&self.columns, first + n, group))
            .collect::<Result<_, _>>()
            .map_err(|error| unwritten(&self.path, error))?;
        for chunks in encoded {
            self.append_group(chunks).map_err(|error| unwritten(&self.path, error))?;
            self.groups += 1;
        }
        Ok(())
    }

    fn append_group(&mut self, chunks: Vec<ArrowColumnChunk>) -> parquet::errors::Result<()> {
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close().map(drop)
    }
}

fn encode(
    columns: &ArrowRowGroupWriterFactory,
    number: usize,
    group: &RecordBatch,
) -> parquet::errors::Result<Vec<ArrowColumnChunk>> {
    let mut writers = columns.create_column_writers(number)?;
    let mut leaf = 0;
    for (field, array) in group.schema().fields().iter().zip(group.columns()) {
        for values in compute_leaves(field, array)? {
            writers[leaf].write(&values)?;
            leaf += 1;
        }
    }
    writers.into_iter().map(|writer| writer.close()).collect()
}

/// Writes rejected rows to one file, put in place by [`RejectedWriter::finish`].
pub(super) struct RejectedWriter {
    place: NewFile,
    writer: ArrowWriter<File>,
}

impl RejectedWriter {
    pub(super) fn create(target: &Path) -> Result<Self> {
        let (place, file) = NewFile::create(target)?;
        let writer = ArrowWriter::try_new(file, schema::rejected_schema(), Some(properties()))
            .map_err(|error| unwritten(target, error))?;
        Ok(Self { place, writer })
    }

    pub(super) fn push(&mut self, rejections: &[Rejection]) -> Result<()> {
        let column = |value: &dyn Fn(&Rejection) -> Option<String>| -> ArrayRef {
            Arc::new(rejections.iter().map(value).collect::<StringArray>())
        };
        let columns = vec![
            column(&|_| None),
            column(&|rejection| rejection.language.as_deref().map(str::to_owned)),
            column(&|_| Some("seed".into())),
            column(&|rejection| Some(rejection.reason.into())),
            column(&|rejection| Some(rejection.detail.clone())),
            column(&|rejection| Some(rejection.source.to_string())),
            column(&|rejection| rejection.record.clone()),
        ];
        let batch = RecordBatch::try_new(schema::rejected_schema(), columns);
        batch
            .map_err(Into::into)
            .and_then(|batch| self.writer.write(&batch))
            .map_err(|error| unwritten(self.place.path(), error))
    }

    pub(super) fn finish(self) -> Result<()> {
        self.writer.close().map_err(|error| unwritten(self.place.path(), error))?;
        self.place.place()
    }
}
