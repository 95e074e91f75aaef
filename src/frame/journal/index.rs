//! The index of closed records: sorted keys in a file, a filter over them in memory.
//!
//! ```text
//! file   = "acgjidx1"
//!          length of the indexed file in bytes: u64 LE
//!          records in it: u64 LE
//!          (key: 16 bytes, place of the record: u64 LE)*   sorted by key, the newest record of each key
//!          crc32: u32 LE of everything before it
//! ```
//!
//! A place is the offset in a segment, or the row in a compacted part. The file only repeats what those say: a
//! missing or torn one is made again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xorf::{BinaryFuse8, Filter};

use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::key::Key;

const MAGIC: &[u8; 8] = b"acgjidx1";
const HEADER: usize = 24;
const ENTRY: usize = 24;

/// The place of the newest record of each key, and the number of records.
pub(super) type Places = (HashMap<Key, u64>, u64);

/// The index of one closed segment or part. About 9 bits of memory per key; the files are opened when needed, so a
/// journal of thousands of segments holds no descriptors.
pub(super) struct Index {
    file: Bytes,
    entries: u64,
    /// Records in the indexed file, repeated keys counted each time.
    pub(super) records: u64,
    /// Length of the indexed file in bytes.
    pub(super) length: u64,
    /// `None` (construction failed, practically never) sends every look-up to the file.
    filter: Option<BinaryFuse8>,
}

/// Where the bytes of the index file are.
enum Bytes {
    File(PathBuf),
    /// There is no file and this process may not write one: the journal is somebody else's.
    Memory(Vec<u8>),
}

impl Index {
    /// The index file `path` of a file that is `length` bytes long. If there is none that fits, it is made of what
    /// `scan` finds, and written if the journal is open for writing.
    pub(super) fn open(
        path: &Path,
        length: u64,
        writable: bool,
        scan: impl FnOnce() -> Result<Places>,
    ) -> Result<Self> {
        if let Some(index) = Self::load(path, length)? {
            return Ok(index);
        }
        let places = scan()?;
        if writable {
            return Self::write(path, length, &places);
        }
        let (bytes, filter) = encode(length, &places);
        let entries = places.0.len() as u64;
        Ok(Self { file: Bytes::Memory(bytes), entries, records: places.1, length, filter })
    }

    /// Writes the index file `path`.
    pub(super) fn write(path: &Path, length: u64, places: &Places) -> Result<Self> {
        let (bytes, filter) = encode(length, places);
        atomic::write_file(path, |file| {
            file.write_all(&bytes).map_err(|error| Error::io("write", path, error))
        })?;
        let entries = places.0.len() as u64;
        Ok(Self { file: Bytes::File(path.to_owned()), entries, records: places.1, length, filter })
    }

    /// The index file `path`, unless it is missing, torn, or of a file of another length.
    fn load(path: &Path, length: u64) -> Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path, error)),
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
        let file = Bytes::File(path.to_owned());
        Ok(Some(Self { file, entries: entries.len() as u64, records, length, filter }))
    }

    /// Place of the newest record of `key`.
    pub(super) fn find(&self, key: &Key) -> Result<Option<u64>> {
        if self.filter.as_ref().is_some_and(|filter| !filter.contains(&prefix(key.as_bytes()))) {
            return Ok(None);
        }
        match &self.file {
            Bytes::File(path) => {
                let failed = |error| Error::io("read", path, error);
                let file = File::open(path).map_err(failed)?;
                self.search(key, |entry, at| file.read_exact_at(entry, at).map_err(failed))
            }
            Bytes::Memory(bytes) => self.search(key, |entry, at| {
                entry.copy_from_slice(&bytes[at as usize..at as usize + ENTRY]);
                Ok(())
            }),
        }
    }

    fn search(&self, key: &Key, read: impl Fn(&mut [u8; ENTRY], u64) -> Result<()>) -> Result<Option<u64>> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut entry = [0; ENTRY];
            read(&mut entry, HEADER as u64 + middle * ENTRY as u64)?;
            match entry[..16].cmp(key.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(u64_at(&entry, 16))),
            }
        }
        Ok(None)
    }
}

/// The bytes of an index file, and the filter over its keys.
fn encode(length: u64, (places, records): &Places) -> (Vec<u8>, Option<BinaryFuse8>) {
    let mut entries: Vec<(Key, u64)> = places.iter().map(|(key, place)| (*key, *place)).collect();
    entries.sort_unstable();
    let mut bytes = Vec::with_capacity(HEADER + entries.len() * ENTRY + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&records.to_le_bytes());
    for (key, place) in &entries {
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(&place.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    (bytes, filter(entries.iter().map(|(key, _)| prefix(key.as_bytes()))))
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
