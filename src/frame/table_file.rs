//! Parquet files whose bytes depend on their rows alone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::error::{Error, Result};
use crate::frame::key::Key;

/// Most rows of a row group.
pub(super) const GROUP_ROWS: usize = 8192;

/// A row group is full when its values have reached this many bytes: programs' outputs can be 16 MiB each.
const GROUP_BYTES: u64 = 32 << 20;

/// A Parquet file being written, one row group at a time. Nothing in it says when or by which version.
pub(super) struct TableFile<W: Write + Send> {
    path: PathBuf,
    writer: ArrowWriter<W>,
}

/// How the rows of a file are cut into pages, so that a few of them can be read alone.
pub(super) struct Pages {
    /// Rows of a page.
    pub(super) rows: usize,
    /// Columns whose values hardly repeat: they get no dictionary, which would be read with every page.
    pub(super) distinct: &'static [&'static str],
}

impl<W: Write + Send> TableFile<W> {
    /// Starts writing to `file`; `path` is its name in errors.
    pub(super) fn create(
        file: W,
        path: &Path,
        schema: &SchemaRef,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        Self::create_paged(file, path, schema, metadata, None)
    }

    /// [`TableFile::create`] for files that single rows are looked up in.
    pub(super) fn create_paged(
        file: W,
        path: &Path,
        schema: &SchemaRef,
        metadata: &BTreeMap<String, String>,
        pages: Option<Pages>,
    ) -> Result<Self> {
        let metadata = metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let level = ZstdLevel::try_new(3).map_err(|error| unwritable(path, error))?;
        let mut properties = WriterProperties::builder()
            .set_created_by("autocodegen".into())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_key_value_metadata(Some(metadata.collect()));
        if let Some(pages) = pages {
            properties = properties
                .set_data_page_row_count_limit(pages.rows)
                // The limit is looked at after every batch of this many values.
                .set_write_batch_size(pages.rows)
                .set_statistics_enabled(EnabledStatistics::Chunk);
            for name in pages.distinct {
                properties = properties.set_column_dictionary_enabled(ColumnPath::from(*name), false);
            }
        }
        let writer = ArrowWriter::try_new(file, bare(schema), Some(properties.build()));
        Ok(Self { path: path.to_owned(), writer: writer.map_err(|error| unwritable(path, error))? })
    }

    /// Writes one row group, as [`Rows`] cuts them.
    pub(super) fn write_group(&mut self, group: &RecordBatch) -> Result<()> {
        let written = self.writer.write(group).and_then(|()| self.writer.flush());
        written.map_err(|error| unwritable(&self.path, error))
    }

    /// Has the footer say `key` = `value`, besides what it says already.
    pub(super) fn say(&mut self, key: &str, value: String) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Writes the footer and gives the file back; syncing it is left to the caller.
    pub(super) fn finish(self) -> Result<W> {
        self.writer.into_inner().map_err(|error| unwritable(&self.path, error))
    }
}

impl<W: Write + Send> TableFile<Hashed<W>> {
    /// The hash of all row groups so far.
    pub(super) fn hash(&mut self) -> Result<Key> {
        self.writer.sync().map_err(|error| Error::io("write", &self.path, error))?;
        let mut hash = [0; 16];
        self.writer.inner().hasher.finalize_xof().fill(&mut hash);
        Ok(Key::from_bytes(hash))
    }
}

