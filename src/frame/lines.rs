//! Lines of a text file, in chunks of a few megabytes; gzip and zstd are seen by their first bytes.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Lines longer than this many bytes are passed over without being held.
pub const LINE_CAP: usize = 16 << 20;
/// How much of a line that is passed over is kept to show it.
const HEAD: usize = 4096;
const CHUNK: usize = 2 << 20;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Whether these first bytes of a file say that it is gzip or zstd.
pub fn is_compressed(head: &[u8]) -> bool {
    head.starts_with(GZIP) || head.starts_with(ZSTD)
}

/// The first `n` bytes of a file, fewer if it is shorter.
///
/// # Errors
/// The file does not read.
pub fn head_of(path: &Path, n: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let mut head = Vec::new();
    file.take(n).read_to_end(&mut head).map_err(|error| Error::io("read", path, error))?;
    Ok(head)
}

/// A run of whole lines, or else the head of one line over [`LINE_CAP`].
#[derive(Debug)]
pub struct LineChunk {
    first_line: u64,
    bytes: Vec<u8>,
    passed_over: Option<Vec<u8>>,
}

/// One line that is not blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The line without its end.
    Whole(&'a [u8]),
    /// The first bytes of a line over [`LINE_CAP`].
    TooLong(&'a [u8]),
}

impl LineChunk {
    /// The lines that are not blank, with their numbers counted from 1.
    pub fn lines(&self) -> impl Iterator<Item = (u64, Line<'_>)> {
        let mut number = self.first_line;
        let mut rest = self.bytes.as_slice();
        let whole = std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = memchr::memchr(b'\n', rest);
                let line = &rest[..end.unwrap_or(rest.len())];
                rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
                number += 1;
                if line.len() > LINE_CAP {
                    return Some((number - 1, Line::TooLong(&line[..HEAD])));
                }
                if !line.iter().all(u8::is_ascii_whitespace) {
                    return Some((number - 1, Line::Whole(line)));
                }
            }
            None
        });
        whole.chain(self.passed_over.as_deref().map(|head| (self.first_line, Line::TooLong(head))))
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Reads a file as [`LineChunk`]s.
pub struct LineChunks {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
    carried: Vec<u8>,
    next_line: u64,
    ended: bool,
}

impl LineChunks {
    /// Opens `path`.
    ///
    /// # Errors
    /// The file does not open.
    pub fn open(path: &Path) -> Result<Self> {
        let broken = |error| Error::io("read", path, error);
        let head = head_of(path, 4)?;
        let mut file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let read = Arc::new(AtomicU64::new(0));
        if head.starts_with(&[0xef, 0xbb, 0xbf]) {
            file.seek(std::io::SeekFrom::Start(3)).map_err(broken)?;
        }
        let counted = Counted { file, read: read.clone() };
        let input: Box<dyn Read + Send> = if head.starts_with(GZIP) {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(1 << 16, counted)))
        } else if head.starts_with(ZSTD) {
            Box::new(zstd::Decoder::new(counted).map_err(broken)?)
        } else {
            Box::new(counted)
        };
        Ok(Self { path: path.into(), input, read, carried: Vec::new(), next_line: 1, ended: false })
    }

    /// Bytes of the file read so far, compressed ones if it is compressed.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Appends up to `CHUNK` bytes to `buffer`.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        let wanted = CHUNK as u64;
        let got = self.input.by_ref().take(wanted).read_to_end(buffer).map_err(|error| {
            Error::usage(format!("cannot read {}: {error}", self.path.display()))
                .hint("the file seems damaged or cut short: write it again or leave it out")
        })?;
        self.ended = (got as u64) < wanted;
        Ok(())
    }

    /// Passes over the rest of the line that `buffer` is the beginning of; `buffer` becomes what follows it.
    fn pass_over(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        loop {
            buffer.clear();
            if self.ended {
                return Ok(());
            }
            self.fill(buffer)?;
            if let Some(end) = memchr::memchr(b'\n', buffer) {
                buffer.drain(..=end);
                return Ok(());
            }
        }
    }

    fn next_chunk(&mut self) -> Result<Option<LineChunk>> {
        let first_line = self.next_line;
        let mut bytes = std::mem::take(&mut self.carried);
        while !self.ended {
            self.fill(&mut bytes)?;
            if self.ended {
                break;
            }
            if let Some(end) = memchr::memrchr(b'\n', &bytes) {
                self.carried = bytes.split_off(end + 1);
                break;
            }
            if bytes.len() > LINE_CAP {
                let head = bytes[..HEAD].to_vec();
                self.pass_over(&mut bytes)?;
                self.carried = bytes;
                self.next_line += 1;
                return Ok(Some(LineChunk { first_line, bytes: Vec::new(), passed_over: Some(head) }));
            }
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        self.next_line += memchr::memchr_iter(b'\n', &bytes).count() as u64;
        Ok(Some(LineChunk { first_line, bytes, passed_over: None }))
    }
}

impl Iterator for LineChunks {
    type Item = Result<LineChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

/// A file that counts what was read of it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.file.read(buffer)?;
        self.read.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}
