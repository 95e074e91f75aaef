//! What became of one row, step by step: what was asked for it and what was answered.
//!
//! Nothing of this is stored with the row. The requests of a step are made again from what the row was before it (its
//! seed, or a row of the sealed part of the step before), and their keys find the answers in the journals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::{Array, RecordBatch};
use serde::de::DeserializeOwned;

use super::parts::Parts;
use super::prompts::{derive, plan_of};
use super::run_file::{RunFile, State};
use crate::error::{Error, Result};
use crate::frame::ingest::SeedStore;
use crate::frame::journal::{Journal, table_files};
use crate::frame::key::{Key, descends_from};
use crate::frame::part::{self, Scan};
use crate::frame::recorded::Recorded;
use crate::frame::run_dir::RunDir;
use crate::frame::schema::{ID, strings};
use crate::llm::chat::{Message, Reply};
use crate::llm::key::request_key;
use crate::plan::{Plan, Step};
use crate::sandbox::job::{Job, Verdict};
use crate::sandbox::language::Languages;
use crate::sandbox::{local, remote, toolchain};
use crate::stages::{Answer, Effect, MOST_ROUNDS, Request, Resource, Work};

/// Finds out what became of rows of one run.
pub struct Trace {
    run: RunDir,
    plan: Plan,
    seeds: SeedStore,
    partition_rows: u64,
    /// Whether journals grow while this is open.
    growing: bool,
    journals: Mutex<BTreeMap<Arc<str>, Arc<Journal>>>,
    languages: Languages,
    /// Toolchain versions in the run's verdicts, by language.
    toolchains: OnceLock<BTreeSet<(String, String)>>,
}

/// A step that asks, and what it asked for one row.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Name of the stage that asks, e.g. `solution.reply`.
    pub stage: Arc<str>,
    /// Whom it asks.
    pub resource: Resource,
    /// Its calls in order, those that follow up an answer after it; none where the row never got there.
    pub calls: Vec<Call>,
    /// Which of them the row was made of, where it is one of several samples; otherwise the first.
    pub own: usize,
}

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which of the row's requests: answers with the same number follow one another up.
    pub sample: usize,
    /// What was asked.
    pub asked: Asked,
    /// What was answered; `None` when this run has no answer to this request.
    pub answered: Option<Answered>,
}

/// What was asked.
#[derive(Debug, Clone)]
pub enum Asked {
    /// A conversation.
    Prompt(Arc<[Message]>),
    /// A program.
    Program(Box<Job>),
}

/// An answer as the journal has it.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Attempts it took, faults included.
    pub attempts: u32,
    /// Whether it was found in another run or the cache.
    pub reused: bool,
    /// The answer.
    pub answer: Answer,
}

impl Trace {
    /// Opens `run` for reading, however far it has come.
    ///
    /// # Errors
    /// It lacks its pipeline, templates or seeds.
    pub fn open(run: RunDir) -> Result<Self> {
        let file: RunFile = run
            .read_json()?
            .ok_or_else(|| Error::usage(format!("{} has no run.json yet", run.path().display())))?;
        let plan = plan_of(&run, &file)?;
        Ok(Self {
            seeds: SeedStore::open(&run.seeds())?,
            partition_rows: file.partition_rows.max(1) as u64,
            growing: file.state == State::Running,
            journals: Mutex::default(),
            languages: Languages::embedded()?,
            toolchains: OnceLock::new(),
            plan,
            run,
        })
    }

