//! Records as they come out of parsing, before repeats are dropped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::take::take;

use super::{Languages, SeedOptions};
use crate::frame::columns::{ColumnType, Columns, Kind};
use crate::frame::key::Key;
use crate::frame::schema;

/// The most of a rejected record that is kept.
const RECORD_HEAD: usize = 4096;

/// The records of one piece of input, in order.
pub(super) struct Block<'a> {
    pub(super) records: Vec<Record<'a>>,
    pub(super) own: Own<'a>,
}

pub(super) enum Record<'a> {
    Seed(Seed<'a>),
    Rejected(Rejection),
}

/// A usable record.
pub(super) struct Seed<'a> {
    pub(super) source: Source,
    pub(super) key: Key,
    pub(super) language: Arc<str>,
    pub(super) text: Cow<'a, str>,
    /// Which of the block's own values are this record's.
    pub(super) own: Range<usize>,
    /// The record as it was written, to show it if it is rejected later.
    pub(super) written: &'a str,
}

/// Where a record came from: a path, and a line or row counted from 1 where there are several.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) path: Arc<str>,
    pub(super) place: Option<u64>,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)?;
        self.place.map_or(Ok(()), |place| write!(f, ":{place}"))
    }
}

/// A record that does not become a seed, and why.
pub(super) struct Rejection {
    pub(super) source: Source,
    pub(super) reason: &'static str,
    pub(super) detail: String,
    pub(super) language: Option<Arc<str>>,
    /// JSON text: the record itself if it is short JSON, otherwise its beginning as a JSON string.
    pub(super) record: Option<String>,
}

/// The user's own columns of a block.
pub(super) enum Own<'a> {
    /// Raw JSON values; each names its column by position in `names`.
    Values { names: Vec<String>, values: Vec<(usize, Kind, Cow<'a, str>)> },
    /// Whole columns; a seed's `own` starts at its row.
    Arrays(Vec<(String, ColumnType, ArrayRef)>),
}

impl Block<'_> {
    /// The seed rows at the positions `kept` of `records`, in `schema` and `columns`, which fit them.
    pub(super) fn batch(
        &self,
        kept: &[usize],
        schema: &SchemaRef,
        columns: &Columns,
    ) -> Result<RecordBatch, ArrowError> {
        let seeds: Vec<&Seed> = kept
            .iter()
            .filter_map(|at| match &self.records[*at] {
                Record::Seed(seed) => Some(seed),
                Record::Rejected(_) => None,
            })
            .collect();
        let ids = StringArray::from_iter_values(seeds.iter().map(|seed| seed.key.to_string()));
        let languages = StringArray::from_iter_values(seeds.iter().map(|seed| seed.language.as_ref()));
        let texts = StringArray::from_iter_values(seeds.iter().map(|seed| seed.text.as_ref()));
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(languages), Arc::new(texts)];
        match &self.own {
            Own::Values { names, values } => arrays.extend(of_values(&seeds, names, values, columns)),
            Own::Arrays(own) => {
                let rows: UInt32Array = seeds.iter().map(|seed| seed.own.start as u32).collect();
                for (name, to) in columns.iter() {
                    arrays.push(match own.iter().find(|(own, ..)| own == name) {
                        Some((_, from, array)) => to.convert(from, &take(array, &rows, None)?)?,
                        None => new_null_array(to.field(name).data_type(), seeds.len()),
                    });
                }
            }
        }
        RecordBatch::try_new(schema.clone(), arrays)
    }
}

fn of_values(
    seeds: &[&Seed],
    names: &[String],
    values: &[(usize, Kind, Cow<'_, str>)],
    columns: &Columns,
) -> Vec<ArrayRef> {
    let positions: Vec<Option<usize>> = names.iter().map(|name| columns.position(name)).collect();
    let mut grid: Vec<Vec<Option<&str>>> = vec![vec![None; seeds.len()]; columns.len()];
    for (row, seed) in seeds.iter().enumerate() {
        for (name, _, raw) in &values[seed.own.clone()] {
            if let Some(column) = positions[*name] {
                grid[column][row] = Some(raw);
            }
        }
    }
    columns.iter().zip(grid).map(|((_, of), raws)| of.array(raws.into_iter())).collect()
}

/// Turns texts and language names into seeds: the checks that all kinds of input share.
pub(super) struct Checks<'a> {
    options: &'a SeedOptions,
    languages: &'a dyn Languages,
    default_language: Option<Arc<str>>,
    resolved: HashMap<String, Option<Arc<str>>>,
}

/// A reason code and what it was about.
pub(super) type Refused = (&'static str, String);

impl<'a> Checks<'a> {
    /// Checks by `options`, whose language must be known.
    pub(super) fn new(options: &'a SeedOptions, languages: &'a dyn Languages) -> Self {
        let default_language =
            options.language.as_ref().and_then(|name| languages.resolve(name)).map(Arc::from);
        Self { options, languages, default_language, resolved: HashMap::new() }
    }

    pub(super) fn text(&self, text: &str) -> Result<(), Refused> {
        let limit = self.options.max_seed_bytes;
        if text.len() > limit {
            return Err(("too_long", format!("the text has {} bytes, the limit is {limit}", text.len())));
        }
        if text.trim().is_empty() {
            return Err(("text_empty", "the text is empty".into()));
        }
        Ok(())
    }

    /// The canonical language for the name a record gives.
    pub(super) fn language(&mut self, name: Option<&str>) -> Result<Arc<str>, Refused> {
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        let Some(name) = name else {
            return self
                .default_language
                .clone()
                .ok_or_else(|| ("language_missing", "the record names no language".into()));
        };
        if !self.resolved.contains_key(name) {
            self.resolved.insert(name.into(), self.languages.resolve(name).map(Arc::from));
        }
        let resolved = self.resolved.get(name).cloned().flatten();
        resolved.ok_or_else(|| ("language_unknown", format!("there is no language `{}`", head(name, 100))))
    }

    /// The name of a user's column in the seed frame.
    pub(super) fn own_name(&self, name: &str) -> String {
        let mut bare = name;
        while let Some(rest) = bare.strip_prefix("seed_") {
            bare = rest;
        }
        let taken = [schema::ID, schema::LANGUAGE, schema::TEXT].contains(&bare)
            || self.options.reserved.iter().any(|reserved| reserved == bare);
        if taken { format!("seed_{name}") } else { name.to_owned() }
    }
}

/// The key of a seed, which its id is.
pub(super) fn key_of(language: &str, text: &str) -> Key {
    Key::of(&[language, text])
}

/// At most the first `limit` bytes of `text`, cut between characters.
pub(super) fn head(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// A record for the rejected frame: `written` itself if it is JSON and short, otherwise its beginning as a JSON string.
pub(super) fn shown(written: &[u8]) -> Option<String> {
    let cut = &written[..written.len().min(RECORD_HEAD)];
    let lossy = String::from_utf8_lossy(cut);
    if cut.len() == written.len() && serde_json::from_str::<serde_json::Value>(&lossy).is_ok() {
        return Some(lossy.trim().to_owned());
    }
    serde_json::to_string(&lossy).ok()
}
