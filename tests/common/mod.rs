//! What several test files share.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Says on stderr that a test did not run, and why. With `AUTOCODEGEN_REQUIRE=1` that is a failure.
pub fn skip(test: &str, why: &str) {
    assert!(
        std::env::var_os("AUTOCODEGEN_REQUIRE").is_none_or(|value| value != "1"),
        "SKIPPED: {test}: {why}"
    );
    eprintln!("SKIPPED: {test}: {why}");
}

/// A small disk: a tmpfs of 1 MiB at a directory, unmounted on drop.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `dir`; `None` where mounting is not allowed.
    pub fn mount(dir: &Path) -> Option<Self> {
        Self::mount_with(dir, "size=1m")
    }

    /// The same with other options of tmpfs.
    pub fn mount_with(dir: &Path, options: &str) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir);
        command.output().is_ok_and(|output| output.status.success()).then(|| Self(dir.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.0.display());
        }
    }
}
