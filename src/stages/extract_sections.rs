//! `extract_sections`: several tagged sections of one reply, each into a column of its own.

use std::collections::{BTreeMap, HashSet};

use arrow_array::RecordBatch;
use serde::Deserialize;

use super::extract::change;
use super::model::OUTPUT;
use super::registry::{Context, Spec};
use super::{Change, Pure, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::strings;
use crate::text::extract::{SectionPart, sections_columns};

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Columns by tag: `<tag> ... </tag>` has to be in the reply once, and in no other section.
    into: BTreeMap<String, String>,
    /// Columns that hold code: one fenced block, or text without any. They get the code alone.
    #[serde(default)]
    code: Vec<String>,
    /// Columns that hold code and keep it in its fences.
    #[serde(default)]
    fenced: Vec<String>,
}

struct Sections {
    columns: Vec<String>,
    wanted: Vec<(String, SectionPart)>,
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let columns: Vec<String> = config.into.values().cloned().collect();
    let distinct: HashSet<&String> = columns.iter().collect();
    if columns.is_empty() || distinct.len() < columns.len() {
        return Err(Error::usage(format!("stage `{}`: `into` names no column, or one twice", spec.name))
            .hint("it looks like into = { question = \"question\", tests = \"full_test_func\" }"));
    }
    let mut named = config.code.iter().chain(&config.fenced);
    if let Some(stranger) = named.find(|name| !columns.contains(name)) {
        return Err(Error::usage(format!(
            "stage `{}`: `code` or `fenced` names `{stranger}`, which is not in `into`",
            spec.name
        ))
        .hint(format!("`into` names {}", columns.join(", "))));
    }
    let part = |column| match () {
        () if config.fenced.contains(column) => SectionPart::Fenced,
        () if config.code.contains(column) => SectionPart::Code,
        () => SectionPart::Text,
    };
    let wanted: Vec<_> = config.into.iter().map(|(tag, column)| (tag.clone(), part(column))).collect();
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "extract_sections",
        needs: vec![OUTPUT.into()],
        adds: columns.clone(),
        drops: vec![OUTPUT.into()],
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{columns:?} {wanted:?}")),
        work: Work::Pure(Box::new(Sections { columns, wanted })),
    })
}

impl Pure for Sections {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let wanted: Vec<(&str, SectionPart)> =
            self.wanted.iter().map(|(tag, part)| (tag.as_str(), *part)).collect();
        Ok(change(&self.columns, sections_columns(strings(batch, OUTPUT)?, &wanted)?))
    }
}
