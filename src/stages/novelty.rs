//! `novelty`: rows that repeat an earlier one, exactly or nearly, leave.
//!
//! Rows are compared in seed order with the rows kept so far, view by view: a view is a column, read as a set of
//! shingles. Where one view is similar enough, the row is rejected as a `duplicate` of the earliest kept row that it is like.
//! Rows are never compared with rejected ones, so that similarity is not chained: of three rows of which each is like the
//! next only, the first and the third stay. So whatever is rejected is like a row that stays, and no two rows
//! that stay are alike.
//!
//! A view without a single token is like nothing.

mod index;

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use arrow_array::{Array, RecordBatch};
use rayon::prelude::*;
use serde::Deserialize;

use self::index::Index;
use super::registry::{Context, Spec};
use super::{Change, Global, Rejection, Rows, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::{ID, LANGUAGE, strings};
use crate::text::minhash::{Signature, signature};
use crate::text::shingles::{shingles, token_hash};

/// Raised whenever the same rows would be decided about otherwise.
const VERSION: u32 = 1;
/// Batches of sketches that wait to be decided about.
const AHEAD: usize = 4;

/// Keys of the operator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Columns that are compared, each with itself.
    columns: Vec<String>,
    /// Jaccard similarity of the shingles from which on rows are alike.
    #[serde(default = "threshold")]
    threshold: f64,
    /// Tokens of a shingle.
    #[serde(default = "shingle")]
    shingle: usize,
    /// Whether rows of different languages are compared, too.
    #[serde(default)]
    across_languages: bool,
}

fn threshold() -> f64 {
    0.7
}

fn shingle() -> usize {
    5
}

struct Novelty {
    config: Config,
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let refuse = |why: &str| Err(Error::usage(format!("stage `{}`: {why}", spec.name)));
    if config.columns.is_empty() {
        return refuse("`columns` names nothing to compare");
    }
    if !(0.1..=1.0).contains(&config.threshold) {
        return refuse("`threshold` is from 0.1 to 1");
    }
    if !(1..=100).contains(&config.shingle) {
        return refuse("`shingle` is from 1 to 100 tokens");
    }
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "novelty",
        needs: [&[ID.to_owned(), LANGUAGE.to_owned()], config.columns.as_slice()].concat(),
        adds: vec![],
        drops: vec![],
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{VERSION} {config:?}")),
        work: Work::Global(Box::new(Novelty { config })),
    })
}

/// A row as it is compared.
struct Sketch {
    id: String,
    /// Rows of different groups are not compared.
    group: u64,
    /// Its shingles and their signature, view by view; `None` for a view without tokens.
    views: Vec<Option<(Vec<u32>, Box<Signature>)>>,
}

impl Global for Novelty {
    fn decide(&self, rows: &dyn Rows) -> Result<Change> {
        let Config { columns, threshold, .. } = &self.config;
        let mut indexes: Vec<Index> =
            columns.iter().map(|_| Index::create(*threshold, rows.scratch())).collect::<Result<_>>()?;
        let mut rejected = Vec::new();
        let mut row = 0;
        thread::scope(|scope| {
            let (sender, sketches) = sync_channel(AHEAD);
            scope.spawn(move || self.sketch_all(rows, &sender));
            for batch in sketches {
                for sketch in batch? {
                    match self.duplicate(&indexes, &sketch)? {
                        Some(detail) => rejected.push(Rejection { row, reason: "duplicate".into(), detail }),
                        None => {
                            for (index, view) in indexes.iter_mut().zip(&sketch.views) {
                                if let Some((set, signature)) = view {
                                    index.insert(&sketch.id, sketch.group, set, signature)?;
                                }
                            }
                        }
                    }
                    row += 1;
                }
            }
            Ok(Change { rejected, ..Change::default() })
        })
    }
}

impl Novelty {
    /// Sends the sketches of all rows, until nobody wants them any more.
    fn sketch_all(&self, rows: &dyn Rows, to: &SyncSender<Result<Vec<Sketch>>>) {
        let mut columns = vec![ID, LANGUAGE];
        columns.extend(self.config.columns.iter().map(String::as_str));
        match rows.scan(&columns) {
            Ok(batches) => {
                for batch in batches {
                    if to.send(batch.and_then(|batch| self.sketch(&batch))).is_err() {
                        return;
                    }
                }
            }
            // Whoever would have heard of it has gone.
            Err(error) => drop(to.send(Err(error))),
        }
    }

    fn sketch(&self, batch: &RecordBatch) -> Result<Vec<Sketch>> {
        let (ids, languages) = (strings(batch, ID)?, strings(batch, LANGUAGE)?);
        let columns = self.config.columns.iter().map(|name| strings(batch, name));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let sketch = |row: usize| Sketch {
            id: ids.value(row).to_owned(),
            group: if self.config.across_languages { 0 } else { token_hash(languages.value(row)) },
            views: columns
                .iter()
                .map(|texts| {
                    let text = if texts.is_valid(row) { texts.value(row) } else { "" };
                    let set = shingles(text, self.config.shingle);
                    let signature = signature(&set)?;
                    Some((set, Box::new(signature)))
                })
                .collect(),
        };
        Ok((0..batch.num_rows()).into_par_iter().map(sketch).collect())
    }

    /// What the row repeats, and how alike the two are.
    fn duplicate(&self, indexes: &[Index], sketch: &Sketch) -> Result<Option<String>> {
        for ((column, index), view) in self.config.columns.iter().zip(indexes).zip(&sketch.views) {
            let Some((set, signature)) = view else { continue };
            if let Some((id, similarity)) = index.find(sketch.group, set, signature)? {
                // Rounded down: a similarity of 1 is told of equal sets only.
                let similarity = (similarity * 1000.0).floor() / 1000.0;
                return Ok(Some(format!("repeats {id}: {column} is {similarity} similar")));
            }
        }
        Ok(None)
    }
}
