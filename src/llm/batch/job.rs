//! How far a request file is on its way to the batch service and back. On disk, so that a run can be killed anywhere.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::request_files::RequestFiles;
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::key::Key;
use crate::frame::lines::{Line, LineChunks};

/// One request file and its batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    /// Number of the request file.
    pub number: u32,
    /// Requests in it.
    pub requests: u64,
    /// Made up for this job; the batch carries it as metadata.
    pub mark: String,
    /// The uploaded file. From here on a batch may exist that we do not know of yet.
    #[serde(default)]
    pub file_id: Option<String>,
    /// The batch.
    #[serde(default)]
    pub batch_id: Option<String>,
    /// The batch's last known status, `gathered` before there is one, [`IMPORTED`] in the end.
    pub status: String,
}

/// Status of a job whose answers are in the journal.
pub(super) const IMPORTED: &str = "imported";

impl Job {
    /// The job of a request file that nothing was done with yet.
    pub fn new(number: u32, requests: u64) -> Self {
        // Every state has keys of its own, from the system's source of randomness.
        let mark = format!("{:016x}", RandomState::new().build_hasher().finish());
        Self { number, requests, mark, file_id: None, batch_id: None, status: "gathered".to_owned() }
    }

    /// Writes the job down.
    ///
    /// # Errors
    /// The disk.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = path(dir, self.number);
        let failed = |error| Error::io("write", &path, error);
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        atomic::write_file(&path, |file: &mut File| file.write_all(&text).map_err(failed))
    }

    /// Every job in the folder `dir`, by number. A request file without one has just been gathered.
    ///
    /// # Errors
    /// The disk, or a file that is none of ours.
    pub fn all(dir: &Path) -> Result<Vec<Self>> {
        let mut jobs = Vec::new();
        for number in numbers(dir, "batch-", ".json")? {
            let path = path(dir, number);
            let text = fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
            let job: Self = serde_json::from_slice(&text)
                .map_err(|error| Error::environment(format!("{}: {error}", path.display())))?;
            jobs.push(job);
        }
        for number in numbers(dir, "requests-", ".jsonl")? {
            if !jobs.iter().any(|job| job.number == number) {
                let requests = custom_ids(dir, number)?.len() as u64;
                jobs.push(Self::new(number, requests));
            }
        }
        jobs.sort_by_key(|job| job.number);
        Ok(jobs)
    }

    pub fn is_imported(&self) -> bool {
        self.status == IMPORTED
    }
}

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("batch-{number:05}.json"))
}

fn numbers(dir: &Path, before: &str, after: &str) -> Result<Vec<u32>> {
    let failed = |error| Error::io("read", dir, error);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(before)?.strip_suffix(after));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    Ok(numbers)
}

#[derive(Deserialize)]
struct CustomId {
    custom_id: Key,
}

/// The requests of request file `number`.
///
/// # Errors
/// The disk, or a file that is none of ours.
pub(super) fn custom_ids(dir: &Path, number: u32) -> Result<HashSet<Key>> {
    let path = RequestFiles::path(dir, number);
    let mut keys = HashSet::new();
    for chunk in LineChunks::open(&path)? {
        for (number, line) in chunk?.lines() {
            let (Line::Whole(line) | Line::TooLong(line)) = line;
            let CustomId { custom_id } = serde_json::from_slice(line).map_err(|error| {
                Error::environment(format!("{}:{number}: {error}", path.display()))
                    .hint("the file was changed by hand; delete it and its batch-*.json to gather its requests anew")
            })?;
            keys.insert(custom_id);
        }
    }
    Ok(keys)
}

/// The requests of a run that are on their way to a batch service or back, by the run's `batches` folder: empty where
/// there is no such folder.
///
/// # Errors
/// The disk, or files that are none of ours.
pub fn outstanding(dir: &Path) -> Result<HashSet<Key>> {
    let mut keys = HashSet::new();
    if dir.is_dir() {
        for job in Job::all(dir)?.iter().filter(|job| !job.is_imported()) {
            keys.extend(custom_ids(dir, job.number)?);
        }
    }
    Ok(keys)
}
