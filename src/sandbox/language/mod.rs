//! Languages as data: one TOML file per language says how its programs are written, compiled, run and judged.
//!
//! Nothing about a particular language stands in generic code; `data/languages/*.toml` is embedded at build
//! time and read by [`Languages::embedded`].

mod all;
mod check;
mod compiler;
mod completion;
mod fork_server;
mod needs;
mod probe;
mod warm;

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;

use super::job::{LimitOverrides, Limits};
use crate::error::{Error, Result};

pub use all::Languages;
pub use compiler::Compiler;
pub use completion::{Completion, Exit};
pub use fork_server::{ForkServer, Interface};
pub use needs::{NeededFile, NeededProgram, Needs, Package};
pub use probe::{Probe, Probes};
pub use warm::{WARM_DIRECTORY, Warm};

/// Seconds a program may use when neither the caller nor its language says more; the reference's default.
pub const DEFAULT_TIMEOUT_SECONDS: u64 = 5;

const MIB: u64 = 1024 * 1024;

/// One language: the content of its TOML file.
///
/// Commands are argument vectors, never shell lines. In them, and in the values of `env`, `{file}` stands for the
/// program's file name, `{name}` for the path of the program or file `name` of [`Needs`], `{warm}` for the folder of
/// [`Warm`]; splicers may bring further names.
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
    /// Files put into the work folder next to every program, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// How it is known that tests ran to their end.
    pub completion: Option<Completion>,
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
    /// Environment variables that differ when a run is repeated to see whether it is flaky; `{n}` is the number of
    /// the repetition, from 1.
    #[serde(default)]
    pub vary: BTreeMap<String, String>,
    /// Arguments that the command that runs the program gets besides, right after its name, in such repetitions.
    #[serde(default)]
    pub vary_arguments: Vec<String>,
    /// Whether its toolchain comes from packages that `doctor --install` can install.
    #[serde(default = "yes")]
    pub installable: bool,
    /// What must be installed to compile and run it.
    pub toolchain: Needs,
    /// Better runtimes than the one described here, in the order of preference; the first whose toolchain is
    /// installed is used. In the file a `[[runtime]]` gives the keys that differ; how programs are compiled and run
    /// (`compile`, `run`, `variant`, `files`, `completion`, `env`, `warm`, `compiler`, `fork_server`) it gives whole.
    #[serde(skip)]
    pub preferred: Vec<Self>,
    /// Files prepared once that make every job faster.
    pub warm: Option<Warm>,
    /// A process that stays and compiles for many jobs.
    pub compiler: Option<Compiler>,
    /// An interpreter that is started once and forked for every job.
    pub fork_server: Option<ForkServer>,
    /// Programs whose outcome is known, for `doctor` and the tests.
    pub probe: Probes,
}

/// Keys that a `[[runtime]]` does not take over from its language.
const OF_RUNTIME: [&str; 9] =
    ["compile", "run", "variant", "files", "completion", "env", "warm", "compiler", "fork_server"];

fn append() -> String {
    "append".to_owned()
}

fn yes() -> bool {
    true
}

/// A compiled regular expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(pub(super) Regex);

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, regex::Error> {
        Regex::new(&text).map(Self)
    }
}

/// Another way to compile and run programs of a language; what is not given is as in [`Language`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What the program's file is called.
    pub file_name: Option<String>,
    /// The command that compiles the program.
    pub compile: Option<Vec<String>>,
    /// The command that runs the program.
    pub run: Option<Vec<String>>,
}

impl Language {
    /// Reads the TOML text of the language file `origin` (its path, for messages).
    ///
    /// # Errors
    /// Syntax, unknown or missing keys, commands that name an undeclared `{placeholder}`, an unknown `splice`.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let wrong = |error: toml::de::Error| {
            Error::usage(format!("{origin}: {error}")).hint("compare with the files in data/languages")
        };
        let mut table: toml::Table = toml::from_str(text).map_err(wrong)?;
        let runtimes = match table.remove("runtime") {
            Some(runtimes) => runtimes.try_into::<Vec<toml::Table>>().map_err(wrong)?,
            None => Vec::new(),
        };
        // Parsed from the text where possible: messages then show the line.
        let mut language: Self =
            if runtimes.is_empty() { toml::from_str(text) } else { table.clone().try_into() }
                .map_err(wrong)?;
        language.read_support().map_err(|error| error.context(origin))?;
        language.check().map_err(|error| error.context(origin))?;
        for runtime in runtimes {
            let mut whole = table.clone();
            whole.retain(|key, _| !OF_RUNTIME.contains(&key));
            whole.extend(runtime);
            let mut runtime: Self = whole.try_into().map_err(wrong)?;
            runtime.read_support().map_err(|error| error.context(origin))?;
            runtime.check().map_err(|error| error.context(origin))?;
            language.preferred.push(runtime);
        }
        Ok(language)
    }

    /// Takes in the files that languages share.
    fn read_support(&mut self) -> Result<()> {
        if let Some(warm) = &mut self.warm {
            for path in &warm.support {
                let name = path.rsplit('/').next().unwrap_or(path);
                warm.files.insert(name.to_owned(), all::support(path, "warm.support")?);
            }
        }
        self.completion.as_mut().map_or(Ok(()), Completion::load_harness)
    }

    /// The ways to run this language, the most wanted first, this one last.
    pub fn runtimes(&self) -> impl Iterator<Item = &Self> {
        self.preferred.iter().chain([self])
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
