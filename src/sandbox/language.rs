//! Languages as data: one TOML file per language says how its programs are written, compiled, run and judged.
//!
//! Nothing about a particular language stands in generic code; `data/languages/*.toml` is embedded at build
//! time and read by [`Languages::embedded`].

use std::collections::BTreeMap;

use regex::Regex;
use rust_embed::RustEmbed;
use serde::Deserialize;

use super::job::{LimitOverrides, Limits, Outcome};
use super::splice;
use crate::error::{Error, Result};

/// Seconds a program may use when neither the caller nor its language says more; the reference's default.
pub const DEFAULT_TIMEOUT_SECONDS: u64 = 5;

const MIB: u64 = 1024 * 1024;

/// The directory inside a jail where a job's files are and its commands run; also its `HOME`.
pub const WORK_DIRECTORY: &str = "/work";

#[derive(RustEmbed)]
#[folder = "data/languages"]
#[include = "*.toml"]
struct Embedded;

/// One language: the content of its TOML file.
///
/// Commands are argument vectors, never shell lines. In them `{file}` stands for the program's file name,
/// `{name}` for the path of the program or file `name` of [`Needs`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// Canonical name, lower case, e.g. `cpp`.
    pub name: String,
    /// Other names it goes by, lower case, e.g. `c++`.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// File extensions of its source files, without the dot, lower case.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// What the program's file is called in the jail.
    pub file_name: String,
    /// How a solution and its tests become one program: the name of a file in `splice/`; `append` unless given.
    #[serde(default = "append")]
    pub splice: String,
    /// The command that compiles the program, where there is one.
    pub compile: Option<Vec<String>>,
    /// The command that runs the program.
    pub run: Vec<String>,
    /// Other ways to compile and run that splicing may choose, by name.
    #[serde(default, rename = "variant")]
    pub variants: BTreeMap<String, Variant>,
    /// Output that contains one of these is a wrong answer whatever the exit code says.
    #[serde(default)]
    pub failure_marks: Vec<String>,
    /// A regular expression that the error output of a failed run matches when the program could not even be parsed.
    /// Only for languages that are run from source.
    pub syntax_error: Option<Pattern>,
    /// Seconds added to every timeout, because the language's own tools are slow to start.
    #[serde(default)]
    pub extra_seconds: u64,
    /// Limits that differ from the common defaults. `cpu_ms` is the base timeout, without the extra seconds.
    #[serde(default)]
    pub limits: LimitOverrides,
    /// Environment variables of its commands.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What must be installed to compile and run it.
    pub toolchain: Needs,
    /// Files prepared once that make every job faster.
    pub warm: Option<Warm>,
    /// Programs whose outcome is known, for `doctor` and the tests.
    pub probe: Probes,
}

fn append() -> String {
    "append".to_owned()
}

/// A compiled regular expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, regex::Error> {
        Regex::new(&text).map(Self)
    }
}

/// Another way to compile and run programs of a language; what is not given is as in [`Language`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What the program's file is called.
    pub file_name: Option<String>,
    /// The command that compiles the program.
    pub compile: Option<Vec<String>>,
    /// The command that runs the program.
    pub run: Option<Vec<String>>,
}

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
    /// What installs it.
    pub install: Package,
}

/// A file or directory that must be installed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeededFile {
    /// Where it is.
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
}

/// Files prepared once per toolchain, inside a jail, that jobs then find at the same path: a compiler's cache,
/// precompiled headers, a support class. Jobs may rely on them for speed and must not be able to change them
/// for one another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warm {
    /// Absolute path inside jails where `command` leaves its files and jobs find them.
    pub directory: String,
    /// Files put into the work directory before `command` runs, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The command, run in the work directory.
    pub command: Vec<String>,
}

/// Four small programs and what must come of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// Runs and ends well.
    pub passing: Probe,
    /// Fails one of its tests.
    pub failing: Probe,
    /// Breaks while running.
    pub crashing: Probe,
    /// Never ends.
    pub looping: Probe,
}

