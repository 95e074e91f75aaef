//! What a program without namespaces may reach: the allow-list of the namespace template, by Landlock.
//!
//! Read: the system's folders, a few files of `/etc` and `/proc`, its own `/proc/PID`, the paths a language file
//! names, prepared files. Write: its own work and temporary folders and the harmless devices. TCP, abstract sockets of others and
//! signals to others are refused where the kernel knows how. Looking into processes outside (`/proc/*/environ`,
//! `/proc/*/mem`, ptrace) is refused by every version.
//!
//! What Landlock has no right for stays allowed as far as the program's user id goes: asking whether a path exists,
//! changing mode, owner and times of files. A launcher that is root gives jobs a user id that owns nothing.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::template::{DEVICES, SYSTEM};
use super::workspace::Workspace;

/// The newest version whose rights we use; older kernels enforce what they know.
const VERSION: ABI = ABI::V6;
/// Files of the host that take the place of the template's generated ones, and what runtimes ask about the machine.
const HOST_FILES: &[&str] = &[
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    // Node does not start where it cannot read a file that is there.
    "/etc/ssl/openssl.cnf",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/filesystems",
    "/proc/version",
];
/// The process that sets the rules: the program, once it is executed, but not its children.
const OWN_PROCESS: &str = "/proc/self";

/// Whether this kernel enforces anything of it.
pub(super) fn is_supported() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}

/// Restricts this process and all it will execute to `workspace` and the system. Sets `no_new_privs`.
///
/// Paths that do not exist or are closed to this user are left out: they stay closed.
///
/// # Errors
/// When the kernel knows Landlock and refuses.
pub(super) fn restrict(workspace: &Workspace) -> Result<(), RulesetError> {
    let (read, all) = (AccessFs::from_read(VERSION), AccessFs::from_all(VERSION));
    let device = BitFlags::from(AccessFs::ReadFile) | AccessFs::WriteFile | AccessFs::Truncate;
    let devices = DEVICES.iter().map(|device| PathBuf::from("/dev").join(device));
    let readable = SYSTEM.iter().chain(HOST_FILES).chain([&OWN_PROCESS]).map(PathBuf::from);
    Ruleset::default()
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(AccessNet::from_all(VERSION))?
        .scope(Scope::from_all(VERSION))?
        .create()?
        .add_rules(path_beneath_rules(readable.chain(workspace.view.read_only.iter().cloned()), read))?
        .add_rules(path_beneath_rules(devices, device))?
        .add_rules(path_beneath_rules([workspace.work(), workspace.tmp()], all))?
        .add_rules(path_beneath_rules(workspace.view.writable.iter().map(|(folder, _)| folder), all))?
        .restrict_self()?;
    Ok(())
}
