//! The commands that install packages, and running them.

use std::collections::BTreeSet;
use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Missing, Package, first_line, on_path};
use crate::error::{Error, Result};

/// What installs `packages`, a line each: the commands to run in this order, and the pages to read.
pub fn install_lines(packages: &BTreeSet<Package>) -> Vec<String> {
    let commands = install_commands(packages).into_iter().map(|command| command.join(" "));
    let pages = packages.iter().filter_map(|package| match package {
        Package::Manual(page) => Some(format!("see {page}")),
        Package::Apt(_) | Package::Pip(_) | Package::Npm(_) | Package::Cargo(_) => None,
    });
    commands.chain(pages).collect()
}

/// The commands that install `packages`, in the order to run them, as argument vectors.
fn install_commands(packages: &BTreeSet<Package>) -> Vec<Vec<String>> {
    let (mut apt, mut pip, mut npm) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut crates = BTreeSet::new();
    for package in packages {
        match package {
            Package::Apt(name) => apt.insert(name.as_str()),
            Package::Pip(name) => pip.insert(name.as_str()),
            Package::Npm(name) => npm.insert(name.as_str()),
            Package::Cargo(name) => crates.insert(name.as_str()),
            // Nothing that a command of ours could install.
            Package::Manual(_) => false,
        };
    }
    if !pip.is_empty() && first_line(&["python3", "-m", "pip", "--version"]).is_none() {
        apt.extend(["python3", "python3-pip"]);
    }
    if !npm.is_empty() && on_path("npm").is_none() {
        apt.insert("npm");
    }
    if !crates.is_empty() && on_path("cargo").is_none() {
        apt.insert("cargo");
    }
    let mut commands = Vec::new();
    if !apt.is_empty() {
        commands.push(as_root(&["apt-get", "update"], &BTreeSet::new()));
        commands.push(as_root(&["apt-get", "install", "-y", "--no-install-recommends"], &apt));
    }
    if !pip.is_empty() {
        let mut command = vec!["python3", "-m", "pip", "install"];
        if pip_wants_break_system_packages() {
            command.push("--break-system-packages");
        }
        commands.push(command.into_iter().chain(pip).map(str::to_owned).collect());
    }
    if !npm.is_empty() {
        commands.push(as_root(&["npm", "install", "-g"], &npm));
    }
    if let Some(folder) = crates_directory().filter(|_| !crates.is_empty()) {
        commands.extend(crate_commands(&folder, &crates));
    }
    commands
}

/// What puts `crates` into the Cargo project `folder`, with the sources of all it depends on.
fn crate_commands(folder: &Path, crates: &BTreeSet<&str>) -> Vec<Vec<String>> {
    let (project, manifest) = (folder.display().to_string(), folder.join("Cargo.toml").display().to_string());
    let vendor = folder.join("vendor").display().to_string();
    let mut commands = Vec::new();
    if !folder.join("Cargo.toml").exists() {
        commands.push(vec!["cargo", "init", "--lib", "--vcs", "none", "--name", "crates", &project]);
    }
    let add = vec!["cargo", "add", "--manifest-path", &manifest];
    commands.push(add.into_iter().chain(crates.iter().copied()).collect());
    commands.push(vec!["cargo", "vendor", "--versioned-dirs", "--manifest-path", &manifest, &vendor]);
    commands.into_iter().map(|command| command.into_iter().map(str::to_owned).collect()).collect()
}

/// Where the crates that programs may use are kept.
pub(super) fn crates_directory() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(home.or_else(|| Some(env::home_dir()?.join(".cargo")))?.join("autocodegen"))
}

fn as_root(command: &[&str], packages: &BTreeSet<&str>) -> Vec<String> {
    let sudo = if nix::unistd::geteuid().is_root() { None } else { Some("sudo") };
    sudo.iter().chain(command).chain(packages).map(|&word| word.to_owned()).collect()
}

/// Whether the Python on `PATH` is the system's own, into which pip installs only when told to.
///
/// Without a Python there is none to ask; the one that apt then brings is the system's.
fn pip_wants_break_system_packages() -> bool {
    let ask = "import os, sys, sysconfig; \
               marker = os.path.join(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED'); \
               print(sys.prefix == sys.base_prefix and os.path.exists(marker))";
    first_line(&["python3", "-c", ask]).is_none_or(|answer| answer == "True")
}

/// Where pip puts the programs of the packages it installs.
pub(super) fn pip_scripts_directory() -> Option<PathBuf> {
    let ask = "import sysconfig; print(sysconfig.get_path('scripts'))";
    first_line(&["python3", "-c", ask]).map(PathBuf::from)
}

/// Installs everything in `missing`, writing each command to `out` before it runs. What the commands themselves
/// print goes to stderr.
///
/// # Errors
/// The first command that cannot be started or fails; those after it are not run.
pub fn install(missing: &[Missing], out: &mut dyn Write) -> Result<()> {
    let packages = missing.iter().flat_map(|missing| missing.packages.iter().cloned()).collect();
    for command in install_commands(&packages) {
        let line = command.join(" ");
        writeln!(out, "+ {line}")
            .and_then(|()| out.flush())
            .map_err(|error| Error::environment(format!("cannot write output: {error}")))?;
        run(&command).map_err(|error| {
            error.context(format!("`{line}`")).hint("run the command by hand to see what it needs")
        })?;
    }
    Ok(())
}

fn run(command: &[String]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| Error::environment(format!("cannot start: {error}")))?;
    if status.success() { Ok(()) } else { Err(Error::environment(format!("failed with {status}"))) }
}
