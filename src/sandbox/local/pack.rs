//! The files of a work folder as bytes: taken from the jail whose compiler made them, put into others.
//!
//! A pack is a list of entries, parents before what is in them, as JSON after its length (4 bytes), and the files'
//! bytes one after the other. The supervisor makes packs and inits unpack them; programs never see one.

use std::fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions};
use std::io::{Error, Read, Result, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::workspace::{name_within, own};

/// Most files and folders of a pack.
const MOST_ENTRIES: usize = 4096;
/// Permissions of a work folder that nobody has changed.
const UNCHANGED: u32 = 0o755;
/// Memory comes in pages of this many bytes.
const PAGE: u64 = 4096;

/// Files and folders, by their paths within a work folder.
#[derive(Debug, Default)]
pub(super) struct Pack {
    entries: Vec<Entry>,
    contents: Vec<u8>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    mode: u32,
    /// Since 1970.
    modified: Duration,
    /// Bytes of a file; `None` for a folder.
    length: Option<u64>,
}

impl Pack {
    /// Everything in `folder`, in which nothing runs any more. `None` when it is more than `most` bytes, or holds
    /// what a copy would not be the same as: links, pipes, files nobody may see again.
    pub(super) fn collect(folder: &OwnedFd, most: u64) -> Result<Option<Self>> {
        let root = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let mut pack = Self::default();
        if fs::metadata(&root)?.mode() & 0o7777 != UNCHANGED {
            return Ok(None);
        }
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let found = fs::read_dir(root.join(&folder))?.take(MOST_ENTRIES + 1);
            // The newest comes first: a copy made in the order of making is listed in the same order.
            for found in found.collect::<Result<Vec<_>>>()?.into_iter().rev() {
                let path = folder.join(found.file_name());
                let Some(entry) = Entry::of(&path, &found.metadata()?) else { return Ok(None) };
                match entry.length {
                    None => folders.push(path),
                    Some(length) if pack.bytes().saturating_add(length) > most => return Ok(None),
                    Some(length) => {
                        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
                        let file = OpenOptions::new().read(true).custom_flags(flags).open(found.path())?;
                        if file.take(length).read_to_end(&mut pack.contents)? as u64 != length {
                            return Ok(None);
                        }
                    }
                }
                pack.entries.push(entry);
                if pack.entries.len() > MOST_ENTRIES {
                    return Ok(None);
                }
            }
        }
        Ok(Some(pack))
    }

    /// These files, by name, as if they had been written now.
    pub(super) fn of(files: &[(String, Vec<u8>)]) -> Self {
        let modified = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut pack = Self::default();
        for (name, bytes) in files {
            let folders: Vec<_> = Path::new(name).ancestors().skip(1).filter_map(Path::to_str).collect();
            for folder in folders.into_iter().rev().filter(|folder| !folder.is_empty()) {
                if !pack.entries.iter().any(|entry| entry.name == folder) {
                    let name = folder.to_owned();
                    pack.entries.push(Entry { name, mode: UNCHANGED, modified, length: None });
                }
            }
            let length = Some(bytes.len() as u64);
            pack.entries.push(Entry { name: name.clone(), mode: 0o644, modified, length });
            pack.contents.extend_from_slice(bytes);
        }
        pack
    }

    /// How much it holds, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.contents.len() as u64
    }

    /// How much memory its files take once they are unpacked, bytes.
    pub(super) fn memory(&self) -> u64 {
        let lengths = self.entries.iter().filter_map(|entry| entry.length);
        lengths.map(|length| length.next_multiple_of(PAGE)).sum()
    }

    /// A file of it, for an init to [`unpack`].
    pub(super) fn file(&self) -> Result<OwnedFd> {
        let index = serde_json::to_vec(&self.entries)?;
        let mut file = File::from(memfd_create(c"pack", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&u32::try_from(index.len()).map_err(Error::other)?.to_be_bytes())?;
        file.write_all(&index)?;
        file.write_all(&self.contents)?;
        Ok(file.into())
    }
}

impl Entry {
    /// What a copy of the file or folder at `path` must be made with, if there can be a true one.
    fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        let is_plain = metadata.is_dir() || (metadata.is_file() && metadata.nlink() == 1);
        let mode = metadata.mode() & 0o7777;
        (is_plain && mode & 0o7000 == 0).then_some(())?;
        Some(Self {
            name: path.to_str()?.to_owned(),
            mode,
            modified: metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?,
            length: metadata.is_file().then_some(metadata.len()),
        })
    }
}

