//! The index of a closed segment: sorted keys in a file, a filter over them in memory.
//!
//! ```text
//! file   = "acgjidx1"
//!          length of the segment in bytes: u64 LE
//!          records in the segment: u64 LE
//!          (key: 16 bytes, offset of the record: u64 LE)*   sorted by key, the newest record of each key
//!          crc32: u32 LE of everything before it
//! ```
//!
//! The file only repeats what the segment says: a missing or torn one is written again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xorf::{BinaryFuse8, Filter};

use super::segment::{Records, Step, damaged};
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::key::Key;

const MAGIC: &[u8; 8] = b"acgjidx1";
const HEADER: usize = 24;
const ENTRY: usize = 24;

/// The index of one closed segment. About 9 bits of memory per key; the files are opened when needed, so a
/// journal of thousands of segments holds no descriptors.
pub(super) struct Index {
    path: PathBuf,
    entries: u64,
    /// Records in the segment, repeated keys counted each time.
    pub(super) records: u64,
    /// Length of the segment in bytes.
    pub(super) length: u64,
    /// `None` (construction failed, practically never) sends every look-up to the file.
    filter: Option<BinaryFuse8>,
}

impl Index {
    /// The index of the closed segment `log`, written first if there is none that fits.
    pub(super) fn open(log: &Path) -> Result<Self> {
        let length = fs::metadata(log).map_err(|error| Error::io("open", log, error))?.len();
        if let Some(index) = Self::load(log, length)? {
            return Ok(index);
        }
        let mut offsets = HashMap::new();
        let mut records = Records::open(log, length)?;
        let mut count = 0;
        loop {
            match records.step()? {
                Step::Record { offset, key, .. } => offsets.insert(key, offset),
                Step::End => break,
                Step::Bad { offset } => return Err(damaged(log, offset)),
            };
            count += 1;
        }
        Self::write(log, length, count, &offsets)
    }

    /// Writes the index of the segment `log`, whose newest record of each key is at the given offset.
    pub(super) fn write(log: &Path, length: u64, records: u64, offsets: &HashMap<Key, u64>) -> Result<Self> {
        let mut entries: Vec<(Key, u64)> = offsets.iter().map(|(key, offset)| (*key, *offset)).collect();
        entries.sort_unstable();
        let mut bytes = Vec::with_capacity(HEADER + entries.len() * ENTRY + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&records.to_le_bytes());
        for (key, offset) in &entries {
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let path = index_path(log);
        atomic::write_file(&path, |file| {
            file.write_all(&bytes).map_err(|error| Error::io("write", &path, error))
        })?;
        let filter = filter(entries.iter().map(|(key, _)| prefix(key.as_bytes())));
        Ok(Self { path, entries: entries.len() as u64, records, length, filter })
    }

    /// The index file of `log`, unless it is missing, torn, or of a segment of another length.
    fn load(log: &Path, length: u64) -> Result<Option<Self>> {
        let path = index_path(log);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let Some((content, crc)) = bytes.split_last_chunk::<4>() else { return Ok(None) };
        if content.len() < HEADER
            || !content.starts_with(MAGIC)
            || crc32fast::hash(content) != u32::from_le_bytes(*crc)
            || u64_at(content, 8) != length
        {
            return Ok(None);
        }
        let (entries, []) = content[HEADER..].as_chunks::<ENTRY>() else { return Ok(None) };
        let filter = filter(entries.iter().map(|entry| prefix(entry)));
        let records = u64_at(content, 16);
        Ok(Some(Self { path, entries: entries.len() as u64, records, length, filter }))
    }

    /// Offset in the segment of the newest record of `key`.
    pub(super) fn find(&self, key: &Key) -> Result<Option<u64>> {
        if self.filter.as_ref().is_some_and(|filter| !filter.contains(&prefix(key.as_bytes()))) {
            return Ok(None);
        }
        let failed = |error| Error::io("read", &self.path, error);
        let file = File::open(&self.path).map_err(failed)?;
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut entry = [0; ENTRY];
            file.read_exact_at(&mut entry, HEADER as u64 + middle * ENTRY as u64).map_err(failed)?;
            match entry[..16].cmp(key.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(u64_at(&entry, 16))),
            }
        }
        Ok(None)
    }
}

fn index_path(log: &Path) -> PathBuf {
    log.with_extension("idx")
}

/// The filter over key prefixes given in order.
fn filter(prefixes: impl Iterator<Item = u64>) -> Option<BinaryFuse8> {
    let mut prefixes: Vec<u64> = prefixes.collect();
    prefixes.dedup();
    BinaryFuse8::try_from(prefixes).ok()
}

/// The first 8 bytes of a key; big-endian, so that sorted keys have sorted prefixes.
fn prefix(key: &[u8]) -> u64 {
    key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
