//! Sealed parts: Parquet files that are complete once they exist, and are read in bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use parquet::arrow::ARROW_SCHEMA_META_KEY;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::parquet_column;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use crate::error::{Error, Result};
use crate::frame::key::Key;
use crate::frame::table_file::{Hashed, Rows, TableFile, bare};
use crate::frame::{atomic, contained};

/// Where a part's footer has the hash of its row groups.
const CONTENT: &str = "autocodegen.content";

/// Writes `batches` as the sealed part `path`, with `metadata` in the file's key-value metadata.
///
/// The file appears whole or not at all: temporary file, fsync, rename, fsync of the directory. The same rows,
/// schema and metadata give the same bytes, however the rows are cut into batches.
///
/// # Errors
/// I/O errors, and batches that do not have the columns of `schema`.
pub fn seal(
    path: &Path,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    atomic::write_file(path, |file| {
        let mut table = TableFile::create(Hashed::new(file), path, schema, metadata)?;
        let mut rows = Rows::new(schema);
        for batch in batches {
            rows.push(batch, &mut |group| table.write_group(&group))?;
        }
        if let Some(group) = rows.rest()? {
            table.write_group(&group)?;
        }
        let content = table.hash()?;
        table.say(CONTENT, content.to_string());
        table.finish().map(drop)
    })
}

/// All rows of the part `path`, in order, and its metadata.
///
/// # Errors
/// I/O errors, and a file that is not whole Parquet.
pub fn read(path: &Path) -> Result<(Vec<RecordBatch>, BTreeMap<String, String>)> {
    let builder = open(path)?;
    let metadata = key_values(&builder);
    let batches = Scan::new([path.to_owned()], None).collect::<Result<_>>()?;
    Ok((batches, metadata))
}

/// The metadata that the part `path` was sealed with.
///
/// # Errors
/// I/O errors, and a file that is not whole Parquet.
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    open(path).map(|builder| key_values(&builder))
}

/// What the part `path` holds, as a hash: parts of equal rows have the same. Read from the footer; parts sealed by versions that
/// did not write it there are hashed as they are.
///
/// # Errors
/// I/O errors, and a file that is not whole Parquet.
pub fn content(path: &Path) -> Result<Key> {
    let builder = open(path)?;
    let pairs = builder.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    let content = pairs.filter(|pair| pair.key == CONTENT).find_map(|pair| pair.value.as_ref());
    match content.and_then(|key| key.parse().ok()) {
        Some(content) => Ok(content),
        None => {
            std::fs::read(path).map(|part| Key::of(&[part])).map_err(|error| Error::io("read", path, error))
        }
    }
}

/// The schema of the part `path`; the only place to find it when the part has no rows.
///
/// # Errors
/// I/O errors, and a file that is not whole Parquet.
pub fn schema(path: &Path) -> Result<SchemaRef> {
    open(path).map(|builder| bare(builder.schema()))
}

/// Number of rows of the part `path`, from its footer.
///
/// # Errors
/// I/O errors, and a file that is not whole Parquet.
pub fn num_rows(path: &Path) -> Result<u64> {
    let builder = open(path)?;
    Ok(u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0))
}

/// Whether the column `name` of any of the parts `paths` can have nulls, as their footers tell. A column that is not there
/// can.
///
/// # Errors
/// I/O errors, and a file that is not whole Parquet.
pub fn may_be_null(paths: &[PathBuf], name: &str) -> Result<bool> {
    for path in paths {
        let builder = open(path)?;
        let Some((leaf, _)) = parquet_column(builder.parquet_schema(), builder.schema(), name) else {
            return Ok(true);
        };
        let full = |group: &RowGroupMetaData| {
            let statistics = group.column(leaf).statistics();
            group.num_rows() == 0 || statistics.and_then(Statistics::null_count_opt) == Some(0)
        };
        if !builder.metadata().row_groups().iter().all(full) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rows `ranges` of the part `path`, in batches of at most 1,024; ranges ascend and do not overlap, and what is beyond the end
/// is left out. Of `columns` those that the part has, in the order of the file; all columns where none are named. Only the row
/// groups, and where the file has an index the pages, that hold these rows are decoded.
///
/// # Errors
/// I/O errors, and a file that is not whole Parquet.
pub fn pick(
    path: &Path,
    columns: Option<&[&str]>,
    ranges: &[Range<u64>],
) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let mut builder = open_with(path, options)?;
    let mut schema = bare(builder.schema());
    if let Some(columns) = columns {
        let fields = schema.fields().iter().enumerate();
        let picked: Vec<usize> =
            fields.filter(|(_, field)| columns.contains(&field.name().as_str())).map(|(at, _)| at).collect();
        schema = schema.project(&picked).map(SchemaRef::new).map_err(|error| unreadable(path, error))?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), picked);
        builder = builder.with_projection(mask);
    }
    let (groups, ranges) = cut(builder.metadata(), ranges);
    let rows = groups.iter().map(|group| builder.metadata().row_group(*group).num_rows() as usize).sum();
    let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), rows);
    let builder = builder.with_row_groups(groups).with_row_selection(selection).with_batch_size(1024);
    let batches = contain_panics(path, || builder.build().map_err(|error| unreadable(path, error)))?;
    let mut reader = Reader { path: path.to_owned(), schema, batches };
    Ok(std::iter::from_fn(move || reader.next().transpose()))
}

