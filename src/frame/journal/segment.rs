//! One file of a journal: a magic number, then records.
//!
//! ```text
//! file    = "acgjrnl1" record*
//! record  = crc32: u32 LE   of everything after it in this record
//!           length: u32 LE  of the payload
//!           key: 16 bytes
//!           payload
//! ```

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::frame::key::Key;

/// What a segment starts with; the last byte is the version of the format.
pub(super) const MAGIC: &[u8; 8] = b"acgjrnl1";

/// Bytes before the payload of a record.
const HEADER: usize = 24;

/// Longest payload in bytes: a verdict's output is at most 16 MiB, so longer is a mistake.
pub(super) const MAX_PAYLOAD: usize = 1 << 30;

/// The bytes of a record.
pub(super) fn encode(key: &Key, payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER + payload.len());
    record.extend_from_slice(&[0; 4]);
    // `Journal::append` refuses payloads above MAX_PAYLOAD, so the length fits.
    record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    record.extend_from_slice(key.as_bytes());
    record.extend_from_slice(payload);
    let crc = crc32fast::hash(&record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    record
}

struct Header {
    bytes: [u8; HEADER],
}

impl Header {
    fn crc(&self) -> u32 {
        let [a, b, c, d, ..] = self.bytes;
        u32::from_le_bytes([a, b, c, d])
    }

    fn length(&self) -> usize {
        let [_, _, _, _, a, b, c, d, ..] = self.bytes;
        u32::from_le_bytes([a, b, c, d]) as usize
    }

    fn key(&self) -> Key {
        let mut key = [0; 16];
        key.copy_from_slice(&self.bytes[8..]);
        Key::from_bytes(key)
    }

    /// Whether a payload of this length fits into `left` bytes.
    fn fits(&self, left: u64) -> bool {
        self.length() <= MAX_PAYLOAD && self.length() as u64 <= left
    }

    fn matches(&self, payload: &[u8]) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.bytes[4..]);
        hasher.update(payload);
        hasher.finalize() == self.crc()
    }
}

/// The payload of the record of `key` that starts at `offset` of the segment `path`, `end` bytes long.
pub(super) fn read_payload(file: &File, path: &Path, offset: u64, end: u64, key: &Key) -> Result<Vec<u8>> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(path, offset),
        _ => Error::io("read", path, error),
    };
    let mut header = Header { bytes: [0; HEADER] };
    file.read_exact_at(&mut header.bytes, offset).map_err(failed)?;
    if header.key() != *key || !header.fits(end.saturating_sub(offset + HEADER as u64)) {
        return Err(damaged(path, offset));
    }
    let mut payload = vec![0; header.length()];
    file.read_exact_at(&mut payload, offset + HEADER as u64).map_err(failed)?;
    if header.matches(&payload) { Ok(payload) } else { Err(damaged(path, offset)) }
}

/// What [`Records::step`] found.
pub(super) enum Step<'a> {
    /// A whole record.
    Record { offset: u64, key: Key, payload: &'a [u8] },
    /// The end of the segment, right after a whole record.
    End,
    /// Bytes from `offset` on that are not a whole record.
    Bad { offset: u64 },
}

/// Reads a segment from its start, one record in memory at a time.
pub(super) struct Records {
    path: PathBuf,
    reader: BufReader<File>,
    offset: u64,
    end: u64,
    payload: Vec<u8>,
}

impl Records {
    /// Records in the first `end` bytes of `path`.
    pub(super) fn open(path: &Path, end: u64) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let mut reader = BufReader::with_capacity(128 * 1024, file);
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic).map_err(|error| Error::io("read", path, error))?;
        if &magic != MAGIC {
            return Err(Error::usage(format!("{} is not a journal of this version", path.display()))
                .hint("give another run directory, or use the version of autocodegen that wrote it"));
        }
        Ok(Self { path: path.to_owned(), reader, offset: MAGIC.len() as u64, end, payload: Vec::new() })
    }

    /// The next record.
    pub(super) fn step(&mut self) -> Result<Step<'_>> {
        let offset = self.offset;
        let left = self.end.saturating_sub(offset);
        if left == 0 {
            return Ok(Step::End);
        }
        let Some(left) = left.checked_sub(HEADER as u64) else {
            return Ok(Step::Bad { offset });
        };
        let mut header = Header { bytes: [0; HEADER] };
        self.reader.read_exact(&mut header.bytes).map_err(|error| Error::io("read", &self.path, error))?;
        if !header.fits(left) {
            return Ok(Step::Bad { offset });
        }
        self.payload.resize(header.length(), 0);
        self.reader.read_exact(&mut self.payload).map_err(|error| Error::io("read", &self.path, error))?;
        if !header.matches(&self.payload) {
            return Ok(Step::Bad { offset });
        }
        self.offset += (HEADER + self.payload.len()) as u64;
        Ok(Step::Record { offset, key: header.key(), payload: &self.payload })
    }
}

/// Whether a whole record starts anywhere in `path` after `offset` and before `end`.
///
/// Tells a torn tail, which nothing readable follows, from damage in the middle of a file.
pub(super) fn record_after(path: &Path, offset: u64, end: u64) -> Result<bool> {
    let failed = |error| Error::io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut tail = Vec::new();
    file.take(end - offset).read_to_end(&mut tail).map_err(failed)?;
    Ok((1..tail.len().saturating_sub(HEADER - 1)).any(|start| {
        let mut header = Header { bytes: [0; HEADER] };
        header.bytes.copy_from_slice(&tail[start..start + HEADER]);
        let rest = &tail[start + HEADER..];
        header.fits(rest.len() as u64) && header.matches(&rest[..header.length()])
    }))
}

/// A record in the middle of a segment that cannot be read.
pub(super) fn damaged(path: &Path, offset: u64) -> Error {
    let file = path.display();
    Error::environment(format!("{file}: the journal record at byte {offset} is damaged")).hint(format!(
        "restore the file from a copy, or give up this record and those after it in the file \
         (`truncate -s {offset} {file}`): what they answered is then asked again"
    ))
}
