//! How the rows of a run came about, for those who get the dataset: models, prompts, toolchains, filters, cost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use ignore::WalkBuilder;

use super::counts::Counts;
use super::run_file::{RunFile, State};
use crate::error::{Error, Result};
use crate::frame::export::card::{Origin, Replies, StageFacts};
use crate::frame::journal::table_files;
use crate::frame::key::Key;
use crate::frame::part::Scan;
use crate::frame::run_dir::RunDir;
use crate::frame::schema::strings;

/// The provenance of the dataset of `run`.
///
/// # Errors
/// `run.json` or a table does not read.
pub fn origin(run: &RunDir) -> Result<Origin> {
    let file: RunFile = run.read_json()?.ok_or_else(|| {
        Error::usage(format!("{} has no run.json yet", run.path().display()))
            .hint("run the same `autocodegen run` command again")
    })?;
    let tokens = file.cost.spending.tokens(None);
    Ok(Origin {
        unfinished: file.state != State::Done,
        seeds: file.seeds.rows,
        sampling: serde_json::to_string(&file.model).unwrap_or_default(),
        prompts: prompts(run, file.templates)?,
        templates: file.templates.map(|key| key.to_string()),
        replies: replies(run)?,
        toolchains: toolchains(run)?,
        stages: stages(run, &file.counts)?,
        tokens: (tokens.prompt, tokens.completion),
        usd: file.cost.usd,
        version: file.version,
        pipeline: file.pipeline,
        sandbox: file.sandbox,
    })
}

/// Every template of the set `current`, with its hash.
fn prompts(run: &RunDir, current: Option<Key>) -> Result<Vec<(String, String)>> {
    let Some(current) = current else { return Ok(Vec::new()) };
    let dir = run.templates().join(current.to_string());
    let mut prompts = Vec::new();
    if !dir.is_dir() {
        return Ok(prompts);
    }
    for entry in WalkBuilder::new(&dir).standard_filters(false).build() {
        let entry = entry.map_err(|error| Error::environment(format!("cannot read templates: {error}")))?;
        let path = entry.path();
        if path.is_file() {
            let text = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
            let name = path.strip_prefix(&dir).unwrap_or(path).to_string_lossy().into_owned();
            prompts.push((name, Key::of(&[text]).to_string()));
        }
    }
    prompts.sort();
    Ok(prompts)
}

fn replies(run: &RunDir) -> Result<Vec<Replies>> {
    let mut by: BTreeMap<(String, String), Replies> = BTreeMap::new();
    let columns = ["stage", "model", "prompt_tokens", "completion_tokens"];
    for_each(table_files(&run.replies())?, &columns, &mut |batch| {
        let (stages, models) = (strings(batch, columns[0])?, strings(batch, columns[1])?);
        let (prompts, completions) = (numbers(batch, columns[2])?, numbers(batch, columns[3])?);
        for row in 0..batch.num_rows() {
            let (stage, model) = (stages.value(row).to_owned(), models.value(row).to_owned());
            let sum = by.entry((stage, model)).or_default();
            sum.replies += 1;
            sum.prompt_tokens += prompts[row];
            sum.completion_tokens += completions[row];
        }
        Ok(())
    })?;
    Ok(by.into_iter().map(|((stage, model), sum)| Replies { stage, model, ..sum }).collect())
}

fn toolchains(run: &RunDir) -> Result<Vec<(String, String, u64)>> {
    let mut by: BTreeMap<(String, String), u64> = BTreeMap::new();
    let columns = ["language", "toolchain"];
    for_each(table_files(&run.verdicts())?, &columns, &mut |batch| {
        let (languages, toolchains) = (strings(batch, columns[0])?, strings(batch, columns[1])?);
        for row in 0..batch.num_rows() {
            let pair = (languages.value(row).to_owned(), toolchains.value(row).to_owned());
            *by.entry(pair).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(by.into_iter().map(|((language, toolchain), runs)| (language, toolchain, runs)).collect())
}

/// What became of the rows, in the order of the plan.
fn stages(run: &RunDir, counts: &Counts) -> Result<Vec<StageFacts>> {
    let table = run.stages_table();
    let mut order: BTreeMap<u64, String> = BTreeMap::new();
    if table.exists() {
        for_each(vec![table], &["position", "stage"], &mut |batch| {
            let (positions, stages) = (numbers(batch, "position")?, strings(batch, "stage")?);
            let pairs = positions.iter().zip(stages.iter());
            order.extend(pairs.map(|(position, stage)| (*position, stage.unwrap_or_default().to_owned())));
            Ok(())
        })?;
    }
    let facts = order.into_values().map(|stage| {
        let tally = counts.stage(&stage);
        let (rows, kept) = (tally.rows_in + tally.spawned, tally.kept);
        StageFacts { stage, rows, kept, rejected: tally.rejected.into_iter().collect() }
    });
    Ok(facts.collect())
}

fn for_each(
    files: Vec<PathBuf>,
    columns: &[&str],
    take: &mut dyn FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let columns = columns.iter().map(|name| (*name).to_owned()).collect();
    Scan::new(files, Some(columns)).try_for_each(|batch| take(&batch?))
}

fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [u64]> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    column
        .map(|column| &**column.values())
        .ok_or_else(|| Error::usage(format!("there is no column `{name}` of whole numbers")))
}
