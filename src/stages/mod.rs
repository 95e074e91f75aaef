//! Stages: what a pipeline is made of. One operator per file, one line per operator in [`registry`].
//!
//! A stage is a column transform. It is *pure* (columns in, columns out), an *effect* (columns in,
//! requests to the model or the sandbox out, columns back), or *global*: it reads all rows before it decides about any,
//! so that rows wait there for one another. None sees journals, retries or other rows' fate: that is the executor's
//! business.
//!
//! Two things go beyond one answer per request and one row per row:
//!
//! - A stage may *explode* rows into children ([`Change::rows`]): samples of one prompt, translations of one solution. A
//!   row's first child stands for the row, the others count as spawned: in + spawned = kept + rejected + pending.
//! - An effect may *follow up* an answer with a request made from it ([`Effect::follow_up`]): the same with more tokens, or
//!   a request to repair the reply. Each is a call of its own with its own key, journaled like any other, so that a
//!   resumed run asks none of them again.

mod adequacy;
mod balance;
mod capture;
mod children;
mod converse;
mod critic;
mod decontaminate;
mod difficulty;
mod equivalent;
mod extract;
mod extract_answer;
mod extract_json;
mod extract_sections;
mod keep;
mod model;
mod novelty;
mod only_where;
mod prompt;
pub mod registry;
mod run;
mod run_samples;
mod sampled;
mod score;
mod select;
mod translate_to;

pub use children::{PARENT_ID, SAMPLE};
pub use model::{MESSAGES, OUTPUT};
pub use run::SUCCESS;
pub use score::{MESSAGE, OUTCOME, PASSED, ROUND, passed_column};

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;

use crate::error::{Error, Result};
use crate::frame::schema;
use crate::llm::chat::{Message, Reply, Sampling};
use crate::sandbox::job::{Job, Verdict};

/// Why a row leaves the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Row number within the batch, exploded if the change explodes it.
    pub row: usize,
    /// Short stable code, e.g. `block_count` or `RUNTIME_ERROR`.
    pub reason: String,
    /// What exactly was wrong, for people.
    pub detail: String,
}

/// What a stage does to a batch: rows exploded, columns of the full length then, and the rows that leave.
#[derive(Debug, Default)]
pub struct Change {
    /// Where the batch is exploded: for each row after it, the row before it that it is made of. Every row is there at least
    /// once, and in order. `None`: every row stays one.
    pub rows: Option<Vec<u32>>,
    /// Columns to add or replace. Values of rejected rows do not matter.
    pub add: Vec<(String, ArrayRef)>,
    /// Rows that leave, at most once each, in row order.
    pub rejected: Vec<Rejection>,
    /// Whether the added columns go before the others.
    pub leading: bool,
}

impl Change {
    /// The part of this change, which explodes no row, that concerns `len` rows from row `first` on.
    pub fn of(&self, first: usize, len: usize) -> Self {
        let from = self.rejected.partition_point(|rejection| rejection.row < first);
        let to = self.rejected.partition_point(|rejection| rejection.row < first + len);
        let rejected = self.rejected[from..to].iter();
        Self {
            rows: None,
            add: self.add.iter().map(|(name, values)| (name.clone(), values.slice(first, len))).collect(),
            rejected: rejected
                .map(|rejection| Rejection { row: rejection.row - first, ..rejection.clone() })
                .collect(),
            leading: self.leading,
        }
    }

    /// `batch` exploded into the rows that the change's columns and rejections are about; from here on, the change is one
    /// of that batch.
    ///
    /// # Errors
    /// A row of the batch is left out or out of order: a defect of the stage.
    pub fn explode(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let Some(rows) = self.rows.take() else { return Ok(batch.clone()) };
        let whole = rows.first().is_none_or(|first| *first == 0)
            && rows.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1)
            && rows.last().map_or(0, |last| *last as usize + 1) == batch.num_rows();
        if !whole {
            return Err(Error::usage("a stage left out rows instead of rejecting them"));
        }
        take_record_batch(batch, &UInt32Array::from(rows))
            .map_err(|error| Error::usage(format!("cannot explode rows: {error}")))
    }

    /// `batch` with this change made: rows exploded, columns added, `drops` taken out, rejected rows removed.
    ///
    /// # Errors
    /// Those of [`Change::explode`]; a column has another length than the batch: a defect of the stage.
    pub fn apply(mut self, batch: &RecordBatch, drops: &[String]) -> Result<RecordBatch> {
        let batch = &self.explode(batch)?;
        let replaced = |name: &str| self.add.iter().any(|(added, _)| added == name);
        let mut columns = schema::columns_where(batch, |name| {
            !replaced(name) && !drops.iter().any(|dropped| dropped == name)
        });
        let added = self.add.iter().map(|(name, values)| schema::column(name, values.clone()));
        let at = if self.leading { 0 } else { columns.len() };
        columns.splice(at..at, added);
        let changed = schema::batch_of(batch.num_rows(), columns)?;
        if self.rejected.is_empty() {
            return Ok(changed);
        }
        let mut kept = vec![true; batch.num_rows()];
        for rejection in &self.rejected {
            kept[rejection.row] = false;
        }
        filter_record_batch(&changed, &BooleanArray::from(kept))
            .map_err(|error| Error::usage(format!("cannot drop rejected rows: {error}")))
    }
}

