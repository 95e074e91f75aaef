//! What a language needs to be installed, and which packages bring it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What must be installed for a language.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Programs by name, looked for on `PATH`.
    pub programs: BTreeMap<String, NeededProgram>,
    /// Libraries and other files, by the name commands refer to them.
    #[serde(default)]
    pub files: BTreeMap<String, NeededFile>,
    /// The command whose first line of output is the version.
    pub version: Vec<String>,
    /// Paths (globs allowed) outside `/usr`, `/bin` and `/lib*` that its programs read; those that exist are
    /// mounted read-only.
    #[serde(default)]
    pub mounts: Vec<String>,
}

/// A program that must be installed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeededProgram {
    /// Arguments that make it print the directory it is installed in. The program itself is then
    /// `bin/NAME` in there: that sees through the wrapper scripts of version switchers, which cannot run in a
    /// jail.
    pub home: Option<Vec<String>>,
    /// Names it may have instead of its key, the most wanted first.
    #[serde(default)]
    pub names: Vec<String>,
    /// What installs it.
    pub install: Package,
}

/// A file or directory that must be installed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeededFile {
    /// Where it is: an absolute path, globs allowed (the last match in the order of names is taken), `{npm}` for the
    /// folder of Node's global packages, `{pip}` for that of Python's, `{cargo}` for the Cargo project that
    /// depends on the installed crates, with their sources in its folder `vendor`.
    pub path: String,
    /// What installs it.
    pub install: Package,
}

/// A package of one of the package managers that `doctor --install` drives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Package {
    /// A Debian package.
    Apt(String),
    /// A Python package.
    Pip(String),
    /// A Node package.
    Npm(String),
    /// A Rust crate, `name@version`.
    Cargo(String),
    /// None of these: a page that says how to install it.
    Manual(String),
}

impl Needs {
    /// All packages that bring something of it.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        let programs = self.programs.values().map(|needed| &needed.install);
        programs.chain(self.files.values().map(|needed| &needed.install))
    }
}
