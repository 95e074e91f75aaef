//! The sections of the page, each from the built-in queries.

mod calls;
mod configuration;
mod problems;
mod rates;

use polars::prelude::DataFrame;
use serde_json::{Map, Value};

use self::configuration::configuration;
use super::{About, Section};
use crate::analytics::output::json_row;
use crate::analytics::queries;
use crate::analytics::tables::Tables;
use crate::error::{Error, Result};

/// Rows of a chart and of the table beside it; what is beyond is counted.
const ROWS: usize = 40;
/// Reasons with rows to open, and rows of each.
const REASONS: usize = 8;
const EXAMPLES: usize = 3;
/// Rows of the dataset to open.
const KEPT: u32 = 3;
/// Longest text in a table, characters.
const CELL: usize = 110;

/// A row of an answer.
type Row = Map<String, Value>;

/// The sections, and the figures that are met with on the way.
pub struct Sections {
    tables: Tables,
    facts: Vec<(String, String)>,
}

impl Sections {
    /// The sections about a run with these tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables, facts: Vec::new() }
    }

    /// All sections that there is something to say in.
    ///
    /// # Errors
    /// A table that does not read.
    pub fn all(&mut self, about: &About) -> Result<Vec<Section>> {
        let mut sections = Vec::new();
        if !about.scores.is_empty() {
            sections
                .extend(about.scores.iter().map(|scores| self.scores(scores)).collect::<Result<Vec<_>>>()?);
        }
        if self.tables.has("stages") {
            if about.scores.is_empty() {
                sections.push(self.pass_rates()?);
            }
            sections.push(self.funnel()?);
        } else {
            sections.push(Section {
                id: "funnel",
                title: "No tables yet",
                notes: vec![
                    "They are written when a run ends or is interrupted: run the same command again.".into(),
                ],
                ..Section::default()
            });
        }
        if about.scores.is_empty() && self.tables.has("dataset") && self.tables.has("rejected") {
            sections.push(self.difficulty());
        }
        if self.tables.has("rejected") {
            sections.push(self.reasons()?);
        }
        if self.tables.has("dataset") {
            sections.extend(self.kept()?);
        }
        if self.tables.has("replies") {
            sections.push(self.cost()?);
        }
        if self.tables.has("replies") && self.tables.has("verdicts") {
            sections.push(self.latency()?);
        }
        sections.push(configuration(about));
        Ok(sections)
    }

    /// The figures to begin with.
    pub fn facts(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.facts)
    }

    fn fact(&mut self, what: &str, value: String) {
        self.facts.push((what.to_owned(), value));
    }

    fn ask(&mut self, query: &str) -> Result<Vec<Row>> {
        let answer = self.tables.ask(&queries::find(query)?.sql)?;
        rows(&answer, &|_| true)
    }
}

/// As many as are shown, and how many are not.
fn first<T: Clone>(rows: &[T]) -> (Vec<T>, Vec<String>) {
    let more = rows.len().saturating_sub(ROWS);
    let note = (more > 0).then(|| format!("The first {ROWS} of {} are shown.", rows.len()));
    (rows.iter().take(ROWS).cloned().collect(), note.into_iter().collect())
}

/// The rows of `frame` for which `wanted` holds.
fn rows(frame: &DataFrame, wanted: &dyn Fn(&Row) -> bool) -> Result<Vec<Row>> {
    let rows = (0..frame.height()).map(|row| json_row(frame, row));
    let rows: std::result::Result<Vec<Row>, _> =
        rows.filter(|row| row.as_ref().map_or(true, wanted)).collect();
    rows.map_err(|error| Error::environment(format!("an answer does not read: {error}")))
}

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(row: &Row, name: &str) -> Option<f64> {
    row.get(name).and_then(Value::as_f64)
}

/// A number of rows; empty where there is none.
fn count(row: &Row, name: &str) -> String {
    number(row, name).map(super::text::whole).unwrap_or_default()
}

/// A share in percent; empty where there is none.
fn share(row: &Row, name: &str) -> String {
    number(row, name).map(super::text::percent).unwrap_or_default()
}
