//! The run directory: where everything of a run is, locked against a second process.
//!
//! ```text
//! run.json  run.lock
//! pipeline.toml                                the pipeline as it was last run
//! journal/<stage>/                             answers that are not in replies/ or verdicts/ yet, see `frame::journal`
//! stages/<stage>/part-00042.parquet            sealed rows
//! stages/<stage>/rejected-00042.parquet        sealed rejects of the same part; written before it
//! templates/<hash>/<step>/<language>.txt       every set of templates used; run.json says which one is current
//! dataset/ rejected/                           tables, see `frame::dataset`
//! replies/ verdicts/                           tables that journals are compacted into, and found in
//! stages.parquet prices.parquet                the tables of row counts and of prices
//! batches/                                     requests in files, see `llm::batch`
//! command.json                                 the last command line, for commands that go on with the run
//! report.html                                  the page that `report` wrote last
//! ```

use std::fs;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::lock::Lock;

const RUN_FILE: &str = "run.json";
const LOCK_FILE: &str = "run.lock";

/// A run directory. One that was opened with [`RunDir::open_or_create`] is locked as long as this value lives.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    _lock: Option<Lock>,
}

impl RunDir {
    /// Opens the run in `path`, or starts one there, and locks it. Leftovers of a killed process are deleted.
    ///
    /// # Errors
    /// Another process has the run open; `path` holds something else; I/O errors.
    pub fn open_or_create(path: &Path) -> Result<Self> {
        if path.exists() && !path.is_dir() {
            return Err(Error::usage(format!("{} is not a directory", path.display()))
                .hint("give --out a new or empty directory, or that of the run to resume"));
        }
        fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))?;
        if !Self::is_run(path) && !is_empty(path)? {
            return Err(Error::usage(format!("{} is not empty and not a run directory", path.display()))
                .hint("give --out a new or empty directory, or that of the run to resume"));
        }
        let lock = lock(path)?;
        let run = Self { root: path.to_owned(), _lock: Some(lock) };
        for name in ["journal", "stages", "templates"] {
            let dir = run.root.join(name);
            fs::create_dir_all(&dir).map_err(|error| Error::io("create", &dir, error))?;
        }
        for dir in [run.root.clone(), run.replies(), run.verdicts()] {
            atomic::remove_leftovers(&dir)?;
        }
        let stages = run.root.join("stages");
        for entry in fs::read_dir(&stages).map_err(|error| Error::io("read", &stages, error))? {
            let entry = entry.map_err(|error| Error::io("read", &stages, error))?;
            if entry.path().is_dir() {
                atomic::remove_leftovers(&entry.path())?;
            }
        }
        Ok(run)
    }

    /// Opens the finished or growing run in `path` for reading, without locking it.
    ///
    /// # Errors
    /// `path` is not a run directory.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        if !Self::is_run(path) {
            return Err(Error::usage(format!("{} is not a run directory", path.display()))
                .hint("give the directory that `run` wrote, for example runs/quickstart"));
        }
        Ok(Self { root: path.to_owned(), _lock: None })
    }

    /// Whether `path` is a run directory, however far the run has got.
    pub fn is_run(path: &Path) -> bool {
        path.join(RUN_FILE).is_file() || path.join(LOCK_FILE).is_file()
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The journal of a stage.
    ///
    /// # Errors
    /// The stage's name is not fit for a path.
    pub fn journal(&self, stage: &str) -> Result<PathBuf> {
        Ok(self.root.join("journal").join(check_stage_name(stage)?))
    }

    /// The journals of all stages that have one.
    ///
    /// # Errors
    /// I/O errors.
    pub fn journals(&self) -> Result<Vec<PathBuf>> {
        let dir = self.root.join("journal");
        let failed = |error| Error::io("read", &dir, error);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
        let mut paths = paths.collect::<Result<Vec<_>>>()?;
        paths.retain(|path| path.is_dir());
        paths.sort();
        Ok(paths)
    }

    /// The directory of a stage's sealed parts.
    ///
    /// # Errors
    /// The stage's name is not fit for a path.
    pub fn stage(&self, stage: &str) -> Result<PathBuf> {
        Ok(self.root.join("stages").join(check_stage_name(stage)?))
    }

    /// Sealed part `number` of a stage. Its existence means that the part is complete, rejects included.
    ///
    /// # Errors
    /// The stage's name is not fit for a path.
    pub fn part(&self, stage: &str, number: u64) -> Result<PathBuf> {
        Ok(self.stage(stage)?.join(format!("part-{number:05}.parquet")))
    }

    /// Sealed rejects of part `number` of a stage, to be written before the part.
    ///
    /// # Errors
    /// The stage's name is not fit for a path.
    pub fn rejected_part(&self, stage: &str, number: u64) -> Result<PathBuf> {
        Ok(self.stage(stage)?.join(format!("rejected-{number:05}.parquet")))
    }

    /// The result.
    pub fn dataset(&self) -> PathBuf {
        self.root.join("dataset")
    }

    /// Why rows left.
    pub fn rejected(&self) -> PathBuf {
        self.root.join("rejected")
    }

    /// The table that journals of model replies are compacted into.
    pub fn replies(&self) -> PathBuf {
        self.root.join("replies")
    }

    /// The table that journals of sandbox verdicts are compacted into.
    pub fn verdicts(&self) -> PathBuf {
        self.root.join("verdicts")
    }

    /// The table of row counts by stage and language.
    pub fn stages_table(&self) -> PathBuf {
        self.root.join("stages.parquet")
    }

    /// The table of prices by stage.
    pub fn prices_table(&self) -> PathBuf {
        self.root.join("prices.parquet")
    }

    /// The seed frame, see `frame::ingest`.
    pub fn seeds(&self) -> PathBuf {
        self.root.join("seeds")
    }

    /// The pipeline as it was last run.
    pub fn pipeline(&self) -> PathBuf {
        self.root.join("pipeline.toml")
    }

    /// Sets of templates of prompts that were sent, each in a directory named by its hash.
    pub fn templates(&self) -> PathBuf {
        self.root.join("templates")
    }

    /// Requests in files, see `llm::batch`.
    pub fn batches(&self) -> PathBuf {
        self.root.join("batches")
    }

    /// `run.json`.
    pub fn run_json(&self) -> PathBuf {
        self.root.join(RUN_FILE)
    }

    /// The content of `run.json`; `None` in a run that has not written it yet.
    ///
    /// # Errors
    /// I/O errors, and content of another shape.
    pub fn read_json<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let path = self.run_json();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Error::usage(format!("{} is not what this version writes: {error}", path.display()))
                .hint("start a new run with another --out")
        })
    }

    /// Replaces `run.json` in one step.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_json<T: Serialize>(&self, value: &T) -> Result<()> {
        let path = self.run_json();
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::usage(format!("{} cannot be written: {error}", path.display())))?;
        text.push(b'\n');
        atomic::write_file(&path, |file| {
            file.write_all(&text).map_err(|error| Error::io("write", &path, error))
        })
    }
}

