//! Files prepared once per toolchain: a compiler's cache, a support class.
//!
//! The command of the language file runs in a jail that sees an empty folder, writable, where jobs will later find
//! the files. What it leaves is published under a name made of everything it depends on. Jobs see it read-only or
//! through an overlay whose upper layer is private to the job, so none can change it for another.
//!
//! Without namespaces jobs see the folder where it is on the host, and prepared files name each other by their paths:
//! they are made in their final place, and a file beside them says that they are complete. Landlock lets jobs read
//! and execute there and nothing else; without Landlock there are no prepared files. Where the launcher is root, the
//! files belong to root and the folder is in reach of other users.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::super::judge;
use super::super::protocol::{Limits, Surroundings, View};
use super::work::{Command, Work};
use super::{Isolation, LocalSandbox, Options, compile_message, environment, fault};
use crate::error::{Fault, Recovery};
use crate::sandbox::language::{Language, WARM_DIRECTORY, Warm};
use crate::sandbox::toolchain::Toolchain;

/// How the names of folders begin in which files are being prepared. Their makers hold a lock on them.
const DRAFT: &str = ".draft-";
/// The prepared files in their folder, and what says that they are complete.
const FILES: &str = "files";
const COMPLETE: &str = "complete";
/// Where root keeps prepared files for jobs without namespaces.
const SYSTEM_CACHE: &str = "/var/cache/autocodegen";
/// Time between making a draft and locking it.
const DRAFT_GRACE: Duration = Duration::from_secs(60);

/// Trusted commands, yet bounded: a compiler that hangs must not hang us.
const LIMITS: Limits = Limits {
    cpu_ms: 600_000,
    wall_ms: 900_000,
    memory_bytes: 4 << 30,
    pids: 1024,
    output_bytes: 1 << 20,
    file_bytes: 4 << 30,
};

/// The folder with the prepared files of `language`, for a toolchain as it was found.
pub(super) fn folder(options: &Options, language: &Language, warm: &Warm, toolchain: &Toolchain) -> PathBuf {
    let facts = format!("{warm:?} {toolchain:?} {:?}", language.env);
    let key = blake3::hash(facts.as_bytes()).to_hex();
    let folder = home(options).join(format!("{}-{}", language.name, &key[..16]));
    match options.isolation {
        Isolation::Auto => folder,
        Isolation::Reduced => folder.join(FILES),
    }
}