/// Puts the files of a pack into the work folder `work`, all owned by `owner` where this process may say so.
pub(super) fn unpack(pack: OwnedFd, work: &Path, owner: Option<u32>) -> Result<()> {
    let mut pack = File::from(pack);
    pack.seek(SeekFrom::Start(0))?;
    let mut length = [0; 4];
    pack.read_exact(&mut length)?;
    let mut index = vec![0; u32::from_be_bytes(length) as usize];
    pack.read_exact(&mut index)?;
    let entries: Vec<Entry> = serde_json::from_slice(&index)?;
    for entry in &entries {
        let path = work.join(name_within(&entry.name)?);
        match entry.length {
            None => DirBuilder::new().mode(0o700).create(&path)?,
            Some(length) => {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                if std::io::copy(&mut (&mut pack).take(length), &mut file)? != length {
                    return Err(Error::other("the pack is cut short"));
                }
                own(&path, owner)?;
                file.set_permissions(fs::Permissions::from_mode(entry.mode))?;
                file.set_times(entry.times())?;
            }
        }
    }
    // What is put into a folder changes it.
    for entry in entries.iter().rev().filter(|entry| entry.length.is_none()) {
        let path = work.join(&entry.name);
        own(&path, owner)?;
        let folder = File::open(&path)?;
        folder.set_permissions(fs::Permissions::from_mode(entry.mode))?;
        folder.set_times(entry.times())?;
    }
    Ok(())
}

impl Entry {
    fn times(&self) -> FileTimes {
        let modified = SystemTime::UNIX_EPOCH.checked_add(self.modified).unwrap_or(SystemTime::UNIX_EPOCH);
        FileTimes::new().set_modified(modified)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn opened(folder: &Path) -> OwnedFd {
        fs::set_permissions(folder, fs::Permissions::from_mode(UNCHANGED)).unwrap();
        File::open(folder).unwrap().into()
    }

    #[test]
    fn what_is_unpacked_is_what_was_there() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("classes/a\nb")).unwrap();
        fs::write(from.path().join("classes/a\nb/Main.class"), [0, 255, 10]).unwrap();
        fs::write(from.path().join("test"), "program").unwrap();
        fs::set_permissions(from.path().join("test"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::set_permissions(from.path().join("classes"), fs::Permissions::from_mode(0o500)).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 7);
        File::open(from.path().join("test")).unwrap().set_modified(long_ago).unwrap();
        File::open(from.path().join("classes")).unwrap().set_modified(long_ago).unwrap();

        let pack = Pack::collect(&opened(from.path()), 10).unwrap().unwrap();
        assert_eq!((pack.bytes(), pack.memory()), (10, 2 * PAGE));
        unpack(pack.file().unwrap(), to.path(), None).unwrap();
        assert_eq!(fs::read(to.path().join("classes/a\nb/Main.class")).unwrap(), [0, 255, 10]);
        for (name, mode) in [("test", 0o750), ("classes", 0o500)] {
            let metadata = fs::metadata(to.path().join(name)).unwrap();
            assert_eq!((metadata.mode() & 0o7777, metadata.modified().unwrap()), (mode, long_ago), "{name}");
        }
        // One byte too many.
        assert!(Pack::collect(&opened(from.path()), 9).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_copied_truly_is_not() {
        type Make = fn(&Path);
        let cases: [Make; 5] = [
            |folder| symlink("/etc/passwd", folder.join("link")).unwrap(),
            |folder| fs::hard_link(folder.join("test"), folder.join("again")).unwrap(),
            |folder| fs::set_permissions(folder.join("test"), fs::Permissions::from_mode(0o4755)).unwrap(),
            |folder| {
                nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
            },
            |folder| (0..=MOST_ENTRIES).for_each(|n| fs::write(folder.join(n.to_string()), "").unwrap()),
        ];
        for make in cases {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("test"), "program").unwrap();
            assert!(Pack::collect(&opened(folder.path()), 1 << 20).unwrap().is_some());
            make(folder.path());
            assert!(Pack::collect(&opened(folder.path()), 1 << 20).unwrap().is_none());
        }
        let folder = tempfile::tempdir().unwrap();
        let open = opened(folder.path());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Pack::collect(&open, 1 << 20).unwrap().is_none());
    }

    #[test]
    fn a_pack_that_names_other_places_is_refused() {
        for name in ["../out", "/out", "", "a/../b"] {
            let folder = tempfile::tempdir().unwrap();
            let mut pack = Pack::of(&[("x".to_owned(), b"x".to_vec())]);
            pack.entries[0].name = name.to_owned();
            assert!(unpack(pack.file().unwrap(), folder.path(), None).is_err(), "{name:?}");
        }
    }
}
