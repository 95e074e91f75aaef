//! Rows of a table picked by number and written to one file or to several shards.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;

use crate::error::{Error, Result};
use crate::frame::records::RecordWriter;

/// The files that `shards` shards of `out` have: `out` itself if it is one, otherwise
/// `NAME-00000-of-00004.EXT` and so on.
pub fn shard_paths(out: &Path, shards: usize) -> Vec<PathBuf> {
    if shards <= 1 {
        return vec![out.to_owned()];
    }
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    // `a.b.jsonl.gz` is `a.b` with the extension `jsonl.gz`.
    let compressed = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let stem = compressed.rsplit_once('.').map_or(compressed, |(stem, _)| stem);
    let extension = &name[stem.len()..];
    (0..shards).map(|n| out.with_file_name(format!("{stem}-{n:05}-of-{shards:05}{extension}"))).collect()
}

/// Picks rows by their number in a stream of batches.
pub struct Picker {
    rows: VecDeque<u32>,
    seen: u32,
}

impl Picker {
    /// Picks `rows`, which are sorted.
    pub fn new(rows: Vec<u32>) -> Self {
        Self { rows: rows.into(), seen: 0 }
    }

    /// The picked rows of the next batch of the stream.
    ///
    /// # Errors
    /// Columns that do not fit together.
    pub fn pick(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let start = self.seen;
        self.seen += batch.num_rows() as u32;
        let here = self.rows.partition_point(|row| *row < self.seen);
        let indices: UInt32Array = self.rows.drain(..here).map(|row| Some(row - start)).collect();
        take_record_batch(batch, &indices).map_err(|error| Error::usage(format!("cannot pick rows: {error}")))
    }
}

/// One file of a finished export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The file.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
}

/// Cuts a stream of rows into files of equal size (give or take a row), in order.
///
/// Each file appears when it is whole; until then nothing is at its path.
pub struct ShardWriter {
    schema: SchemaRef,
    /// Files still to write, each with its number of rows; the first is open.
    todo: VecDeque<(PathBuf, u64)>,
    open: Option<RecordWriter>,
    done: Vec<Shard>,
}

impl ShardWriter {
    /// Writes `rows` rows with `schema` to `paths`.
    ///
    /// # Errors
    /// The first file cannot be created.
    pub fn create(paths: Vec<PathBuf>, rows: u64, schema: &SchemaRef) -> Result<Self> {
        let shards = paths.len() as u64;
        let todo = (0u64..)
            .zip(paths)
            .map(|(n, path)| (path, rows * (n + 1) / shards - rows * n / shards))
            .collect();
        let mut writer = Self { schema: schema.clone(), todo, open: None, done: Vec::new() };
        writer.open_next()?;
        Ok(writer)
    }

    /// Adds rows.
    ///
    /// # Errors
    /// The disk, and more rows than were announced.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let (Some(writer), Some((_, left))) = (&mut self.open, self.todo.front_mut()) else {
                return Err(
                    Error::environment("the table grew while it was exported").hint("export it again")
                );
            };
            let fit = (batch.num_rows() - from).min(usize::try_from(*left).unwrap_or(usize::MAX));
            writer.write(&batch.slice(from, fit))?;
            from += fit;
            *left -= fit as u64;
            self.close_full()?;
        }
        Ok(())
    }

    /// The files, once all of them are in their places.
    ///
    /// # Errors
    /// The disk, and fewer rows than were announced.
    pub fn finish(mut self) -> Result<Vec<Shard>> {
        self.close_full()?;
        match self.todo.is_empty() {
            true => Ok(self.done),
            false => {
                Err(Error::environment("the table shrank while it was exported").hint("export it again"))
            }
        }
    }

    /// Puts the open file in its place if it has all its rows, and so on with the empty ones after it.
    fn close_full(&mut self) -> Result<()> {
        while let (Some((_, 0)), Some(_)) = (self.todo.front(), &self.open) {
            if let (Some(writer), Some((path, _))) = (self.open.take(), self.todo.pop_front()) {
                self.done.push(Shard { path, rows: writer.finish()? });
            }
            self.open_next()?;
        }
        Ok(())
    }

    fn open_next(&mut self) -> Result<()> {
        if let Some((path, _)) = self.todo.front() {
            let mut writer = RecordWriter::create(path)?;
            // A shard without rows still says what the columns are.
            writer.write(&RecordBatch::new_empty(self.schema.clone()))?;
            self.open = Some(writer);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_by_number_before_the_extension() {
        let names = |out: &str, shards| -> Vec<String> {
            shard_paths(Path::new(out), shards).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(names("a/b.parquet", 1), ["a/b.parquet"]);
        assert_eq!(names("a/b.parquet", 2), ["a/b-00000-of-00002.parquet", "a/b-00001-of-00002.parquet"]);
        assert_eq!(names("v1.2.jsonl.gz", 2)[1], "v1.2-00001-of-00002.jsonl.gz");
        assert_eq!(names("plain", 2)[0], "plain-00000-of-00002");
    }
}
