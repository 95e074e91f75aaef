//! Files and directories that are there whole or not at all, whenever the process dies.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};

/// Temporary files and directories carry this in their name; [`remove_leftovers`] deletes them.
const MARK: &str = ".tmp-";

/// Writes the file `path` through `fill`: temporary file beside it, fsync, rename, fsync of the directory, which
/// is created if it does not exist.
///
/// # Errors
/// Those of `fill`, and I/O errors; the file that was at `path` before is then untouched.
pub fn write_file(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let (new, mut file) = NewFile::create(path)?;
    fill(&mut file)?;
    new.place()
}

/// A file being written beside the path it will have: [`write_file`] for writers that own their file. Dropped before
/// [`NewFile::place`], it is removed.
pub struct NewFile {
    path: PathBuf,
    temp: NamedTempFile,
}

impl NewFile {
    /// Creates the file, and the directory above it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(path: &Path) -> Result<(Self, File)> {
        let dir = parent(path);
        fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
        let failed = |error| Error::io("create a file in", dir, error);
        // The umask still applies; tempfile's own default would be readable by the owner only.
        let temp = tempfile::Builder::new()
            .prefix(&temp_prefix(path))
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .map_err(failed)?;
        let file = temp.as_file().try_clone().map_err(failed)?;
        Ok((Self { path: path.to_owned(), temp }, file))
    }

    /// The path it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the complete file its path, replacing what was there.
    ///
    /// # Errors
    /// I/O errors.
    pub fn place(self) -> Result<()> {
        self.close()?.place()
    }

    /// The complete file, closed: many of them can wait to be placed together.
    ///
    /// # Errors
    /// I/O errors.
    pub fn close(self) -> Result<ClosedFile> {
        let Self { path, temp } = self;
        temp.as_file().sync_all().map_err(|error| Error::io("write", &path, error))?;
        Ok(ClosedFile { path, temp: temp.into_temp_path() })
    }
}

/// A complete file that is not at its path yet. Dropped before [`ClosedFile::place`], it is removed.
pub struct ClosedFile {
    path: PathBuf,
    temp: TempPath,
}

impl ClosedFile {
    /// Gives the file its path, replacing what was there.
    ///
    /// # Errors
    /// I/O errors.
    pub fn place(self) -> Result<()> {
        let Self { path, temp } = self;
        temp.persist(&path).map_err(|error| Error::io("rename a finished file to", &path, error.error))?;
        sync_dir(parent(&path))
    }
}

/// A directory being filled beside the path it will have. Dropped before [`NewDir::place`], it is removed.
pub struct NewDir {
    path: PathBuf,
    /// `None` once it is in its place.
    temp: Option<PathBuf>,
}

impl NewDir {
    /// Creates the directory, and the one above it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), temp: Some(temp_dir(path)?) })
    }

    /// Where to put its files.
    pub fn dir(&self) -> &Path {
        self.temp.as_deref().unwrap_or(&self.path)
    }

    /// Gives the directory its path, replacing the one that was there.
    ///
    /// # Errors
    /// I/O errors; the directory that was there before then stays.
    pub fn place(mut self) -> Result<()> {
        if let Some(temp) = &self.temp {
            replace_dir(temp, &self.path)?;
        }
        self.temp = None;
        Ok(())
    }
}

impl Drop for NewDir {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            // There is nobody to tell; the name says that it is a leftover.
            let _ = fs::remove_dir_all(temp);
        }
    }
}

/// A new empty directory beside `path`, to be filled and handed to [`replace_dir`].
///
/// # Errors
/// I/O errors.
pub fn temp_dir(path: &Path) -> Result<PathBuf> {
    let dir = parent(path);
    fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
    tempfile::Builder::new()
        .prefix(&temp_prefix(path))
        .permissions(Permissions::from_mode(0o777))
        .disable_cleanup(true)
        .tempdir_in(dir)
        .map(|temp| temp.keep())
        .map_err(|error| Error::io("create a directory in", dir, error))
}

/// Puts the finished directory `temp` in the place of `path`; both are in the same directory.
///
/// The two are exchanged in one step, so that a reader finds the old directory or the new one.
///
/// # Errors
/// I/O errors; `path` is then what it was before.
pub fn replace_dir(temp: &Path, path: &Path) -> Result<()> {
    let failed = |error| Error::io("move the finished directory to", path, error);
    sync_dir(temp)?;
    if path.exists() {
        match renameat2(AT_FDCWD, temp, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => {}
            // A file system without exchange (NFS): for a moment there is no directory, and a crash right
            // then leaves none. The run that is resumed writes it again from sealed parts.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                let old = temp_dir(path)?;
                fs::rename(path, &old).map_err(failed)?;
                fs::rename(temp, path).map_err(failed)?;
                fs::rename(&old, temp).map_err(failed)?;
            }
            Err(error) => return Err(failed(error.into())),
        }
        sync_dir(parent(path))?;
        fs::remove_dir_all(temp).map_err(|error| Error::io("delete", temp, error))
    } else {
        fs::rename(temp, path).map_err(failed)?;
        sync_dir(parent(path))
    }
}

/// Deletes what killed writers left behind in `dir` itself (not below it).
///
/// Only the holder of the run's lock may call this: it cannot tell a leftover from a file being written.
///
/// # Errors
/// I/O errors other than `dir` not existing.
pub fn remove_leftovers(dir: &Path) -> Result<()> {
    remove_named(dir, |name| name.contains(MARK))
}

/// Deletes what killed writers of `path` left behind. Nobody else may be writing it.
///
/// # Errors
/// I/O errors other than the directory not existing.
pub fn remove_leftovers_of(path: &Path) -> Result<()> {
    let prefix = temp_prefix(path);
    remove_named(parent(path), |name| name.starts_with(&prefix))
}

fn remove_named(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", dir, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read", dir, error))?;
        if wanted(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| Error::io("delete", &path, error))?;
        }
    }
    Ok(())
}

/// Makes created, renamed and deleted names in `dir` survive a power cut.
///
/// # Errors
/// I/O errors.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(|error| Error::io("sync", dir, error))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

fn temp_prefix(path: &Path) -> String {
    let name = path.file_name().map_or_else(|| "file".into(), OsStr::to_string_lossy);
    format!("{name}{MARK}")
}