/// The folder that holds all prepared folders.
fn home(options: &Options) -> PathBuf {
    let environment_folder =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let caches = || {
        environment_folder("XDG_CACHE_HOME")
            .or_else(|| environment_folder("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
    };
    match (options.isolation, &options.cache) {
        (Isolation::Auto, Some(cache)) => cache.clone(),
        (Isolation::Auto, None) => caches().join("autocodegen/sandbox"),
        (Isolation::Reduced, Some(cache)) => cache.join("reduced"),
        // Jobs run as users who cannot enter root's home.
        (Isolation::Reduced, None) if geteuid().is_root() => SYSTEM_CACHE.into(),
        (Isolation::Reduced, None) => caches().join("autocodegen/reduced"),
    }
}

impl LocalSandbox {
    /// The folder that jobs of `language` are to see for its prepared files, which are made now unless they are there.
    pub(super) async fn warm_up(
        &self,
        language: &Language,
        warm: &Warm,
        toolchain: &Toolchain,
    ) -> std::result::Result<PathBuf, Fault> {
        let message = |error: Error| fault("warm", &format!("prepare {}: {error}", language.name));
        match self.options.isolation {
            Isolation::Auto => {
                let published = folder(&self.options, language, warm, toolchain);
                if published.is_dir() {
                    return Ok(published);
                }
                let draft = Draft::new(&home(&self.options)).map_err(message)?;
                let writable = vec![(draft.files.clone(), PathBuf::from(WARM_DIRECTORY))];
                self.prepare(language, warm, toolchain, writable).await?;
                publish(&draft.files, &published).map_err(message)?;
                Ok(published)
            }
            Isolation::Reduced => {
                if !self.isolation.contains("+landlock") {
                    let message = format!("{} needs prepared files, which jobs could change", language.name);
                    return Err(Fault::new(Recovery::Pend, "isolation", message)
                        .hint("without namespaces this takes Landlock (Linux 5.13 or later)"));
                }
                let files = PathBuf::from(toolchain.expand_text("{warm}", ""));
                // Some compilers look for a folder in the one above.
                let shown = files.parent().unwrap_or(&files).to_owned();
                let folder = shown.clone();
                let place = tokio::task::spawn_blocking(move || Place::take(folder)).await;
                let place = place.map_err(|error| fault("warm", &error))?.map_err(message)?;
                if !place.is_complete() {
                    self.prepare(language, warm, toolchain, vec![(files.clone(), files)]).await?;
                    place.complete().map_err(message)?;
                }
                Ok(shown)
            }
        }
    }

    /// Runs the commands that prepare files, with this folder writable.
    async fn prepare(
        &self,
        language: &Language,
        warm: &Warm,
        toolchain: &Toolchain,
        writable: Vec<(PathBuf, PathBuf)>,
    ) -> std::result::Result<(), Fault> {
        let view = View { read_only: toolchain.mounts.clone(), writable, ..View::default() };
        let _seat = self.take_seats(1).await?;
        let files = warm.files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
        let surroundings =
            Surroundings { view, file_bytes: LIMITS.file_bytes, elsewhere: false, interpreter: None };
        let work = Work::open(self.connection()?, surroundings, files, warm.commands.len())?;
        for command in &warm.commands {
            let run = work
                .run(Command {
                    argv: toolchain.expand(command, ""),
                    env: environment(language, toolchain, 0),
                    limits: LIMITS,
                    stdin: String::new(),
                    asked_to_complete: false,
                    served: None,
                })
                .await?;
            if let Some((_, reason)) = judge::compiling(&run) {
                let said = compile_message(&run);
                return Err(fault("warm", &format!("prepare {}: {reason}: {said}", language.name)));
            }
        }
        Ok(())
    }
}

/// A folder in which files are being prepared, to be published; removed when dropped.
struct Draft {
    files: PathBuf,
    _folder: TempDir,
    _lock: File,
}

impl Draft {
    fn new(home: &Path) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(|error| naming(home, &error))?;
        remove_abandoned(home);
        let draft = tempfile::Builder::new().prefix(DRAFT).tempdir_in(home)?;
        let lock = File::open(draft.path())?;
        lock.lock()?;
        let files = draft.path().join(FILES);
        fs::create_dir(&files)?;
        open_to_all(&files)?;
        // The path to the folder is private; inside, whatever user the jail runs as may write.
        fs::set_permissions(draft.path(), fs::Permissions::from_mode(0o711))?;
        Ok(Self { files, _folder: draft, _lock: lock })
    }
}

/// A folder in which files are prepared where they will stay. Nobody else has it at the same time.
struct Place {
    folder: PathBuf,
    _lock: File,
}

impl Place {
    /// Waits for others who prepare the same, and removes what they have not completed.
    fn take(folder: PathBuf) -> Result<Self> {
        let home = folder.parent().ok_or_else(|| Error::other("no folder for prepared files"))?;
        DirBuilder::new().recursive(true).mode(0o711).create(home).map_err(|error| naming(home, &error))?;
        if geteuid().is_root() {
            check_reach(home)?;
        }
        let lock = folder.with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock)?;
        lock.lock()?;
        let place = Self { folder, _lock: lock };
        if !place.is_complete() {
            match fs::remove_dir_all(&place.folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(naming(&place.folder, &error));
                }
                // The launcher gives the files' folder to the user who prepares them.
                _ => DirBuilder::new().recursive(true).mode(0o755).create(place.folder.join(FILES))?,
            }
        }
        Ok(place)
    }

    fn is_complete(&self) -> bool {
        self.folder.join(COMPLETE).exists()
    }

    /// Closes the files to all writers, and says that they are complete.
    fn complete(&self) -> Result<()> {
        adopt(&self.folder, &close_to_writers)?;
        File::create(self.folder.join(COMPLETE)).map(drop)
    }
}

/// That other users reach `folder` and that none but root can put another in its place.
fn check_reach(folder: &Path) -> Result<()> {
    for ancestor in folder.ancestors() {
        let metadata = fs::metadata(ancestor)?;
        let (mode, sticky) = (metadata.permissions().mode(), 0o1000);
        if mode & 0o001 == 0 {
            return Err(naming(ancestor, &Error::other("closed to the users that jobs run as")));
        }
        if metadata.uid() != 0 || (mode & 0o022 != 0 && mode & sticky == 0) {
            return Err(naming(ancestor, &Error::other("others than root may change it")));
        }
    }
    Ok(())
}

/// Removes drafts whose makers were killed: nobody holds their locks.
fn remove_abandoned(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let age = entry.metadata().ok().and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        if entry.file_name().to_string_lossy().starts_with(DRAFT)
            && age.is_some_and(|age| age > DRAFT_GRACE)
            && File::open(entry.path()).is_ok_and(|draft| draft.try_lock().is_ok())
        {
            // What cannot be removed now is tried again the next time something is prepared.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Gives the files to us, opens them to the users of jails, and puts them in place in one step.
fn publish(folder: &Path, published: &Path) -> Result<()> {
    adopt(folder, &open_to_all)?;
    match fs::rename(folder, published) {
        // Another process was quicker, with the same files.
        Err(_) if published.is_dir() => Ok(()),
        result => result,
    }
}

/// Makes the files ours, and changes the permissions of each but links.
fn adopt(path: &Path, change: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if geteuid().is_root() {
        lchown(path, Some(0), Some(0))?;
    }
    if metadata.is_symlink() {
        return Ok(());
    }
    change(path)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            adopt(&entry?.path(), change)?;
        }
    }
    Ok(())
}

/// Programs see these files under user ids of their own, through an overlay that takes their changes.
fn open_to_all(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    let mode = if path.is_dir() { 0o777 } else { mode | 0o666 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn close_to_writers(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    let mode = if path.is_dir() { 0o755 } else { (mode | 0o444) & 0o755 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn naming(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}
