//! What a run hands over when it ends: the dataset, and the tables that queries read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{Schema, SchemaRef};

use super::Engine;
use super::counts::Counts;
use super::parts::Parts;
use crate::error::{Error, Result};
use crate::frame::dataset::DatasetWriter;
use crate::frame::journal::Journal;
use crate::frame::part::{self, Scan};
use crate::frame::recorded::Recorded;
use crate::frame::schema::{batch_of, column, rejected_schema};
use crate::llm::chat::Reply;
use crate::plan::Plan;
use crate::sandbox::job::Verdict;
use crate::stages::Resource;

/// Records gathered before they are written as a batch, and the bytes of them: programs' outputs can be 16 MiB each.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 32 << 20;

/// Writes `dataset/`, `rejected/`, `replies/`, `verdicts/` and `stages.parquet` of the run.
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
    table(&run.rejected(), rejected, &rejected_schema())?;
    if let Some(first) = finished.first() {
        let schema = part::schema(first)?;
        let plain = Arc::new(Schema::new(schema.fields().clone()));
        table(&run.dataset(), finished, &plain)?;
    } else if run.dataset().exists() {
        // It was made of parts that are there no more.
        let dir = run.dataset();
        std::fs::remove_dir_all(&dir).map_err(|error| Error::io("remove", &dir, error))?;
    }
    replies(engine, &run.replies())?;
    verdicts(engine, &run.verdicts())?;
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

/// Journals of the stages that ask `resource`, with the stages' names.
fn journals(engine: &Engine, resource: Resource) -> impl Iterator<Item = &Journal> {
    let stages = engine.plan.stages.iter();
    let asking = stages.filter(move |stage| stage.requests.is_some_and(|(asked, _)| asked == resource));
    asking.filter_map(|stage| engine.calls.journal(&stage.name))
}

fn replies(engine: &Engine, dir: &Path) -> Result<()> {
    journal_table(engine, Resource::Model, dir, reply_batch)
}

fn verdicts(engine: &Engine, dir: &Path) -> Result<()> {
    journal_table(engine, Resource::Sandbox, dir, verdict_batch)
}

/// Writes the journals of all stages that ask `resource` as one table, a batch of records at a time.
fn journal_table<A: serde::de::DeserializeOwned>(
    engine: &Engine,
    resource: Resource,
    dir: &Path,
    batch_of: fn(&[Recorded<A>]) -> Result<RecordBatch>,
) -> Result<()> {
    let mut writer = DatasetWriter::create(dir, &batch_of(&[])?.schema(), &BTreeMap::new())?;
    let mut records: Vec<Recorded<A>> = Vec::with_capacity(BATCH);
    let mut bytes = 0;
    for journal in journals(engine, resource) {
        journal.for_each(&mut |key, payload| {
            let record = serde_json::from_slice(payload).map_err(|error| {
                Error::environment(format!("journal record {key}: {error}"))
                    .hint("the run directory was written by another version of autocodegen: use a new --out")
            })?;
            records.push(record);
            bytes += payload.len();
            if records.len() == BATCH || bytes >= BATCH_BYTES {
                writer.write(&batch_of(&records)?)?;
                records.clear();
                bytes = 0;
            }
            Ok(())
        })?;
    }
    writer.write(&batch_of(&records)?)?;
    writer.finish().map(|_| ())
}

/// Columns that every record has: key, stage, row id, language, sample, attempts.
fn asked<A>(records: &[Recorded<A>]) -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("key", texts(records, |r| r.key.map(|key| key.to_string()).unwrap_or_default())),
        ("stage", texts(records, |r| r.stage.clone())),
        ("id", texts(records, |r| r.row.clone())),
        ("language", texts(records, |r| r.language.clone())),
        ("sample", Arc::new(records.iter().map(|r| Some(r.sample)).collect::<UInt32Array>())),
        ("attempts", Arc::new(records.iter().map(|r| Some(r.attempts)).collect::<UInt32Array>())),
    ]
}

fn reply_batch(records: &[Recorded<Reply>]) -> Result<RecordBatch> {
    let mut columns = asked(records);
    columns.extend([
        ("model", texts(records, |r| r.answer.model.clone())),
        ("finish_reason", texts(records, |r| r.answer.finish_reason.clone())),
        ("prompt_tokens", numbers(records, |r| r.answer.prompt_tokens)),
        ("cached_tokens", numbers(records, |r| r.answer.cached_tokens)),
        ("completion_tokens", numbers(records, |r| r.answer.completion_tokens)),
        ("latency_ms", numbers(records, |r| r.answer.latency_ms)),
        ("output", texts(records, |r| r.answer.output.clone())),
        ("reasoning", texts(records, |r| r.answer.reasoning.clone())),
    ]);
    named(records.len(), columns)
}

fn verdict_batch(records: &[Recorded<Verdict>]) -> Result<RecordBatch> {
    let mut columns = asked(records);
    columns.extend([
        ("outcome", texts(records, |r| r.answer.outcome.name().to_owned())),
        ("reason", texts(records, |r| r.answer.reason.clone())),
        (
            "exit_code",
            Arc::new(records.iter().map(|r| r.answer.exit_code).collect::<arrow_array::Int32Array>()) as _,
        ),
        (
            "signal",
            Arc::new(records.iter().map(|r| r.answer.signal).collect::<arrow_array::Int32Array>()) as _,
        ),
        ("wall_ms", numbers(records, |r| r.answer.usage.wall_ms)),
        ("cpu_ms", numbers(records, |r| r.answer.usage.cpu_ms)),
        ("peak_rss_bytes", numbers(records, |r| r.answer.usage.peak_rss_bytes)),
        ("compile_wall_ms", numbers(records, |r| r.answer.compile_usage.map_or(0, |usage| usage.wall_ms))),
        ("compile_cpu_ms", numbers(records, |r| r.answer.compile_usage.map_or(0, |usage| usage.cpu_ms))),
        ("stdout", texts(records, |r| r.answer.stdout.clone())),
        ("stderr", texts(records, |r| r.answer.stderr.clone())),
        ("compile_message", texts(records, |r| r.answer.compile_message.clone())),
        ("toolchain", texts(records, |r| r.answer.toolchain.clone())),
        ("isolation", texts(records, |r| r.answer.isolation.clone())),
    ]);
    named(records.len(), columns)
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
