//! Template mount namespaces: the file system jails start from.
//!
//! A template's root is a read-only tmpfs holding an allow-list of read-only binds of the host and generated
//! `/etc` files. It is built once per [`View`] in a mount namespace of its own; every jail of that view copies the
//! namespace, which holds a dozen mounts instead of the host's, and never has the host's root, not for a moment.
//!
//! The launcher lives in a private copy of the host's namespace; the inits it forks enter a template and copy it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chdir, pivot_root};

use super::protocol::View;
use super::sys;

/// What only inits see of a template.
pub(super) const JOBS: &str = "/jobs";
/// Where the init of a job's first jail mounts the job's own files.
pub(super) const OWN: &str = "/jobs/own";
/// Where the lower layers of layered folders are.
pub(super) const LOWER: &str = "/jobs/.lower";
/// Name and host name inside.
pub(super) const USER: &str = "sandbox";
/// Host name of runs that are to show whether a program depends on it.
pub(super) const HOST_ELSEWHERE: &str = "elsewhere";
/// The user and group id inside.
pub(super) const USER_ID: u32 = 1000;

/// Folders of the system that every job sees, where they exist.
pub(super) const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ld.so.cache",
];
/// Devices that every job sees.
pub(super) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const WRITABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const DEVICE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

/// The templates made so far.
pub(super) struct Templates {
    host: OwnedFd,
    /// A folder of the host over which templates are assembled.
    scratch: PathBuf,
    /// Whether the launcher is root of a user namespace only.
    in_user_namespace: bool,
    made: HashMap<View, OwnedFd>,
}

impl Templates {
    /// Moves this process into a private copy of its mount namespace, in a user namespace of its own when it is not
    /// allowed to otherwise.
    ///
    /// # Errors
    /// When the kernel allows neither: no isolation by namespaces here.
    pub(super) fn new(scratch: PathBuf) -> Result<Self> {
        let in_user_namespace = unshare(CloneFlags::CLONE_NEWNS).is_err();
        if in_user_namespace {
            let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
        }
        make_private()?;
        Ok(Self { host: current_namespace()?, scratch, in_user_namespace, made: HashMap::new() })
    }

    /// Whether jobs must share the launcher's host user id.
    pub(super) fn in_user_namespace(&self) -> bool {
        self.in_user_namespace
    }

    /// The mount namespace of the template for `view`, built now unless it is there.
    pub(super) fn get(&mut self, view: &View) -> Result<&OwnedFd> {
        if !self.made.contains_key(view) {
            let built = self.build(view);
            setns(&self.host, CloneFlags::CLONE_NEWNS)?;
            self.made.insert(view.clone(), built?);
        }
        self.made.get(view).ok_or_else(|| Error::other("no such template"))
    }

    /// Gives up the template for `view`: no more jails will be made of it.
    pub(super) fn forget(&mut self, view: &View) {
        self.made.remove(view);
    }

    /// Builds a template and leaves this process inside it.
    fn build(&self, view: &View) -> Result<OwnedFd> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let namespace = current_namespace()?;
        mount_tmpfs(&self.scratch, "mode=0755,size=16m")?;
        let mut root = Root { path: self.scratch.clone(), bound: Vec::new() };
        root.folders()?;
        for path in SYSTEM.iter().map(Path::new) {
            root.show(path)?;
        }
        for path in &view.read_only {
            root.show(path).map_err(|error| named(path, &error))?;
        }
        for (source, inside) in &view.prepared {
            root.bind(source, inside, READ_ONLY).map_err(|error| named(source, &error))?;
        }
        for (source, inside) in &view.writable {
            root.bind(source, inside, WRITABLE).map_err(|error| named(source, &error))?;
        }
        root.devices()?;
        if self.in_user_namespace {
            // A user namespace may mount a fresh proc only where one is in sight already.
            bind(Path::new("/proc"), &root.at(Path::new("/proc")))?;
        }
        mount_tmpfs(&root.at(Path::new(JOBS)), "mode=0755,size=1m")?;
        make_folders(&root.at(Path::new(OWN)))?;
        for (index, (lower, inside)) in view.layered.iter().enumerate() {
            let place = Path::new(LOWER).join(index.to_string());
            root.bind(lower, &place, READ_ONLY).map_err(|error| named(lower, &error))?;
            make_folders(&root.at(inside))?;
        }
        sys::add_mount_attributes(&root.path, READ_ONLY, false)?;
        chdir(&root.path)?;
        // The old root ends up stacked over the new one, from where it is taken off.
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        Ok(namespace)
    }
}

