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

mod active;
mod index;
mod segment;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use self::active::Active;
use self::index::Index;
use self::segment::{MAX_PAYLOAD, Records, Step, damaged, encode, read_payload};
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::key::Key;

/// Longest wait between an append and the start of the sync that covers it.
pub const SYNC_DELAY: Duration = Duration::from_millis(5);

/// When a segment is full.
#[derive(Debug, Clone, Copy)]
pub struct SegmentLimits {
    /// Most records in a segment; the active segment's index in memory grows with it.
    pub records: u64,
    /// A segment that has reached this many bytes takes no further record.
    pub bytes: u64,
}

impl Default for SegmentLimits {
    fn default() -> Self {
        Self { records: 65_536, bytes: 64 << 20 }
    }
}

/// An append-only journal of payloads by key. See the module's text for what it promises.
pub struct Journal {
    shared: Arc<Shared>,
    syncer: Option<JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    limits: SegmentLimits,
    state: Mutex<State>,
    /// Signalled when there is something to sync, or when the journal is dropped.
    wake: Condvar,
    /// Locked after `state` where both are needed.
    closed: RwLock<Vec<Closed>>,
}

struct State {
    /// The segment that grows; `None` in a journal opened for reading that has no segment.
    active: Option<Active>,
    unsynced: bool,
    dropped: bool,
    /// A failed sync or an append that could not be taken back: what is on disk is unknown, nothing may follow.
    failed: Option<(io::ErrorKind, String)>,
}

struct Closed {
    path: PathBuf,
    index: Index,
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
        let mut shared = Shared::open(dir, limits, true)?;
        let state = shared.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.active.is_none() {
            state.active = Some(Active::create(dir, 0)?);
        }
        let shared = Arc::new(shared);
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
    /// journal. Index files that are missing are written here too.
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
            let (length, dir) = (payload.len(), self.shared.dir.display());
            return Err(Error::usage(format!(
                "a record of {length} bytes is too long for the journal {dir}"
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
    /// I/O errors, and a damaged record, with file and offset.
    pub fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        let state = self.shared.lock();
        if let Some(active) = &state.active
            && let Some(offset) = active.offsets.get(key).copied()
        {
            let (file, path, end) = (active.file.clone(), active.path.clone(), active.end);
            drop(state);
            return read_payload(&file, &path, offset, end, key).map(Some);
        }
        drop(state);
        let closed = self.shared.closed.read().unwrap_or_else(PoisonError::into_inner);
        for Closed { path, index } in closed.iter().rev() {
            if let Some(offset) = index.find(key)? {
                let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
                return read_payload(&file, path, offset, index.length, key).map(Some);
            }
        }
        Ok(None)
    }

    /// Whether there is a record of `key`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn contains(&self, key: &Key) -> Result<bool> {
        if self.shared.lock().active.as_ref().is_some_and(|active| active.offsets.contains_key(key)) {
            return Ok(true);
        }
        let closed = self.shared.closed.read().unwrap_or_else(PoisonError::into_inner);
        for segment in closed.iter().rev() {
            if segment.index.find(key)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
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
        let closed = self.shared.closed.read().unwrap_or_else(PoisonError::into_inner);
        let active = state.active.as_ref().map_or(0, |active| active.records);
        closed.iter().map(|segment| segment.index.records).sum::<u64>() + active
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with every record, oldest first, one in memory at a time. Records appended meanwhile may be
    /// left out.
    ///
    /// # Errors
    /// Those of `visit`, I/O errors, and a damaged record, with file and offset.
    pub fn for_each(&self, visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>) -> Result<()> {
        let mut segments: Vec<(PathBuf, u64)> = Vec::new();
        {
            let state = self.shared.lock();
            let closed = self.shared.closed.read().unwrap_or_else(PoisonError::into_inner);
            segments.extend(closed.iter().map(|segment| (segment.path.clone(), segment.index.length)));
            segments.extend(state.active.as_ref().map(|active| (active.path.clone(), active.end)));
        }
        for (path, end) in segments {
            let mut records = Records::open(&path, end)?;
            loop {
                match records.step()? {
                    Step::Record { key, payload, .. } => visit(key, payload)?,
                    Step::End => break,
                    Step::Bad { offset } => return Err(damaged(&path, offset)),
                }
            }
        }
        Ok(())
    }

    fn read_only(&self) -> Error {
        Error::usage(format!("the journal {} is open for reading only", self.shared.dir.display()))
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

impl Shared {
    fn open(dir: &Path, limits: SegmentLimits, writable: bool) -> Result<Self> {
        let mut closed = Vec::new();
        let mut active = None;
        let mut segments = segments(dir)?.into_iter().peekable();
        while let Some((number, path)) = segments.next() {
            if segments.peek().is_some() {
                closed.push(Closed { index: Index::open(&path)?, path });
            } else {
                active = Active::open(number, path, writable)?;
            }
        }
        let state = State { active, unsynced: false, dropped: false, failed: None };
        Ok(Self {
            dir: dir.to_owned(),
            limits,
            state: Mutex::new(state),
            wake: Condvar::new(),
            closed: RwLock::new(closed),
        })
    }

    /// The state. No code that holds it can panic half-way through a change, so poison is no news.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse_after_failure(&self, state: &State) -> Result<()> {
        match &state.failed {
            Some((kind, message)) => {
                Err(Error::io("sync", &self.dir, io::Error::new(*kind, message.clone())))
            }
            None => Ok(()),
        }
    }

    /// Closes the active segment if it is full and starts the next.
    ///
    /// The index file and the next segment exist before anything changes here, so after an error the same
    /// segment is still the active one.
    fn close_full_segment(&self, state: &mut State) -> Result<()> {
        let Some(active) = &mut state.active else { return Ok(()) };
        if active.records < self.limits.records && active.end < self.limits.bytes {
            return Ok(());
        }
        if let Err(error) = active.file.sync_data() {
            state.failed = Some((error.kind(), error.to_string()));
            return self.refuse_after_failure(state);
        }
        let index = Index::write(&active.path, active.end, active.records, &active.offsets)?;
        let next = Active::create(&self.dir, active.number + 1)?;
        let full = std::mem::replace(active, next);
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        closed.push(Closed { path: full.path, index });
        Ok(())
    }

    /// Syncs a segment. After a failure the kernel may have dropped what it could not write, and a second sync
    /// would succeed without it: so the failure is remembered.
    fn sync_file(&self, file: &File) -> Result<()> {
        let Err(error) = file.sync_data() else { return Ok(()) };
        tracing::error!("cannot sync the journal {}: {error}", self.dir.display());
        let mut state = self.lock();
        state.failed = Some((error.kind(), error.to_string()));
        self.refuse_after_failure(&state)
    }

    /// The body of the syncing thread: after the first append, waits a moment for others to join, then syncs.
    fn sync_in_groups(&self) {
        loop {
            let mut state = self.lock();
            while !state.unsynced && !state.dropped {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if !state.dropped {
                drop(state);
                std::thread::sleep(SYNC_DELAY);
                state = self.lock();
            }
            let last = state.dropped;
            let file = state.active.as_ref().map(|active| active.file.clone());
            let unsynced = std::mem::take(&mut state.unsynced);
            drop(state);
            if let Some(file) = file
                && unsynced
                && self.sync_file(&file).is_err()
            {
                return;
            }
            if last {
                return;
            }
        }
    }
}

/// The segments in `dir` by number.
fn segments(dir: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let failed = |error| Error::io("read", dir, error);
    let mut segments = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("segment-")?.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            segments.push((number, entry.path()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}
