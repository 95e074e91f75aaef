//! The journal of one stage: every answer that cost money or time, written down before it counts.
//!
//! A journal is a directory of append-only segments, `segment-00000.log` and so on (the `segment` module gives the format).
//! Only the last segment grows. A full one is closed: it gets a sorted index file (`segment-00000.idx`, the
//! `index` module) and leaves nothing in memory but a filter of about 9 bits per key, so that memory stays
//! near 9 MB for seven million records plus one segment's index.
//!
//! What survives what:
//!
//! - The death of the process: every record whose [`Journal::append`] has returned. It is in the kernel's page
//!   cache by then. A record that was being written is a torn tail, dropped by the next [`Journal::open`].
//! - A power cut: what was synced. A thread syncs in groups and starts at most [`SYNC_DELAY`] after an append
//!   (plus the time of the sync that is under way); [`Journal::sync`] waits for it.
//!
//! A key may be appended again; the newest record is found, and all are kept.
//!
//! When a run ends, [`Journal::compact`] makes Parquet files of a table out of the segments and deletes them. Those
//! files are the source then: everything here finds records in them as it does in segments (the `files` module says
//! where they are, the `part` module how a row is found). A run that goes on appends to new segments.

mod active;
mod closed;
mod columns;
mod compact;
mod files;
mod index;
mod part;
mod segment;
mod shared;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use self::closed::segment_records;
pub use self::columns::{REPLIES, Table, VERDICTS};
pub use self::files::{table_files, tidy_table};
use self::segment::{MAX_PAYLOAD, encode, read_payload};
use self::shared::{Shared, State};
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::key::Key;

/// Longest wait between an append and the start of the sync that covers it.
pub const SYNC_DELAY: Duration = Duration::from_millis(5);

/// When a segment is full, and a part that segments are compacted into.
#[derive(Debug, Clone, Copy)]
pub struct SegmentLimits {
    /// Most records in a segment; the active segment's index in memory grows with it.
    pub records: u64,
    /// A segment that has reached this many bytes takes no further record.
    pub bytes: u64,
    /// A part with this many records takes no further segment. One with fewer than a quarter is written again together
    /// with what came after it: a run that was resumed a thousand times has not a thousand files.
    pub part_records: u64,
}

impl Default for SegmentLimits {
    fn default() -> Self {
        Self { records: 65_536, bytes: 64 << 20, part_records: 262_144 }
    }
}

