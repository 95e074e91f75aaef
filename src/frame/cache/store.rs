//! The cache's files: what there is, and what goes when it is too much.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::About;
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::journal::Journal;
use crate::frame::lock::Lock;

/// The replies of one model at one endpoint.
#[derive(Debug, Clone)]
pub struct Group {
    /// Whose replies.
    pub about: About,
    /// How many.
    pub replies: u64,
    /// Size on disk, bytes.
    pub bytes: u64,
    /// When the segment that was not used for the longest time was used last.
    pub oldest: SystemTime,
    /// When any of them was used last.
    pub newest: SystemTime,
}

/// What [`prune`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Bytes deleted.
    pub freed: u64,
    /// Bytes that are left.
    pub left: u64,
}

struct Segment {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// What is in the cache in `root`, the latest used first.
///
/// # Errors
/// I/O errors.
pub fn groups(root: &Path) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for dir in directories(&root.join("replies"))? {
        let Some(about) = read_about(&dir) else { continue };
        let (mut replies, mut bytes, mut used) = (0, 0, Vec::new());
        for journal in journals(&dir)? {
            replies += Journal::open_read_only(&journal).map_or(0, |journal| journal.len());
            for segment in segments(&journal)? {
                bytes += segment.bytes;
                used.push(segment.used);
            }
        }
        if let (true, Some(oldest), Some(newest)) =
            (replies > 0, used.iter().min().copied(), used.iter().max().copied())
        {
            groups.push(Group { about, replies, bytes, oldest, newest });
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.newest));
    Ok(groups)
}

/// Deletes the segments of the cache in `root` that were used the longest ago, until it has at most `max_bytes` and
/// none was last used more than `older_than` ago. A segment that a process appends to stays.
///
/// # Errors
/// I/O errors.
pub fn prune(root: &Path, max_bytes: u64, older_than: Option<Duration>) -> Result<Pruned> {
    let mut idle = Vec::new();
    let mut total = 0;
    // Held until the end: nobody takes up a journal whose segments are being deleted.
    let mut locks = Vec::new();
    for group in directories(&root.join("replies"))? {
        for journal in journals(&group)? {
            let mut segments = segments(&journal)?;
            total += segments.iter().map(|segment| segment.bytes).sum::<u64>();
            match try_lock(&journal)? {
                Some(lock) => locks.push(lock),
                None => drop(segments.pop()),
            }
            idle.append(&mut segments);
        }
    }
    idle.sort_by_key(|segment| segment.used);
    let too_old = older_than.and_then(|age| SystemTime::now().checked_sub(age));
    let mut pruned = Pruned { freed: 0, left: total };
    for segment in idle {
        if pruned.left <= max_bytes && too_old.is_none_or(|limit| segment.used >= limit) {
            break;
        }
        remove(&segment.path.with_extension("idx"))?;
        remove(&segment.path)?;
        pruned.freed += segment.bytes;
        pruned.left -= segment.bytes;
    }
    Ok(pruned)
}

/// The journals of a group, by number.
pub(super) fn journals(group: &Path) -> Result<Vec<PathBuf>> {
    let mut dirs = directories(group)?;
    let number = |dir: &PathBuf| dir.file_name()?.to_str()?.parse::<u32>().ok();
    dirs.retain(|dir| number(dir).is_some());
    dirs.sort_by_key(number);
    Ok(dirs)
}

/// A journal that did not exist before, held by this process.
pub(super) fn new_journal(group: &Path) -> Result<(PathBuf, Lock)> {
    for number in 0_u32.. {
        let dir = group.join(number.to_string());
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Error::io("create", &dir, error)),
        }
        // Another process may have found it and been quicker.
        if let Some(lock) = try_lock(&dir)? {
            return Ok((dir, lock));
        }
    }
    Err(Error::environment(format!("{} is full of journals", group.display())))
}

/// Takes the lock of a journal; `None` when another process has it.
pub(super) fn try_lock(journal: &Path) -> Result<Option<Lock>> {
    Lock::try_take(&journal.join("lock"))
}

/// Writes down whose replies `group` has, unless that is known.
pub(super) fn write_about(group: &Path, about: &About) -> Result<()> {
    if read_about(group).as_ref() == Some(about) {
        return Ok(());
    }
    let path = group.join("about.json");
    let text = serde_json::to_vec_pretty(about)
        .map_err(|error| Error::usage(format!("{} cannot be written: {error}", path.display())))?;
    atomic::write_file(&path, |file| file.write_all(&text).map_err(|error| Error::io("write", &path, error)))
}

fn read_about(group: &Path) -> Option<About> {
    serde_json::from_slice(&fs::read(group.join("about.json")).ok()?).ok()
}

/// The segments of a journal, the one that grows last.
fn segments(journal: &Path) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for path in entries(journal)? {
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        // Another process may have deleted it since.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let index = fs::metadata(path.with_extension("idx")).map_or(0, |metadata| metadata.len());
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        segments.push(Segment { path, bytes: metadata.len() + index, used });
    }
    segments.sort_by_key(|segment| (segment.path.as_os_str().len(), segment.path.clone()));
    Ok(segments)
}

fn directories(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = entries(dir)?;
    entries.retain(|path| path.is_dir());
    entries.sort();
    Ok(entries)
}

/// What is in `dir`; nothing when it does not exist.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("read", dir, error);
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", path, error)),
        _ => Ok(()),
    }
}
