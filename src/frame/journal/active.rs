//! The last segment of a journal: the only one that grows, indexed in memory.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{MAGIC, Records, Step, damaged, record_after};
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::key::Key;

pub(super) struct Active {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// Where the next record goes; all before it is whole records.
    pub(super) end: u64,
    pub(super) records: u64,
    /// Where the newest record of each key starts.
    pub(super) offsets: HashMap<Key, u64>,
}

impl Active {
    /// Starts the segment `number` in `dir`.
    pub(super) fn create(dir: &Path, number: u32) -> Result<Self> {
        let path = dir.join(format!("segment-{number:05}.log"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            // Only a segment whose creation failed half-way can be there already.
            .truncate(true)
            .open(&path)
            .map_err(|error| Error::io("create", &path, error))?;
        file.write_all_at(MAGIC, 0).map_err(|error| Error::io("write", &path, error))?;
        atomic::sync_dir(dir)?;
        Ok(Self::empty(number, path, file))
    }

    /// Opens the segment at `path` and reads it through, without a torn record at its end: that is cut off if
    /// the journal is opened for writing. `None` if it is so short that it has no record to look up.
    pub(super) fn open(number: u32, path: PathBuf, writable: bool) -> Result<Option<Self>> {
        let failed = |error| Error::io("open", &path, error);
        let file = OpenOptions::new().read(true).write(writable).open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length < MAGIC.len() as u64 {
            return match path.parent() {
                Some(dir) if writable => Self::create(dir, number).map(Some),
                _ => Ok(None),
            };
        }
        let mut active = Self::empty(number, path, file);
        let mut records = Records::open(&active.path, length)?;
        let torn = loop {
            match records.step()? {
                Step::Record { offset, key, .. } => {
                    active.offsets.insert(key, offset);
                    active.records += 1;
                }
                Step::End => break None,
                Step::Bad { offset } => break Some(offset),
            }
        };
        active.end = torn.unwrap_or(length);
        let Some(offset) = torn else { return Ok(Some(active)) };
        if record_after(&active.path, offset, length)? {
            return Err(damaged(&active.path, offset));
        }
        if writable {
            let (path, dropped) = (active.path.display(), length - offset);
            tracing::warn!("{path}: dropped a torn record of {dropped} bytes at byte {offset}");
            active
                .file
                .set_len(offset)
                .and_then(|()| active.file.sync_data())
                .map_err(|error| Error::io("truncate", &active.path, error))?;
        }
        Ok(Some(active))
    }

    fn empty(number: u32, path: PathBuf, file: File) -> Self {
        let end = MAGIC.len() as u64;
        Self { number, path, file: Arc::new(file), end, records: 0, offsets: HashMap::new() }
    }
}
