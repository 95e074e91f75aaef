//! What no longer grows: full segments and compacted parts, each with its index.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::files::{Place, Span};
use super::index::{Index, Places};
use super::part::{Blocks, Part};
use super::segment::{Records, Step, damaged, read_payload};
use crate::error::{Error, Result};
use crate::frame::key::Key;

/// A full segment or a compacted part.
pub(super) enum Closed {
    Segment(Segment),
    Part(Part),
}

/// A full segment.
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) index: Index,
}

impl Segment {
    /// Opens the full segment at `path`.
    pub(super) fn open(number: u32, path: PathBuf, writable: bool) -> Result<Self> {
        let length = fs::metadata(&path).map_err(|error| Error::io("open", &path, error))?.len();
        let index = Index::open(&index_path(&path), length, writable, || places(&path, length))?;
        Ok(Self { number, path, index })
    }
}

/// The index file of the segment `log`.
pub(super) fn index_path(log: &Path) -> PathBuf {
    log.with_extension("idx")
}

/// Where the records of a segment are: needed when its index is lost.
fn places(log: &Path, length: u64) -> Result<Places> {
    let mut places = Places::default();
    let mut records = Records::open(log, length)?;
    loop {
        match records.step()? {
            Step::Record { offset, key, .. } => places.0.insert(key, offset),
            Step::End => return Ok(places),
            Step::Bad { offset } => return Err(damaged(log, offset)),
        };
        places.1 += 1;
    }
}

impl Closed {
    pub(super) fn index(&self) -> &Index {
        match self {
            Self::Segment(segment) => &segment.index,
            Self::Part(part) => &part.index,
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Segment(segment) => &segment.path,
            Self::Part(part) => &part.path,
        }
    }

    /// The segments whose records it has.
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Segment(segment) => Span { first: segment.number, last: segment.number },
            Self::Part(part) => part.span,
        }
    }

    /// The payload of `key` at the place that the index gives.
    pub(super) fn read(&self, key: &Key, place: u64, blocks: &Blocks) -> Result<Vec<u8>> {
        match self {
            Self::Segment(Segment { path, index, .. }) => {
                let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
                read_payload(&file, path, place, index.length, key)
            }
            Self::Part(part) => part.read(place, blocks),
        }
    }

    /// Calls `visit` with every record, oldest first, one in memory at a time.
    pub(super) fn for_each(&self, visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::Segment(Segment { path, index, .. }) => segment_records(path, index.length, visit),
            Self::Part(part) => part.for_each(visit),
        }
    }

    /// Deletes its files. They may be gone already.
    pub(super) fn delete(&self, place: &Place) -> Result<()> {
        let index = match self {
            Self::Segment(segment) => index_path(&segment.path),
            Self::Part(part) => place.part_index(part.span),
        };
        delete(&index)?;
        delete(self.path())
    }
}

/// Calls `visit` with every record in the first `end` bytes of the segment `path`.
pub(super) fn segment_records(
    path: &Path,
    end: u64,
    visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut records = Records::open(path, end)?;
    loop {
        match records.step()? {
            Step::Record { key, payload, .. } => visit(key, payload)?,
            Step::End => return Ok(()),
            Step::Bad { offset } => return Err(damaged(path, offset)),
        }
    }
}

/// Deletes `path` if it is there.
pub(super) fn delete(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("delete", path, error)),
        _ => Ok(()),
    }
}
