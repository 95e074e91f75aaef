//! Seeds in: JSONL, Parquet and folders of source files become the seed frame of a run.
//!
//! [`ingest`] streams: a pass reads a few megabytes, parses them on all cores, drops exact repeats, and appends
//! row groups to `seeds-00000.parquet`, ... Column types of JSONL inputs are learnt on the way. When a later value
//! does not fit what is already written, the pass only reads on to learn the rest and a second pass writes.
//! Everything is written beside the target and renamed, so a kill leaves nothing that looks complete.

mod block;
mod inputs;
mod jsonl;
pub(in crate::frame) mod parquet;
mod pass;
mod reader;
mod sources;
mod store;
pub(in crate::frame) mod writer;

use std::collections::BTreeMap;
use std::path::Path;

use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};

use self::inputs::Input;
use self::pass::Passed;
use self::reader::Reader;
pub use self::store::SeedStore;
use crate::error::{Error, Result};
use crate::frame::columns::Columns;

const TEXT_COLUMNS: &[&str] = &["text", "content", "code"];
const LANGUAGE_COLUMNS: &[&str] = &["language", "lang"];
/// More columns of the user's than this are taken for data in the place of names.
const MAX_OWN_COLUMNS: usize = 256;

/// What ingest must know about languages.
pub trait Languages: Sync {
    /// The canonical name for a name or an alias, whatever its case.
    fn resolve(&self, name: &str) -> Option<String>;
    /// The canonical name of the language that files with this extension (no dot) are written in.
    fn of_extension(&self, extension: &str) -> Option<String>;
}

/// Where seeds come from and how to read them.
#[derive(Debug, Clone)]
pub struct SeedOptions {
    /// Files, folders and globs.
    ///
    /// A folder means its source files, by extension, without hidden and git-ignored ones; a folder without any
    /// source file means its `.jsonl`, `.ndjson` and `.parquet` files (`.gz` and `.zst` too).
    pub paths: Vec<String>,
    /// Column that holds the text; otherwise the first of `text`, `content`, `code` that is there.
    pub text_column: Option<String>,
    /// Column that holds the language; otherwise the first of `language`, `lang` that is there.
    pub language_column: Option<String>,
    /// Language of rows that name none.
    pub language: Option<String>,
    /// Rows with more bytes of text than this are rejected.
    pub max_seed_bytes: usize,
    /// Stop after this many kept rows.
    pub limit: Option<u64>,
    /// Column names the pipeline writes. A user's column of such a name `x` (and always `id`, `language`, `text`)
    /// comes along as `seed_x`; one already called `seed_x` as `seed_seed_x`, and so on.
    pub reserved: Vec<String>,
}

impl Default for SeedOptions {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            text_column: None,
            language_column: None,
            language: None,
            max_seed_bytes: 65_536,
            limit: None,
            reserved: Vec::new(),
        }
    }
}

/// One input file as it was when the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Path as found from the given paths.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: u64,
}

/// What an ingest did. `rows + duplicates + rejected` is the number of records read.
#[derive(Debug, Clone)]
pub struct Ingested {
    /// Rows kept.
    pub rows: u64,
    /// Exact repeats of (language, text) dropped.
    pub duplicates: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Rejected rows by reason code.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// Kept rows by canonical language.
    pub by_language: BTreeMap<String, u64>,
    /// Schema of the seed frame: `id`, `language`, `text`, then the user's own columns.
    pub schema: SchemaRef,
    /// Input files.
    pub files: u64,
    /// Bytes of the input files, as they are on disk.
    pub bytes: u64,
}

/// The input files, sorted by path; cheap, no more than their first bytes is read.
///
/// # Errors
/// Usage errors: a path that is not there, a glob or folder without any seed file.
pub fn manifest(options: &SeedOptions, languages: &dyn Languages) -> Result<Vec<ManifestEntry>> {
    Ok(inputs::find(options, languages)?.iter().map(Input::manifest_entry).collect())
}

/// Reads all inputs into the seed frame `seed_dir` (replaced if it exists) and the rejected rows into
/// `rejected_file` (Parquet, [`crate::frame::schema::rejected_schema`], written even when empty).
///
/// Rows are in order of (path, line). `progress` gets rows kept and bytes of input read so far, every few megabytes;
/// both start again from 0 if a second pass is needed.
///
/// # Errors
/// Usage errors, before anything is written: bad paths, unknown `language`, no text column, truncated Parquet,
/// not one usable seed. Environment errors: the disk.
pub fn ingest(
    options: &SeedOptions,
    languages: &dyn Languages,
    seed_dir: &Path,
    rejected_file: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Ingested> {
    if let Some(name) = options.language.as_ref().filter(|name| languages.resolve(name).is_none()) {
        return Err(Error::usage(format!("there is no language `{name}`"))
            .hint("`autocodegen doctor` lists the languages"));
    }
    let inputs = inputs::find(options, languages)?;
    let mut columns = Columns::default();
    let reader = Reader::new(options, languages, &inputs, &mut columns)?;
    if columns.len() > MAX_OWN_COLUMNS {
        let count = columns.len();
        return Err(Error::usage(format!(
            "the Parquet inputs have {count} columns besides text and language"
        ))
        .hint(format!("at most {MAX_OWN_COLUMNS} come along: drop some")));
    }
    loop {
        match pass::run(&reader, columns, options.limit, seed_dir, rejected_file, progress)? {
            Passed::Widened(wider) => columns = wider,
            Passed::Complete(ingested) => {
                let bytes = inputs.iter().map(|input| input.size).sum();
                return Ok(Ingested { files: inputs.len() as u64, bytes, ..ingested });
            }
        }
    }
}