impl Probes {
    /// The probes with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        [
            ("passing", &self.passing),
            ("failing", &self.failing),
            ("crashing", &self.crashing),
            ("looping", &self.looping),
        ]
        .into_iter()
    }
}

/// A program whose outcome is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The program, or the solution when there are tests.
    pub source: String,
    /// Tests to splice after the solution.
    pub tests: Option<String>,
    /// What must come of it.
    pub outcome: Outcome,
}

impl Language {
    /// Reads the TOML text of the language file `origin` (its path, for messages).
    ///
    /// # Errors
    /// Syntax, unknown or missing keys, commands that name an undeclared `{placeholder}`, an unknown `splice`.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let language: Self = toml::from_str(text).map_err(|error| {
            Error::usage(format!("{origin}: {error}")).hint("compare with the files in data/languages")
        })?;
        language.check().map_err(|error| error.context(origin))?;
        Ok(language)
    }

    fn check(&self) -> Result<()> {
        let names = [&self.name].into_iter().chain(&self.aliases).chain(&self.extensions);
        for name in names {
            if name.is_empty() || name.chars().any(|c| c.is_uppercase() || c.is_control()) {
                return Err(Error::usage(format!("name {name:?} must be lower case and not empty")));
            }
        }
        let file_names = self.variants.values().filter_map(|variant| variant.file_name.as_ref());
        for file_name in file_names.chain([&self.file_name]) {
            if file_name.is_empty() || file_name.contains('/') {
                return Err(Error::usage(format!("key `file_name`: {file_name:?} is not a plain file name")));
            }
        }
        if !splice::is_known(&self.splice) {
            return Err(Error::usage(format!("key `splice`: there is no splicer named {:?}", self.splice))
                .hint(format!("the splicers are {}", splice::names().join(", "))));
        }
        for (key, command) in self.commands() {
            self.check_command(&key, command)?;
        }
        Ok(())
    }

    /// Every command of the file with its key.
    fn commands(&self) -> Vec<(String, &[String])> {
        let mut commands = vec![
            ("run".to_owned(), self.run.as_slice()),
            ("toolchain.version".to_owned(), self.toolchain.version.as_slice()),
        ];
        commands.extend(self.compile.iter().map(|command| ("compile".to_owned(), command.as_slice())));
        commands.extend(self.warm.iter().map(|warm| ("warm.command".to_owned(), warm.command.as_slice())));
        for (name, variant) in &self.variants {
            commands
                .extend(variant.compile.iter().map(|c| (format!("variant.{name}.compile"), c.as_slice())));
            commands.extend(variant.run.iter().map(|c| (format!("variant.{name}.run"), c.as_slice())));
        }
        commands
    }

    fn check_command(&self, key: &str, command: &[String]) -> Result<()> {
        if command.is_empty() {
            return Err(Error::usage(format!("key `{key}`: the command is empty")));
        }
        for name in command.iter().flat_map(|argument| placeholders(argument)) {
            let declared = name == "file"
                || splice::values_of(&self.splice).contains(&name)
                || self.toolchain.programs.contains_key(name)
                || self.toolchain.files.contains_key(name);
            if !declared {
                return Err(Error::usage(format!(
                    "key `{key}`: {{{name}}} is neither {{file}} nor a program or file of [toolchain]"
                )));
            }
        }
        Ok(())
    }

    /// Whether the error output `stderr` of a failed run says that the program could not be parsed.
    pub fn is_syntax_error(&self, stderr: &str) -> bool {
        self.syntax_error.as_ref().is_some_and(|pattern| pattern.0.is_match(stderr))
    }

    /// The limits of a job: the caller's `overrides` over this language's own over the common defaults.
    ///
    /// `overrides.cpu_ms` is the base timeout; the language's [`extra_seconds`](Self::extra_seconds) are added
    /// to it. Unless set, the wall-clock backstop leaves room for a machine that is busy with other jobs.
    pub fn limits_for(&self, overrides: &LimitOverrides) -> Limits {
        let base = overrides.cpu_ms.or(self.limits.cpu_ms).unwrap_or(DEFAULT_TIMEOUT_SECONDS * 1000);
        let cpu_ms = base.saturating_add(self.extra_seconds * 1000);
        let defaults = Limits {
            cpu_ms,
            wall_ms: cpu_ms.saturating_mul(2).saturating_add(1000),
            memory_bytes: 1024 * MIB,
            pids: 64,
            output_bytes: 16 * MIB,
            file_bytes: 256 * MIB,
        };
        Limits { cpu_ms, ..overrides.over(self.limits.over(defaults)) }
    }
}

