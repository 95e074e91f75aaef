//! `extract_blocks` and `extract_section`: what the model was asked for, taken out of its reply.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use serde::Deserialize;

use super::model::OUTPUT;
use super::registry::{Context, Spec};
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::strings;
use crate::text::extract::{Extracted, Part, block_columns, section_column};

/// Keys of `extract_blocks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    /// Columns for the blocks, in order; a reply with another number of blocks is rejected.
    into: Vec<String>,
    /// Those of them that keep their fences.
    #[serde(default)]
    fenced: Vec<String>,
    /// Columns that are not needed any more.
    #[serde(default)]
    drop: Vec<String>,
}

/// Keys of `extract_section`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    /// Tag of the section: `<tag> ... </tag>`.
    tag: String,
    /// Column for its text.
    into: String,
}

pub(super) fn build_blocks(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Blocks = spec.config()?;
    if config.into.is_empty() {
        return Err(Error::usage(format!("stage `{}`: `into` names no column", spec.name))
            .hint("name one column for each block that the reply is to have"));
    }
    if let Some(stranger) = config.fenced.iter().find(|name| !config.into.contains(name)) {
        return Err(Error::usage(format!(
            "stage `{}`: `fenced` names `{stranger}`, which is not in `into`",
            spec.name
        ))
        .hint(format!("`into` names {}", config.into.join(", "))));
    }
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "extract_blocks",
        needs: vec![OUTPUT.into()],
        adds: config.into.clone(),
        drops: [&[OUTPUT.to_owned()], config.drop.as_slice()].concat(),
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{:?} {:?} {:?}", config.into, config.fenced, config.drop)),
        work: Work::Pure(Box::new(config)),
    })
}

pub(super) fn build_section(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Section = spec.config()?;
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "extract_section",
        needs: vec![OUTPUT.into()],
        adds: vec![config.into.clone()],
        drops: vec![OUTPUT.into()],
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{} {}", config.tag, config.into)),
        work: Work::Pure(Box::new(config)),
    })
}

impl Pure for Blocks {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let part = |name| if self.fenced.contains(name) { Part::Fenced } else { Part::Body };
        let parts: Vec<Part> = self.into.iter().map(part).collect();
        Ok(change(&self.into, block_columns(strings(batch, OUTPUT)?, &parts)?))
    }
}

impl Pure for Section {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let extracted = section_column(strings(batch, OUTPUT)?, &self.tag)?;
        Ok(change(std::slice::from_ref(&self.into), extracted))
    }
}

pub(super) fn change(names: &[String], extracted: Extracted) -> Change {
    let columns = extracted.columns.into_iter().map(|column| Arc::new(column) as ArrayRef);
    let misfits = extracted.misfits.into_iter().enumerate();
    Change {
        add: names.iter().cloned().zip(columns).collect(),
        rejected: misfits
            .filter_map(|(row, misfit)| {
                misfit.map(|misfit| Rejection {
                    row,
                    reason: misfit.reason.to_owned(),
                    detail: misfit.detail,
                })
            })
            .collect(),
        ..Change::default()
    }
}
