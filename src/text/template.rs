//! Prompt templates: `<step>/<language>.txt`, rendered with minijinja (Jinja syntax).
//!
//! - Templates are embedded in the binary. A directory given by the user overrides them file by file; its
//!   further `.txt` files are new templates, e.g. for another language or to be included. Hidden files and
//!   other extensions are passed over.
//! - A step's template for a language is `<step>/<language>.txt`, or else `<step>/default.txt`.
//! - Variables are columns of the row. One the row does not have is an error, never an empty string. Values
//!   are put in once and as they are: braces in a value mean nothing and nothing is escaped.
//! - Includes name their file in quotes, from the top: `{% include "solution/_task.txt" %}`. Names computed at
//!   render time are refused, because a prompt's fingerprint must cover all it depends on.
//! - One newline at the end of a file is not part of the text, so a prompt does not end in a newline unless its
//!   file ends in two.
//! - A line that is exactly `--- user ---` separates a system message, above it, from the user message. The line
//!   is looked for in the template, before values are put in. Without it there is no system message.
//! - Two filters: `fence(info)` puts a value into a fenced block whose fence does not occur in it, `unfence`
//!   takes the code out of one, or leaves a value without a fence alone.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::frame::key::Key;
use crate::text::blocks;
use files::File;

/// Instructions one rendering may take: plenty for any prompt, and an end to a template that loops.
const FUEL: u64 = 100_000;

/// The name under which a file's system part is compiled: no file can have it.
const SYSTEM: &str = "#system";

/// A rendered template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The system message, if the template has one.
    pub system: Option<String>,
    /// The user message.
    pub user: String,
}

/// All templates, checked and compiled.
pub struct Templates {
    environment: Environment<'static>,
    files: BTreeMap<String, File>,
}

impl Templates {
    /// The embedded templates, overridden by the files of `override_dir`.
    ///
    /// # Errors
    /// A file that cannot be read, is not UTF-8, does not parse, or includes a file that is not there; the
    /// message names the file and, where there is one, the line.
    pub fn load(override_dir: Option<&Path>) -> Result<Self> {
        let mut files = files::embedded()?;
        if let Some(dir) = override_dir {
            files.extend(files::in_dir(dir)?);
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        // Keeps the failing expression with an error, for the message.
        environment.set_debug(true);
        environment.add_filter("fence", |value: &str, info: Option<&str>| {
            blocks::render(info.unwrap_or_default(), value)
        });
        environment.add_filter("unfence", |value: &str| blocks::unfence(value).into_owned());
        for (name, file) in &files {
            let (system, user) = file.parts();
            let parts = system.map(|part| (format!("{name}{SYSTEM}"), part));
            for (name, part) in parts.into_iter().chain([(name.clone(), user)]) {
                environment.add_template_owned(name, part.to_owned()).map_err(|error| bad(&files, &error))?;
            }
        }
        for (name, file) in &files {
            if let Some((missing, line)) =
                file.includes.iter().find(|(include, _)| !files.contains_key(include))
            {
                return Err(Error::usage(format!(
                    "template {name}, line {line}: there is no template {missing} to include"
                ))
                .hint("a name begins with its step: \"solution/_task.txt\""));
            }
        }
        Ok(Self { environment, files })
    }

    /// Renders the template of `step` for `language` with the columns of `row`, a map or struct of strings.
    ///
    /// # Errors
    /// There is no such template, the row lacks a variable it uses, or it runs out of fuel.
    pub fn render(&self, step: &str, language: &str, row: &impl Serialize) -> Result<Prompt> {
        let name = self.name(step, language)?;
        let row = minijinja::Value::from(Serde(row));
        let part = |name: &str| {
            self.environment
                .get_template(name)
                .and_then(|template| template.render(row.clone()))
                .map_err(|error| bad(&self.files, &error))
        };
        let has_system = self.files.get(name).is_some_and(|file| file.parts().0.is_some());
        let system = has_system.then(|| part(&format!("{name}{SYSTEM}"))).transpose()?;
        Ok(Prompt { system, user: part(name)? })
    }

    /// Name and text of every file the template of `step` for `language` depends on, itself first and then
    /// what it includes, directly or not, by name.
    ///
    /// # Errors
    /// There is no such template.
    pub fn sources(&self, step: &str, language: &str) -> Result<Vec<(&str, &str)>> {
        let name = self.name(step, language)?;
        let mut seen = BTreeSet::new();
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            if let Some(file) = self.files.get(name).filter(|_| seen.insert(name)) {
                open.extend(file.includes.iter().map(|(include, _)| include.as_str()));
            }
        }
        seen.remove(name);
        let names = std::iter::once(name).chain(seen);
        Ok(names.filter_map(|name| self.files.get(name).map(|file| (name, file.source.as_str()))).collect())
    }