/// The row groups that have rows of `ranges`, and where those are in these groups put together.
fn cut(file: &ParquetMetaData, ranges: &[Range<u64>]) -> (Vec<usize>, Vec<Range<usize>>) {
    let (mut groups, mut inside) = (Vec::new(), Vec::new());
    let (mut start, mut before) = (0, 0);
    for (group, metadata) in file.row_groups().iter().enumerate() {
        let rows = metadata.num_rows() as u64;
        let end = start + rows;
        let first = ranges.partition_point(|range| range.end <= start);
        let overlapping = ranges[first..].iter().take_while(|range| range.start < end);
        let clipped: Vec<Range<usize>> = overlapping
            .map(|range| (range.start.max(start), range.end.min(end)))
            .filter(|(from, to)| from < to)
            .map(|(from, to)| (before + from - start) as usize..(before + to - start) as usize)
            .collect();
        if !clipped.is_empty() {
            groups.push(group);
            inside.extend(clipped);
            before += rows;
        }
        start = end;
    }
    (groups, inside)
}

/// An open part, being read.
struct Reader {
    path: PathBuf,
    schema: SchemaRef,
    batches: ParquetRecordBatchReader,
}

impl Reader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let path = &self.path;
        let Some(batch) = contain_panics(path, || Ok(self.batches.next()))? else { return Ok(None) };
        let batch = batch.map_err(|error| unreadable(path, error))?;
        with_schema(&batch, &self.schema).map(Some).map_err(|error| unreadable(path, error))
    }
}

/// The rows of many parts, one after the other, in batches of at most 1,024 rows.
///
/// One file is open at a time; memory holds one batch and the Parquet pages it comes from.
pub struct Scan {
    paths: VecDeque<PathBuf>,
    columns: Option<Vec<String>>,
    open: Option<Reader>,
}

impl Scan {
    /// Scans `paths` in the order given; `columns` picks columns by name (in the order of the file).
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, columns: Option<Vec<String>>) -> Self {
        Self { paths: paths.into_iter().collect(), columns, open: None }
    }

    fn open(&self, path: PathBuf) -> Result<Reader> {
        let mut builder = open(&path)?;
        let mut schema = bare(builder.schema());
        if let Some(columns) = &self.columns {
            let mut picked = Vec::new();
            for name in columns {
                let found = schema.index_of(name);
                picked.push(found.map_err(|_| {
                    Error::usage(format!("there is no column `{name}` in {}", path.display()))
                })?);
            }
            picked.sort_unstable();
            picked.dedup();
            schema = schema.project(&picked).map(SchemaRef::new).map_err(|error| unreadable(&path, error))?;
            let mask = ProjectionMask::roots(builder.parquet_schema(), picked);
            builder = builder.with_projection(mask);
        }
        let builder = builder.with_batch_size(1024);
        let batches = contain_panics(&path, || builder.build().map_err(|error| unreadable(&path, error)))?;
        Ok(Reader { path, schema, batches })
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.open {
                if let Some(batch) = reader.next()? {
                    return Ok(Some(batch));
                }
                self.open = None;
            }
            let Some(path) = self.paths.pop_front() else { return Ok(None) };
            self.open = Some(self.open(path)?);
        }
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    /// The next batch. After an error the scan is over.
    fn next(&mut self) -> Option<Self::Item> {
        let result = self.advance();
        if result.is_err() {
            self.open = None;
            self.paths.clear();
        }
        result.transpose()
    }
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    open_with(path, ArrowReaderOptions::new())
}

fn open_with(path: &Path, options: ArrowReaderOptions) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    contain_panics(path, || {
        ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .map_err(|error| unreadable(path, error))
    })
}

fn contain_panics<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    contained::panics(read, |why| unreadable(path, why))
}

fn key_values(builder: &ParquetRecordBatchReaderBuilder<File>) -> BTreeMap<String, String> {
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    pairs
        .into_iter()
        .flatten()
        .filter(|pair| pair.key != ARROW_SCHEMA_META_KEY && pair.key != CONTENT)
        .map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default()))
        .collect()
}

fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::usage(format!("cannot read {} as Parquet: {error}", path.display())).hint(
        "the file is cut short or damaged: in a run directory, delete it and run the same command again, it is \
         made anew from the journal",
    )
}
