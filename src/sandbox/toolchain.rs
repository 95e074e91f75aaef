//! The compilers and interpreters of this machine: finding them, their versions, and what installs them.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::language::{Language, NeededProgram, Package, WARM_DIRECTORY, placeholders};

mod install;
pub use install::{install, install_lines};

/// Directories whose content every jail sees; what lies in them needs no mount of its own.
const ALWAYS_VISIBLE: [&str; 5] = ["/usr", "/bin", "/lib", "/lib64", "/sbin"];

/// An installed toolchain: what a jail needs to compile and run programs of one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The first line its version command prints, e.g. `Python 3.11.7`.
    pub version: String,
    /// Paths outside `/usr`, `/bin` and `/lib*` that must be visible, read-only.
    pub mounts: Vec<PathBuf>,
    /// Directories to put before the standard ones in `PATH`.
    pub path: Vec<PathBuf>,
    /// Values for the `{name}` placeholders of the language's commands, `{file}` excepted.
    pub substitutions: BTreeMap<String, String>,
    /// The interpreter as a library, for the language's fork server.
    pub library: Option<PathBuf>,
}

impl Toolchain {
    /// `command` with its placeholders replaced; `{file}` becomes `file_name`.
    pub fn expand(&self, command: &[String], file_name: &str) -> Vec<String> {
        command.iter().map(|argument| self.expand_text(argument, file_name)).collect()
    }

    /// `text` with its placeholders replaced likewise.
    pub fn expand_text(&self, text: &str, file_name: &str) -> String {
        expand(text, |name| match name {
            "file" => Some(file_name),
            _ => self.substitutions.get(name).map(String::as_str),
        })
    }
}

/// `argument` with each `{name}` that has a value replaced, once: values are not looked into again.
pub fn expand<'a>(argument: &str, value: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(argument.len());
    let mut rest = argument;
    for name in placeholders(argument) {
        let quoted = format!("{{{name}}}");
        let (Some((before, after)), Some(value)) = (rest.split_once(&quoted), value(name)) else { continue };
        expanded.push_str(before);
        expanded.push_str(value);
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

/// A toolchain that is not, or not completely, installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Canonical name of the language.
    pub language: String,
    /// The programs and files that were not found, or do not work.
    pub programs: Vec<String>,
    /// The packages that bring them.
    pub packages: BTreeSet<Package>,
    /// The shell commands that install them.
    pub install: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} toolchain is missing {}", self.language, self.programs.join(", "))
    }
}

/// Finds the best runtime of `language` whose toolchain is on this machine.
///
/// # Errors
/// Everything that is missing of the plain runtime, with the commands that install it.
pub fn find(language: &Language) -> Result<(&Language, Toolchain), Missing> {
    let better = language.preferred.iter().find_map(|runtime| Some((runtime, find_runtime(runtime).ok()?)));
    match better {
        Some(found) => Ok(found),
        None => find_runtime(language).map(|toolchain| (language, toolchain)),
    }
}

/// Finds the toolchain of one runtime: programs on `PATH`, files where the language file says.
fn find_runtime(language: &Language) -> Result<Toolchain, Missing> {
    let mut found = Toolchain {
        version: String::new(),
        mounts: Vec::new(),
        path: Vec::new(),
        substitutions: BTreeMap::new(),
        library: None,
    };
    found.substitutions.insert("warm".to_owned(), WARM_DIRECTORY.to_owned());
    let mut absent = Vec::new();
    let mut packages = BTreeSet::new();
    for (name, needed) in &language.toolchain.programs {
        match find_program(name, needed) {
            Some(program) => found.add(name, program),
            None => {
                absent.push(name.clone());
                packages.insert(needed.install.clone());
            }
        }
    }
    for (name, needed) in &language.toolchain.files {
        match find_file(&needed.path) {
            Some(path) => {
                found.substitutions.insert(name.clone(), path.display().to_string());
                found.mount(path);
            }
            None => {
                absent.push(needed.path.clone());
                packages.insert(needed.install.clone());
            }
        }
    }
    if absent.is_empty() {
        let command = found.expand(&language.toolchain.version, "");
        match first_line(&command) {
            Some(version) => found.version = version,
            None => {
                absent.push(format!("a working `{}`", command.join(" ")));
                packages.extend(language.toolchain.programs.values().map(|needed| needed.install.clone()));
            }
        }
    }
    if !absent.is_empty() {
        let install = install_lines(&packages);
        return Err(Missing { language: language.name.clone(), programs: absent, packages, install });
    }
    for pattern in &language.toolchain.mounts {
        // A pattern that is not a glob matches nothing, like one whose paths do not exist.
        for path in glob::glob(pattern).into_iter().flatten().flatten() {
            found.mount(path);
        }
    }
    if let Some(server) = &language.fork_server {
        let library = first_line(&found.expand(&server.library, "")).map(PathBuf::from);
        found.library = library.filter(|path| path.is_absolute() && path.is_file());
        if let Some(library) = found.library.clone() {
            found.mount(library);
        }
    }
    Ok(found)
}