/// The names in `{braces}` in a command argument.
pub fn placeholders(argument: &str) -> impl Iterator<Item = &str> {
    argument.split('{').skip(1).filter_map(|rest| {
        let name = &rest[..rest.find('}')?];
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-_.".contains(c);
        (!name.is_empty() && name.chars().all(plain)).then_some(name)
    })
}

/// All languages, found by name, alias or file extension.
#[derive(Debug, Clone)]
pub struct Languages {
    languages: Vec<Language>,
    by_name: BTreeMap<String, usize>,
    by_extension: BTreeMap<String, usize>,
}

impl Languages {
    /// The languages of `data/languages`.
    ///
    /// # Errors
    /// A file that [`Language::parse`] refuses, or two that claim the same name or extension.
    pub fn embedded() -> Result<Self> {
        let mut languages = Vec::new();
        for path in Embedded::iter() {
            let Some(file) = Embedded::get(&path) else { continue };
            let origin = format!("data/languages/{path}");
            let text = std::str::from_utf8(&file.data)
                .map_err(|error| Error::usage(format!("{origin}: {error}")))?;
            languages.push(Language::parse(&origin, text)?);
        }
        Self::new(languages)
    }

    /// These languages.
    ///
    /// # Errors
    /// Two that claim the same name, alias or extension.
    pub fn new(mut languages: Vec<Language>) -> Result<Self> {
        languages.sort_by(|a, b| a.name.cmp(&b.name));
        let mut by_name = BTreeMap::new();
        let mut by_extension = BTreeMap::new();
        for (index, language) in languages.iter().enumerate() {
            for name in [&language.name].into_iter().chain(&language.aliases) {
                claim(&mut by_name, "name", name, index, &languages)?;
            }
            for extension in &language.extensions {
                claim(&mut by_extension, "extension", extension, index, &languages)?;
            }
        }
        Ok(Self { languages, by_name, by_extension })
    }

    /// The language of this name or alias; upper and lower case and surrounding space do not matter.
    pub fn get(&self, name_or_alias: &str) -> Option<&Language> {
        let index = *self.by_name.get(name_or_alias.trim().to_lowercase().as_str())?;
        self.languages.get(index)
    }

    /// The language whose source files have this extension, given without the dot.
    pub fn by_extension(&self, extension: &str) -> Option<&Language> {
        let index = *self.by_extension.get(extension.to_lowercase().as_str())?;
        self.languages.get(index)
    }

    /// All languages, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Language> {
        self.languages.iter()
    }

    /// The language of this name or alias, as an error that lists what there is.
    ///
    /// # Errors
    /// There is no such language.
    pub fn require(&self, name_or_alias: &str) -> Result<&Language> {
        self.get(name_or_alias).ok_or_else(|| {
            let names: Vec<_> = self.iter().map(|language| language.name.as_str()).collect();
            Error::usage(format!("unknown language {name_or_alias:?}"))
                .hint(format!("the languages are {}", names.join(", ")))
        })
    }
}

fn claim(
    owners: &mut BTreeMap<String, usize>,
    what: &str,
    name: &str,
    index: usize,
    languages: &[Language],
) -> Result<()> {
    match owners.insert(name.to_owned(), index) {
        Some(other) => Err(Error::usage(format!(
            "the {what} {name:?} is claimed by both {} and {}",
            languages[other].name, languages[index].name
        ))),
        None => Ok(()),
    }
}
