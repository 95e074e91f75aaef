//! Tables as directories of Parquet files: `dataset`, `rejected`, `replies`, `verdicts`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::table_file::{Rows, TableFile};

/// Rows of a file unless [`DatasetWriter::rows_per_file`] says otherwise.
const FILE_ROWS: u64 = 262_144;

/// Writes a stream of rows as `part-00000.parquet`, `part-00001.parquet`, ... of one directory.
///
/// The files are written to a temporary directory beside the final one, which [`DatasetWriter::finish`] then
/// replaces in one step: a reader finds all of the old table or all of the new. Row groups and files are cut by
/// the rows alone, so the same rows give the same bytes however they arrive in batches. Memory holds one row
/// group: 8,192 rows or 32 MiB of values, whichever is reached first.
pub struct DatasetWriter {
    dir: PathBuf,
    temp: PathBuf,
    rows: Rows,
    files: Files,
    finished: bool,
}

/// The files of the table `dir`, in row order; none when the table is not written yet.
///
/// # Errors
/// I/O errors.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", dir, error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.map_err(|error| Error::io("read", dir, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    // Numbers have at least five digits, and more only after 100,000 files.
    paths.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(paths)
}

/// The files written so far and the one being written.
struct Files {
    dir: PathBuf,
    schema: SchemaRef,
    metadata: BTreeMap<String, String>,
    rows_per_file: u64,
    count: u64,
    rows: u64,
    open: Option<OpenFile>,
}

struct OpenFile {
    table: TableFile<File>,
    path: PathBuf,
    rows: u64,
}

impl DatasetWriter {
    /// Starts writing the table `dir`, for example `runs/mine/dataset`; `metadata` goes into every file.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(dir: &Path, schema: &SchemaRef, metadata: &BTreeMap<String, String>) -> Result<Self> {
        let temp = atomic::temp_dir(dir)?;
        let files = Files {
            dir: temp.clone(),
            schema: schema.clone(),
            metadata: metadata.clone(),
            rows_per_file: FILE_ROWS,
            count: 0,
            rows: 0,
            open: None,
        };
        Ok(Self { dir: dir.to_owned(), temp, rows: Rows::new(schema), files, finished: false })
    }

    /// Starts a new file once one has this many rows, rounded up to whole row groups (262,144 unless set).
    #[must_use]
    pub fn rows_per_file(mut self, rows: u64) -> Self {
        self.files.rows_per_file = rows.max(1);
        self
    }

    /// Adds rows.
    ///
    /// # Errors
    /// I/O errors, and a batch that does not have the columns of the table.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let files = &mut self.files;
        self.rows.push(batch, &mut |group| files.write(&group))
    }

    /// Writes what is left, puts the table in its place and returns its number of rows. A table without rows
    /// has one file, which carries the schema.
    ///
    /// # Errors
    /// I/O errors; the table that was there before then stays.
    pub fn finish(mut self) -> Result<u64> {
        if let Some(group) = self.rows.rest()? {
            self.files.write(&group)?;
        }
        match self.files.open.take() {
            Some(open) => open.close()?,
            None if self.files.count == 0 => self.files.start()?.close()?,
            None => {}
        }
        atomic::replace_dir(&self.temp, &self.dir)?;
        self.finished = true;
        Ok(self.files.rows)
    }
}

impl Drop for DatasetWriter {
    /// Deletes an unfinished table's files.
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be deleted now is deleted when the run is next opened.
            let _ = fs::remove_dir_all(&self.temp);
        }
    }
}

impl Files {
    fn write(&mut self, group: &RecordBatch) -> Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start()?,
        };
        open.table.write_group(group)?;
        open.rows += group.num_rows() as u64;
        self.rows += group.num_rows() as u64;
        if open.rows >= self.rows_per_file {
            open.close()
        } else {
            self.open = Some(open);
            Ok(())
        }
    }

    fn start(&mut self) -> Result<OpenFile> {
        let path = self.dir.join(format!("part-{:05}.parquet", self.count));
        let file = File::create(&path).map_err(|error| Error::io("create", &path, error))?;
        let table = TableFile::create(file, &path, &self.schema, &self.metadata)?;
        self.count += 1;
        Ok(OpenFile { table, path, rows: 0 })
    }
}

impl OpenFile {
    fn close(self) -> Result<()> {
        self.table.finish()?.sync_all().map_err(|error| Error::io("sync", &self.path, error))
    }
}