/// Something asked of the model or the sandbox for one row.
#[derive(Debug, Clone)]
pub enum Request {
    /// A chat request.
    Model {
        /// Model and sampling.
        sampling: Arc<Sampling>,
        /// The conversation. Requests of one row that share it (and `sampling`) are samples of one another: an endpoint
        /// that can answers them with one call.
        messages: Arc<[Message]>,
    },
    /// A program to run.
    Sandbox {
        /// The program. Boxed: requests that wait are many.
        job: Box<Job>,
        /// Longest stdout and stderr to hand back, bytes each. The journal has all of it: a partition of programs
        /// that print megabytes would not fit into memory.
        keep_bytes: usize,
    },
}

/// What came back for a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The sandbox's verdict.
    Sandbox(Verdict),
    /// The model's reply.
    Model(Reply),
}

/// A transform of columns that needs nothing but the columns.
pub trait Pure: Send + Sync {
    /// Transforms one batch.
    ///
    /// # Errors
    /// Only for defects that concern every row (a column of the wrong type); a bad row is a [`Rejection`].
    fn apply(&self, batch: &RecordBatch) -> Result<Change>;

    /// The languages of the rows that it makes of rows of `language`; `None` where they keep it.
    fn languages(&self, _language: &str) -> Option<Vec<String>> {
        None
    }
}

/// A transform of columns that asks the model or the sandbox.
pub trait Effect: Send + Sync {
    /// The requests of each row of `batch`, in a fixed order per row. A request's place in that order is its sample number,
    /// which is part of its journal key: equal requests of one row are asked separately.
    ///
    /// # Errors
    /// As for [`Pure::apply`].
    fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>>;

    /// What to ask next, now that the `request`-th request of `row` and its follow-ups so far have been answered by
    /// `answers`; `None` when the last answer counts. Depends on nothing else, so that a resumed run follows up alike.
    fn follow_up(
        &self,
        _batch: &RecordBatch,
        _row: usize,
        _request: usize,
        _answers: &[Answer],
    ) -> Option<Request> {
        None
    }

    /// Folds the answers back: `answers[row]` holds one answer for each of the row's requests, in order: that to its last
    /// follow-up.
    ///
    /// # Errors
    /// As for [`Pure::apply`].
    fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change>;

    /// As [`Effect::fold`], given all answers to each request: the first one and those to its follow-ups. For effects to
    /// which more than the last counts.
    ///
    /// # Errors
    /// As for [`Pure::apply`].
    fn fold_all(&self, batch: &RecordBatch, mut answers: Vec<Vec<Vec<Answer>>>) -> Result<Change> {
        let last = answers.iter_mut().map(|row| row.iter_mut().filter_map(Vec::pop).collect());
        self.fold(batch, &last.collect::<Vec<_>>())
    }
}

/// Batches of rows, one after the other.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + Send + 'a>;

/// All rows that come to a global stage, in seed order. They are on disk and can be read as often as needed.
pub trait Rows: Sync {
    /// All rows, in batches of about a thousand, with at least the columns `columns`.
    ///
    /// # Errors
    /// The disk; the batches have errors of their own, of which one says that the run is to stop.
    fn scan(&self, columns: &[&str]) -> Result<Batches<'_>>;

    /// A directory for temporary files, on a disk that the rows fit on.
    fn scratch(&self) -> &Path;
}

/// A decision about each row that needs all of them.
pub trait Global: Send + Sync {
    /// Decides: a change of all rows together that explodes none. Depends on the rows and their order alone, and holds far
    /// less than the rows in memory. Called on a thread that may wait.
    ///
    /// # Errors
    /// Those of the rows, and as for [`Pure::apply`].
    fn decide(&self, rows: &dyn Rows) -> Result<Change>;
}

