//! One step over one partition: prompts, the effect's calls, the pure stages after it.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use futures::future::join_all;
use futures::stream::{self, StreamExt};

use super::calls::{Asker, Calls};
use super::counts::Counts;
use super::events::Event;
use crate::error::{Error, Fault, Result};
use crate::frame::rejects::{RejectedRow, rows_as_json};
use crate::frame::schema::{ID, LANGUAGE, batch_of, columns_where, strings};
use crate::plan::Plan;
use crate::stages::{Answer, Change, Effect, MOST_ROUNDS, Request, Resource, Stage, Work};

/// What a step made of a partition.
pub struct StepResult {
    /// Rows that go on.
    pub batch: RecordBatch,
    /// Rows that left, from all stages of the step.
    pub rejected: Vec<RejectedRow>,
    /// What became of the rows, per stage and language.
    pub counts: Counts,
}

/// Runs the stages `plan.stages[stages]` over `batch`. `decided` is what the global stage at their head, if there is one, has
/// decided about these rows.
///
/// # Errors
/// A defect that concerns every row: a column of the wrong type, a broken run directory. Rows that merely fail or
/// cannot be answered now are in the counts.
pub async fn execute(
    plan: &Arc<Plan>,
    stages: std::ops::Range<usize>,
    batch: RecordBatch,
    mut decided: Option<Change>,
    calls: &Arc<Calls>,
) -> Result<StepResult> {
    let mut step = StepResult { batch, rejected: Vec::new(), counts: Counts::default() };
    for at in stages {
        let stage = &plan.stages[at];
        let languages = strings(&step.batch, LANGUAGE)?.clone();
        for language in languages.iter() {
            step.counts.tally(&stage.name, language.unwrap_or_default()).rows_in += 1;
        }
        let change = match &stage.work {
            Work::Pure(_) | Work::Derived(_) => {
                let (plan, batch) = (plan.clone(), step.batch.clone());
                on_rayon(move || match &plan.stages[at].work {
                    Work::Pure(pure) | Work::Derived(pure) => pure.apply(&batch),
                    _ => Ok(Change::default()),
                })
                .await?
            }
            Work::Global(_) => decided.take().ok_or_else(|| {
                Error::environment(format!("stage `{}` has not decided about these rows", stage.name))
            })?,
            Work::Effect(effect) => {
                let requests = {
                    let (plan, batch) = (plan.clone(), step.batch.clone());
                    on_rayon(move || match &plan.stages[at].work {
                        Work::Effect(effect) => effect.requests(&batch),
                        _ => Ok(Vec::new()),
                    })
                    .await?
                };
                let answers = ask(stage, &**effect, &mut step, requests, calls).await?;
                let (plan, batch) = (plan.clone(), step.batch.clone());
                on_rayon(move || match &plan.stages[at].work {
                    Work::Effect(effect) => effect.fold_all(&batch, answers),
                    _ => Ok(Change::default()),
                })
                .await?
            }
        };
        leave(stage, &mut step, change)?;
        let tallies = step.counts.stage(&stage.name);
        debug_assert!(tallies.adds_up(), "{}: {tallies:?}", stage.name);
        calls.observer().event(&Event::Stage { stage: &stage.name, tally: &tallies, fresh: true });
    }
    Ok(step)
}

/// Asks all requests of all rows, and what follows from the answers. A row that lacks one answer becomes pending as a whole
/// and leaves the step's batch; what it was answered is in the journal.
async fn ask(
    stage: &Stage,
    effect: &dyn Effect,
    step: &mut StepResult,
    requests: Vec<Vec<Request>>,
    calls: &Arc<Calls>,
) -> Result<Vec<Vec<Vec<Answer>>>> {
    let ids = strings(&step.batch, ID)?.clone();
    let languages = strings(&step.batch, LANGUAGE)?.clone();
    let batch = &step.batch.clone();
    let resource = stage.requests.map_or(Resource::Model, |(resource, _)| resource);
    // Made when their turn comes: a row that waits is no more than its requests.
    let rows = requests.into_iter().enumerate().map(|(row, requests)| {
        let asker = Asker {
            stage: stage.name.clone(),
            row: ids.value(row).to_owned(),
            language: languages.value(row).to_owned(),
            sample: 0,
        };
        async move { (row, ask_row(effect, batch, row, asker, requests, calls).await) }
    });
    let mut results: Vec<_> =
        stream::iter(rows).buffer_unordered(calls.rows_under_way(resource)).collect().await;
    results.sort_unstable_by_key(|(row, _)| *row);
    let mut answered = Vec::new();
    let mut kept = Vec::new();
    for (row, result) in results {
        let tally = step.counts.tally(&stage.name, languages.value(row));
        kept.push(result.is_ok());
        match result {
            Ok(rounds) => {
                rounds.iter().flatten().for_each(|answer| tally.measure(answer));
                answered.push(rounds);
            }
            Err(fault) => {
                tally.pending += 1;
                calls.observer().event(&Event::Pending {
                    stage: &stage.name,
                    row: ids.value(row),
                    fault: &fault,
                });
            }
        }
    }
    step.batch = filter_record_batch(&step.batch, &BooleanArray::from(kept)).map_err(|error| {
        Error::usage(format!("stage `{}`: cannot set pending rows aside: {error}", stage.name))
    })?;
    Ok(answered)
}

