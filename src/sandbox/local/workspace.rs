//! The work folder that the steps of one job share.

use std::fs::{self, DirBuilder};
use std::io::{Error, Result};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use super::protocol::{Content, View};
use super::template::{OWN, mount_tmpfs};

/// Most files and folders a job may make.
const INODES: u32 = 65_536;
/// Permissions of a folder into which everyone may put files that only their owners may remove.
const SHARED: u32 = 0o1777;

/// A job's private files: the work folder, `/tmp`, `/dev/shm` and upper layers, one quota over all.
#[derive(Debug, Clone)]
pub(super) struct Workspace {
    /// Where they are: in the mount namespace of the job's first jail, or without namespaces on the host.
    pub root: PathBuf,
    pub view: View,
}

impl Workspace {
    /// Mounts an empty workspace that the current mount namespace alone has; it vanishes with the last namespace that
    /// is a copy of this one. `owner` is the user the job's programs run as.
    pub(super) fn mounted(view: View, file_bytes: u64, owner: Option<u32>) -> Result<Self> {
        let options = format!("mode=0711,size={},nr_inodes={INODES}", file_bytes.max(1 << 20));
        mount_tmpfs(Path::new(OWN), &options)?;
        let workspace = Self { root: OWN.into(), view };
        workspace.folders(owner)?;
        Ok(workspace)
    }

    /// A workspace in a new folder below `scratch`, without a quota, closed to all but `owner`, who also gets the view's writable
    /// folders.
    pub(super) fn plain(id: u64, view: View, scratch: &Path, owner: Option<u32>) -> Result<Self> {
        let root = scratch.join(id.to_string());
        DirBuilder::new().mode(0o700).create(&root)?;
        chown(&root, owner, owner)?;
        let workspace = Self { root, view };
        workspace.folders(owner)?;
        for (folder, _) in &workspace.view.writable {
            own(folder, owner)?;
        }
        Ok(workspace)
    }

    /// Makes the folders, owned by `owner` where this process may say so.
    fn folders(&self, owner: Option<u32>) -> Result<()> {
        let work = self.work();
        fs::create_dir(&work)?;
        own(&work, owner)?;
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
        Ok(())
    }

    /// Removes a plain workspace.
    pub(super) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.root)
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

/// Writes a job's files into its work folder, all owned by `owner` where this process may say so.
pub(super) fn fill(work: &Path, owner: Option<u32>, files: &[(String, Content)]) -> Result<()> {
    for (name, content) in files {
        let name = name_within(name)?;
        let folders: Vec<_> = name.ancestors().skip(1).filter(|f| !f.as_os_str().is_empty()).collect();
        for folder in folders.into_iter().rev().map(|folder| work.join(folder)) {
            if !folder.exists() {
                fs::create_dir(&folder)?;
                own(&folder, owner)?;
            }
        }
        let path = work.join(name);
        fs::write(&path, &content.0)?;
        own(&path, owner)?;
    }
    Ok(())
}

/// `name` as a path that cannot lead out of a folder.
pub(super) fn name_within(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    if name.is_empty() || !path.components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(Error::other(format!("{name:?} is not a name within a folder")));
    }
    Ok(path)
}

/// Gives a file to `owner`, where this process may say so.
pub(super) fn own(path: &Path, owner: Option<u32>) -> Result<()> {
    owner.map_or(Ok(()), |id| chown(path, Some(id), Some(id)))
}