/// Most answers to one request of a row, those to its follow-ups included: a stage that never has enough is a defect.
pub const MOST_ROUNDS: usize = 8;

/// The work of a stage.
pub enum Work {
    /// Recomputed freely, never sealed alone.
    Pure(Box<dyn Pure>),
    /// A prompt: pure, but bound to the effect after it, so that its column is never sealed.
    Derived(Box<dyn Pure>),
    /// Costs money or time: journaled, sealed.
    Effect(Box<dyn Effect>),
    /// Needs all rows before it decides about one: a barrier, sealed.
    Global(Box<dyn Global>),
}

/// Which resource an effect asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// The language model.
    Model,
    /// The sandbox.
    Sandbox,
}

/// One checked stage of a plan.
pub struct Stage {
    /// Unique within the pipeline, e.g. `solution.reply`.
    pub name: Arc<str>,
    /// Operator, e.g. `model`.
    pub op: &'static str,
    /// Columns it reads.
    pub needs: Vec<String>,
    /// Columns it adds or replaces.
    pub adds: Vec<String>,
    /// Columns it takes away.
    pub drops: Vec<String>,
    /// Resource and number of requests per row, follow-ups left out, for effects.
    pub requests: Option<(Resource, usize)>,
    /// Most rows that it makes of one; 1 where it explodes none.
    pub fan_out: usize,
    /// Everything besides its input that its result depends on, for rows of one language.
    pub depends: Depends,
    /// What it does.
    pub work: Work,
}

impl Stage {
    /// Languages that rows of `languages` have after this stage.
    pub fn languages_after(&self, languages: &[String]) -> Vec<String> {
        let Work::Pure(pure) = &self.work else { return languages.to_vec() };
        let made = |language: &String| pure.languages(language).unwrap_or_else(|| vec![language.clone()]);
        let after: BTreeSet<String> = languages.iter().flat_map(made).collect();
        after.into_iter().collect()
    }
}

/// What a stage's result depends on besides its input: see [`Stage::depends`].
pub type Depends = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// A `depends` that is the same for every language.
fn depends_on(text: String) -> Depends {
    Box::new(move |_| vec![text.clone()])
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, StringArray};

    use super::*;

    fn batch() -> RecordBatch {
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        RecordBatch::try_from_iter([("id", ids)]).unwrap()
    }

    fn change(rows: &[u32]) -> Change {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.len() as i64));
        Change { rows: Some(rows.to_vec()), add: vec![("n".into(), numbers)], ..Change::default() }
    }

    #[test]
    fn rows_are_exploded_before_columns_are_added_and_rows_rejected() {
        let mut change = change(&[0, 0, 0, 1]);
        let rejection = |row| Rejection { row, reason: "r".into(), detail: String::new() };
        change.rejected = vec![rejection(0), rejection(2)];
        let changed = change.apply(&batch(), &[]).unwrap();
        let ids: Vec<_> = schema::strings(&changed, "id").unwrap().iter().flatten().collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(changed.column(1).as_ref(), &Int64Array::from(vec![1, 3]));
    }

    #[test]
    fn a_change_of_all_rows_is_cut_where_the_partitions_are() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..6));
        let rejection = |row| Rejection { row, reason: "r".into(), detail: format!("row {row}") };
        let rejected = vec![rejection(0), rejection(2), rejection(3)];
        let all = Change { add: vec![("n".into(), numbers)], rejected, ..Change::default() };
        let changed = all.of(2, 2);
        assert_eq!(changed.add[0].1.as_ref(), &Int64Array::from(vec![2, 3]));
        let rows: Vec<_> = changed.rejected.iter().map(|r| (r.row, r.detail.as_str())).collect();
        assert_eq!(rows, [(0, "row 2"), (1, "row 3")]);
        assert!(all.of(4, 2).rejected.is_empty() && all.of(0, 0).rejected.is_empty());
    }

    #[test]
    fn rows_left_out_or_out_of_order_are_a_defect() {
        for rows in [&[0, 0][..], &[1], &[1, 0], &[0, 1, 0], &[0, 1, 2], &[]] {
            assert!(change(rows).apply(&batch(), &[]).is_err(), "{rows:?}");
        }
        assert!(change(&[0, 1]).apply(&batch(), &[]).is_ok());
    }
}