/// A root under construction.
struct Root {
    path: PathBuf,
    bound: Vec<PathBuf>,
}

impl Root {
    /// Where `inside` is while the root is under construction.
    fn at(&self, inside: &Path) -> PathBuf {
        self.path.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Folders, links and files that are not the host's.
    fn folders(&self) -> Result<()> {
        for folder in ["proc", "dev/shm", "tmp", "work", "home/elsewhere", "etc", "var", "run", JOBS] {
            make_folders(&self.at(Path::new(folder)))?;
        }
        for (link, target) in [
            ("dev/fd", "/proc/self/fd"),
            ("dev/stdin", "/proc/self/fd/0"),
            ("dev/stdout", "/proc/self/fd/1"),
            ("dev/stderr", "/proc/self/fd/2"),
            ("var/tmp", "/tmp"),
        ] {
            symlink(target, self.at(Path::new(link)))?;
        }
        let id = USER_ID;
        for (file, text) in [
            (
                "passwd",
                format!(
                    "root:x:0:0:root:/:/bin/sh\n{USER}:x:{id}:{id}::/work:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
                ),
            ),
            ("group", format!("root:x:0:\n{USER}:x:{id}:\nnogroup:x:65534:\n")),
            ("hosts", format!("127.0.0.1 localhost {USER} {HOST_ELSEWHERE}\n::1 localhost\n")),
            ("hostname", format!("{USER}\n")),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n".to_owned()),
            ("resolv.conf", String::new()),
        ] {
            fs::write(self.at(Path::new("etc")).join(file), text)?;
        }
        Ok(())
    }

    /// Shows `path` of the host read-only at the same place; what the host does not have is left out. A symbolic
    /// link is shown as one, together with what it leads to.
    fn show(&mut self, path: &Path) -> Result<()> {
        if !path.is_absolute() || path == Path::new("/") {
            return Err(Error::other("not an absolute path below the root"));
        }
        let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
        if self.bound.iter().any(|bound| path.starts_with(bound)) {
            return Ok(());
        }
        if metadata.is_symlink() {
            let place = self.at(path);
            if let Some(parent) = place.parent() {
                make_folders(parent)?;
            }
            symlink(fs::read_link(path)?, place)?;
            return self.show(&fs::canonicalize(path)?);
        }
        self.bind(path, path, READ_ONLY)?;
        self.bound.push(path.to_owned());
        Ok(())
    }

    fn bind(&self, source: &Path, inside: &Path, attributes: u64) -> Result<()> {
        let place = self.at(inside);
        if fs::metadata(source)?.is_dir() {
            make_folders(&place)?;
        } else {
            if let Some(parent) = place.parent() {
                make_folders(parent)?;
            }
            File::create(&place)?;
        }
        bind(source, &place)?;
        sys::add_mount_attributes(&place, attributes, true)
    }

    fn devices(&self) -> Result<()> {
        for device in DEVICES {
            let path = Path::new("/dev").join(device);
            if fs::metadata(&path)?.file_type().is_char_device() {
                self.bind(&path, &path, DEVICE)?;
            }
        }
        Ok(())
    }
}

fn make_private() -> Result<()> {
    Ok(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?)
}

/// Mounts a fresh tmpfs without devices and set-user-id programs.
pub(super) fn mount_tmpfs(at: &Path, options: &str) -> Result<()> {
    Ok(mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))?)
}

/// Binds with everything mounted below: a user namespace may not uncover what lies under those mounts.
pub(super) fn bind(source: &Path, at: &Path) -> Result<()> {
    Ok(mount(Some(source), at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?)
}

fn make_folders(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn current_namespace() -> Result<OwnedFd> {
    File::open("/proc/self/ns/mnt").map(OwnedFd::from)
}

fn named(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}
