//! A compacted part: records as rows of a Parquet file, in the order they came, found by row number.
//!
//! A look-up decodes a block of [`BLOCK`] rows, the rows of one Parquet page. Requests come in the order of the rows
//! that asked, and so do answers, more or less: the next look-up mostly finds its block decoded.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::file::metadata::PageIndexPolicy;
use serde_json::{Map, Value};

use super::columns::{DISTINCT, Table};
use super::files::{Place, Span};
use super::index::{Index, Places};
use crate::error::{Error, Result};
use crate::frame::atomic::NewFile;
use crate::frame::contained;
use crate::frame::key::Key;
use crate::frame::part::Scan;
use crate::frame::schema::strings;
use crate::frame::table_file::{Pages, Rows, TableFile};

/// Rows of a page, which are decoded together.
const BLOCK: usize = 256;
/// Decoded blocks that a journal keeps, bytes; the last one stays however large it is.
const BLOCKS_BYTES: usize = 32 << 20;
/// Records made rows at a time, and the bytes of them: programs' outputs can be 16 MiB each.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 32 << 20;

/// A compacted part.
pub(super) struct Part {
    pub(super) span: Span,
    pub(super) path: PathBuf,
    pub(super) index: Index,
    table: &'static Table,
    /// Read from the file's footer when it is first needed.
    layout: OnceLock<Arc<Layout>>,
}

struct Layout {
    metadata: ArrowReaderMetadata,
    /// Row number of the first row of each row group.
    starts: Vec<u64>,
}

/// Blocks that were decoded last, the latest first.
#[derive(Default)]
pub(super) struct Blocks(Mutex<VecDeque<Block>>);

struct Block {
    span: Span,
    start: u64,
    rows: RecordBatch,
}

impl Part {
    /// Opens the part of `span`.
    pub(super) fn open(
        place: &Place,
        table: &'static Table,
        span: Span,
        path: PathBuf,
        writable: bool,
    ) -> Result<Self> {
        let length = fs::metadata(&path).map_err(|error| Error::io("open", &path, error))?.len();
        let index = Index::open(&place.part_index(span), length, writable, || places(&path))?;
        Ok(Self { span, path, index, table, layout: OnceLock::new() })
    }

    /// The record in `row`.
    pub(super) fn read(&self, row: u64, blocks: &Blocks) -> Result<Vec<u8>> {
        let layout = self.layout()?;
        let group = layout.starts.partition_point(|start| *start <= row).saturating_sub(1);
        let in_group = (row - layout.starts[group]) as usize;
        let skipped = in_group / BLOCK * BLOCK;
        let start = layout.starts[group] + skipped as u64;
        let rows = match blocks.get(self.span, start) {
            Some(rows) => rows,
            None => {
                let rows = self.decode(&layout, group, skipped)?;
                blocks.put(Block { span: self.span, start, rows: rows.clone() });
                rows
            }
        };
        let at = in_group - skipped;
        let record = if at < rows.num_rows() { self.table.record(&rows, at) } else { None };
        record.ok_or_else(|| self.damaged(row))
    }

    /// Calls `visit` with every record, in order.
    pub(super) fn for_each(&self, visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>) -> Result<()> {
        let mut before = 0;
        for batch in Scan::new([self.path.clone()], None) {
            let batch = batch.map_err(|error| error.hint(restore(&self.path)))?;
            let keys = strings(&batch, "key")?;
            for row in 0..batch.num_rows() {
                let number = before + row as u64;
                let record = self.table.record(&batch, row).ok_or_else(|| self.damaged(number))?;
                let key = keys.value(row).parse().map_err(|_| self.damaged(number))?;
                visit(key, &record)?;
            }
            before += batch.num_rows() as u64;
        }
        Ok(())
    }

    fn layout(&self) -> Result<Arc<Layout>> {
        if let Some(layout) = self.layout.get() {
            return Ok(layout.clone());
        }
        let file = self.open_file()?;
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = contained::panics(
            || ArrowReaderMetadata::load(&file, options).map_err(|error| unreadable(&self.path, error)),
            |why| unreadable(&self.path, why),
        )?;
        let mut starts = Vec::new();
        let mut rows = 0;
        for group in metadata.metadata().row_groups() {
            starts.push(rows);
            rows += u64::try_from(group.num_rows()).unwrap_or(0);
        }
        if starts.is_empty() {
            return Err(unreadable(&self.path, "it has no rows"));
        }
        Ok(self.layout.get_or_init(|| Arc::new(Layout { metadata, starts })).clone())
    }

