//! One pass over all rows: which of them a filter leaves, and how many there are of each kind.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{DATASET, Listing, PENDING, Place, Slice, text};
use crate::error::{Error, Result};
use crate::frame::part;
use crate::frame::schema::{ID, LANGUAGE, TEXT};

/// Which rows are wanted: those for which everything given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Canonical language name.
    pub language: Option<String>,
    /// `dataset`, the stage that rejected the row, or the stage it waits for.
    pub stage: Option<String>,
    /// Why it was rejected, or `pending`.
    pub reason: Option<String>,
    /// What its id, snippet, question or a program of it contains; upper and lower case are the same.
    pub text: Option<String>,
}

/// How far a pass has come.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Rows looked at, or left out unseen.
    pub scanned: u64,
    /// Numbers of the wanted rows among those that were looked at since the last time.
    pub found: &'a [u64],
}

/// Number of rows by language, stage and reason.
pub type Kinds = BTreeMap<[String; 3], u64>;

impl Filter {
    /// Whether every row is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a row of this kind may be wanted.
    pub fn admits(&self, kind: [&str; 3]) -> bool {
        let wanted = [&self.language, &self.stage, &self.reason];
        wanted.iter().zip(kind).all(|(wanted, is)| wanted.as_ref().is_none_or(|wanted| wanted == is))
    }
}

impl Listing {
    /// Finds the rows that `filter` leaves, in order. `go_on` is told of every thousand rows or so and says whether to go on. Only
    /// columns that the filter is about are read, and memory is that of a batch.
    ///
    /// # Errors
    /// A file that does not read.
    pub fn find(&self, filter: &Filter, go_on: &mut dyn FnMut(Progress<'_>) -> bool) -> Result<()> {
        let needle = filter.text.as_deref().map(Needle::new).transpose()?;
        let mut found = Vec::new();
        for (at, slice) in self.slices.iter().enumerate() {
            let none_wanted = match &slice.place {
                Place::Rejected => false,
                place => {
                    let [stage, reason] = kind_of(place);
                    let language = filter.language.as_deref().unwrap_or_default();
                    !filter.admits([language, stage, reason])
                }
            };
            let mut number = self.starts[at];
            if none_wanted {
                if !go_on(Progress { scanned: self.starts[at + 1], found: &[] }) {
                    return Ok(());
                }
                continue;
            }
            let columns = columns_of(slice, needle.is_some())?;
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            for batch in part::pick(&slice.file, Some(&columns), &slice.rows)? {
                let batch = batch?;
                found.clear();
                for row in 0..batch.num_rows() {
                    let wanted = filter.admits(kind(slice, &batch, row))
                        && needle.as_ref().is_none_or(|needle| needle.is_in(&batch, row));
                    if wanted {
                        found.push(number + row as u64);
                    }
                }
                number += batch.num_rows() as u64;
                if !go_on(Progress { scanned: number, found: &found }) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Counts the rows of each kind.
    ///
    /// # Errors
    /// A file that does not read.
    pub fn kinds(&self) -> Result<Kinds> {
        let mut kinds = Kinds::new();
        for slice in &self.slices {
            let columns = columns_of(slice, false)?;
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            for batch in part::pick(&slice.file, Some(&columns), &slice.rows)? {
                let batch = batch?;
                // Kinds are few: it is cheaper to look through those of the batch than to own the names of each row.
                let mut of_batch: Vec<([&str; 3], u64)> = Vec::new();
                for row in 0..batch.num_rows() {
                    let kind = kind(slice, &batch, row);
                    match of_batch.iter_mut().find(|(known, _)| *known == kind) {
                        Some((_, rows)) => *rows += 1,
                        None => of_batch.push((kind, 1)),
                    }
                }
                for (kind, rows) in of_batch {
                    *kinds.entry(kind.map(str::to_owned)).or_default() += rows;
                }
            }
        }
        Ok(kinds)
    }
}

/// Stage and reason of rows that were not rejected.
fn kind_of(place: &Place) -> [&str; 2] {
    match place {
        Place::Before(stage) => [stage, PENDING],
        _ => [DATASET, ""],
    }
}

fn kind<'a>(slice: &'a Slice, batch: &'a RecordBatch, row: usize) -> [&'a str; 3] {
    let text = |name: &str| text(batch, name, row).unwrap_or_default();
    let [stage, reason] = match &slice.place {
        Place::Rejected => [text("stage"), text("reason")],
        place => kind_of(place),
    };
    [text(LANGUAGE), stage, reason]
}

/// The columns of `slice` that a pass reads.
fn columns_of(slice: &Slice, searching: bool) -> Result<Vec<String>> {
    let rejected: &[&str] = &["stage", "reason"];
    let told: &[&str] = &[ID, "detail", "record"];
    let mut columns = vec![LANGUAGE.to_owned()];
    if slice.place == Place::Rejected {
        columns.extend(rejected.iter().map(|name| (*name).to_owned()));
    }
    match (&slice.place, searching) {
        (_, false) => {}
        (Place::Rejected, true) => columns.extend(told.iter().map(|name| (*name).to_owned())),
        (_, true) => {
            let schema = part::schema(&slice.file)?;
            let names = schema.fields().iter().map(|field| field.name());
            columns.extend(names.filter(|name| is_searched(name)).cloned());
        }
    }
    Ok(columns)
}

/// Whether a column holds the row's id, snippet, question, or a program.
fn is_searched(name: &str) -> bool {
    [ID, TEXT, "seed", "question"].contains(&name)
        || name.contains("solution")
        || ["_func", "_input"].iter().any(|suffix| name.ends_with(suffix))
}

/// A text that is looked for.
struct Needle {
    plain: Regex,
    /// As it stands in JSON text.
    in_json: Regex,
}

impl Needle {
    fn new(text: &str) -> Result<Self> {
        let json = Value::from(text).to_string();
        let pattern = |text: &str| {
            let built = RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build();
            built.map_err(|error| Error::usage(format!("cannot search for `{text}`: {error}")))
        };
        let quoted = json.get(1..json.len() - 1).unwrap_or_default();
        Ok(Self { plain: pattern(text)?, in_json: pattern(quoted)? })
    }

    fn is_in(&self, batch: &RecordBatch, row: usize) -> bool {
        batch.schema_ref().fields().iter().zip(batch.columns()).any(|(field, column)| {
            let searched = is_searched(field.name()) || ["detail", "record"].contains(&field.name().as_str());
            let values = column.as_string_opt::<i32>().filter(|_| searched);
            let Some(values) = values.filter(|values| values.is_valid(row)) else { return false };
            match field.name() == "record" {
                false => self.plain.is_match(values.value(row)),
                true => self.is_in_record(values.value(row)),
            }
        })
    }

    /// Whether a searched member of the JSON object `record` has it. Most records do not have it anywhere, which is told
    /// without parsing them.
    fn is_in_record(&self, record: &str) -> bool {
        if !self.in_json.is_match(record) {
            return false;
        }
        match serde_json::from_str(record) {
            Ok(Value::Object(fields)) => fields.iter().any(|(name, value)| {
                is_searched(name) && value.as_str().is_some_and(|text| self.plain.is_match(text))
            }),
            _ => true,
        }
    }
}
