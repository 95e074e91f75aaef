//! `model`: asks the model the conversation in `messages`; its reply becomes `output`.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::{Answer, Change, Effect, Rejection, Request, Resource, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::strings;
use crate::llm::chat::{Message, REQUEST_REFUSED, Sampling};

/// Column with the conversation: JSON text of an array of `{role, content}`.
pub const MESSAGES: &str = "messages";
/// Column with the model's reply.
pub const OUTPUT: &str = "output";

/// Ways of stopping that mean the reply is whole. Endpoints that report none (an empty reason) are believed.
const WHOLE: [&str; 3] = ["stop", "end_turn", ""];

/// Keys: sampling settings of this stage, where they differ from the run's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    temperature: Option<f64>,
    max_tokens: Option<u32>,
    top_p: Option<f64>,
}

struct Ask {
    stage: String,
    sampling: Arc<Sampling>,
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let mut sampling = context.sampling.clone();
    sampling.temperature = config.temperature.or(sampling.temperature);
    sampling.max_tokens = config.max_tokens.or(sampling.max_tokens);
    sampling.top_p = config.top_p.or(sampling.top_p);
    let depends = serde_json::to_string(&sampling)
        .map_err(|error| Error::usage(format!("stage `{}`: sampling settings: {error}", spec.name)))?;
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "model",
        needs: vec![MESSAGES.into()],
        adds: vec![OUTPUT.into()],
        drops: vec![MESSAGES.into()],
        requests: Some((Resource::Model, 1)),
        depends: depends_on(depends),
        work: Work::Effect(Box::new(Ask { stage: spec.name.clone(), sampling: Arc::new(sampling) })),
    })
}

impl Effect for Ask {
    fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>> {
        strings(batch, MESSAGES)?
            .iter()
            .enumerate()
            .map(|(row, text)| {
                let messages: Vec<Message> = serde_json::from_str(text.unwrap_or("[]")).map_err(|error| {
                    Error::usage(format!("stage `{}`, row {row}: bad `messages`: {error}", self.stage))
                        .hint("`messages` is a JSON array of objects with `role` and `content`")
                })?;
                Ok(vec![Request::Model { sampling: self.sampling.clone(), messages }])
            })
            .collect()
    }

    fn fold(&self, _batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change> {
        let mut rejected = Vec::new();
        let outputs: StringArray = answers
            .iter()
            .enumerate()
            .map(|(row, answers)| {
                let Some(Answer::Model(reply)) = answers.first() else { return None };
                let problem = if reply.finish_reason == REQUEST_REFUSED {
                    Some((REQUEST_REFUSED.to_owned(), reply.output.clone()))
                } else if !WHOLE.contains(&reply.finish_reason.as_str()) {
                    Some((format!("finish_reason_{}", reason(&reply.finish_reason)), finish_detail(reply)))
                } else if reply.output.trim().is_empty() {
                    Some(("empty_reply".to_owned(), "the reply has no text".to_owned()))
                } else {
                    None
                };
                if let Some((reason, detail)) = problem {
                    rejected.push(Rejection { row, reason, detail });
                }
                Some(reply.output.as_str())
            })
            .collect();
        Ok(Change { add: vec![(OUTPUT.into(), Arc::new(outputs) as ArrayRef)], rejected, leading: false })
    }
}

fn finish_detail(reply: &crate::llm::chat::Reply) -> String {
    match reply.finish_reason.as_str() {
        "length" => format!("the reply was cut by the token limit after {} tokens", reply.completion_tokens),
        other => format!("the model stopped because of `{}`", code(other)),
    }
}

/// Finish reasons that rows are counted by. Others are `other`: an endpoint may make up a new one for every reply.
const COUNTED: [&str; 6] =
    ["length", "content_filter", "tool_calls", "function_call", "insufficient_system_resource", "error"];

fn reason(reported: &str) -> &'static str {
    COUNTED.into_iter().find(|known| *known == reported).unwrap_or("other")
}

/// A finish reason comes from the endpoint: only word characters of it, and not many, are told.
fn code(reason: &str) -> String {
    reason.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}