    /// The block of a row group that comes after `skipped` rows.
    fn decode(&self, layout: &Layout, group: usize, skipped: usize) -> Result<RecordBatch> {
        let file = self.open_file()?;
        let rows = layout.metadata.metadata().row_group(group).num_rows();
        let left = usize::try_from(rows).unwrap_or(0).saturating_sub(skipped);
        let selection = [RowSelector::skip(skipped), RowSelector::select(left.min(BLOCK))];
        let read = || {
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, layout.metadata.clone())
                .with_row_groups(vec![group])
                .with_row_selection(RowSelection::from(selection.to_vec()))
                .with_batch_size(BLOCK)
                .build();
            let batch = reader.map_err(|error| unreadable(&self.path, error))?.next();
            let batch = batch.ok_or_else(|| unreadable(&self.path, "rows are missing"))?;
            batch.map_err(|error| unreadable(&self.path, error))
        };
        contained::panics(read, |why| unreadable(&self.path, why))
    }

    fn open_file(&self) -> Result<File> {
        File::open(&self.path).map_err(|error| Error::io("open", &self.path, error))
    }

    fn damaged(&self, row: u64) -> Error {
        let file = self.path.display();
        Error::environment(format!("{file}: the record in row {row} is damaged")).hint(restore(&self.path))
    }
}

impl Blocks {
    fn get(&self, span: Span, start: u64) -> Option<RecordBatch> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.iter().position(|block| block.span == span && block.start == start)?;
        let block = blocks.remove(at)?;
        let rows = block.rows.clone();
        blocks.push_front(block);
        Some(rows)
    }

    fn put(&self, block: Block) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.push_front(block);
        let bytes = |block: &Block| block.rows.get_array_memory_size();
        while blocks.len() > 1 && blocks.iter().map(bytes).sum::<usize>() > BLOCKS_BYTES {
            blocks.pop_back();
        }
    }
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::environment(format!("cannot read {} as Parquet: {why}", path.display())).hint(restore(path))
}

fn restore(path: &Path) -> String {
    format!(
        "restore the file from a copy, or give up the answers in it (`rm {}`): they are then asked again",
        path.display()
    )
}

/// Where the records of the part `path` are: needed when its index is lost.
fn places(path: &Path) -> Result<Places> {
    let (mut places, mut row) = (Places::default(), 0);
    for batch in Scan::new([path.to_owned()], Some(vec!["key".to_owned()])) {
        let batch = batch.map_err(|error| error.hint(restore(path)))?;
        for key in strings(&batch, "key")?.iter() {
            let key = key.and_then(|key| key.parse().ok());
            places.0.insert(key.ok_or_else(|| unreadable(path, "a key is missing"))?, row);
            row += 1;
        }
    }
    places.1 = row;
    Ok(places)
}

/// A part being written.
pub(super) struct PartWriter {
    table: &'static Table,
    span: Span,
    new: NewFile,
    file: TableFile<File>,
    rows: Rows,
    records: Vec<Map<String, Value>>,
    bytes: usize,
    places: Places,
}

impl PartWriter {
    /// Starts the part of `span` at `path`.
    pub(super) fn create(table: &'static Table, span: Span, path: &Path) -> Result<Self> {
        let schema = table.schema();
        let (new, file) = NewFile::create(path)?;
        let pages = Pages { rows: BLOCK, distinct: &DISTINCT };
        Ok(Self {
            table,
            span,
            new,
            file: TableFile::create_paged(file, path, &schema, &BTreeMap::new(), Some(pages))?,
            rows: Rows::new(&schema),
            records: Vec::new(),
            bytes: 0,
            places: Places::default(),
        })
    }

    /// Adds a record.
    pub(super) fn write(&mut self, key: Key, payload: &[u8]) -> Result<()> {
        let mut record: Map<String, Value> = serde_json::from_slice(payload).map_err(|error| {
            Error::environment(format!("journal record {key}: {error}"))
                .hint("the run directory was written by another version of autocodegen: use a new --out")
        })?;
        // What the record is found by, whatever it says of itself.
        record.insert("key".to_owned(), Value::from(key.to_string()));
        self.places.0.insert(key, self.places.1);
        self.places.1 += 1;
        self.records.push(record);
        self.bytes += payload.len();
        if self.records.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let batch = self.table.batch(std::mem::take(&mut self.records))?;
        let file = &mut self.file;
        self.rows.push(&batch, &mut |group| file.write_group(&group))
    }

    /// Gives the part its name, on disk, and its index.
    pub(super) fn finish(mut self, place: &Place) -> Result<Part> {
        self.flush()?;
        if let Some(group) = self.rows.rest()? {
            self.file.write_group(&group)?;
        }
        self.file.finish()?;
        let path = self.new.path().to_owned();
        self.new.place()?;
        let length = fs::metadata(&path).map_err(|error| Error::io("open", &path, error))?.len();
        let index = Index::write(&place.part_index(self.span), length, &self.places)?;
        Ok(Part { span: self.span, path, index, table: self.table, layout: OnceLock::new() })
    }
}