    /// The steps that ask, in order, each with what it asked for the row `id`. Reads ids of the seeds up to the row's, and one part
    /// of each step.
    ///
    /// # Errors
    /// The row comes from none of the run's seeds; a file that does not read. What a run under way has just replaced may be
    /// missing.
    pub fn row(&self, id: &str) -> Result<Vec<Visit>> {
        let seed = self.seed_of(id)?;
        let n = (seed / self.partition_rows) as usize;
        let mut visits = Vec::new();
        for (at, step) in self.plan.steps.iter().enumerate() {
            let Some((stage, effect)) = self.effect(step) else { continue };
            let stage = &self.plan.stages[stage];
            let resource = stage.requests.map_or(Resource::Model, |(resource, _)| resource);
            let before = match at.checked_sub(1) {
                None => Some(self.seeds.read(seed, 1)?),
                Some(before) => self.row_after(&self.plan.steps[before], n, id)?,
            };
            let (calls, own) = match before {
                None => (Vec::new(), 0),
                Some(row) => {
                    let sample = sample_of(&row, id)?;
                    let calls = self.calls(step, &stage.name, effect, row, id)?;
                    let own = calls.iter().position(|call| Some(call.sample) == sample).unwrap_or(0);
                    (calls, own)
                }
            };
            visits.push(Visit { stage: stage.name.clone(), resource, calls, own });
        }
        Ok(visits)
    }

    /// The effect of `step`, and which stage it is.
    fn effect(&self, step: &Step) -> Option<(usize, &dyn Effect)> {
        step.stages.clone().find_map(|at| match &self.plan.stages[at].work {
            Work::Effect(effect) => Some((at, &**effect)),
            _ => None,
        })
    }

    /// The number of the seed that the row `id` was made of.
    fn seed_of(&self, id: &str) -> Result<u64> {
        let mut number = 0;
        for (file, ranges) in self.seeds.slices(0..self.seeds.rows()) {
            for batch in part::pick(&file, Some(&[ID]), &ranges)? {
                let batch = batch?;
                if let Some(row) = ancestor(&batch, id)? {
                    return Ok(number + row as u64);
                }
                number += batch.num_rows() as u64;
            }
        }
        Err(Error::usage(format!("row {id} comes from none of the present seeds of this run")))
    }

    /// The row `id`, or the one that it was made of, as `step` left it in partition `n`; `None` where it did not come through.
    fn row_after(&self, step: &Step, n: usize, id: &str) -> Result<Option<RecordBatch>> {
        let Some(path) = (Parts { run: &self.run }).any(&step.name, n)? else { return Ok(None) };
        let mut before = 0;
        for batch in Scan::new([path.clone()], Some(vec![ID.to_owned()])) {
            let batch = batch?;
            if let Some(row) = ancestor(&batch, id)? {
                let row = before + row as u64;
                return part::pick(&path, None, std::slice::from_ref(&(row..row + 1)))?.next().transpose();
            }
            before += batch.num_rows() as u64;
        }
        Ok(None)
    }

    /// What `effect` asks for `row`, which is what the row `id` was before `step`.
    fn calls(
        &self,
        step: &Step,
        stage: &Arc<str>,
        effect: &dyn Effect,
        row: RecordBatch,
        id: &str,
    ) -> Result<Vec<Call>> {
        let first = step.stages.start;
        let until = self.effect(step).map_or(first, |(at, _)| at);
        // A row that is rejected before anything is asked has no calls.
        let Ok(batch) = derive(&self.plan.stages[first..until], row, &mut |_| Ok(()))? else {
            return Ok(Vec::new());
        };
        let Some(row) = ancestor(&batch, id)? else { return Ok(Vec::new()) };
        let journal = self.journal(stage)?;
        let requests = effect.requests(&batch)?.into_iter().nth(row).unwrap_or_default();
        let mut calls = Vec::new();
        for (sample, request) in requests.into_iter().enumerate() {
            let (mut answers, mut next) = (Vec::new(), Some(request));
            while let Some(request) = next.take().filter(|_| answers.len() < MOST_ROUNDS) {
                let answered = self.answered(&journal, &request, sample as u32)?;
                if let Some(found) = &answered {
                    answers.push(found.answer.clone());
                    next = effect.follow_up(&batch, row, sample, &answers);
                }
                let asked = match request {
                    Request::Model { messages, .. } => Asked::Prompt(messages),
                    Request::Sandbox { job, .. } => Asked::Program(job),
                };
                calls.push(Call { sample, asked, answered });
            }
        }
        Ok(calls)
    }