fn is_empty(path: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(path).map_err(|error| Error::io("read", path, error))?;
    Ok(entries.next().is_none())
}

fn lock(root: &Path) -> Result<Lock> {
    let path = root.join(LOCK_FILE);
    let failed = |error| Error::io("lock", &path, error);
    let Some(lock) = Lock::try_take(&path)? else {
        let pid = fs::read_to_string(&path).map_err(failed)?;
        let owner = match pid.trim() {
            // It has the lock and has not yet said who it is.
            "" => "another process".to_owned(),
            pid => format!("process {pid}"),
        };
        return Err(Error::usage(format!("the run {} is open in {owner}", root.display()))
            .hint("wait for that process or stop it, or give another --out"));
    };
    // For the message above; whoever finds the file unlocked ignores what it says.
    let mut file = lock.file();
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(lock)
}

/// `stage`, if it can be the name of a directory: it comes from a pipeline file.
///
/// # Errors
/// It cannot.
pub fn check_stage_name(stage: &str) -> Result<&str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let fit = stage.len() <= 100
        && stage.bytes().all(plain)
        && stage.starts_with(|c: char| c.is_ascii_alphanumeric());
    if fit {
        return Ok(stage);
    }
    Err(Error::usage(format!("`{stage}` cannot name a stage")).hint(
        "use at most 100 lower-case letters, digits, dots, dashes and underscores, a letter or digit first",
    ))
}
