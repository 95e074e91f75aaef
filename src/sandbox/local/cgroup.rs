//! Limits and accounting of a step's processes by control groups, version 2 or version 1.
//!
//! The launcher owns one group `autocodegen-PID` per hierarchy, below the group it was started in where the kernel
//! allows, and one group per step below that. A group lives exactly as long as its step.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::protocol::Limits;

#[cfg(test)]
mod tests;

const PREFIX: &str = "autocodegen-";
const PROCESSES: &str = "cgroup.procs";
/// How far below its limit a version 1 group may have to kill, bytes.
const CHARGE_SLACK: u64 = 2 << 20;
const V1_CONTROLLERS: [&str; 3] = ["memory", "pids", "cpuacct"];

/// The launcher's own group in every hierarchy used.
pub(super) struct Cgroups {
    version: Version,
    /// One folder for version 2; memory, pids, cpuacct for version 1.
    roots: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The group of one step, removed when dropped.
pub(super) struct Group {
    version: Version,
    folders: Vec<PathBuf>,
}

impl Cgroups {
    /// Takes possession of a writable place in the hierarchies, clearing what dead launchers left there.
    /// `None` when no hierarchy with memory and pids controllers is writable.
    pub(super) fn claim() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        Self::claim_v2(&own, &mounts).or_else(|| Self::claim_v1(&own, &mounts))
    }

    /// The name shown to users.
    pub(super) fn name(&self) -> &'static str {
        match self.version {
            Version::One => "cgroup-v1",
            Version::Two => "cgroup-v2",
        }
    }

    /// Climbs from our own group towards the root: a group that holds processes cannot hand controllers down, but
    /// the one above it usually does.
    fn claim_v2(own: &str, mounts: &str) -> Option<Self> {
        let (mounted_at, start) = own_folder(own, mounts, None)?;
        for parent in start.ancestors().take_while(|folder| folder.starts_with(&mounted_at)) {
            remove_stale(parent);
            // Refused where the group has processes, and not needed where it is handed down already.
            let _ = write(&parent.join("cgroup.subtree_control"), "+memory +pids");
            let root = parent.join(own_name());
            if fs::create_dir(&root).is_err() {
                continue;
            }
            if write(&root.join("cgroup.subtree_control"), "+memory +pids").is_ok() {
                return Some(Self { version: Version::Two, roots: vec![root] });
            }
            let _ = fs::remove_dir(&root);
        }
        None
    }

    fn claim_v1(own: &str, mounts: &str) -> Option<Self> {
        let mut roots = Vec::new();
        for controller in V1_CONTROLLERS {
            let made = own_folder(own, mounts, Some(controller)).and_then(|(_, folder)| {
                remove_stale(&folder);
                let root = folder.join(own_name());
                fs::create_dir(&root).ok().map(|()| root)
            });
            match made {
                Some(root) => roots.push(root),
                None => {
                    for root in roots {
                        let _ = fs::remove_dir(root);
                    }
                    return None;
                }
            }
        }
        Some(Self { version: Version::One, roots })
    }

    /// A fresh group, without limits yet. `number` is one that no living group has.
    ///
    /// # Errors
    /// When the kernel refuses the group: a fault of the sandbox.
    pub(super) fn create(&self, number: u64) -> Result<Group> {
        let folders: Vec<PathBuf> = self.roots.iter().map(|root| root.join(number.to_string())).collect();
        let group = Group { version: self.version, folders };
        group.folders.iter().try_for_each(fs::create_dir)?;
        Ok(group)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for root in &self.roots {
            remove_tree(root);
        }
    }
}

impl Group {
    /// Sets the limits of a step. The step's init is in the group, too, and counts as one process.
    ///
    /// # Errors
    /// When the kernel refuses a limit: a fault of the sandbox.
    pub(super) fn limit(&self, limits: &Limits) -> Result<()> {
        let memory = limits.memory_bytes.to_string();
        let pids = limits.pids.saturating_add(1).to_string();
        match self.version {
            Version::Two => {
                let folder = self.folder(0)?;
                write(&folder.join("memory.max"), &memory)?;
                write_if_there(&folder.join("memory.swap.max"), "0")?;
                write_if_there(&folder.join("memory.oom.group"), "1")?;
                write(&folder.join("pids.max"), &pids)
            }
            Version::One => {
                let folder = self.folder(0)?;
                write(&folder.join("memory.limit_in_bytes"), &memory)?;
                write_if_there(&folder.join("memory.memsw.limit_in_bytes"), &memory)?;
                write(&self.folder(1)?.join("pids.max"), &pids)
            }
        }
    }

    /// Files into which a process writes `0` to join the group.
    pub(super) fn joins(&self) -> Result<Vec<OwnedFd>> {
        self.folders
            .iter()
            .map(|folder| OpenOptions::new().write(true).open(folder.join(PROCESSES)).map(OwnedFd::from))
            .collect()
    }

