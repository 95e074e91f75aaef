//! Lists of numbers on disk: written once, read by their place. The file has no name and goes with the process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Bytes gathered before they are written.
const TAIL_BYTES: usize = 1 << 20;

/// Lists of numbers in a temporary file.
pub struct Spill {
    dir: PathBuf,
    file: File,
    /// Where each list begins, bytes, and where the last one ends.
    starts: Vec<u64>,
    /// The lists that are not written yet, from byte `written` on.
    tail: Vec<u8>,
    written: u64,
}

impl Spill {
    /// No lists yet; those to come will be in a file in `dir`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(dir: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(dir).map_err(|error| Error::io("create a file in", dir, error))?;
        Ok(Self { dir: dir.to_owned(), file, starts: vec![0], tail: Vec::new(), written: 0 })
    }

    /// Adds a list.
    ///
    /// # Errors
    /// I/O errors.
    pub fn push(&mut self, list: &[u32]) -> Result<()> {
        self.tail.extend(list.iter().flat_map(|number| number.to_le_bytes()));
        self.starts.push(self.written + self.tail.len() as u64);
        if self.tail.len() >= TAIL_BYTES {
            let written = self.file.write_all_at(&self.tail, self.written);
            written.map_err(|error| Error::io("write a temporary file in", &self.dir, error))?;
            self.written += self.tail.len() as u64;
            self.tail.clear();
        }
        Ok(())
    }

    /// The `n`-th list, counted from 0; empty when there are fewer.
    ///
    /// # Errors
    /// I/O errors.
    pub fn get(&self, n: usize) -> Result<Vec<u32>> {
        let Some(&[start, end]) = self.starts.get(n..n + 2) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; (end - start) as usize];
        match start.checked_sub(self.written) {
            Some(at) => {
                let len = bytes.len();
                bytes.copy_from_slice(&self.tail[at as usize..][..len]);
            }
            None => {
                let read = self.file.read_exact_at(&mut bytes, start);
                read.map_err(|error| Error::io("read a temporary file in", &self.dir, error))?;
            }
        }
        let numbers =
            bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        Ok(numbers.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_from_memory_and_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::create(dir.path()).unwrap();
        let list = |n: u32| (0..n % 1000).map(|at| at.wrapping_mul(n)).collect::<Vec<u32>>();
        for n in 0..2000 {
            spill.push(&list(n)).unwrap();
            assert_eq!(spill.get(n as usize).unwrap(), list(n));
        }
        assert!(spill.written > 0 && !spill.tail.is_empty());
        for n in (0..2000).rev() {
            assert_eq!(spill.get(n as usize).unwrap(), list(n));
        }
        assert!(spill.get(2000).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
    }
}
