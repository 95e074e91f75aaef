//! `run --dry-run`: what would be asked, without asking or running anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use serde_json::Value;
use tempfile::TempDir;

use super::run::Args;
use super::{printable, summary, write_stdout};
use crate::error::{Error, Result};
use crate::frame::ingest::{SeedStore, ingest};
use crate::frame::schema::{LANGUAGE, strings};
use crate::llm::chat::{Message, Sampling};
use crate::llm::router::Place;
use crate::plan::Plan;
use crate::plan::pipeline::Input;
use crate::sandbox::language::Languages;
use crate::stages::{MESSAGES, Request, Resource, Work};

/// Rows rendered at a time.
const ROWS: usize = 1024;

/// What the first model stage would be asked, for one language.
#[derive(Default)]
struct Asked {
    requests: u64,
    characters: u64,
    unpromptable: u64,
}

/// Reads the seeds into a temporary folder, renders the first prompts, and prints what a run would ask.
/// `bodies` requests are shown whole.
pub fn run(args: &Args, bodies: usize, input: &Input, plan: &Plan, languages: &Languages) -> Result<u8> {
    let temp =
        TempDir::new().map_err(|error| Error::io("create a folder in", &std::env::temp_dir(), error))?;
    let options = args.seeds.options(temp.path(), input, plan.reserved_columns())?;
    let seeds = temp.path().join("seeds");
    let ingested =
        ingest(&options, languages, &seeds, &temp.path().join("rejected.parquet"), &mut |_, _| {})?;
    let store = SeedStore::open(&seeds)?;
    let columns: Vec<String> = store.schema().fields().iter().map(|field| field.name().clone()).collect();
    plan.check(&columns)?;

    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    let mut first = Vec::new();
    for start in (0..store.rows()).step_by(ROWS) {
        let batch = store.read(start, ROWS)?;
        let Some(prompts) = first_prompts(plan, batch)? else { break };
        let languages = strings(&prompts, LANGUAGE)?;
        for (row, messages) in strings(&prompts, MESSAGES)?.iter().enumerate() {
            let asked = asked.entry(languages.value(row).to_owned()).or_default();
            let messages: Arc<[Message]> =
                messages.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            if messages.is_empty() {
                asked.unpromptable += 1;
                continue;
            }
            asked.requests += 1;
            asked.characters +=
                messages.iter().map(|message| message.content.chars().count() as u64).sum::<u64>();
        }
        if first.len() < bodies {
            first.extend(requests(plan, &prompts)?.into_iter().take(bodies - first.len()));
        }
    }
    let mut text = counts(plan, &asked);
    if !first.is_empty() {
        // No key is needed to show what is sent, and none is shown: it goes into a header.
        let places = args.model.endpoints.connect(&args.model.limits, true)?;
        for (n, (sampling, messages)) in first.iter().enumerate() {
            let serves = |place: &&Place| place.serves.is_empty() || place.serves.contains(&sampling.model);
            let serving = places.iter().filter(serves).count().max(1);
            let Some(Place { endpoint, .. }) = places.iter().filter(serves).nth(n % serving) else { break };
            let body =
                endpoint.body(sampling, messages).ok().and_then(|body| serde_json::from_slice(&body).ok());
            let body: Value = body.unwrap_or_default();
            let text_of = format!("{body:#}");
            text += &format!("\nrequest {}: POST {}\n{}\n", n + 1, endpoint.address(), printable(&text_of));
        }
    }
    write_stdout(&text)?;
    let reasons = match summary::top(&ingested.rejected_by_reason) {
        none if none.is_empty() => none,
        reasons => format!(" ({reasons})"),
    };
    eprintln!(
        "{} seeds from {} files ({} bytes); {} exact repeats dropped, {} rejected{reasons}; nothing was sent",
        ingested.rows, ingested.files, ingested.bytes, ingested.duplicates, ingested.rejected
    );
    Ok(0)
}

/// `batch` with the prompts of the plan's first model stage; `None` when that cannot be told from seeds alone.
fn first_prompts(plan: &Plan, mut batch: RecordBatch) -> Result<Option<RecordBatch>> {
    for stage in &plan.stages {
        match &stage.work {
            Work::Pure(pure) => batch = pure.apply(&batch)?.apply(&batch, &stage.drops)?,
            Work::Derived(pure) => {
                let mut change = pure.apply(&batch)?;
                // Rows without a prompt stay, so that they can be counted.
                change.rejected.clear();
                return change.apply(&batch, &[]).map(Some);
            }
            // What it takes away cannot be told from some of the rows: the counts are "at most".
            Work::Global(_) => {}
            Work::Effect(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Model and sampling of a request, and its conversation.
type Conversation = (Arc<Sampling>, Arc<[Message]>);

/// The requests that the plan's first model stage makes of `prompts`.
fn requests(plan: &Plan, prompts: &RecordBatch) -> Result<Vec<Conversation>> {
    let Some(Work::Effect(effect)) =
        plan.stages.iter().map(|stage| &stage.work).find(|work| matches!(work, Work::Effect(_)))
    else {
        return Ok(Vec::new());
    };
    let requests = effect.requests(prompts)?.into_iter().flatten().filter_map(|request| match request {
        Request::Model { sampling, messages } if !messages.is_empty() => Some((sampling, messages)),
        _ => None,
    });
    Ok(requests.collect())
}

/// How much would be asked, in all.
fn counts(plan: &Plan, asked: &BTreeMap<String, Asked>) -> String {
    let mut table = summary::table(&["language", "first requests", "characters", "without a prompt"], 1..4);
    let mut sum = Asked::default();
    for (language, asked) in asked {
        table.add_row([
            language.clone(),
            asked.requests.to_string(),
            asked.characters.to_string(),
            asked.unpromptable.to_string(),
        ]);
        sum.requests += asked.requests;
        sum.characters += asked.characters;
        sum.unpromptable += asked.unpromptable;
    }
    table.add_row([
        "all".to_owned(),
        sum.requests.to_string(),
        sum.characters.to_string(),
        sum.unpromptable.to_string(),
    ]);
    let mut text = format!("{}\n\nat most, if no row is rejected on the way:\n", table.trim_fmt());
    // Rows that were exploded before the first request are counted with it.
    let mut rows = sum.requests;
    for stage in plan.stages.iter().skip_while(|stage| stage.requests.is_none()) {
        if let Some((resource, per_row)) = stage.requests {
            let whom = match resource {
                Resource::Model => "model requests",
                Resource::Sandbox => "programs run",
            };
            text += &format!("  {:20} {} {whom}\n", stage.name, rows * per_row as u64);
        }
        rows *= stage.fan_out as u64;
    }
    text
}