    /// User and system time of all processes that were ever in the group, ms.
    pub(super) fn cpu_ms(&self) -> Result<u64> {
        match self.version {
            Version::Two => Ok(keyed(&self.folder(0)?.join("cpu.stat"), "usage_usec")? / 1000),
            Version::One => Ok(number(&self.folder(2)?.join("cpuacct.usage"))? / 1_000_000),
        }
    }

    /// The most memory the group ever held, bytes, where the kernel keeps it.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        let name = match self.version {
            Version::Two => "memory.peak",
            Version::One => "memory.max_usage_in_bytes",
        };
        number(&self.folder(0).ok()?.join(name)).ok()
    }

    /// How many of its processes the kernel ended for want of memory.
    pub(super) fn oom_kills(&self) -> Result<u64> {
        let name = match self.version {
            Version::Two => "memory.events",
            Version::One => "memory.oom_control",
        };
        keyed(&self.folder(0)?.join(name), "oom_kill")
    }

    /// Whether the group has ever reached its memory limit. When it has not, a kill for want of memory was the
    /// machine's doing, or that of a group above.
    pub(super) fn reached_memory_limit(&self) -> Result<bool> {
        let folder = self.folder(0)?;
        match self.version {
            Version::Two => Ok(keyed(&folder.join("memory.events"), "oom")? > 0),
            Version::One => {
                // Some kernels do not keep `memory.failcnt`. Memory is charged in batches: the peak may be short.
                let peak = number(&folder.join("memory.max_usage_in_bytes"))?;
                Ok(peak.saturating_add(CHARGE_SLACK) >= number(&folder.join("memory.limit_in_bytes"))?)
            }
        }
    }

    fn folder(&self, index: usize) -> Result<&Path> {
        self.folders.get(index).map(PathBuf::as_path).ok_or_else(|| Error::other("no such hierarchy"))
    }
}

impl Drop for Group {
    /// Removes the group; its processes have ended.
    fn drop(&mut self) {
        for folder in &self.folders {
            // The last process may still be on its way out when its parent has been told.
            for _ in 0..100 {
                match fs::remove_dir(folder) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        sleep(Duration::from_millis(1));
                    }
                    _ => break,
                }
            }
        }
    }
}

fn own_name() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// Mount point of a hierarchy and our folder in it. `controller` is `None` for version 2.
fn own_folder(own: &str, mounts: &str, controller: Option<&str>) -> Option<(PathBuf, PathBuf)> {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match controller {
            None => number == "0" && names.is_empty(),
            Some(controller) => names.split(',').any(|name| name == controller),
        };
        ours.then_some(path)
    })?;
    let (root, mounted_at) = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, at) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let ours = match controller {
            None => kind == "cgroup2",
            Some(controller) => kind == "cgroup" && options.split(',').any(|name| name == controller),
        };
        ours.then(|| (root.to_owned(), PathBuf::from(at)))
    })?;
    // In a container the mount may show only a part of the hierarchy, starting at `root`.
    let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
    let folder = mounted_at.join(below.trim_start_matches('/'));
    let folder = if folder.is_dir() { folder } else { mounted_at.clone() };
    Some((mounted_at, folder))
}

/// Removes the groups of launchers that were killed before they could.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if let Some(pid) = pid
            && (pid == std::process::id() || !Path::new("/proc").join(pid.to_string()).exists())
        {
            remove_tree(&entry.path());
        }
    }
}

/// Removes a group and those directly below it, with whatever still runs there: without namespaces the processes of a
/// job outlive a launcher that is killed.
fn remove_tree(root: &Path) {
    if let Ok(entries) = fs::read_dir(root) {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            for _ in 0..100 {
                if fs::remove_dir(entry.path()).is_ok() || !kill_processes(&entry.path()) {
                    break;
                }
                sleep(Duration::from_millis(1));
            }
            let _ = fs::remove_dir(entry.path());
        }
    }
    let _ = fs::remove_dir(root);
}

/// Whether there were any. Those of other pid namespaces are listed as 0.
fn kill_processes(group: &Path) -> bool {
    let listed = fs::read_to_string(group.join(PROCESSES)).unwrap_or_default();
    let pids: Vec<i32> = listed.lines().filter_map(|pid| pid.parse().ok()).filter(|&pid| pid > 0).collect();
    for &pid in &pids {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    !pids.is_empty()
}

/// A control file takes its value in a single write.
fn write(path: &Path, value: &str) -> Result<()> {
    use std::io::Write as _;
    let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).open(path).map_err(named)?;
    File::write_all(&mut file, value.as_bytes()).map_err(named)
}

/// Kernels without swap accounting lack some files.
fn write_if_there(path: &Path, value: &str) -> Result<()> {
    if path.exists() { write(path, value) } else { Ok(()) }
}

fn number(path: &Path) -> Result<u64> {
    fs::read_to_string(path)?.trim().parse().map_err(Error::other)
}

/// The number after `key` in a file of `key number` lines.
fn keyed(path: &Path, key: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
        .ok_or_else(|| Error::other(format!("{}: no {key}", path.display())))
}
