//! `translate_to`: a row for every language that a row is to be translated to.
//!
//! The new rows have that language, what the row was in `source_language`, and `parent_id`. A row whose language has no target
//! is rejected as `no_target`, so that it is counted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use serde::Deserialize;

use super::children::{self, PARENT_ID};
use super::registry::{Context, Spec};
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::{ID, LANGUAGE, strings};
use crate::sandbox::language::Languages;

/// Column with the language that a row was translated from.
pub const SOURCE_LANGUAGE: &str = "source_language";

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Languages to translate to, by the language of the row.
    targets: BTreeMap<String, Vec<String>>,
    /// Column that names the row for `parent_id`, where the input has it and it is not null; it goes then. Default: `id`.
    #[serde(default = "id")]
    parent: String,
}

fn id() -> String {
    ID.to_owned()
}

struct TranslateTo {
    config: Config,
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let mut config: Config = spec.config()?;
    let refused =
        |what: String, hint: &str| Error::usage(format!("stage `{}`: {what}", spec.name)).hint(hint);
    let known = Languages::embedded()?;
    let resolve = |name: &String| {
        let language = known.get(name).map(|language| language.name.clone());
        language.ok_or_else(|| {
            refused(format!("there is no language `{name}`"), "`autocodegen doctor` lists the languages")
        })
    };
    let mut targets = BTreeMap::new();
    for (source, named) in &config.targets {
        let source = resolve(source)?;
        let named: Vec<String> = named.iter().map(resolve).collect::<Result<_>>()?;
        let distinct: HashSet<&String> = named.iter().collect();
        if named.is_empty()
            || named.contains(&source)
            || distinct.len() < named.len()
            || targets.contains_key(&source)
        {
            return Err(refused(
                format!("the targets of `{source}` are {named:?}"),
                "name each source once, with at least one other language, each of them once",
            ));
        }
        targets.insert(source, named);
    }
    config.targets = targets;
    let most = config.targets.values().map(Vec::len).max();
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "translate_to",
        needs: vec![ID.into(), LANGUAGE.into()],
        adds: [ID, PARENT_ID, LANGUAGE, SOURCE_LANGUAGE].map(str::to_owned).into(),
        drops: Some(config.parent.clone()).filter(|parent| parent != ID).into_iter().collect(),
        requests: None,
        fan_out: most
            .ok_or_else(|| refused("there are no targets".to_owned(), "name some: python = [\"ruby\"]"))?,
        depends: depends_on(format!("{:?} {}", config.targets, config.parent)),
        work: Work::Pure(Box::new(TranslateTo { config })),
    })
}

impl Pure for TranslateTo {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let languages = strings(batch, LANGUAGE)?;
        let parents = match batch.column_by_name(&self.config.parent) {
            Some(_) => strings(batch, &self.config.parent)?,
            None => strings(batch, ID)?,
        };
        // Source row and target; a row without targets keeps its language and leaves.
        let mut made: Vec<(usize, Option<&str>)> = Vec::new();
        let mut rejected = Vec::new();
        for row in 0..batch.num_rows() {
            match self.config.targets.get(languages.value(row)) {
                Some(targets) => made.extend(targets.iter().map(|target| (row, Some(target.as_str())))),
                None => {
                    let detail = format!("there is nothing to translate {} to", languages.value(row));
                    rejected.push(Rejection { row: made.len(), reason: "no_target".into(), detail });
                    made.push((row, None));
                }
            }
        }
        let mut change = children::named(batch, made.iter().map(|(row, target)| (*row, *target)))?;
        let sources: StringArray = made.iter().map(|(row, _)| Some(languages.value(*row))).collect();
        let targets: StringArray =
            made.iter().map(|(row, target)| Some(target.unwrap_or(languages.value(*row)))).collect();
        let ids = strings(batch, ID)?;
        let parents: StringArray = made
            .iter()
            .map(|(row, _)| Some(if parents.is_valid(*row) { parents.value(*row) } else { ids.value(*row) }))
            .collect();
        let columns: [(&str, ArrayRef); 3] = [
            (PARENT_ID, Arc::new(parents)),
            (LANGUAGE, Arc::new(targets)),
            (SOURCE_LANGUAGE, Arc::new(sources)),
        ];
        change.add.extend(columns.map(|(name, values)| (name.to_owned(), values)));
        change.rejected = rejected;
        Ok(change)
    }

    fn languages(&self, language: &str) -> Option<Vec<String>> {
        Some(self.config.targets.get(language).cloned().unwrap_or_default())
    }
}
