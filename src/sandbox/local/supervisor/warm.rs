//! Files prepared once per toolchain: a compiler's cache, a support class.
//!
//! The command of the language file runs in a jail that sees an empty folder, writable, where jobs will later find
//! the files. What it leaves is published under a name made of everything it depends on. Jobs see it through an
//! overlay whose upper layer is private to the job, so none can change it for another.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::judge;
use super::super::protocol::{Limits, Surroundings, View};
use super::work::{Command, Work};
use super::{LocalSandbox, compile_message, environment, fault};
use crate::error::Fault;
use crate::sandbox::language::{Language, WARM_DIRECTORY, Warm};
use crate::sandbox::toolchain::Toolchain;

/// How the names of folders begin in which files are being prepared. Their makers hold a lock on them.
const DRAFT: &str = ".draft-";
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

impl LocalSandbox {
    /// The folder with the prepared files of `language`, made now unless it is there.
    pub(super) async fn warm_up(
        &self,
        language: &Language,
        warm: &Warm,
        toolchain: &Toolchain,
    ) -> Result<PathBuf, Fault> {
        let home = self.caches()?;
        let facts = format!("{warm:?} {toolchain:?} {:?}", language.env);
        let key = blake3::hash(facts.as_bytes()).to_hex();
        let published = home.join(format!("{}-{}", language.name, &key[..16]));
        if published.is_dir() {
            return Ok(published);
        }
        let message = |error: std::io::Error| fault("warm", &format!("prepare {}: {error}", language.name));
        remove_abandoned(&home);
        let draft = tempfile::Builder::new().prefix(DRAFT).tempdir_in(&home).map_err(message)?;
        let lock = File::open(draft.path()).map_err(message)?;
        lock.lock().map_err(message)?;
        let folder = draft.path().join("files");
        fs::create_dir(&folder).map_err(message)?;
        open_to_all(&folder).map_err(message)?;
        let view = View {
            read_only: toolchain.mounts.clone(),
            writable: vec![(folder.clone(), PathBuf::from(WARM_DIRECTORY))],
            ..View::default()
        };
        // The path to the folder is private; inside, whatever user the jail runs as may write.
        fs::set_permissions(draft.path(), fs::Permissions::from_mode(0o711)).map_err(message)?;
        {
            let _seat = self.take_seats(1).await?;
            let files =
                warm.files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
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
        }
        publish(&folder, &published).map_err(message)?;
        Ok(published)
    }

    /// The private folder that holds all prepared folders.
    fn caches(&self) -> Result<PathBuf, Fault> {
        let environment_folder =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let home = self.options.cache.clone().unwrap_or_else(|| {
            environment_folder("XDG_CACHE_HOME")
                .or_else(|| environment_folder("HOME").map(|home| home.join(".cache")))
                .unwrap_or_else(std::env::temp_dir)
                .join("autocodegen/sandbox")
        });
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&home)
            .map_err(|error| fault("warm", &format!("create {}: {error}", home.display())))?;
        Ok(home)
    }
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
fn publish(folder: &Path, published: &Path) -> std::io::Result<()> {
    adopt(folder)?;
    match fs::rename(folder, published) {
        // Another process was quicker, with the same files.
        Err(_) if published.is_dir() => Ok(()),
        result => result,
    }
}

fn adopt(path: &Path) -> std::io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if nix::unistd::geteuid().is_root() {
        lchown(path, Some(0), Some(0))?;
    }
    if metadata.is_symlink() {
        return Ok(());
    }
    open_to_all(path)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            adopt(&entry?.path())?;
        }
    }
    Ok(())
}

/// Programs see these files under user ids of their own, through an overlay that takes their changes.
fn open_to_all(path: &Path) -> std::io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    let mode = if path.is_dir() { 0o777 } else { mode | 0o666 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
