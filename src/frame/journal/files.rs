//! Which files a journal is made of.
//!
//! ```text
//! journal/<stage>/segment-00006.log             records as they came; the last one grows
//! journal/<stage>/segment-00006.idx             index of a closed segment
//! journal/<stage>/table                         name of the table that segments are compacted into, once some were
//! journal/<stage>/part-00000-00005.idx          index of a compacted part
//! <table>/<stage>.00000-00005.parquet           what was in segments 0 to 5
//! ```
//!
//! The names tell everything: a segment that a part covers, and a part that a longer one covers, are what a killed
//! process did not come to delete. So a part counts from the moment it has its name, and not before.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::columns::Table;
use crate::error::{Error, Result};
use crate::frame::{atomic, dataset};

/// The numbers of the segments that are in a part, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Span {
    fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// The span in the name of a file, as its `Display` writes it.
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
        Some(Self { first: number(first)??, last: number(last)?? })
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:05}-{:05}", self.first, self.last)
    }
}

/// The directory of a journal and the table it is compacted into.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) table: Option<&'static Table>,
}

/// The files that hold a journal's records, and those that only a killed process left.
pub(super) struct Files {
    /// By segment number.
    pub(super) parts: Vec<(Span, PathBuf)>,
    /// By number, none of them in a part.
    pub(super) segments: Vec<(u32, PathBuf)>,
    pub(super) stale: Vec<PathBuf>,
}

impl Place {
    /// The journal in `dir`.
    pub(super) fn find(dir: &Path) -> Result<Self> {
        let path = dir.join("table");
        let table = match fs::read_to_string(&path) {
            Ok(name) => Some(Table::named(name.trim()).ok_or_else(|| {
                Error::usage(format!("{} names no table", path.display()))
                    .hint("use the version of autocodegen that wrote it")
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        Ok(Self { dir: dir.to_owned(), table })
    }

    /// Writes down that the journal is compacted into `table`.
    pub(super) fn choose(&mut self, table: &'static Table) -> Result<()> {
        let path = self.dir.join("table");
        if self.table.is_none() {
            atomic::write_file(&path, |file| {
                writeln!(file, "{}", table.name).map_err(|error| Error::io("write", &path, error))
            })?;
            self.table = Some(table);
        }
        Ok(())
    }

    /// Where the part of `span` is or will be; `None` in a journal that is not compacted.
    pub(super) fn part(&self, span: Span) -> Option<PathBuf> {
        let stage = self.dir.file_name()?.to_str()?;
        Some(self.table_dir()?.join(format!("{stage}.{span}.parquet")))
    }

    /// The index file of the part of `span`.
    pub(super) fn part_index(&self, span: Span) -> PathBuf {
        self.dir.join(format!("part-{span}.idx"))
    }

    fn table_dir(&self) -> Option<PathBuf> {
        let run = match self.dir.parent().and_then(Path::parent) {
            Some(run) if run != Path::new("") => run.to_owned(),
            _ => self.dir.join("../.."),
        };
        Some(run.join(self.table?.name))
    }

    /// What is there now.
    pub(super) fn files(&self) -> Result<Files> {
        let mut parts = Vec::new();
        let stage = self.dir.file_name().and_then(|name| name.to_str());
        if let (Some(dir), Some(stage)) = (self.table_dir(), stage) {
            for path in dataset::files(&dir)? {
                parts.extend(part_of(&path).filter(|(of, _)| of == stage).map(|(_, span)| (span, path)));
            }
        }
        let (mut stale, parts) = superseded(parts);
        stale.extend(parts.1.iter().map(|span| self.part_index(*span)));
        let parts = parts.0;
        let (covered, segments): (Vec<_>, Vec<_>) =
            segments(&self.dir)?.into_iter().partition(|(number, _)| {
                let own = Span { first: *number, last: *number };
                parts.iter().any(|(span, _)| span.covers(own))
            });
        for (_, path) in covered {
            stale.push(path.with_extension("idx"));
            stale.push(path);
        }
        Ok(Files { parts, segments, stale })
    }
}

type Parts = Vec<(Span, PathBuf)>;

/// The paths of parts that longer ones cover; the others by number, and the spans of the covered ones.
fn superseded(mut parts: Parts) -> (Vec<PathBuf>, (Parts, Vec<Span>)) {
    // Of two that begin alike the longer comes first.
    parts.sort_by_key(|(span, _)| (span.first, std::cmp::Reverse(span.last)));
    let (mut kept, mut covered, mut paths): (Parts, Vec<Span>, Vec<PathBuf>) = Default::default();
    for (span, path) in parts {
        if kept.last().is_some_and(|(longer, _)| longer.covers(span)) {
            covered.push(span);
            paths.push(path);
        } else {
            kept.push((span, path));
        }
    }
    (paths, (kept, covered))
}

/// Stage and span of a part, by its name.
fn part_of(path: &Path) -> Option<(String, Span)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".parquet")?;
    let (stage, span) = name.rsplit_once('.')?;
    Some((stage.to_owned(), Span::parse(span)?))
}

/// The segments in `dir` by number.
fn segments(dir: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let failed = |error| Error::io("read", dir, error);
    let mut segments = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("segment-")?.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            segments.push((number, entry.path()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The files of the table `dir` that journals were compacted into, without what a killed process left twice.
///
/// # Errors
/// I/O errors.
pub fn table_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = dataset::files(dir)?;
    let mut by_stage: std::collections::BTreeMap<String, Parts> = Default::default();
    for path in &files {
        if let Some((stage, span)) = part_of(path) {
            by_stage.entry(stage).or_default().push((span, path.clone()));
        }
    }
    let twice: Vec<PathBuf> = by_stage.into_values().flat_map(|parts| superseded(parts).0).collect();
    files.retain(|path| !twice.contains(path));
    Ok(files)
}

/// Makes the directory of `table` fit for queries: removes files that no journal was compacted into (tables of earlier
/// versions, made of the same records), and sees to it that there is a file, so that a table without rows has columns.
///
/// # Errors
/// I/O errors.
pub fn tidy_table(dir: &Path, table: &Table) -> Result<()> {
    let files = dataset::files(dir)?;
    let (parts, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| part_of(path).is_some());
    let empty = dir.join("empty.parquet");
    for path in others {
        if !parts.is_empty() || path != empty {
            fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    if parts.is_empty() && !empty.exists() {
        crate::frame::part::seal(&empty, &table.schema(), &[], &Default::default())?;
    }
    Ok(())
}
