//! Locks of files, by which one process keeps the others out.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::error::{Error, Result};

/// A file that this process has locked as long as this value lives. The kernel lets go of it when the process dies,
/// however it dies.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Locks the file in `path`, making it if there is none; `None` when another has it locked.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>> {
        let failed = |error| Error::io("lock", path, error);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The locked file, open for writing.
    pub(super) fn file(&self) -> &File {
        &self.0
    }
}

/// Closing the file would not do: a child that is being started has a copy of it until its exec, and the lock with it.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!("a lock may last until the end of a child that is being started: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lock;

    #[test]
    fn a_lock_ends_with_its_value_whoever_has_a_copy_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none(), "it is held");
        let copy_of_a_child = lock.file().try_clone().unwrap();
        drop(lock);
        assert!(Lock::try_take(&path).unwrap().is_some(), "it is let go of");
        drop(copy_of_a_child);
    }
}