    fn answered(&self, journal: &Journal, request: &Request, sample: u32) -> Result<Option<Answered>> {
        match request {
            Request::Model { sampling, messages } => {
                let key = request_key(sampling, messages, sample);
                let found: Option<Recorded<Reply>> = look_up(journal, &key)?;
                Ok(found.map(|found| answered(found, Answer::Model)))
            }
            Request::Sandbox { job, keep_bytes } => {
                let text = serde_json::to_vec(&**job)
                    .map_err(|error| Error::usage(format!("a program cannot be written as JSON: {error}")))?;
                for identity in self.identities(&job.language)? {
                    let key = Key::of(&[identity.as_bytes(), &text]);
                    let found: Option<Recorded<Verdict>> = look_up(journal, &key)?;
                    if let Some(found) = found {
                        let short = |verdict: Verdict| Answer::Sandbox(verdict.shortened(*keep_bytes));
                        return Ok(Some(answered(found, short)));
                    }
                }
                Ok(None)
            }
        }
    }

    /// What a verdict on a program in `language` may have depended on: the toolchains that the run's verdicts name, or else
    /// the one of this machine; or a service.
    fn identities(&self, language: &str) -> Result<Vec<String>> {
        let mut identities = Vec::new();
        if let Some(entry) = self.languages.get(language) {
            let known = self.toolchains()?.iter().filter(|(of, _)| of == language);
            let mut versions: Vec<String> = known.map(|(_, version)| version.clone()).collect();
            if versions.is_empty() {
                versions.extend(toolchain::find(entry).map(|(_, found)| found.version));
            }
            identities.extend(versions.iter().map(|version| local::identity(entry, version)));
        }
        identities.push(remote::identity(language));
        Ok(identities)
    }

    fn toolchains(&self) -> Result<&BTreeSet<(String, String)>> {
        if let Some(known) = self.toolchains.get() {
            return Ok(known);
        }
        let files: Vec<PathBuf> = table_files(&self.run.verdicts())?;
        let mut known: BTreeSet<(String, String)> = BTreeSet::new();
        let columns = ["language", "toolchain"];
        for batch in Scan::new(files, Some(columns.map(str::to_owned).to_vec())) {
            let batch = batch?;
            let (languages, versions) = (strings(&batch, columns[0])?, strings(&batch, columns[1])?);
            let pairs = (0..batch.num_rows()).map(|row| (languages.value(row), versions.value(row)));
            // Seeds of one language mostly come one after the other.
            let mut last = None;
            for (language, version) in pairs {
                if last.replace((language, version)) != Some((language, version)) {
                    known.insert((language.to_owned(), version.to_owned()));
                }
            }
        }
        Ok(self.toolchains.get_or_init(|| known))
    }

    /// The journal of `stage`. That of a run under way is opened each time, to see what was added.
    fn journal(&self, stage: &Arc<str>) -> Result<Arc<Journal>> {
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = journals.get(stage).filter(|_| !self.growing) {
            return Ok(open.clone());
        }
        let journal = Arc::new(Journal::open_read_only(&self.run.journal(stage)?)?);
        journals.insert(stage.clone(), journal.clone());
        Ok(journal)
    }
}

fn look_up<A: DeserializeOwned>(journal: &Journal, key: &Key) -> Result<Option<A>> {
    // A record that does not decode was written by another version: the run would ask again.
    Ok(journal.get(key)?.and_then(|payload| serde_json::from_slice(&payload).ok()))
}

fn answered<A>(found: Recorded<A>, answer: impl Fn(A) -> Answer) -> Answered {
    Answered { attempts: found.attempts, reused: found.reused, answer: answer(found.answer) }
}

/// The number of the sample of `row` that the row `id` was made of.
fn sample_of(row: &RecordBatch, id: &str) -> Result<Option<usize>> {
    let made_of = id.strip_prefix(strings(row, ID)?.value(0)).and_then(|rest| rest.strip_prefix('.'));
    Ok(made_of.and_then(|rest| rest.split('.').next()?.parse().ok()))
}

/// The first row of `batch` that `id` is or was made of.
fn ancestor(batch: &RecordBatch, id: &str) -> Result<Option<usize>> {
    let ids = strings(batch, ID)?;
    Ok((0..ids.len()).find(|row| descends_from(id, ids.value(*row))))
}