    /// A hash of [`Self::sources`]: changes exactly when what the prompt is made from changes.
    ///
    /// # Errors
    /// There is no such template.
    pub fn source_hash(&self, step: &str, language: &str) -> Result<Key> {
        let sources = self.sources(step, language)?;
        let parts: Vec<&str> = sources.iter().flat_map(|(name, source)| [*name, *source]).collect();
        Ok(Key::of(&parts))
    }

    /// The columns the template of `step` for `language` needs, those of its includes among them.
    ///
    /// A variable that one file sets and another uses counts as a column: set variables where they are used.
    ///
    /// # Errors
    /// There is no such template.
    pub fn columns_used(&self, step: &str, language: &str) -> Result<BTreeSet<String>> {
        let mut columns = BTreeSet::new();
        for (name, _) in self.sources(step, language)? {
            for part in [name.to_owned(), format!("{name}{SYSTEM}")] {
                if let Ok(template) = self.environment.get_template(&part) {
                    columns.extend(template.undeclared_variables(false));
                }
            }
        }
        for (global, _) in self.environment.globals() {
            columns.remove(global);
        }
        Ok(columns)
    }

    /// The columns that any template of `step` needs, over all its languages, sorted.
    ///
    /// # Errors
    /// The step has no template.
    pub fn step_columns(&self, step: &str) -> Result<Vec<String>> {
        let languages = self.files.keys().filter_map(|name| {
            name.strip_prefix(step)?
                .strip_prefix('/')?
                .strip_suffix(".txt")
                .filter(|file| !file.starts_with('_'))
        });
        let mut columns = BTreeSet::new();
        let mut found = false;
        for language in languages {
            columns.extend(self.columns_used(step, language)?);
            found = true;
        }
        match found {
            true => Ok(columns.into_iter().collect()),
            false => Err(Error::usage(format!("there is no template for the step `{step}`")).hint(format!(
                "templates of a step lie in templates/{step}/<language>.txt; see --templates"
            ))),
        }
    }

    /// Writes every template to `dir/<hash of all of them>/<step>/<language>.txt` and gives the hash, so that
    /// [`Self::load`] of that directory renders the prompts of a run again.
    ///
    /// # Errors
    /// The disk.
    pub fn save(&self, dir: &Path) -> Result<Key> {
        let parts: Vec<&str> =
            self.files.iter().flat_map(|(name, file)| [name.as_str(), &file.source]).collect();
        let hash = Key::of(&parts);
        let dir = dir.join(hash.to_string());
        for (name, file) in &self.files {
            let path = dir.join(name);
            let parent = path.parent().unwrap_or(&dir);
            std::fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, error))?;
            std::fs::write(&path, &file.source).map_err(|error| Error::io("write", &path, error))?;
        }
        Ok(hash)
    }

    /// The name of the template of `step` for `language`.
    fn name(&self, step: &str, language: &str) -> Result<&str> {
        let candidates = [format!("{step}/{language}.txt"), format!("{step}/default.txt")];
        let found = candidates.iter().find_map(|name| self.files.get_key_value(name));
        found.map(|(name, _)| name.as_str()).ok_or_else(|| {
            Error::usage(format!("there is no template {} and no {}", candidates[0], candidates[1]))
                .hint("put one of them into a directory and name it with --templates DIR")
        })
    }
}

/// What minijinja reports, with the file and the line in it.
fn bad(files: &BTreeMap<String, File>, error: &minijinja::Error) -> Error {
    // An error inside an included file arrives wrapped in that of the include.
    let mut error = error;
    while let Some(inner) = std::error::Error::source(error).and_then(|inner| inner.downcast_ref()) {
        error = inner;
    }
    let part = error.name().unwrap_or_default();
    let (name, is_system) = part.strip_suffix(SYSTEM).map_or((part, false), |name| (name, true));
    let before = if is_system { 0 } else { files.get(name).map_or(0, File::lines_before_user) };
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let expression = error.range().and_then(|range| error.template_source()?.get(range));
    let at = expression.map_or_else(String::new, |expression| format!(" at `{expression}`"));
    Error::usage(format!("template {name}, line {}: {what}{at}", error.line().unwrap_or(1) + before))
        .hint("templates are in the language of minijinja; those in templates/ show what rows offer")
}
