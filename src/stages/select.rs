//! `select`: the shape of the finished table: renames columns, drops some, puts some first.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::{Change, Pure, Stage, Work, depends_on};
use crate::error::{Error, Result};

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Columns to rename, old name to new.
    #[serde(default)]
    rename: BTreeMap<String, String>,
    /// Columns to drop.
    #[serde(default)]
    drop: Vec<String>,
    /// Columns to put first, in this order, by their new names; the others follow as they are.
    #[serde(default)]
    first: Vec<String>,
}

struct Select {
    config: Config,
}

impl Config {
    fn old_name<'a>(&'a self, new: &'a str) -> &'a str {
        self.rename.iter().find(|(_, to)| *to == new).map_or(new, |(from, _)| from)
    }
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let firsts: Vec<String> = config.first.iter().map(|new| config.old_name(new).to_owned()).collect();
    let mut gone: Vec<String> = config.rename.keys().chain(&config.drop).cloned().collect();
    let mut needs = [gone.as_slice(), &firsts].concat();
    needs.sort();
    needs.dedup();
    gone.extend(firsts.iter().filter(|name| !config.rename.contains_key(*name)).cloned());
    let adds = config.first.iter().chain(config.rename.values().filter(|new| !config.first.contains(new)));
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "select",
        needs,
        adds: adds.cloned().collect(),
        drops: gone,
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{:?} {:?} {:?}", config.rename, config.drop, config.first)),
        work: Work::Pure(Box::new(Select { config })),
    })
}

impl Pure for Select {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let renamed = self.config.rename.values().filter(|new| !self.config.first.contains(new));
        let add = self.config.first.iter().chain(renamed).map(|new| {
            let old = self.config.old_name(new);
            let column = batch
                .column_by_name(old)
                .ok_or_else(|| Error::usage(format!("there is no column `{old}` to select")))?;
            Ok((new.clone(), column.clone()))
        });
        Ok(Change { add: add.collect::<Result<_>>()?, leading: true, ..Change::default() })
    }
}
