//! What a run hands over when it ends: the dataset, and the tables that queries read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{Schema, SchemaRef};

use super::Engine;
use super::counts::Counts;
use super::parts::Parts;
use crate::error::{Error, Result};
use crate::frame::dataset::DatasetWriter;
use crate::frame::journal::{REPLIES, Table, VERDICTS, tidy_table};
use crate::frame::part::{self, Scan};
use crate::frame::schema::{batch_of, column, rejected_schema};
use crate::plan::Plan;
use crate::stages::Resource;

/// Writes `dataset/`, `rejected/` and `stages.parquet` of the run, and compacts its journals into `replies/` and
/// `verdicts/`.
///
/// # Errors
/// The disk, or a part that does not read.
pub fn write(engine: &Engine, counts: &Counts) -> Result<()> {
    let run = &engine.run;
    let parts = Parts { run };
    let mut rejected = vec![run.rejected_part("seed", 0)?];
    let mut finished = Vec::new();
    for step in &engine.plan.steps {
        for n in 0..engine.partitions() {
            rejected.push(run.rejected_part(&step.name, n as u64)?);
        }
    }
    rejected.retain(|path| path.exists());
    if let Some(last) = engine.plan.steps.last() {
        for n in 0..engine.partitions() {
            finished.extend(parts.any(&last.name, n)?);
        }
    }
    let dataset = || match finished.first() {
        // An earlier run's was made of parts that are there no more.
        None if run.dataset().exists() => {
            let dir = run.dataset();
            std::fs::remove_dir_all(&dir).map_err(|error| Error::io("remove", &dir, error))
        }
        None => Ok(()),
        Some(first) => {
            let schema = part::schema(first)?;
            let plain = Arc::new(Schema::new(schema.fields().clone()));
            table(&run.dataset(), finished, &plain)
        }
    };
    // Each table has one writer; together they keep the cores busy.
    let (calls, rows) = rayon::join(
        || {
            rayon::join(
                || compact(engine, Resource::Model, &run.replies(), &REPLIES),
                || compact(engine, Resource::Sandbox, &run.verdicts(), &VERDICTS),
            )
        },
        || rayon::join(|| table(&run.rejected(), rejected, &rejected_schema()), dataset),
    );
    for written in [calls.0, calls.1, rows.0, rows.1] {
        written?;
    }
    let stages = stages(&engine.plan, counts)?;
    part::seal(&run.stages_table(), &stages.schema(), std::slice::from_ref(&stages), &BTreeMap::new())
}

/// Writes the rows of `parts`, in order, as the table `dir`.
fn table(dir: &Path, parts: Vec<PathBuf>, schema: &SchemaRef) -> Result<()> {
    let mut writer = DatasetWriter::create(dir, schema, &BTreeMap::new())?;
    for batch in Scan::new(parts, None) {
        writer.write(&batch?)?;
    }
    writer.finish().map(|_| ())
}

/// Compacts the journals of all stages into `table`.
fn compact(engine: &Engine, resource: Resource, dir: &Path, table: &'static Table) -> Result<()> {
    let stages = engine.plan.stages.iter();
    let asking = stages.filter(|stage| stage.requests.is_some_and(|(asked, _)| asked == resource));
    for journal in asking.filter_map(|stage| engine.calls.journal(&stage.name)) {
        journal.compact(table)?;
    }
    tidy_table(dir, table)
}

/// One row per stage and language, in the order of the plan.
fn stages(plan: &Plan, counts: &Counts) -> Result<RecordBatch> {
    let empty = BTreeMap::new();
    let mut rows = Vec::new();
    for (position, stage) in plan.stages.iter().enumerate() {
        for (language, tally) in counts.0.get(&*stage.name).unwrap_or(&empty) {
            rows.push((position as u64, &*stage.name, stage.op, language.as_str(), tally));
        }
    }
    let columns = vec![
        ("position", numbers(&rows, |row| row.0)),
        ("stage", texts(&rows, |row| row.1.to_owned())),
        ("op", texts(&rows, |row| row.2.to_owned())),
        ("language", texts(&rows, |row| row.3.to_owned())),
        ("rows_in", numbers(&rows, |row| row.4.rows_in)),
        ("spawned", numbers(&rows, |row| row.4.spawned)),
        ("kept", numbers(&rows, |row| row.4.kept)),
        ("rejected", numbers(&rows, |row| row.4.rejected_rows())),
        ("pending", numbers(&rows, |row| row.4.pending)),
        ("prompt_tokens", numbers(&rows, |row| row.4.prompt_tokens)),
        ("completion_tokens", numbers(&rows, |row| row.4.completion_tokens)),
        ("busy_ms", numbers(&rows, |row| row.4.busy_ms)),
    ];
    named(rows.len(), columns)
}

fn texts<R>(rows: &[R], value: impl Fn(&R) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

fn numbers<R>(rows: &[R], value: impl Fn(&R) -> u64) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(rows.iter().map(value)))
}

fn named(rows: usize, columns: Vec<(&'static str, ArrayRef)>) -> Result<RecordBatch> {
    batch_of(rows, columns.into_iter().map(|(name, values)| column(name, values)).collect())
}
