//! Prompts of a finished run, rendered again: they are derived from rows and templates and stored nowhere.
//!
//! The prompt of a row is made from what the row was before the step that asked: the seeds for the first step, the
//! sealed parts of the step before for any other. Those rows and the dataset are in seed order, so that one pass
//! over each finds every row in bounded memory. A row that was exploded later is the origin of all its children.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::take::take_record_batch;

use super::parts::Parts;
use super::run_file::{RunFile, State};
use crate::error::{Error, Result};
use crate::frame::columns::json_field;
use crate::frame::ingest::SeedStore;
use crate::frame::key::descends_from;
use crate::frame::part::Scan;
use crate::frame::run_dir::RunDir;
use crate::frame::schema::{ID, batch_of, columns_where, strings};
use crate::plan::pipeline::Pipeline;
use crate::plan::{Plan, Step};
use crate::stages::registry::Context;
use crate::stages::{MESSAGES, Stage, Work};
use crate::text::template::Templates;

/// Seeds read at once.
const SEED_ROWS: usize = 1024;

/// Adds the prompts of a run to the rows of its dataset.
pub struct Prompts {
    plan: Plan,
    sources: Vec<Source>,
}

/// The rows that the prompts of one step are made from.
struct Source {
    step: String,
    /// The step's stages from its first to its last prompt.
    stages: Range<usize>,
    /// The prompts among them: the column of each.
    columns: Vec<String>,
    batches: Box<dyn Iterator<Item = Result<RecordBatch>>>,
    /// The batch being looked through, and the first row that is not yet passed.
    open: Option<(RecordBatch, usize)>,
}

impl Prompts {
    /// The prompts of `run`: one column per prompt stage, named after the first part of the stage's name.
    ///
    /// # Errors
    /// The run is under way or was killed, or lacks its pipeline, templates, seeds or parts.
    pub fn open(run: &RunDir) -> Result<Self> {
        let unfinished = || {
            Error::usage(format!("{} is not at its end: its prompts may change", run.path().display()))
                .hint("run the same `autocodegen run` command again, then export")
        };
        let file: RunFile = run.read_json()?.ok_or_else(unfinished)?;
        // While it is under way, run.json already names templates that the dataset may not be made with.
        if file.state == State::Running || file.templates.is_none() {
            return Err(unfinished());
        }
        let plan = plan_of(run, &file)?;
        let partitions = file.partitions();
        let mut sources: Vec<Source> = Vec::new();
        for (at, step) in plan.steps.iter().enumerate() {
            let prompts = prompts_of(&plan, step);
            let Some(last) = prompts.last() else { continue };
            let taken: Vec<&String> = sources.iter().flat_map(|source| &source.columns).collect();
            let columns = column_names(&plan, &prompts, &taken);
            let batches = match at.checked_sub(1) {
                None => seeds(SeedStore::open(&run.seeds())?),
                Some(before) => sealed(run, &plan.steps[before].name, partitions)?,
            };
            let stages = step.stages.start..last + 1;
            sources.push(Source { step: step.name.clone(), stages, columns, batches, open: None });
        }
        Ok(Self { plan, sources })
    }

    /// `schema` with the columns of the prompts after its own.
    ///
    /// # Errors
    /// It has a column of such a name already.
    pub fn schema(&self, schema: &SchemaRef) -> Result<SchemaRef> {
        let mut fields = schema.fields().to_vec();
        for name in self.sources.iter().flat_map(|source| &source.columns) {
            if schema.column_with_name(name).is_some() {
                return Err(Error::usage(format!("the dataset has a column `{name}` of its own"))
                    .hint("rename that column of the seeds, or export without --with-prompts"));
            }
            fields.push(Arc::new(json_field(name)));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// `batch`, the next rows of the dataset (some may be left out), with the prompts added.
    ///
    /// # Errors
    /// A row's origin is not found, or no longer gives a prompt.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let ids = strings(batch, ID)?;
        let mut columns = columns_where(batch, |_| true);
        for source in &mut self.sources {
            let texts = source.prompts(&self.plan, ids)?;
            for (name, texts) in source.columns.iter().zip(texts) {
                columns.push((Arc::new(json_field(name)), Arc::new(StringArray::from(texts)) as ArrayRef));
            }
        }
        batch_of(batch.num_rows(), columns)
    }
}

impl Source {
    /// Every prompt of the rows `ids`, by column.
    fn prompts(&mut self, plan: &Plan, ids: &StringArray) -> Result<Vec<Vec<String>>> {
        let mut prompts = vec![Vec::with_capacity(ids.len()); self.columns.len()];
        let mut found = 0;
        while found < ids.len() {
            let Some((batch, mut at)) = self.next()? else {
                return Err(self.outdated(ids.value(found)));
            };
            let names = strings(&batch, ID)?.clone();
            let mut rows = Vec::new();
            while at < batch.num_rows() && found < ids.len() {
                if descends_from(ids.value(found), names.value(at)) {
                    rows.push(at as u64);
                    found += 1;
                } else {
                    at += 1;
                }
            }
            let origins = take_record_batch(&batch, &UInt64Array::from(rows))
                .map_err(|error| Error::usage(format!("rows of step `{}`: {error}", self.step)))?;
            self.open = Some((batch, at));
            for (column, texts) in prompts.iter_mut().zip(self.render(plan, origins)?) {
                column.extend(texts);
            }
        }
        Ok(prompts)
    }

