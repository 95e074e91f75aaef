//! Stages: what a pipeline is made of. One operator per file, one line per operator in [`registry`].
//!
//! A stage is a column transform. It is either *pure* (columns in, columns out) or an *effect* (columns in,
//! requests to the model or the sandbox out, columns back). Neither sees journals, retries or other rows'
//! fate: that is the executor's business.

mod capture;
mod extract;
mod keep;
mod model;
mod prompt;
pub mod registry;
mod run;
mod select;

pub use model::{MESSAGES, OUTPUT};
pub use run::SUCCESS;

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

use crate::error::{Error, Result};
use crate::frame::schema;
use crate::llm::chat::{Message, Reply, Sampling};
use crate::sandbox::job::{Job, Verdict};

/// Why a row leaves the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Row number within the batch.
    pub row: usize,
    /// Short stable code, e.g. `block_count` or `RUNTIME_ERROR`.
    pub reason: String,
    /// What exactly was wrong, for people.
    pub detail: String,
}

/// What a stage does to a batch: columns of the batch's full length, and the rows that leave.
#[derive(Debug, Default)]
pub struct Change {
    /// Columns to add or replace. Values of rejected rows do not matter.
    pub add: Vec<(String, ArrayRef)>,
    /// Rows that leave, at most once each, in row order.
    pub rejected: Vec<Rejection>,
    /// Whether the added columns go before the others.
    pub leading: bool,
}

impl Change {
    /// `batch` with this change made: columns added, `drops` taken out, rejected rows removed.
    ///
    /// # Errors
    /// A column has another length than the batch: a defect of the stage.
    pub fn apply(&self, batch: &RecordBatch, drops: &[String]) -> Result<RecordBatch> {
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
        /// The conversation.
        messages: Vec<Message>,
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
}

/// A transform of columns that asks the model or the sandbox.
pub trait Effect: Send + Sync {
    /// The requests of each row of `batch`, in a fixed order per row.
    ///
    /// # Errors
    /// As for [`Pure::apply`].
    fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>>;

    /// Folds the answers back: `answers[row]` holds one answer for each of the row's requests, in order.
    ///
    /// # Errors
    /// As for [`Pure::apply`].
    fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change>;
}

/// The work of a stage.
pub enum Work {
    /// Recomputed freely, never sealed alone.
    Pure(Box<dyn Pure>),
    /// A prompt: pure, but bound to the effect after it, so that its column is never sealed.
    Derived(Box<dyn Pure>),
    /// Costs money or time: journaled, sealed.
    Effect(Box<dyn Effect>),
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
    /// Resource and number of requests per row, for effects.
    pub requests: Option<(Resource, usize)>,
    /// Everything besides its input that its result depends on, for rows of one language.
    pub depends: Depends,
    /// What it does.
    pub work: Work,
}

/// What a stage's result depends on besides its input: see [`Stage::depends`].
pub type Depends = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// A `depends` that is the same for every language.
fn depends_on(text: String) -> Depends {
    Box::new(move |_| vec![text.clone()])
}
