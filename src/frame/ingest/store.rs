//! The seed frame read back.

use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;

use super::parquet::{Batches, open};
use super::writer::{GROUP_ROWS, SeedWriter};
use crate::error::{Error, Result};

/// A finished seed frame. Rows are addressed by their position.
#[derive(Debug, Clone)]
pub struct SeedStore {
    schema: SchemaRef,
    files: Vec<SeedFile>,
}

#[derive(Debug, Clone)]
struct SeedFile {
    path: PathBuf,
    /// Position of its first row.
    start: u64,
    rows: u64,
}

impl SeedStore {
    /// Opens the seed frame in `seed_dir`.
    ///
    /// # Errors
    /// There is no seed frame, or a file of it does not read.
    pub fn open(seed_dir: &Path) -> Result<Self> {
        let listed = std::fs::read_dir(seed_dir).map_err(|error| Error::io("read", seed_dir, error))?;
        let mut paths: Vec<PathBuf> = listed
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()
            .map_err(|error| Error::io("read", seed_dir, error))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
        paths.sort();
        let mut schema = None;
        let mut files = Vec::with_capacity(paths.len());
        let mut start = 0;
        for path in paths {
            let file = open(&path)?;
            let rows = u64::try_from(file.metadata().file_metadata().num_rows()).unwrap_or(0);
            schema.get_or_insert_with(|| file.schema().clone());
            files.push(SeedFile { path, start, rows });
            start += rows;
        }
        let schema =
            schema.ok_or_else(|| Error::usage(format!("there are no seeds in {}", seed_dir.display())))?;
        Ok(Self { schema, files })
    }

    /// Writes `rows`, taken from another seed frame, as one of their own into `seed_dir`.
    ///
    /// # Errors
    /// The disk.
    pub fn write(seed_dir: &Path, rows: RecordBatch) -> Result<Self> {
        Self::write_all(seed_dir, rows.schema(), [Ok(rows)])?;
        Self::open(seed_dir)
    }

    /// Writes the rows of `batches`, which all have `schema`, as a seed frame into `seed_dir`.
    ///
    /// # Errors
    /// The disk; the first error among the batches.
    pub fn write_all(
        seed_dir: &Path,
        schema: SchemaRef,
        batches: impl IntoIterator<Item = Result<RecordBatch>>,
    ) -> Result<()> {
        let mut writer = SeedWriter::create(seed_dir, schema)?;
        for batch in batches {
            writer.push(vec![batch?])?;
        }
        writer.finish()
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.files.last().map_or(0, |file| file.start + file.rows)
    }

    /// `id`, `language`, `text`, then the user's own columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The files that hold `rows`, and where in each of them.
    pub fn slices(&self, rows: Range<u64>) -> Vec<(PathBuf, Vec<Range<u64>>)> {
        let inside = |file: &SeedFile| {
            let (from, to) = (rows.start.max(file.start), rows.end.min(file.start + file.rows));
            let range = from.checked_sub(file.start)?..to.checked_sub(file.start)?;
            (from < to).then(|| (file.path.clone(), std::iter::once(range).collect()))
        };
        self.files.iter().filter_map(inside).collect()
    }

    /// Rows `start..start + len`, fewer at the end.
    ///
    /// # Errors
    /// A file does not read.
    pub fn read(&self, start: u64, len: usize) -> Result<RecordBatch> {
        let end = start.saturating_add(len as u64).min(self.rows());
        let mut batches = Vec::new();
        for file in &self.files {
            let (from, to) = (start.max(file.start), end.min(file.start + file.rows));
            if from < to {
                batches.extend(file.read(from - file.start, to - file.start)?);
            }
        }
        concat_batches(&self.schema, &batches)
            .map_err(|error| Error::environment(format!("cannot read seeds {start} to {end}: {error}")))
    }
}

impl SeedFile {
    /// Rows `from..to` of this file; only the row groups that hold them are decoded.
    fn read(&self, from: u64, to: u64) -> Result<Vec<RecordBatch>> {
        let groups = (from as usize / GROUP_ROWS)..(to as usize).div_ceil(GROUP_ROWS);
        let rows = open(&self.path)?
            .with_row_groups(groups.clone().collect())
            .with_offset(from as usize - groups.start * GROUP_ROWS)
            .with_limit((to - from) as usize)
            .with_batch_size(GROUP_ROWS);
        Batches::of(&self.path, rows)?.collect()
    }
}
