//! `autocodegen doctor`: what isolation is in force, which toolchains are there, what installs those that are not.

use std::io::stderr;

use clap::ValueEnum;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::cli::{runtime, summary, write_stdout};
use crate::error::{Error, Result};
use crate::sandbox::language::{Language, Languages};
use crate::sandbox::local::{Isolation, LocalSandbox, Options};
use crate::sandbox::toolchain::{self, Missing, Toolchain};

/// Arguments of `doctor`.
#[derive(clap::Args)]
#[command(after_help = "Exit code 3 when isolation or a toolchain that was asked for is missing.

Examples:
  autocodegen doctor
  autocodegen doctor --language java --language go --install
  autocodegen doctor --format json | jq -r '.install[]'")]
pub struct Args {
    /// Only this language; may be given several times. Default: all.
    #[arg(long, value_name = "NAME")]
    pub language: Vec<String>,
    /// Install the toolchains that are missing, with apt-get, pip and npm. Each command is shown before it runs.
    #[arg(long)]
    pub install: bool,
    /// How to print.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Weakest isolation of local jails to accept.
    #[arg(long, value_enum, default_value = "auto")]
    pub isolation: Isolation,
}

/// How `doctor` prints.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// What was found out about one language.
type Finding<'a> = (&'a Language, Result<Toolchain, Missing>);

/// Runs the command.
///
/// # Errors
/// Unknown language; a command of `--install` that fails.
pub fn run(args: &Args) -> Result<u8> {
    let languages = Languages::embedded()?;
    let chosen = match args.language.as_slice() {
        [] => languages.iter().collect(),
        names => names.iter().map(|name| languages.require(name)).collect::<Result<Vec<_>>>()?,
    };
    let mut findings = examine(&chosen);
    if args.install && !missing(&findings).is_empty() {
        toolchain::install(&missing(&findings), &mut stderr())?;
        findings = examine(&chosen);
    }
    let isolation = isolation(args.isolation);
    write_stdout(&match args.format {
        Format::Json => format!("{:#}\n", as_json(&findings, &isolation)),
        Format::Table => as_table(&findings, &isolation),
    })?;
    // That a language cannot be installed from here is no fault, unless it was asked for.
    let asked_for = |language: &Language| language.installable || !args.language.is_empty();
    let complete = findings.iter().all(|(language, finding)| finding.is_ok() || !asked_for(language));
    Ok(if isolation.is_ok() && complete { 0 } else { 3 })
}

/// Sees to the toolchains of the languages `needed`: installs those that are missing when `install` says so,
/// otherwise says what is missing and how to install it. Rows of a language without a toolchain stay pending.
///
/// # Errors
/// None of the toolchains is there, or installing one failed.
pub fn provide(languages: &Languages, needed: &[String], install: bool) -> Result<()> {
    let chosen: Vec<_> = needed.iter().filter_map(|name| languages.get(name)).collect();
    let mut absent = missing(&examine(&chosen));
    if install && !absent.is_empty() {
        toolchain::install(&absent, &mut stderr())?;
        absent = missing(&examine(&chosen));
    }
    if absent.is_empty() {
        return Ok(());
    }
    for missing in &absent {
        eprintln!("{missing}; its rows stay pending");
    }
    let commands = install_lines(&absent);
    if absent.len() == chosen.len() {
        return Err(Error::environment("no toolchain of the languages of these seeds is installed")
            .hint(format!("add --install, or run: {}", commands.join(" && "))));
    }
    eprintln!("add --install, or run: {}", commands.join(" && "));
    Ok(())
}

/// Looks for the toolchains of `languages`.
fn examine<'a>(languages: &[&'a Language]) -> Vec<Finding<'a>> {
    let find = |language| toolchain::find(language).map(|(_, toolchain)| toolchain);
    languages.par_iter().map(|language| (*language, find(language))).collect()
}

fn missing(findings: &[Finding<'_>]) -> Vec<Missing> {
    findings.iter().filter_map(|(_, finding)| finding.as_ref().err().cloned()).collect()
}

/// The commands that install everything in `missing`, as shell lines.
fn install_lines(missing: &[Missing]) -> Vec<String> {
    let packages = missing.iter().flat_map(|missing| missing.packages.iter().cloned()).collect();
    toolchain::install_lines(&packages)
}

/// The isolation that local jails get here.
fn isolation(weakest: Isolation) -> Result<String> {
    runtime()?.block_on(async {
        let options = Options { isolation: weakest, ..Options::default() };
        LocalSandbox::start(options).map(|sandbox| sandbox.isolation().to_owned())
    })
}

fn as_table(findings: &[Finding<'_>], isolation: &Result<String>) -> String {
    let mut lines = Vec::new();
    match isolation {
        Ok(isolation) => lines.push(format!("isolation: {isolation}")),
        Err(error) => {
            lines.push(format!("isolation: none: {error}"));
            lines.extend(error.hint_text().map(|hint| format!("  {hint}")));
        }
    }
    let mut table = summary::table(&["language", "toolchain", "missing"], 0..0);
    for (language, finding) in findings {
        match finding {
            Ok(toolchain) => table.add_row([language.name.as_str(), toolchain.version.as_str(), ""]),
            Err(missing) => table.add_row([language.name.as_str(), "", &missing.programs.join(", ")]),
        };
    }
    lines.push(table.to_string());
    let install = install_lines(&missing(findings));
    if !install.is_empty() {
        lines.push("These commands install what is missing (doctor --install runs them):".to_owned());
        lines.extend(install.iter().map(|line| format!("  {line}")));
    }
    lines.join("\n") + "\n"
}

fn as_json(findings: &[Finding<'_>], isolation: &Result<String>) -> Value {
    let toolchains: Vec<_> = findings
        .iter()
        .map(|(language, finding)| match finding {
            Ok(toolchain) => json!({
                "language": language.name, "installed": true, "version": toolchain.version,
                "paths": toolchain.substitutions,
            }),
            Err(missing) => json!({
                "language": language.name, "installed": false, "missing": missing.programs,
                "install": missing.install,
            }),
        })
        .collect();
    json!({
        "isolation": isolation.as_ref().ok(),
        "isolation_error": isolation.as_ref().err().map(ToString::to_string),
        "toolchains": toolchains,
        "install": install_lines(&missing(findings)),
    })
}
