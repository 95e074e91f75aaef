//! The command line a run was last given, kept in its directory, so that other commands can go on with the run.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::run_dir::RunDir;

const FILE: &str = "command.json";

/// A command line and where it was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedCommand {
    /// The folder that relative paths are relative to.
    pub directory: PathBuf,
    /// The arguments, without the program's name.
    pub arguments: Vec<String>,
}

impl SavedCommand {
    /// `arguments`, given in the current folder.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn here(arguments: Vec<String>) -> Result<Self> {
        let directory = std::env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
        Ok(Self { directory, arguments })
    }

    /// Keeps the command in the directory of `run`.
    ///
    /// # Errors
    /// The disk.
    pub fn save(&self, run: &RunDir) -> Result<()> {
        let path = run.path().join(FILE);
        let failed = |error| Error::io("write", &path, error);
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        atomic::write_file(&path, |file| file.write_all(&text).map_err(failed))
    }

    /// The command kept in the run directory `run`.
    ///
    /// # Errors
    /// There is none.
    pub fn of(run: &Path) -> Result<Self> {
        let path = run.join(FILE);
        let hint = "give the arguments of `run` after --, for example -- --seeds FILE --model NAME";
        let text = std::fs::read(&path).map_err(|error| Error::io("read", &path, error).hint(hint))?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::usage(format!("{}: {error}", path.display())).hint(hint))
    }
}
