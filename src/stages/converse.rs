//! `converse`: makes the first prompt of a row into the next round of its conversation: what the model answered, and what was wrong with it.
//!
//! `messages` gets all turns so far; `turns` keeps them for the round after. Bound to the model stage after it, like any prompt.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use serde::Deserialize;

use super::model::{MESSAGES, OUTPUT};
use super::registry::{Context, Spec};
use super::score::{MESSAGE, OUTCOME};
use super::{Change, Pure, Rejection, Stage, Work};
use crate::error::{Error, Result};
use crate::frame::schema::{LANGUAGE, strings};
use crate::llm::chat::Message;
use crate::text::template::Templates;

/// Column with the turns after the first prompt: JSON text of an array of `{role, content}`.
const TURNS: &str = "turns";

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Step whose templates say what was wrong: they have `outcome` and `message`.
    template: String,
    /// Whether this is the first time that a row is answered back to.
    #[serde(default)]
    first: bool,
}

struct Converse {
    config: Config,
    templates: Arc<Templates>,
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let mut needs = [LANGUAGE, MESSAGES, OUTPUT, OUTCOME, MESSAGE].map(str::to_owned).to_vec();
    needs.extend((!config.first).then(|| TURNS.to_owned()));
    let (templates, step) = (context.templates.clone(), config.template.clone());
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "converse",
        needs,
        adds: vec![MESSAGES.into(), TURNS.into()],
        drops: vec![],
        requests: None,
        fan_out: 1,
        depends: Box::new(move |language| {
            templates.source_hash(&step, language).map(|hash| hash.to_string()).into_iter().collect()
        }),
        work: Work::Derived(Box::new(Converse { config, templates: context.templates.clone() })),
    })
}

impl Converse {
    /// The conversation of a row, and its turns after the first prompt.
    fn turn(&self, row: &Row<'_>) -> Result<(String, String)> {
        let read = |text: &str| -> Result<Vec<Message>> {
            serde_json::from_str(text)
                .map_err(|error| Error::usage(format!("a conversation does not read: {error}")))
        };
        let values = BTreeMap::from([(OUTCOME, row.outcome), (MESSAGE, row.message)]);
        let complaint = self.templates.render(&self.config.template, row.language, &values)?.user;
        let message =
            |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
        let mut turns = row.turns.map_or(Ok(Vec::new()), read)?;
        turns.extend([message("assistant", row.output), message("user", &complaint)]);
        let mut messages = read(row.messages)?;
        messages.extend(turns.iter().cloned());
        let write = |messages: &[Message]| {
            serde_json::to_string(messages).map_err(|error| Error::usage(error.to_string()))
        };
        Ok((write(&messages)?, write(&turns)?))
    }
}

/// What a turn is made of.
struct Row<'a> {
    language: &'a str,
    messages: &'a str,
    output: &'a str,
    outcome: &'a str,
    message: &'a str,
    turns: Option<&'a str>,
}

impl Pure for Converse {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let text = |name| strings(batch, name);
        let languages = text(LANGUAGE)?;
        let columns = [text(MESSAGES)?, text(OUTPUT)?, text(OUTCOME)?, text(MESSAGE)?];
        let turns = (!self.config.first).then(|| text(TURNS)).transpose()?;
        let mut rejected = Vec::new();
        let mut conversations = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let value = |column: &StringArray| column.is_valid(row);
            let [messages, output, outcome, message] = columns.map(|column| column.value(row));
            let turns = turns.filter(|turns| value(turns)).map(|turns| turns.value(row));
            let parts = Row { language: languages.value(row), messages, output, outcome, message, turns };
            let (messages, turns) = match self.turn(&parts) {
                Ok((messages, turns)) => (Some(messages), Some(turns)),
                Err(error) => {
                    rejected.push(Rejection { row, reason: "no_prompt".into(), detail: error.to_string() });
                    (None, None)
                }
            };
            conversations.0.push(messages);
            conversations.1.push(turns);
        }
        let column = |texts: Vec<Option<String>>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
        let add =
            vec![(MESSAGES.to_owned(), column(conversations.0)), (TURNS.to_owned(), column(conversations.1))];
        Ok(Change { add, rejected, ..Change::default() })
    }
}
