//! Rows written to one file or cut into several shards.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::error::{Error, Result};
use crate::frame::atomic::ClosedFile;
use crate::frame::records::{RecordWriter, WriteOptions};

/// The files that `shards` shards of `out` have: `out` itself if it is one, otherwise
/// `NAME-00000-of-00004.EXT` and so on.
pub fn shard_paths(out: &Path, shards: usize) -> Vec<PathBuf> {
    if shards <= 1 {
        return vec![out.to_owned()];
    }
    let (stem, extension) = parts(out);
    (0..shards).map(|n| out.with_file_name(format!("{stem}-{n:05}-of-{shards:05}{extension}"))).collect()
}

/// One file of a finished export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// The file.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
}

/// The file of the split `name`: `NAME-train.EXT`.
pub fn split_path(out: &Path, name: &str) -> PathBuf {
    let (stem, extension) = parts(out);
    out.with_file_name(format!("{stem}-{name}{extension}"))
}

/// The file's name without its extension, and the extension: `a.b.jsonl.gz` is `a.b` and `.jsonl.gz`.
fn parts(out: &Path) -> (String, String) {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let compressed = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let stem = compressed.rsplit_once('.').map_or(compressed, |(stem, _)| stem);
    (stem.to_owned(), name[stem.len()..].to_owned())
}

/// Shards that are whole but not at their paths yet; dropped, they are gone.
pub struct ClosedShards(Vec<(Shard, ClosedFile)>);

impl ClosedShards {
    /// Puts all of them in their places.
    ///
    /// # Errors
    /// The disk; those placed before then stay.
    pub fn place(self) -> Result<Vec<Shard>> {
        self.0.into_iter().map(|(shard, file)| file.place().map(|()| shard)).collect()
    }
}

/// Cuts a stream of rows into files of equal size (give or take a row), in order.
///
/// Nothing is at any of their paths before all of them are whole.
pub struct ShardWriter {
    schema: SchemaRef,
    options: WriteOptions,
    /// Files still to write, each with its number of rows; the first is open.
    todo: VecDeque<(PathBuf, u64)>,
    open: Option<RecordWriter>,
    done: Vec<(Shard, ClosedFile)>,
}

impl ShardWriter {
    /// Writes `rows` rows with `schema` to `paths`.
    ///
    /// # Errors
    /// The first file cannot be created.
    pub fn create(
        paths: Vec<PathBuf>,
        rows: u64,
        schema: &SchemaRef,
        options: &WriteOptions,
    ) -> Result<Self> {
        let shards = paths.len() as u64;
        let todo = (0u64..)
            .zip(paths)
            .map(|(n, path)| (path, rows * (n + 1) / shards - rows * n / shards))
            .collect();
        let (schema, options) = (schema.clone(), options.clone());
        let mut writer = Self { schema, options, todo, open: None, done: Vec::new() };
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
            self.close_full()?;
            let (Some(writer), Some((_, left))) = (&mut self.open, self.todo.front_mut()) else {
                return Err(
                    Error::environment("the table grew while it was exported").hint("export it again")
                );
            };
            let fit = (batch.num_rows() - from).min(usize::try_from(*left).unwrap_or(usize::MAX));
            writer.write(&batch.slice(from, fit))?;
            from += fit;
            *left -= fit as u64;
        }
        Ok(())
    }

    /// The files, once all of them are whole.
    ///
    /// # Errors
    /// The disk, and fewer rows than were announced.
    pub fn close(mut self) -> Result<ClosedShards> {
        self.close_full()?;
        match self.todo.is_empty() {
            true => Ok(ClosedShards(self.done)),
            false => {
                Err(Error::environment("the table shrank while it was exported").hint("export it again"))
            }
        }
    }

    /// Closes the open file if it has all its rows, and so on with the empty ones after it.
    fn close_full(&mut self) -> Result<()> {
        while let (Some((_, 0)), Some(_)) = (self.todo.front(), &self.open) {
            if let (Some(writer), Some((path, _))) = (self.open.take(), self.todo.pop_front()) {
                let (file, rows) = writer.close()?;
                self.done.push((Shard { path, rows }, file));
            }
            self.open_next()?;
        }
        Ok(())
    }

    fn open_next(&mut self) -> Result<()> {
        if let Some((path, _)) = self.todo.front() {
            let mut writer = RecordWriter::create_with(path, self.options.clone())?;
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
        assert_eq!(split_path(Path::new("a/v1.2.jsonl.gz"), "test"), Path::new("a/v1.2-test.jsonl.gz"));
        assert_eq!(names("plain", 2)[0], "plain-00000-of-00002");
    }
}