    /// The batch being looked through, or the next when that is passed.
    fn next(&mut self) -> Result<Option<(RecordBatch, usize)>> {
        match self.open.take() {
            Some((batch, at)) if at < batch.num_rows() => Ok(Some((batch, at))),
            _ => Ok(self.batches.next().transpose()?.map(|batch| (batch, 0))),
        }
    }

    /// Takes rows through the stages up to the last prompt.
    fn render(&self, plan: &Plan, batch: RecordBatch) -> Result<Vec<Vec<String>>> {
        let mut prompts = Vec::new();
        let rendered = derive(&plan.stages[self.stages.clone()], batch, &mut |batch| {
            prompts.push(strings(batch, MESSAGES)?.iter().flatten().map(str::to_owned).collect());
            Ok(())
        })?;
        match rendered {
            Ok(_) => Ok(prompts),
            Err(left) => Err(self.outdated(&left.id).context(&left.detail)),
        }
    }

    fn outdated(&self, row: &str) -> Error {
        Error::usage(format!(
            "row {row} of the dataset does not come from the present rows of step `{}`",
            self.step
        ))
        .hint("the run has gone on since the dataset was written: run it to its end, then export again")
    }
}

/// The plan of `run` as it was last run, with the templates that `run.json` names. It is good for making prompts and requests
/// again, which depend neither on the sandbox nor on how long outputs may be.
pub(super) fn plan_of(run: &RunDir, file: &RunFile) -> Result<Plan> {
    let hash = file.templates.ok_or_else(|| {
        Error::usage(format!("{} does not say which templates it uses", run.run_json().display()))
            .hint("run the same `autocodegen run` command again")
    })?;
    let templates = Arc::new(Templates::load(Some(&run.templates().join(hash.to_string())))?);
    let pipeline = Pipeline::load(&run.pipeline().to_string_lossy())?;
    let context = Context {
        templates: &templates,
        sampling: &file.model,
        sandbox: None,
        max_output_bytes: 0,
        decontaminate: None,
    };
    Plan::build(&pipeline, &context)
}

/// A row that a stage rejects.
pub(super) struct Left {
    pub id: String,
    pub detail: String,
}

/// Takes rows through those of `stages` that are derived from columns alone; `prompted` sees them after each prompt. Where a
/// row is rejected, the first such.
pub(super) fn derive(
    stages: &[Stage],
    mut batch: RecordBatch,
    prompted: &mut dyn FnMut(&RecordBatch) -> Result<()>,
) -> Result<Result<RecordBatch, Left>> {
    for stage in stages {
        let (Work::Pure(work) | Work::Derived(work)) = &stage.work else { continue };
        let change = work.apply(&batch)?;
        if let Some(rejection) = change.rejected.first() {
            let id = strings(&batch, ID)?.value(rejection.row).to_owned();
            return Ok(Err(Left { id, detail: rejection.detail.clone() }));
        }
        batch = change.apply(&batch, &stage.drops)?;
        if matches!(stage.work, Work::Derived(_)) {
            prompted(&batch)?;
        }
    }
    Ok(Ok(batch))
}

/// The prompts before the effect of `step`.
fn prompts_of(plan: &Plan, step: &Step) -> Vec<usize> {
    let stages = step.stages.clone().take_while(|at| !matches!(plan.stages[*at].work, Work::Effect(_)));
    stages.filter(|at| matches!(plan.stages[*at].work, Work::Derived(_))).collect()
}

/// `solution_messages` for `solution.prompt`; for a second prompt of the same beginning, the whole name.
fn column_names(plan: &Plan, prompts: &[usize], taken: &[&String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for at in prompts {
        let stage = &plan.stages[*at].name;
        let short = format!("{}_messages", stage.split('.').next().unwrap_or(stage));
        let is_taken = names.contains(&short) || taken.contains(&&short);
        names.push(if is_taken { format!("{}_messages", stage.replace('.', "_")) } else { short });
    }
    names
}

fn seeds(store: SeedStore) -> Box<dyn Iterator<Item = Result<RecordBatch>>> {
    let starts = (0..store.rows()).step_by(SEED_ROWS);
    Box::new(starts.map(move |start| store.read(start, SEED_ROWS)))
}

fn sealed(
    run: &RunDir,
    step: &str,
    partitions: usize,
) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>>>> {
    let parts = Parts { run };
    let mut paths = Vec::new();
    for n in 0..partitions {
        paths.extend(parts.any(step, n)?);
    }
    Ok(Box::new(Scan::new(paths, None)))
}
