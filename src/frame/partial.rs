//! Files that appear under their name only when they are complete.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where `target` is written before it is complete: a hidden neighbour.
pub fn partial_path(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.partial"))
}

/// A file being written beside its target. Dropped before it is put in place, it is removed.
pub struct PartialFile {
    target: PathBuf,
    path: PathBuf,
    placed: bool,
}

impl PartialFile {
    /// Creates the file, and the folders above it.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(target: &Path) -> Result<(Self, File)> {
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
        }
        let path = partial_path(target);
        let file = File::create(&path).map_err(|error| Error::io("create", &path, error))?;
        Ok((Self { target: target.into(), path, placed: false }, file))
    }

    /// The name it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the complete file its name, replacing what had it.
    ///
    /// # Errors
    /// The disk.
    pub fn place(mut self, file: &File) -> Result<()> {
        file.sync_all().map_err(|error| Error::io("write", &self.target, error))?;
        std::fs::rename(&self.path, &self.target)
            .map_err(|error| Error::io("create", &self.target, error))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.placed {
            // Best effort: the next attempt writes over it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