/// An append-only journal of payloads by key. See the module's text for what it promises.
pub struct Journal {
    shared: Arc<Shared>,
    syncer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal in `dir`, which is created if it does not exist.
    ///
    /// A torn record at the end is cut off, with a warning that says how many bytes went. Missing or torn index
    /// files are written again. Only one `Journal` may be open for writing; the run's lock sees to that.
    ///
    /// # Errors
    /// I/O errors, and damage other than a torn end, with file and offset.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, SegmentLimits::default())
    }

    /// [`Journal::open`] with other segment sizes.
    ///
    /// # Errors
    /// Those of [`Journal::open`].
    pub fn open_with(dir: &Path, limits: SegmentLimits) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
        atomic::remove_leftovers(dir)?;
        let shared = Arc::new(Shared::open(dir, limits, true)?);
        let syncer = std::thread::Builder::new()
            .name("journal-sync".into())
            .spawn({
                let shared = shared.clone();
                move || shared.sync_in_groups()
            })
            .map_err(|error| Error::environment(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, syncer: Some(syncer) })
    }

    /// Opens the journal in `dir` for look-ups only: another run's, which may still be growing.
    ///
    /// A record at the end that is not whole is left alone and not seen; a directory that does not exist is an empty
    /// journal. What is appended later by its owner is not seen, unless the owner compacts it. Nothing is written.
    ///
    /// # Errors
    /// Those of [`Journal::open`].
    pub fn open_read_only(dir: &Path) -> Result<Self> {
        let shared = Shared::open(dir, SegmentLimits::default(), false)?;
        Ok(Self { shared: Arc::new(shared), syncer: None })
    }

    /// Adds a record. It has been handed to `write()` when this returns and outlives the process from then on.
    ///
    /// # Errors
    /// I/O errors; a full disk is an environment error. The record is then not in the journal, and the journal
    /// can be used on, except after a failed sync: then every later call that writes fails too.
    pub fn append(&self, key: Key, payload: &[u8]) -> Result<()> {
        if payload.len() > MAX_PAYLOAD {
            return Err(Error::usage(format!(
                "a record of {} bytes is too long for the journal {}",
                payload.len(),
                self.shared.place().dir.display()
            )));
        }
        if self.syncer.is_none() {
            return Err(self.read_only());
        }
        let record = encode(&key, payload);
        let mut state = self.shared.lock();
        self.shared.refuse_after_failure(&state)?;
        self.shared.close_full_segment(&mut state)?;
        let State { active: Some(active), unsynced, failed, .. } = &mut *state else {
            return Err(self.read_only());
        };
        if let Err(error) = active.file.write_all_at(&record, active.end) {
            let taken_back = active.file.set_len(active.end);
            let message = Error::io("append to", &active.path, error);
            if let Err(error) = taken_back {
                *failed = Some((error.kind(), error.to_string()));
            }
            return Err(message);
        }
        active.offsets.insert(key, active.end);
        active.end += record.len() as u64;
        active.records += 1;
        if !*unsynced {
            *unsynced = true;
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// The payload of the newest record of `key`.
    ///
    /// # Errors
    /// I/O errors, and a damaged record, with file and place.
    pub fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        Ok(self.locate(key)?.map(|(payload, _)| payload))
    }

    /// The payload of the newest record of `key`, and the file that it is in.
    ///
    /// # Errors
    /// Those of [`Journal::get`].
    pub fn locate(&self, key: &Key) -> Result<Option<(Vec<u8>, PathBuf)>> {
        self.reading(|| self.find(key))
    }

    /// Reads once more after an error, if this journal is only read and its owner has replaced files meanwhile.
    fn reading<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        let found = read();
        if found.is_err() && self.syncer.is_none() && self.shared.reread()? {
            return read();
        }
        found
    }

    fn find(&self, key: &Key) -> Result<Option<(Vec<u8>, PathBuf)>> {
        let state = self.shared.lock();
        if let Some(active) = &state.active
            && let Some(offset) = active.offsets.get(key).copied()
        {
            let (file, path, end) = (active.file.clone(), active.path.clone(), active.end);
            drop(state);
            return read_payload(&file, &path, offset, end, key).map(|payload| Some((payload, path)));
        }
        drop(state);
        let mut found = None;
        for closed in self.shared.closed().iter().rev() {
            if let Some(place) = closed.index().find(key)? {
                found = Some((closed.clone(), place));
                break;
            }
        }
        let Some((closed, place)) = found else { return Ok(None) };
        let payload = closed.read(key, place, &self.shared.blocks)?;
        Ok(Some((payload, closed.path().to_owned())))
    }

    /// Whether there is a record of `key`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn contains(&self, key: &Key) -> Result<bool> {
        if self.shared.lock().active.as_ref().is_some_and(|active| active.offsets.contains_key(key)) {
            return Ok(true);
        }
        self.reading(|| {
            for closed in self.shared.closed().iter().rev() {
                if closed.index().find(key)?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Waits until everything appended so far is on disk.
    ///
    /// # Errors
    /// I/O errors, also of an earlier sync in the background.
    pub fn sync(&self) -> Result<()> {
        let state = self.shared.lock();
        self.shared.refuse_after_failure(&state)?;
        let Some(file) = state.active.as_ref().map(|active| active.file.clone()) else { return Ok(()) };
        drop(state);
        self.shared.sync_file(&file)
    }

    /// Number of records; a key that was appended twice counts twice.
    pub fn len(&self) -> u64 {
        let state = self.shared.lock();
        let active = state.active.as_ref().map_or(0, |active| active.records);
        self.shared.closed().iter().map(|closed| closed.index().records).sum::<u64>() + active
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with every record, oldest first, one in memory at a time. Records appended meanwhile may be
    /// left out.
    ///
    /// # Errors
    /// Those of `visit`, I/O errors, and a damaged record, with file and place.
    pub fn for_each(&self, visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>) -> Result<()> {
        if self.syncer.is_none() {
            self.shared.reread()?;
        }
        let (active, closed) = {
            let state = self.shared.lock();
            let active = state.active.as_ref().map(|active| (active.path.clone(), active.end));
            (active, self.shared.closed().clone())
        };
        closed.iter().try_for_each(|closed| closed.for_each(visit))?;
        active.map_or(Ok(()), |(path, end)| segment_records(&path, end, visit))
    }

    fn read_only(&self) -> Error {
        Error::usage(format!("the journal {} is open for reading only", self.shared.place().dir.display()))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.wake.notify_one();
        if let Some(syncer) = self.syncer.take() {
            // A failed last sync has been logged; there is nobody left to tell.
            let _ = syncer.join();
        }
    }
}
