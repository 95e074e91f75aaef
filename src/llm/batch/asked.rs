//! Who asked: for every request that was written to a file, the stage and the row its answer is for.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::frame::key::Key;

const FILE: &str = "asked.jsonl";

/// One request and who asked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Journal key, and the `custom_id` in request and result files.
    pub key: Key,
    /// Stage that asked.
    pub stage: String,
    /// Id of the row that asked.
    pub row: String,
    /// Language of the row.
    pub language: String,
    /// Which of the row's samples.
    pub sample: u32,
}

/// All requests a run ever wrote to files. On disk one line each; in memory about 50 bytes each.
pub struct AskedIndex {
    path: PathBuf,
    file: File,
    end: u64,
    stages: Vec<String>,
    /// Stage and key to the line's offset. Two stages may ask the same; their journals are apart.
    offsets: HashMap<(u32, Key), u64>,
}

impl AskedIndex {
    /// Opens the index in the folder `dir`, which is created if it does not exist. A last line that was cut off by a kill is
    /// dropped: its request was in no file yet. Only the holder of the run's lock may call this.
    ///
    /// # Errors
    /// I/O errors, and a line that is none of ours.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
        let path = dir.join(FILE);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| Error::io("open", &path, error))?;
        let mut index = Self { path, file, end: 0, stages: Vec::new(), offsets: HashMap::new() };
        index.read()?;
        Ok(index)
    }

    fn read(&mut self) -> Result<()> {
        let failed = |error| Error::io("read", &self.path, error);
        let mut lines = BufReader::new(self.file.try_clone().map_err(failed)?);
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            line.clear();
            number += 1;
            let read = lines.read_until(b'\n', &mut line).map_err(failed)? as u64;
            if line.last() != Some(&b'\n') {
                break;
            }
            let asked: Asked = serde_json::from_slice(&line).map_err(|error| {
                Error::environment(format!("{}:{number}: {error}", self.path.display()))
                    .hint("the file is damaged: delete it, and export the pending requests again")
            })?;
            let stage = stage_number(&mut self.stages, &asked.stage);
            self.offsets.entry((stage, asked.key)).or_insert(self.end);
            self.end += read;
        }
        self.file.set_len(self.end).map_err(|error| Error::io("write", &self.path, error))
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The stages that asked anything.
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// The key of every request and the name of its stage, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.offsets.keys().map(|(stage, key)| (self.stages[*stage as usize].as_str(), key))
    }

    /// Notes a request, unless it is noted already.
    ///
    /// # Errors
    /// The disk.
    pub fn add(&mut self, asked: &Asked) -> Result<()> {
        let stage = stage_number(&mut self.stages, &asked.stage);
        if self.offsets.contains_key(&(stage, asked.key)) {
            return Ok(());
        }
        let failed = |error| Error::io("write", &self.path, error);
        let mut line = serde_json::to_vec(asked).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.file.write_all_at(&line, self.end).map_err(failed)?;
        self.offsets.insert((stage, asked.key), self.end);
        self.end += line.len() as u64;
        Ok(())
    }

    /// Waits until everything noted is on disk.
    ///
    /// # Errors
    /// The disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io("write", &self.path, error))
    }

    /// Who asked the request `key`, once per stage.
    ///
    /// # Errors
    /// The disk.
    pub fn get(&self, key: &Key) -> Result<Vec<Asked>> {
        let stages = 0..self.stages.len() as u32;
        let offsets = stages.filter_map(|stage| self.offsets.get(&(stage, *key)).copied());
        offsets.map(|offset| self.line(offset)).collect()
    }

    fn line(&self, offset: u64) -> Result<Asked> {
        let failed = |error| Error::io("read", &self.path, error);
        let mut line = Vec::new();
        // Longer than all lines with names and ids of a usual length, so that one read is enough.
        let mut size = 512;
        loop {
            size = size.min((self.end - offset) as usize);
            line.resize(size, 0);
            self.file.read_exact_at(&mut line, offset).map_err(failed)?;
            if let Some(end) = memchr::memchr(b'\n', &line) {
                return serde_json::from_slice(&line[..end]).map_err(|error| failed(error.into()));
            }
            if size == (self.end - offset) as usize {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            size *= 8;
        }
    }
}

fn stage_number(stages: &mut Vec<String>, name: &str) -> u32 {
    let at = stages.iter().position(|stage| stage == name).unwrap_or_else(|| {
        stages.push(name.to_owned());
        stages.len() - 1
    });
    at as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(key: &str, stage: &str, row: &str) -> Asked {
        Asked { key: Key::of(&[key]), stage: stage.into(), row: row.into(), language: "go".into(), sample: 1 }
    }

    #[test]
    fn requests_are_found_again_after_any_kill() {
        let dir = tempfile::tempdir().unwrap();
        let all = [asked("a", "s", "r"), asked("a", "t", &"x".repeat(5000)), asked("b", "s", "ü\n")];
        let mut index = AskedIndex::open(dir.path()).unwrap();
        for asked in &all {
            index.add(asked).unwrap();
            index.add(&Asked { row: "other".into(), ..asked.clone() }).unwrap();
        }
        drop(index);
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for end in [whole.len(), whole.len() - 1, whole.len() - 20] {
            fs::write(dir.path().join(FILE), &whole[..end]).unwrap();
            let mut index = AskedIndex::open(dir.path()).unwrap();
            assert_eq!(index.get(&Key::of(&["a"])).unwrap(), all[..2]);
            index.add(&all[2]).unwrap();
            assert_eq!(index.get(&Key::of(&["b"])).unwrap(), all[2..]);
            assert_eq!((index.len(), index.stages().len()), (3, 2));
            assert!(index.get(&Key::of(&["c"])).unwrap().is_empty());
        }
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), whole);
    }
}
