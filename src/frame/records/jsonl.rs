//! Records from JSON lines.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use arrow_select::coalesce::BatchCoalescer;
use rayon::prelude::*;

use super::Records;
use crate::error::{Error, Result};
use crate::frame::columns::{ColumnType, Columns, Kind};
use crate::frame::json_object::JsonObject;
use crate::frame::lines::{LINE_CAP, Line, LineChunk, LineChunks};

/// Chunks parsed at once.
const WAVE: usize = 4;

pub(super) fn read(path: &Path, batch_rows: usize) -> Result<Records> {
    let columns = learn(path)?;
    let schema: SchemaRef = Arc::new(Schema::new(columns.fields().collect::<Vec<Field>>()));
    Ok(Box::new(JsonlRecords {
        path: path.to_string_lossy().into(),
        chunks: LineChunks::open(path)?,
        columns,
        rows: BatchCoalescer::new(schema, batch_rows.max(1)),
        yielded: false,
        ended: false,
    }))
}

struct JsonlRecords {
    path: Arc<str>,
    chunks: LineChunks,
    columns: Columns,
    rows: BatchCoalescer,
    yielded: bool,
    ended: bool,
}

impl Iterator for JsonlRecords {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.rows.next_completed_batch() {
                self.yielded = true;
                return Some(Ok(batch));
            }
            if self.ended {
                let empty = !std::mem::replace(&mut self.yielded, true);
                return empty.then(|| Ok(RecordBatch::new_empty(self.rows.schema())));
            }
            if let Err(error) = self.advance() {
                (self.ended, self.yielded) = (true, true);
                return Some(Err(error));
            }
        }
    }
}

impl JsonlRecords {
    fn advance(&mut self) -> Result<()> {
        let wave = wave(&mut self.chunks)?;
        self.ended = wave.is_empty();
        let (path, columns, schema) = (&self.path, &self.columns, self.rows.schema());
        let batches: Vec<RecordBatch> =
            wave.par_iter().map(|chunk| batch(path, chunk, columns, &schema)).collect::<Result<_>>()?;
        let unfit = |error: ArrowError| Error::usage(format!("cannot read the records of {path}: {error}"));
        for batch in batches {
            self.rows.push_batch(batch).map_err(unfit)?;
        }
        if self.ended {
            self.rows.finish_buffered_batch().map_err(unfit)?;
        }
        Ok(())
    }
}

/// The columns of a whole file.
fn learn(path: &Path) -> Result<Columns> {
    let shown = path.to_string_lossy();
    let mut chunks = LineChunks::open(path)?;
    let mut columns = Columns::default();
    loop {
        let wave = wave(&mut chunks)?;
        if wave.is_empty() {
            return Ok(columns);
        }
        let learnt: Vec<Columns> =
            wave.par_iter().map(|chunk| learn_chunk(&shown, chunk)).collect::<Result<_>>()?;
        for learnt in learnt {
            for (name, of) in learnt.iter() {
                columns.widen(name, of);
            }
        }
    }
}

fn learn_chunk(path: &str, chunk: &LineChunk) -> Result<Columns> {
    let mut columns = Columns::default();
    for (number, line) in chunk.lines() {
        for (name, raw) in object(path, number, line)?.iter() {
            let kind = Kind::of(raw).map_err(|error| bad_line(path, number, &error))?;
            columns.widen(name, &ColumnType::Learnt(kind));
        }
    }
    Ok(columns)
}

fn batch(path: &str, chunk: &LineChunk, columns: &Columns, schema: &SchemaRef) -> Result<RecordBatch> {
    let objects: Vec<JsonObject> =
        chunk.lines().map(|(number, line)| object(path, number, line)).collect::<Result<_>>()?;
    let mut grid: Vec<Vec<Option<&str>>> = vec![vec![None; objects.len()]; columns.len()];
    for (row, object) in objects.iter().enumerate() {
        for (name, raw) in object.iter() {
            if let Some(column) = columns.position(name) {
                grid[column][row] = Some(raw);
            }
        }
    }
    let arrays: Vec<ArrayRef> =
        columns.iter().zip(grid).map(|((_, of), raws)| of.array(raws.into_iter())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(objects.len()));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
        .map_err(|error| Error::usage(format!("cannot read the records of {path}: {error}")))
}

fn object<'a>(path: &str, number: u64, line: Line<'a>) -> Result<JsonObject<'a>> {
    match line {
        Line::TooLong(_) => Err(bad_line(path, number, &format!("more than {LINE_CAP} bytes"))),
        Line::Whole(line) => {
            let line = std::str::from_utf8(line).map_err(|error| bad_line(path, number, &error))?;
            JsonObject::parse(line).map_err(|error| bad_line(path, number, &error))
        }
    }
}

fn bad_line(path: &str, number: u64, error: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("{path}:{number}: {error}"))
        .hint("every line must be one JSON object; mend or remove this one")
}

fn wave(chunks: &mut LineChunks) -> Result<Vec<LineChunk>> {
    chunks.by_ref().take(WAVE).collect()
}