/// Where a program is, and the directory it is installed in when it says so.
struct Program {
    path: PathBuf,
    home: Option<PathBuf>,
}

impl Toolchain {
    fn add(&mut self, name: &str, program: Program) {
        self.substitutions.insert(name.to_owned(), program.path.display().to_string());
        if let Some(directory) = program.path.parent()
            && !is_always_visible(directory)
            && !self.path.iter().any(|known| known == directory)
        {
            self.path.push(directory.to_owned());
        }
        match program.home {
            // A directory that holds a person's files is more than a jail may see.
            Some(home) if !holds_personal_files(&home) => self.mount(home),
            _ => self.mount(program.path),
        }
    }

    fn mount(&mut self, path: PathBuf) {
        if !is_always_visible(&path) && !self.mounts.iter().any(|known| path.starts_with(known)) {
            self.mounts.retain(|known| !known.starts_with(&path));
            self.mounts.push(path);
        }
    }
}

fn is_always_visible(path: &Path) -> bool {
    ALWAYS_VISIBLE.iter().any(|visible| path.starts_with(visible))
}

fn holds_personal_files(directory: &Path) -> bool {
    let home = env::home_dir().unwrap_or_else(|| PathBuf::from("/root"));
    home.starts_with(directory) || directory == home.join(".local")
}

fn find_program(name: &str, needed: &NeededProgram) -> Option<Program> {
    let names: Vec<&str> = match needed.names.as_slice() {
        [] => vec![name],
        names => names.iter().map(String::as_str).collect(),
    };
    let (name, path) = names.iter().find_map(|name| Some((*name, find_named(name, &needed.install)?)))?;
    match &needed.home {
        None => Some(Program { path: path.canonicalize().ok()?, home: None }),
        Some(arguments) => {
            let mut command = vec![path.display().to_string()];
            command.extend(arguments.iter().cloned());
            let home = PathBuf::from(first_line(&command)?).canonicalize().ok()?;
            let path = executable(&home.join("bin").join(name))?;
            Some(Program { path, home: Some(home) })
        }
    }
}

/// The executable called `name`, on `PATH` or where pip puts its own.
fn find_named(name: &str, install: &Package) -> Option<PathBuf> {
    on_path(name).or_else(|| match install {
        Package::Pip(_) => executable(&install::pip_scripts_directory()?.join(name)),
        Package::Apt(_) | Package::Npm(_) | Package::Cargo(_) | Package::Manual(_) => None,
    })
}

/// The last path, in the order of names, that the pattern of a language file matches.
fn find_file(pattern: &str) -> Option<PathBuf> {
    let folder = |command: &[&str]| first_line(command).map(|folder| glob::Pattern::escape(&folder));
    let pattern = match pattern {
        _ if pattern.contains("{npm}") => pattern.replace("{npm}", &folder(&["npm", "root", "-g"])?),
        _ if pattern.contains("{pip}") => {
            let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
            pattern.replace("{pip}", &folder(&["python3", "-c", ask])?)
        }
        _ if pattern.contains("{cargo}") => {
            let folder = install::crates_directory()?;
            pattern.replace("{cargo}", &glob::Pattern::escape(&folder.display().to_string()))
        }
        _ => pattern.to_owned(),
    };
    glob::glob(&pattern).ok()?.flatten().last()
}

/// The first executable called `name` in a directory of `PATH`.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .find_map(|directory| executable(&directory.join(name)))
}

fn executable(path: &Path) -> Option<PathBuf> {
    let metadata = path.metadata().ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then(|| path.to_owned())
}

/// The first line with text that `command` prints, stdout before stderr; `None` when it cannot be run or fails.
pub(super) fn first_line<S: AsRef<OsStr>>(command: &[S]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = stdout.lines().chain(stderr.lines()).map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned)
}