/// The answers of one row: for each of its requests those of all rounds, at least one.
async fn ask_row(
    effect: &dyn Effect,
    batch: &RecordBatch,
    row: usize,
    asker: Asker,
    requests: Vec<Request>,
    calls: &Arc<Calls>,
) -> Result<Vec<Vec<Answer>>, Fault> {
    let first = calls.answer_all(&asker, requests).await;
    let rounds = first.into_iter().enumerate().map(|(n, answer)| {
        let asker = Asker { sample: n as u32, ..asker.clone() };
        async move {
            let mut answers = vec![Arc::unwrap_or_clone(answer?)];
            while answers.len() < MOST_ROUNDS
                && let Some(request) = effect.follow_up(batch, row, n, &answers)
            {
                answers.push(Arc::unwrap_or_clone(calls.answer(asker.clone(), request).await?));
            }
            Ok(answers)
        }
    });
    join_all(rounds).await.into_iter().collect()
}

/// Makes `change`: rows are exploded, rejected ones go to the step's rejects with all they had, the others stay in its batch.
fn leave(stage: &Stage, step: &mut StepResult, mut change: Change) -> Result<()> {
    let parents = change.rows.clone();
    step.batch = change.explode(&step.batch)?;
    let after = everything(&step.batch, &change)?;
    let languages = strings(&after, LANGUAGE)?.clone();
    // Rows are counted by the language they came with: otherwise no language's counts would add up where rows are translated.
    let counted = strings(&step.batch, LANGUAGE)?.clone();
    // The first row made of a row stands for it; the others are additional.
    for (child, pair) in parents.as_deref().unwrap_or_default().windows(2).enumerate() {
        if pair[0] == pair[1] {
            step.counts.tally(&stage.name, counted.value(child + 1)).spawned += 1;
        }
    }
    if !change.rejected.is_empty() {
        let ids = strings(&after, ID)?;
        let rows: Vec<usize> = change.rejected.iter().map(|rejection| rejection.row).collect();
        let records = rows_as_json(&after, &rows)?;
        for (rejection, record) in change.rejected.iter().zip(records) {
            let language = languages.value(rejection.row);
            let tally = step.counts.tally(&stage.name, counted.value(rejection.row));
            *tally.rejected.entry(rejection.reason.clone()).or_default() += 1;
            step.rejected.push(RejectedRow {
                id: Some(ids.value(rejection.row).to_owned()),
                language: Some(language.to_owned()),
                stage: stage.name.to_string(),
                reason: rejection.reason.clone(),
                detail: Some(rejection.detail.clone()),
                source: None,
                record: Some(record),
            });
        }
    }
    let leaving: HashSet<usize> = change.rejected.iter().map(|rejection| rejection.row).collect();
    for row in (0..counted.len()).filter(|row| !leaving.contains(row)) {
        step.counts.tally(&stage.name, counted.value(row)).kept += 1;
    }
    step.batch = change.apply(&step.batch, &stage.drops)?;
    Ok(())
}

/// What rows had when they were rejected: the batch and the change's columns, without prompts (they are derived).
fn everything(batch: &RecordBatch, change: &Change) -> Result<RecordBatch> {
    let replaced = |name: &str| change.add.iter().any(|(added, _)| added == name);
    let mut columns = columns_where(batch, |name| name != crate::stages::MESSAGES && !replaced(name));
    let added = change.add.iter().filter(|(name, _)| name != crate::stages::MESSAGES);
    columns.extend(added.map(|(name, values)| crate::frame::schema::column(name, values.clone())));
    batch_of(batch.num_rows(), columns)
}

/// Runs CPU-bound work on rayon's threads, so that the threads that await replies stay free.
pub async fn on_rayon<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    rayon::spawn(move || {
        // Rayon ends the process when a task panics; one bad partition must not take the others' calls with it.
        let worked = catch_unwind(AssertUnwindSafe(work));
        // The receiver is gone only when the run is being torn down.
        let _ = done.send(worked.unwrap_or_else(|_| Err(defect())));
    });
    result.await.unwrap_or_else(|_| Err(defect()))
}

/// Runs work that waits for the disk, or for rayon's threads, on a thread of its own: rayon's few are for work that never
/// waits.
pub async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::environment(format!("a thread that waits for the disk died: {error}")))
    })
}

fn defect() -> Error {
    Error::environment("a worker thread panicked; this is a defect of autocodegen")
        .hint("everything answered so far is kept: run the same command again to resume")
}
