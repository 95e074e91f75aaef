//! Template files: where they come from, their parts, what they include.

use std::collections::BTreeMap;
use std::path::Path;

use ignore::WalkBuilder;
use rust_embed::RustEmbed;

use crate::error::{Error, Result};

/// The line between a system message and the user message.
const USER: &str = "--- user ---";

#[derive(RustEmbed)]
#[folder = "templates/"]
#[include = "*.txt"]
struct Embedded;

/// The tags that bring in another file.
const INCLUDING: [&str; 4] = ["include", "extends", "import", "from"];

/// One template file.
pub(super) struct File {
    /// Its text.
    pub(super) source: String,
    /// The files it includes, each with the line that does.
    pub(super) includes: Vec<(String, usize)>,
}

impl File {
    /// # Errors
    /// An include whose name is computed.
    fn new(name: &str, source: String) -> Result<Self> {
        let mut includes = Vec::new();
        for (at, _) in source.match_indices("{%") {
            let tag = source[at + 2..].trim_start_matches(['-', '+']).trim_start();
            let Some(what) = INCLUDING.iter().find_map(|word| tag.strip_prefix(word)) else { continue };
            let line = line_of(source.as_bytes(), at);
            let include = quoted_name(what).ok_or_else(|| {
                Error::usage(format!("template {name}, line {line}: what to include is not a quoted name"))
                    .hint(
                        "write the name out, in quotes and alone: names computed while rendering are refused",
                    )
            })?;
            includes.push((include.to_owned(), line));
        }
        Ok(Self { source, includes })
    }

    /// The text of the system message, if there is one, and of the user message.
    pub(super) fn parts(&self) -> (Option<&str>, &str) {
        let mut start = 0;
        for line in self.source.split_inclusive('\n') {
            let end = start + line.len();
            if line.trim_end() == USER {
                return (Some(&self.source[..start]), &self.source[end..]);
            }
            start = end;
        }
        (None, &self.source)
    }

    /// How many lines of the file come before its user part.
    pub(super) fn lines_before_user(&self) -> usize {
        let (_, user) = self.parts();
        line_of(self.source.as_bytes(), self.source.len() - user.len()) - 1
    }
}

/// The templates of the binary, by name.
pub(super) fn embedded() -> Result<BTreeMap<String, File>> {
    Embedded::iter()
        .filter_map(|name| Some((Embedded::get(&name)?, name)))
        .map(|(file, name)| read(&name, file.data.into_owned()))
        .collect()
}

/// The `.txt` files under `dir`, by their path in it.
pub(super) fn in_dir(dir: &Path) -> Result<BTreeMap<String, File>> {
    if !dir.is_dir() {
        return Err(Error::usage(format!("{} is not a directory of templates", dir.display()))
            .hint("a template directory holds files named STEP/LANGUAGE.txt"));
    }
    let mut files = BTreeMap::new();
    for entry in WalkBuilder::new(dir).standard_filters(false).hidden(true).follow_links(true).build() {
        let entry = entry.map_err(|error| Error::usage(format!("cannot read templates: {error}")))?;
        let path = entry.path();
        if path.is_dir() || path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let name =
            path.strip_prefix(dir).unwrap_or(path).to_str().ok_or_else(|| {
                Error::usage(format!("the name of template {} is not UTF-8", path.display()))
            })?;
        let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
        let (name, file) = read(name, bytes)?;
        files.insert(name, file);
    }
    Ok(files)
}

fn read(name: &str, bytes: Vec<u8>) -> Result<(String, File)> {
    let source = String::from_utf8(bytes).map_err(|error| {
        let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
        Error::usage(format!("template {name}, line {line}: not UTF-8"))
    })?;
    Ok((name.to_owned(), File::new(name, source)?))
}

/// The name in ` "name" %}`, perhaps followed by what to import from it.
fn quoted_name(what: &str) -> Option<&str> {
    let what = what.trim_start();
    let quote = what.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let (name, rest) = what[1..].split_once(quote)?;
    let rest = rest.split_once("%}")?.0.trim_end_matches(['-', '+']).trim();
    (rest.is_empty() || rest.starts_with("as ") || rest.starts_with("import ")).then_some(name)
}

/// The line, counted from 1, that the byte `at` is on.
fn line_of(bytes: &[u8], at: usize) -> usize {
    memchr::memchr_iter(b'\n', &bytes[..at]).count() + 1
}
