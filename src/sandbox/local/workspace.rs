//! The work folder that the steps of one job share.

use std::fs::{self, DirBuilder};
use std::io::{Error, Result};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::protocol::{Content, View};
use super::template::{JOBS, mount_tmpfs};

/// Most files and folders a job may make.
const INODES: u32 = 65_536;
/// Permissions of a folder into which everyone may put files that only their owners may remove.
const SHARED: u32 = 0o1777;

/// A job's private files: the work folder, `/tmp`, `/dev/shm` and upper layers, one quota over all.
pub(super) struct Workspace {
    /// Where they are in the template (with namespaces) or on the host (without).
    pub root: PathBuf,
    pub view: View,
    /// Distinguishes jobs that run at the same time; ids of ended jobs are used again.
    pub slot: u32,
    mounted: bool,
}

impl Workspace {
    /// Mounts and fills a workspace; runs inside the template. `owner` is the user the job's programs run as.
    pub(super) fn mounted(id: u64, view: View, slot: u32, file_bytes: u64) -> Result<Self> {
        let root = Path::new(JOBS).join(id.to_string());
        fs::create_dir(&root)?;
        let options = format!("mode=0711,size={},nr_inodes={INODES}", file_bytes.max(1 << 20));
        if let Err(error) = mount_tmpfs(&root, &options) {
            let _ = fs::remove_dir(&root);
            return Err(error);
        }
        Ok(Self { root, view, slot, mounted: true })
    }

    /// A workspace in a folder below `scratch`, without a quota, closed to all but `owner`.
    pub(super) fn plain(id: u64, view: View, slot: u32, scratch: &Path, owner: Option<u32>) -> Result<Self> {
        let root = scratch.join(id.to_string());
        DirBuilder::new().mode(0o700).create(&root)?;
        chown(&root, owner, owner)?;
        Ok(Self { root, view, slot, mounted: false })
    }

    /// Makes the folders and writes the job's files, all owned by `owner` where this process may say so.
    pub(super) fn fill(&self, owner: Option<u32>, files: &[(String, Content)]) -> Result<()> {
        let own = |path: &Path| owner.map_or(Ok(()), |id| chown(path, Some(id), Some(id)));
        let work = self.work();
        fs::create_dir(&work)?;
        own(&work)?;
        for folder in [self.tmp(), self.shm()] {
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(SHARED))?;
        }
        for index in 0..self.view.layered.len() {
            let (upper, scratch) = self.layer(index);
            for folder in [&upper, &scratch] {
                DirBuilder::new().recursive(true).create(folder)?;
                fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
            }
        }
        for (name, content) in files {
            let name = Path::new(name);
            if name.as_os_str().is_empty() || !name.components().all(|c| matches!(c, Component::Normal(_))) {
                return Err(Error::other(format!("{} is not a name within a folder", name.display())));
            }
            let folders: Vec<_> = name.ancestors().skip(1).filter(|f| !f.as_os_str().is_empty()).collect();
            for folder in folders.into_iter().rev().map(|folder| work.join(folder)) {
                if !folder.exists() {
                    fs::create_dir(&folder)?;
                    own(&folder)?;
                }
            }
            let path = work.join(name);
            fs::write(&path, &content.0)?;
            own(&path)?;
        }
        Ok(())
    }

    /// Removes everything; with namespaces this runs inside the template.
    pub(super) fn remove(&self) -> Result<()> {
        if self.mounted {
            umount2(&self.root, MntFlags::MNT_DETACH)?;
            fs::remove_dir(&self.root)
        } else {
            fs::remove_dir_all(&self.root)
        }
    }

    pub(super) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn shm(&self) -> PathBuf {
        self.root.join("shm")
    }

    /// Upper layer of a layered folder, and the folder overlayfs works in.
    pub(super) fn layer(&self, index: usize) -> (PathBuf, PathBuf) {
        let root = self.root.join("layers").join(index.to_string());
        (root.join("upper"), root.join("scratch"))
    }
}
