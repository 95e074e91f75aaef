//! A page about a run: one HTML file that needs nothing else, to be read, printed and handed on.
//!
//! The numbers are those of the built-in queries. Everything that rows, seeds, endpoints and file names say is hostile:
//! the template escapes every value, and there are two exceptions, charts and highlighted code, whose makers escape what
//! they are given. There is no script, and the page forbids any.

mod charts;
mod highlight;
mod samples;
mod secrets;
mod sections;
mod text;

use minijinja::value::Serde;
use minijinja::{Environment, HtmlEscape, UndefinedBehavior};
use rust_embed::RustEmbed;
use serde::Serialize;

use self::samples::Sample;
use self::sections::Sections;
use self::text::visible;
use crate::analytics::tables::Tables;
use crate::error::{Error, Result};
use crate::frame::run_dir::RunDir;

pub use self::text::{bytes, duration, whole};

/// Template and style sheet of the page.
#[derive(RustEmbed)]
#[folder = "data/report/"]
#[include = "*.html"]
#[include = "*.css"]
struct Embedded;

/// What a page tells that is in no table.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Name of the run.
    pub name: String,
    /// Name of its pipeline; empty where the run has not begun.
    pub pipeline: String,
    /// What a reader has to know before anything else, for example that rows are pending.
    pub notices: Vec<String>,
    /// Figures to begin with, besides those of the tables: what, how much.
    pub facts: Vec<(String, String)>,
    /// Scores of an evaluation, by group; empty for a run that makes problems.
    pub scores: Vec<Scores>,
    /// The configuration: what, value. Secrets are left out here.
    pub configuration: Vec<(String, String)>,
    /// Text of the pipeline's file.
    pub pipeline_file: Option<String>,
}

/// Scores by groups of one kind.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    /// What groups are: `language`, `difficulty`, ...
    pub by: String,
    /// The groups, in order.
    pub groups: Vec<Score>,
}

/// The score of a group.
#[derive(Debug, Clone)]
pub struct Score {
    /// The group.
    pub name: String,
    /// Problems.
    pub problems: u64,
    /// Answers that passed.
    pub passed: u64,
    /// pass@1, 0 to 1.
    pub rate: f64,
    /// Where it may be, 0 to 1.
    pub interval: (f64, f64),
}

/// The page, as the template has it.
#[derive(Debug, Serialize)]
struct Page {
    title: String,
    pipeline: String,
    notices: Vec<String>,
    facts: Vec<(String, String)>,
    sections: Vec<Section>,
    version: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Section {
    id: &'static str,
    title: &'static str,
    notes: Vec<String>,
    parts: Vec<Part>,
    groups: Vec<Group>,
}

/// Charts and the table with their numbers.
#[derive(Debug, Serialize)]
struct Part {
    figures: Vec<Figure>,
    table: Table,
}

/// A chart.
#[derive(Debug, Serialize)]
struct Figure {
    caption: String,
    svg: String,
}

#[derive(Debug, Serialize)]
struct Table {
    head: Vec<Head>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Head {
    name: &'static str,
    number: bool,
}

/// Rows to open, under a title.
#[derive(Debug, Serialize)]
struct Group {
    title: String,
    about: String,
    samples: Vec<Sample>,
}

impl Part {
    /// A table below a chart.
    fn of(caption: &str, svg: String, table: Table) -> Self {
        Self { figures: vec![Figure { caption: caption.to_owned(), svg }], table }
    }
}

impl Table {
    /// A table with these columns; a name that begins with `#` is of a column of numbers.
    fn new(names: &[&'static str], rows: Vec<Vec<String>>) -> Self {
        let head = names
            .iter()
            .map(|name| Head { name: name.trim_start_matches('#'), number: name.starts_with('#') });
        Self { head: head.collect(), rows }
    }
}

/// The page about `run`, as HTML.
///
/// # Errors
/// A table that does not read.
pub fn page(run: &RunDir, about: &About) -> Result<String> {
    let mut sections = Sections::new(Tables::open(run)?);
    let parts = sections.all(about)?;
    let facts = sections.facts().into_iter().chain(about.facts.iter().cloned());
    render(&Page {
        title: about.name.clone(),
        pipeline: about.pipeline.clone(),
        notices: about.notices.clone(),
        facts: facts.collect(),
        sections: parts,
        version: env!("CARGO_PKG_VERSION"),
    })
}

fn render(page: &Page) -> Result<String> {
    let failed =
        |error: minijinja::Error| Error::environment(format!("the page cannot be rendered: {error}"));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Every value passes here, and only what the template calls safe is written as it is.
    environment.set_formatter(|out, _, value| {
        match value.as_str() {
            Some(text) if value.is_safe() => out.write_str(text)?,
            Some(text) => write!(out, "{}", HtmlEscape(&visible(text)))?,
            None => write!(out, "{}", HtmlEscape(&value.to_string()))?,
        }
        Ok(())
    });
    for name in Embedded::iter() {
        let source = Embedded::get(&name).map(|file| String::from_utf8_lossy(&file.data).into_owned());
        environment.add_template_owned(name.into_owned(), source.unwrap_or_default()).map_err(failed)?;
    }
    environment.get_template("page.html").and_then(|template| template.render(Serde(page))).map_err(failed)
}
