//! What the threads of a journal share, and how it gets to the disk.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::active::Active;
use super::closed::{Closed, Segment, delete, index_path};
use super::files::Place;
use super::index::Index;
use super::part::{Blocks, Part};
use super::{SYNC_DELAY, SegmentLimits};
use crate::error::{Error, Result};

pub(super) struct Shared {
    /// Changes once, when the journal is first compacted.
    pub(super) place: RwLock<Place>,
    pub(super) limits: SegmentLimits,
    pub(super) state: Mutex<State>,
    /// Signalled when there is something to sync, or when the journal is dropped.
    pub(super) wake: Condvar,
    /// Oldest first. Locked after `state` where both are needed.
    pub(super) closed: RwLock<Vec<Arc<Closed>>>,
    pub(super) blocks: Blocks,
}

pub(super) struct State {
    /// The segment that grows; `None` in a journal opened for reading that has no segment.
    pub(super) active: Option<Active>,
    pub(super) unsynced: bool,
    pub(super) dropped: bool,
    /// A failed sync or an append that could not be taken back: what is on disk is unknown, nothing may follow.
    pub(super) failed: Option<(io::ErrorKind, String)>,
}

impl Shared {
    pub(super) fn open(dir: &Path, limits: SegmentLimits, writable: bool) -> Result<Self> {
        let place = Place::find(dir)?;
        let (closed, active) = read(&place, writable)?;
        let state = State { active, unsynced: false, dropped: false, failed: None };
        Ok(Self {
            place: RwLock::new(place),
            limits,
            state: Mutex::new(state),
            wake: Condvar::new(),
            closed: RwLock::new(closed),
            blocks: Blocks::default(),
        })
    }

    /// The state. No code that holds it can panic half-way through a change, so poison is no news.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn closed(&self) -> RwLockReadGuard<'_, Vec<Arc<Closed>>> {
        self.closed.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place(&self) -> Place {
        self.place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn refuse_after_failure(&self, state: &State) -> Result<()> {
        match &state.failed {
            Some((kind, message)) => {
                Err(Error::io("sync", &self.place().dir, io::Error::new(*kind, message.clone())))
            }
            None => Ok(()),
        }
    }

    /// Closes the active segment if it is full and starts the next.
    pub(super) fn close_full_segment(&self, state: &mut State) -> Result<()> {
        let full = state
            .active
            .as_ref()
            .is_some_and(|active| active.records >= self.limits.records || active.end >= self.limits.bytes);
        if full { self.close_segment(state) } else { Ok(()) }
    }

    /// Closes the active segment and starts the next.
    ///
    /// The index file and the next segment exist before anything changes here, so after an error the same
    /// segment is still the active one.
    pub(super) fn close_segment(&self, state: &mut State) -> Result<()> {
        let Some(active) = &mut state.active else { return Ok(()) };
        if let Err(error) = active.file.sync_data() {
            state.failed = Some((error.kind(), error.to_string()));
            return self.refuse_after_failure(state);
        }
        let places = (std::mem::take(&mut active.offsets), active.records);
        let index = Index::write(&index_path(&active.path), active.end, &places);
        active.offsets = places.0;
        let index = index?;
        let next = Active::create(&self.place().dir, active.number + 1)?;
        let full = std::mem::replace(active, next);
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        closed.push(Arc::new(Closed::Segment(Segment { number: full.number, path: full.path, index })));
        Ok(())
    }

    /// Reads the directory again if files are gone: another process has compacted the journal that is read here.
    /// Whether it was so.
    pub(super) fn reread(&self) -> Result<bool> {
        if self.closed().iter().all(|closed| closed.path().exists()) {
            return Ok(false);
        }
        let place = Place::find(&self.place().dir)?;
        let (closed, active) = read(&place, false)?;
        self.lock().active = active;
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = closed;
        *self.place.write().unwrap_or_else(PoisonError::into_inner) = place;
        Ok(true)
    }

    /// Syncs a segment. After a failure the kernel may have dropped what it could not write, and a second sync
    /// would succeed without it: so the failure is remembered.
    pub(super) fn sync_file(&self, file: &File) -> Result<()> {
        let Err(error) = file.sync_data() else { return Ok(()) };
        tracing::error!("cannot sync the journal {}: {error}", self.place().dir.display());
        let mut state = self.lock();
        state.failed = Some((error.kind(), error.to_string()));
        self.refuse_after_failure(&state)
    }

    /// The body of the syncing thread: after the first append, waits a moment for others to join, then syncs.
    pub(super) fn sync_in_groups(&self) {
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
            let file: Option<Arc<File>> = state.active.as_ref().map(|active| active.file.clone());
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

/// Opens what is there; a journal opened for writing gets an active segment and loses what a killed process left.
fn read(place: &Place, writable: bool) -> Result<(Vec<Arc<Closed>>, Option<Active>)> {
    let files = place.files()?;
    if writable {
        files.stale.iter().try_for_each(|path| delete(path))?;
    }
    let mut closed = Vec::new();
    let mut next = 0;
    for (span, path) in files.parts {
        next = next.max(span.last + 1);
        if let Some(table) = place.table {
            closed.push(Arc::new(Closed::Part(Part::open(place, table, span, path, writable)?)));
        }
    }
    let mut active = None;
    let mut segments = files.segments.into_iter().peekable();
    while let Some((number, path)) = segments.next() {
        next = next.max(number + 1);
        if segments.peek().is_some() {
            closed.push(Arc::new(Closed::Segment(Segment::open(number, path, writable)?)));
        } else {
            active = Active::open(number, path, writable)?;
        }
    }
    if active.is_none() && writable {
        active = Some(Active::create(&place.dir, next)?);
    }
    closed.sort_by_key(|closed| closed.span().first);
    Ok((closed, active))
}
