//! Prompts that can be counted before anything is asked: the first stage's, and the templates of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use rayon::prelude::*;

use super::Range;
use super::observed::{Moments, Observed};
use crate::error::{Error, Result};
use crate::frame::ingest::SeedStore;
use crate::frame::schema::{ID, LANGUAGE, batch_of, column, strings};
use crate::llm::chat::Message;
use crate::llm::tokens::Tokenizer;
use crate::plan::Plan;
use crate::stages::{MESSAGES, Stage, Work};

/// Rows rendered at a time.
const ROWS: usize = 256;
/// Up to so many seeds, every prompt is counted; of more, so many.
const COUNTED: u64 = 20_000;

/// The prompts of the first model stage, counted.
pub struct FirstPrompts {
    /// Seeds in all.
    pub rows: u64,
    /// The stage that asks them; `None` when the plan asks something else before, or nothing.
    pub stage: Option<Arc<str>>,
    tokenizer: Tokenizer,
    tokens: Moments,
    counted: u64,
    /// Seeds counted, by language.
    languages: BTreeMap<String, u64>,
    /// Tokens by row.
    by_row: BTreeMap<String, u64>,
}

impl FirstPrompts {
    /// Renders and counts the prompts of `seeds`: of all up to 20,000, of more every so many.
    ///
    /// # Errors
    /// Seeds that do not read.
    pub fn count(plan: &Plan, seeds: &SeedStore, tokenizer: Tokenizer) -> Result<Self> {
        let rows = seeds.rows();
        let stage = first_model_stage(plan);
        let mut first = Self {
            rows,
            stage: stage.map(|at| plan.stages[at].name.clone()),
            tokenizer,
            tokens: Moments::default(),
            counted: 0,
            languages: BTreeMap::new(),
            by_row: BTreeMap::new(),
        };
        // Blocks of neighbours, evenly spread: single rows would decode all of the frame.
        let blocks = rows.div_ceil(ROWS as u64);
        let wanted = COUNTED.div_ceil(ROWS as u64).min(blocks);
        for block in (0..wanted).map(|n| n * blocks / wanted.max(1)) {
            first.add(plan, stage.unwrap_or(0), &seeds.read(block * ROWS as u64, ROWS)?)?;
        }
        Ok(first)
    }

    fn add(&mut self, plan: &Plan, stage: usize, seeds: &RecordBatch) -> Result<()> {
        for language in strings(seeds, LANGUAGE)?.iter() {
            *self.languages.entry(language.unwrap_or_default().to_owned()).or_default() += 1;
        }
        let mut batch = seeds.clone();
        for stage in &plan.stages[..stage] {
            if let Work::Pure(work) | Work::Derived(work) = &stage.work {
                batch = work.apply(&batch)?.apply(&batch, &stage.drops)?;
            }
        }
        if self.stage.is_none() {
            return Ok(());
        }
        let ids = strings(&batch, ID)?;
        for (row, tokens) in count(&batch, self.tokenizer)?.into_iter().enumerate() {
            self.tokens.add(tokens as f64);
            self.counted += 1;
            self.by_row.insert(ids.value(row).to_owned(), tokens);
        }
        Ok(())
    }

    /// Tokens of a prompt.
    pub(super) fn mean(&self) -> Range {
        self.tokens.mean(self.counted.max(if self.is_whole() { 0 } else { self.rows }))
    }

    fn is_whole(&self) -> bool {
        self.languages.values().sum::<u64>() == self.rows
    }

    /// How the prompts were counted, for people.
    pub(super) fn how(&self) -> String {
        match self.is_whole() {
            true => "prompts counted".to_owned(),
            false => format!("{} prompts counted", self.counted),
        }
    }

    /// How many tokens the endpoint counts for one of ours.
    pub(super) fn ratio(&self, observed: &Observed) -> f64 {
        let both = observed.by_row.iter().filter_map(|(row, theirs)| Some((*theirs, *self.by_row.get(row)?)));
        let (theirs, ours) = both.fold((0, 0), |sum, (theirs, ours)| (sum.0 + theirs, sum.1 + ours));
        if theirs == 0 || ours == 0 { 1.0 } else { theirs as f64 / ours as f64 }
    }

    /// Tokens of the template behind `prompt`: of prompts made of empty columns, by the share of each language.
    ///
    /// # Errors
    /// The stage does not render: a defect of it.
    pub fn template_tokens(&self, prompt: &Stage) -> Result<f64> {
        let Work::Derived(work) = &prompt.work else { return Ok(0.0) };
        let languages: Vec<&str> = self.languages.keys().map(String::as_str).collect();
        let columns = prompt.needs.iter().map(|name| {
            let values = languages.iter().map(|language| if name == LANGUAGE { *language } else { "" });
            column(name, Arc::new(StringArray::from_iter_values(values)) as ArrayRef)
        });
        let batch = batch_of(languages.len(), columns.collect())?;
        let change = work.apply(&batch)?;
        let missing: Vec<usize> = change.rejected.iter().map(|rejection| rejection.row).collect();
        let rendered = change.apply(&batch, &prompt.drops)?;
        let seeds = languages.iter().enumerate().filter(|(row, _)| !missing.contains(row));
        let seeds: Vec<u64> = seeds.map(|(_, language)| self.languages[*language]).collect();
        let weighed = count(&rendered, self.tokenizer)?.into_iter().zip(&seeds).map(|(tokens, n)| tokens * n);
        Ok(weighed.sum::<u64>() as f64 / seeds.iter().sum::<u64>().max(1) as f64)
    }
}

/// The first stage that asks the model, unless something else is asked before.
fn first_model_stage(plan: &Plan) -> Option<usize> {
    let first = plan.stages.iter().position(|stage| matches!(stage.work, Work::Effect(_)))?;
    let asks_model =
        plan.stages[first].requests.is_some_and(|(asked, _)| asked == crate::stages::Resource::Model);
    asks_model.then_some(first)
}

/// Tokens of each row's `messages`.
fn count(batch: &RecordBatch, tokenizer: Tokenizer) -> Result<Vec<u64>> {
    let messages = strings(batch, MESSAGES)?;
    (0..messages.len())
        .into_par_iter()
        .map(|row| {
            let text = if messages.is_valid(row) { messages.value(row) } else { "[]" };
            let messages: Vec<Message> = serde_json::from_str(text)
                .map_err(|error| Error::usage(format!("row {row}: bad `messages`: {error}")))?;
            Ok(tokenizer.count_request(&messages))
        })
        .collect()
}