/// A file that hashes what is written to it.
pub(super) struct Hashed<W> {
    file: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Hashed<W> {
    pub(super) fn new(file: W) -> Self {
        Self { file, hasher: blake3::Hasher::new() }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// `schema` without metadata: that of a part is an argument of its own, and the schemas of two parts can be equal.
pub(super) fn bare(schema: &SchemaRef) -> SchemaRef {
    SchemaRef::new(Schema::new(schema.fields().clone()))
}

/// Cuts a stream of batches into row groups. Where it cuts depends on the rows, not on the batches.
pub(super) struct Rows {
    schema: SchemaRef,
    pending: Vec<RecordBatch>,
    rows: usize,
    bytes: u64,
}

impl Rows {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { schema: bare(schema), pending: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Adds the rows of `batch` and calls `full` with every row group that they complete.
    pub(super) fn push(
        &mut self,
        batch: &RecordBatch,
        full: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let batch = self.conform(batch)?;
        let mut start = 0;
        for (row, bytes) in row_bytes(&batch).into_iter().enumerate() {
            self.rows += 1;
            self.bytes += bytes;
            if self.rows == GROUP_ROWS || self.bytes >= GROUP_BYTES {
                self.pending.push(batch.slice(start, row + 1 - start));
                start = row + 1;
                full(self.take()?)?;
            }
        }
        if start < batch.num_rows() {
            self.pending.push(batch.slice(start, batch.num_rows() - start));
        }
        Ok(())
    }

    /// The rows that fill no row group, if any.
    pub(super) fn rest(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 { Ok(None) } else { self.take().map(Some) }
    }

    fn take(&mut self) -> Result<RecordBatch> {
        (self.rows, self.bytes) = (0, 0);
        let pending = std::mem::take(&mut self.pending);
        concat_batches(&self.schema, &pending)
            .map_err(|error| Error::usage(format!("rows cannot be put together: {error}")))
    }

    /// `batch` with its columns in the order of the schema.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let misfit = |why: String| Error::usage(format!("a batch does not fit its table: {why}"));
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let column = batch.column_by_name(field.name());
            columns.push(column.ok_or_else(|| misfit(format!("no column `{}`", field.name())))?.clone());
        }
        if batch.num_columns() != columns.len() {
            let names: Vec<&str> =
                batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
            return Err(misfit(format!("it has the columns {names:?}")));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| misfit(error.to_string()))
    }
}

/// Bytes of the values of each row; offsets and null bitmaps, which depend on the batch, are left out.
fn row_bytes(batch: &RecordBatch) -> Vec<u64> {
    let mut sizes = vec![0; batch.num_rows()];
    for column in batch.columns() {
        add(&mut sizes, &value_bytes(column));
    }
    sizes
}

fn value_bytes(array: &ArrayRef) -> Vec<u64> {
    let mut sizes = match array.data_type() {
        DataType::Utf8 => lengths(array.as_string::<i32>().offsets()),
        DataType::LargeUtf8 => lengths(array.as_string::<i64>().offsets()),
        DataType::Binary => lengths(array.as_binary::<i32>().offsets()),
        DataType::LargeBinary => lengths(array.as_binary::<i64>().offsets()),
        DataType::Utf8View => array.as_string_view().lengths().map(u64::from).collect(),
        DataType::BinaryView => array.as_binary_view().lengths().map(u64::from).collect(),
        DataType::List(_) => sums(array.as_list::<i32>().offsets(), array.as_list::<i32>().values()),
        DataType::LargeList(_) => sums(array.as_list::<i64>().offsets(), array.as_list::<i64>().values()),
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            sums(map.offsets(), &entries)
        }
        DataType::Struct(_) => {
            let mut sizes = vec![0; array.len()];
            for column in array.as_struct().columns() {
                add(&mut sizes, &value_bytes(column));
            }
            sizes
        }
        _ => vec![8; array.len()],
    };
    // What lies under a null is not part of the row.
    for (row, size) in sizes.iter_mut().enumerate() {
        if array.is_null(row) {
            *size = 0;
        }
    }
    sizes
}

fn lengths<O: Copy + TryInto<u64>>(offsets: &[O]) -> Vec<u64> {
    let at = |offset: O| offset.try_into().unwrap_or(0);
    offsets.windows(2).map(|pair| at(pair[1]) - at(pair[0])).collect()
}

/// Sums of the sizes of `values` between neighbouring offsets.
fn sums<O: Copy + TryInto<usize>>(offsets: &[O], values: &ArrayRef) -> Vec<u64> {
    let at = |offset: O| offset.try_into().unwrap_or(0);
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Vec::new() };
    let first = at(*first);
    let sizes = value_bytes(&values.slice(first, at(*last) - first));
    offsets.windows(2).map(|pair| sizes[at(pair[0]) - first..at(pair[1]) - first].iter().sum()).collect()
}

fn add(sizes: &mut [u64], more: &[u64]) {
    for (size, more) in sizes.iter_mut().zip(more) {
        *size += more;
    }
}

fn unwritable(path: &Path, error: ParquetError) -> Error {
    let message = format!("cannot write {}: {error}", path.display());
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => Error::io("write", path, *source),
            Err(_) => Error::environment(message),
        },
        _ => Error::environment(message),
    }
}
