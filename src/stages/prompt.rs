//! `prompt`: renders the row's prompt into `messages`. Bound to the model stage after it, never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use rayon::prelude::*;
use serde::Deserialize;

use super::model::MESSAGES;
use super::registry::{Context, Spec};
use super::{Change, Pure, Rejection, Stage, Work};
use crate::error::{Error, Result};
use crate::frame::schema::{LANGUAGE, strings};
use crate::llm::chat::Message;
use crate::text::template::Templates;

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Step whose templates are rendered: `templates/<template>/<language>.txt`.
    template: String,
}

struct Prompt {
    step: String,
    templates: Arc<Templates>,
    columns: Vec<String>,
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let Config { template: step } = spec.config()?;
    let templates = context.templates.clone();
    let columns =
        templates.step_columns(&step).map_err(|error| error.context(format!("stage `{}`", spec.name)))?;
    let mut needs = vec![LANGUAGE.to_owned()];
    needs.extend(columns.iter().filter(|column| *column != LANGUAGE).cloned());
    let (hashed, named) = (templates.clone(), step.clone());
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "prompt",
        adds: vec![MESSAGES.into()],
        drops: vec![],
        requests: None,
        fan_out: 1,
        // A language without a template has no prompt to depend on: its rows are rejected.
        depends: Box::new(move |language| {
            hashed.source_hash(&named, language).map(|hash| hash.to_string()).into_iter().collect()
        }),
        work: Work::Derived(Box::new(Prompt { step, templates, columns: needs.clone() })),
        needs,
    })
}

impl Pure for Prompt {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let columns = self
            .columns
            .iter()
            .map(|name| Ok((name.as_str(), strings(batch, name)?)))
            .collect::<Result<Vec<_>>>()?;
        let languages = strings(batch, LANGUAGE)?;
        let rendered: Vec<Result<String>> = (0..batch.num_rows())
            .into_par_iter()
            .map(|row| {
                let values: BTreeMap<&str, &str> = columns
                    .iter()
                    .filter(|(_, column)| column.is_valid(row))
                    .map(|(name, column)| (*name, column.value(row)))
                    .collect();
                let prompt = self.templates.render(&self.step, languages.value(row), &values)?;
                let message = |role: &str, content| Message { role: role.to_owned(), content };
                let system = prompt.system.map(|content| message("system", content));
                let messages: Vec<Message> =
                    system.into_iter().chain([message("user", prompt.user)]).collect();
                serde_json::to_string(&messages).map_err(|error| Error::usage(error.to_string()))
            })
            .collect();
        let mut rejected = Vec::new();
        let mut messages = Vec::with_capacity(rendered.len());
        for (row, rendered) in rendered.into_iter().enumerate() {
            messages.push(match rendered {
                Ok(text) => Some(text),
                Err(error) => {
                    rejected.push(Rejection { row, reason: "no_prompt".into(), detail: error.to_string() });
                    None
                }
            });
        }
        let add = vec![(MESSAGES.to_owned(), Arc::new(StringArray::from(messages)) as ArrayRef)];
        Ok(Change { add, rejected, ..Change::default() })
    }
}
