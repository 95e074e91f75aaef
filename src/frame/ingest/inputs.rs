//! Which files the given paths mean, and what each of them is.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ignore::WalkBuilder;

use super::{Languages, ManifestEntry, SeedOptions};
use crate::error::{Error, Result};
use crate::frame::lines;

/// How a file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON objects, one per line, compressed or not.
    Jsonl,
    Parquet,
    /// One seed: a source file in a language; `shown` is its path inside the folder it was found in.
    Source {
        language: String,
        shown: String,
    },
}

/// One input file.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) size: u64,
    mtime_ns: u64,
}

impl Input {
    fn new(path: PathBuf, format: Format, metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mtime_ns = modified.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        Self { path, format, size: metadata.len(), mtime_ns }
    }

    pub(super) fn manifest_entry(&self) -> ManifestEntry {
        ManifestEntry {
            path: self.path.to_string_lossy().into_owned(),
            size: self.size,
            mtime_ns: self.mtime_ns,
        }
    }
}

/// The input files, sorted by path, each once.
pub(super) fn find(options: &SeedOptions, languages: &dyn Languages) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in &options.paths {
        let literal = Path::new(path);
        if literal.exists() || !path.contains(['*', '?', '[']) {
            inputs.extend(at(literal, languages)?);
            continue;
        }
        let found = glob::glob(path).map_err(|error| {
            Error::usage(format!("bad glob `{path}`: {error}"))
                .hint("`*`, `?` and `[...]` have a meaning in patterns; in brackets, like [*], they stand for themselves")
        })?;
        let before = inputs.len();
        for found in found {
            let found = found.map_err(|error| {
                let path = error.path().to_owned();
                Error::io("read", &path, error.into())
            })?;
            inputs.extend(at(&found, languages)?);
        }
        if inputs.len() == before {
            return Err(Error::usage(format!("no file matches `{path}`"))
                .hint("check the pattern; quote it so that the shell leaves it alone"));
        }
    }
    inputs.sort_by(|one, two| one.path.cmp(&two.path));
    inputs.dedup_by(|one, two| one.path == two.path);
    if inputs.is_empty() {
        return Err(Error::usage("no seeds were given").hint("name files, folders or globs"));
    }
    Ok(inputs)
}

fn at(path: &Path, languages: &dyn Languages) -> Result<Vec<Input>> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("read", path, error))?;
    if metadata.is_dir() {
        return folder(path, languages);
    }
    if !metadata.is_file() {
        return Err(Error::usage(format!("{} is neither a file nor a folder", path.display()))
            .hint("seeds are read more than once: write what a pipe gives to a file first"));
    }
    Ok(vec![Input::new(path.into(), format_of(path, languages)?, &metadata)])
}

/// What a file given by name is: by its first bytes, then by its extension.
fn format_of(path: &Path, languages: &dyn Languages) -> Result<Format> {
    let head = lines::head_of(path, 4096)?;
    let extension = extension_of(path);
    if head.starts_with(b"PAR1") || extension == "parquet" {
        return Ok(Format::Parquet);
    }
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    if extension == "json" && first == Some(&b'[') {
        return Err(Error::usage(format!("{} holds one JSON array, not JSON lines", path.display()))
            .hint(format!("write one object per line: jq -c '.[]' {} > seeds.jsonl", path.display())));
    }
    if lines::is_compressed(&head) || matches!(extension.as_str(), "jsonl" | "ndjson" | "json") {
        return Ok(Format::Jsonl);
    }
    if let Some(language) = languages.of_extension(&extension) {
        let shown = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        return Ok(Format::Source { language, shown });
    }
    if first == Some(&b'{') {
        return Ok(Format::Jsonl);
    }
    Err(Error::usage(format!("{} is neither JSONL, Parquet nor source code", path.display())).hint(
        "seeds are .jsonl, .jsonl.gz, .jsonl.zst or .parquet files, or source files of a known language",
    ))
}

fn folder(folder: &Path, languages: &dyn Languages) -> Result<Vec<Input>> {
    let (mut sources, mut data) = (Vec::new(), Vec::new());
    // .gitignore counts outside a repository too; the user's global one does not: it would change results.
    let walk = WalkBuilder::new(folder).require_git(false).git_global(false).build();
    for entry in walk {
        let entry = entry.map_err(|error| {
            Error::usage(format!("cannot read the folder {}: {error}", folder.display()))
                .hint("check the permissions of this path")
        })?;
        if !entry.file_type().is_some_and(|of| of.is_file()) {
            continue;
        }
        let metadata =
            || std::fs::metadata(entry.path()).map_err(|error| Error::io("read", entry.path(), error));
        if let Some(format) = data_format(entry.path()) {
            data.push(Input::new(entry.path().into(), format, &metadata()?));
        } else if let Some(language) = languages.of_extension(&extension_of(entry.path())) {
            let shown =
                entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_string_lossy().into_owned();
            let format = Format::Source { language, shown };
            sources.push(Input::new(entry.path().into(), format, &metadata()?));
        }
    }
    match (sources.is_empty(), data.is_empty()) {
        (false, _) => Ok(sources),
        (true, false) => Ok(data),
        (true, true) => Err(Error::usage(format!("there are no seeds in the folder {}", folder.display()))
            .hint("hidden and git-ignored files are left out; languages are told by file extension")),
    }
}

/// What a file of a folder is when it is data, by its name alone.
fn data_format(path: &Path) -> Option<Format> {
    let extension = extension_of(path);
    let inner = match extension.as_str() {
        "gz" | "zst" => extension_of(Path::new(path.file_stem()?)),
        _ => extension.clone(),
    };
    match inner.as_str() {
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "parquet" if extension == "parquet" => Some(Format::Parquet),
        _ => None,
    }
}

/// The extension in lower case, without the dot; empty if there is none.
fn extension_of(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}
