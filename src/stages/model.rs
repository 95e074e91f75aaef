//! `model`: asks the model the conversation in `messages`; its reply becomes `output`, several samples become child rows.

mod finish;
mod json;

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use serde::Deserialize;
use serde_json::Value;

use self::finish::{OnLength, OnProblem, Policy};
use self::json::{Expected, Format};
use super::registry::{Context, Spec};
use super::sampled::{self, Sampled};
use super::{Answer, Change, Effect, Rejection, Request, Resource, Stage, Work, children, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::{ID, LANGUAGE, strings};
use crate::llm::chat::{Message, REQUEST_REFUSED, Reply, Sampling};
use crate::text::json_schema::JsonSchema;
use crate::text::thinking::{self, Thinking};

/// Column with the conversation: JSON text of an array of `{role, content}`.
pub const MESSAGES: &str = "messages";
/// Column with the model's reply.
pub const OUTPUT: &str = "output";

/// Most samples of a row: a slip of the finger costs no more than this.
const MOST_SAMPLES: u32 = 1000;

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Model that is asked instead of the run's; of several, sample k asks the k-th, round and round. See [`Spec::models`].
    #[serde(rename = "model")]
    _model: Option<toml::Value>,
    /// Sampling settings of this stage, where they differ from the run's.
    temperature: Option<f64>,
    max_tokens: Option<u32>,
    top_p: Option<f64>,
    /// Replies to each conversation, by default one of each model. More than one explode the row: each becomes a child row.
    samples: Option<u32>,
    /// Column that all replies of a row go into, instead of `output` and child rows: see [`super::sampled`].
    samples_into: Option<String>,
    /// Column for the model's reasoning, null where it gave none.
    reasoning_into: Option<String>,
    /// Column for why the model stopped.
    finish_reason_into: Option<String>,
    /// How replies mark reasoning that the endpoint does not hand out apart.
    #[serde(default)]
    thinking: Thinking,
    /// What becomes of replies cut by the token limit, filtered replies, and refusals.
    #[serde(default)]
    on_length: OnLength,
    /// Tokens of the second try for `on_length = "retry"`. Default: twice those of the first.
    retry_max_tokens: Option<u32>,
    #[serde(default)]
    on_content_filter: OnProblem,
    #[serde(default)]
    on_refusal: OnProblem,
    /// The form of replies that the endpoint is asked for. Default: `json_schema` where there is one, otherwise `text`.
    response_format: Option<Format>,
    /// JSON Schema that replies have to fit: a table, or its JSON as text.
    json_schema: Option<Value>,
    /// Whether a reply that is not the JSON asked for is sent back once, with what is wrong with it.
    #[serde(default = "yes")]
    repair: bool,
}

fn yes() -> bool {
    true
}

struct Ask {
    stage: String,
    /// One for each sample.
    sampling: Vec<Arc<Sampling>>,
    samples_into: Option<String>,
    reasoning_into: Option<String>,
    finish_reason_into: Option<String>,
    thinking: Thinking,
    finish: Policy,
    json: Option<Expected>,
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let refused =
        |what: String, hint: &str| Error::usage(format!("stage `{}`: {what}", spec.name)).hint(hint);
    let mut sampling = context.sampling.clone();
    sampling.temperature = config.temperature.or(sampling.temperature);
    sampling.max_tokens = config.max_tokens.or(sampling.max_tokens);
    sampling.top_p = config.top_p.or(sampling.top_p);
    let models = match spec.models()? {
        none if none.is_empty() => vec![sampling.model.clone()],
        models => models,
    };
    let samples = config.samples.unwrap_or(u32::try_from(models.len()).unwrap_or(u32::MAX));
    if !(1..=MOST_SAMPLES).contains(&samples) {
        return Err(refused(
            format!("`samples` is {samples}"),
            &format!("ask for 1 to {MOST_SAMPLES} replies to each conversation"),
        ));
    }
    if samples as usize > models.len() && sampling.temperature == Some(0.0) {
        return Err(refused(
            format!("{samples} samples at temperature 0 are {samples} times the same reply"),
            "give the stage a `temperature` above 0, or one `model` for each sample",
        ));
    }
    let json = expected(&config).map_err(|what| refused(what, "see `response_format` and `json_schema`"))?;
    if let Some(format) = json.as_ref().and_then(|json| json.response_format(&spec.name)) {
        sampling.extra.entry("response_format").or_insert(format);
    }
    let finish = policy(&config, &sampling).map_err(|what| {
        refused(what, "`on_length = \"retry\"` needs `retry_max_tokens` larger than `max_tokens`")
    })?;
    let each = config.reasoning_into.iter().chain(&config.finish_reason_into);
    if let (Some(column), Some(name)) = (&config.samples_into, each.clone().next()) {
        return Err(refused(
            format!("all samples of a row go into `{column}`, so that `{name}` has no single value"),
            "leave it out: the table `replies` has the reasoning and finish reason of every sample",
        ));
    }
    let mut adds = vec![config.samples_into.clone().unwrap_or_else(|| OUTPUT.to_owned())];
    adds.extend(each.cloned());
    let explodes = samples > 1 && config.samples_into.is_none();
    if explodes {
        adds.extend([ID, children::PARENT_ID, children::SAMPLE].map(str::to_owned));
    }
    let taken = |at: usize| adds[at] == MESSAGES || adds[at] == LANGUAGE || adds[..at].contains(&adds[at]);
    let first = usize::from(config.samples_into.is_none());
    if let Some(twice) = (first..adds.len()).find(|at| taken(*at)) {
        return Err(refused(format!("the column `{}` is another", adds[twice]), "give it another name"));
    }
    let schema =
        json.as_ref().map(|json| (json.format, json.repair, json.schema.as_ref().map(JsonSchema::as_value)));
    let depends =
        serde_json::to_string(&(&sampling, &models, samples, &adds, config.thinking, &finish, schema))
            .map_err(|error| refused(format!("sampling settings: {error}"), "see its keys"))?;
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "model",
        needs: vec![MESSAGES.into()],
        adds,
        drops: vec![MESSAGES.into()],
        requests: Some((Resource::Model, samples as usize)),
        fan_out: if explodes { samples as usize } else { 1 },
        depends: depends_on(depends),
        work: Work::Effect(Box::new(Ask {
            stage: spec.name.clone(),
            sampling: samplings(&sampling, &models, samples),
            samples_into: config.samples_into,
            reasoning_into: config.reasoning_into,
            finish_reason_into: config.finish_reason_into,
            thinking: config.thinking,
            finish,
            json,
        })),
    })
}

/// The settings of each sample: one and the same for those of one model, unless a sampling seed is set.
fn samplings(sampling: &Sampling, models: &[String], samples: u32) -> Vec<Arc<Sampling>> {
    let of_model = |model: &String| Sampling { model: model.clone(), ..sampling.clone() };
    let of_models: Vec<Arc<Sampling>> = models.iter().map(|model| Arc::new(of_model(model))).collect();
    let each = of_models.iter().cycle().zip(0..samples);
    match sampling.seed {
        // A sampling seed makes equal requests give equal replies: each sample gets its own.
        Some(seed) => each
            .map(|(sampling, sample)| (sampling, Some(seed.wrapping_add(sample.into()))))
            .map(|(sampling, seed)| Arc::new(Sampling { seed, ..Sampling::clone(sampling) }))
            .collect(),
        None => each.map(|(sampling, _)| sampling.clone()).collect(),
    }
}

/// What `config` says about cut, filtered and refused replies.
fn policy(config: &Config, sampling: &Sampling) -> Result<Policy, String> {
    let extra = ["max_completion_tokens", "max_tokens"].into_iter().find_map(|name| sampling.extra.get(name));
    let tokens = extra.and_then(Value::as_u64).or(sampling.max_tokens.map(u64::from));
    let doubled = tokens.map(|tokens| u32::try_from(tokens * 2).unwrap_or(u32::MAX));
    let retry_max_tokens = match config.on_length {
        OnLength::Retry => config.retry_max_tokens.or(doubled),
        OnLength::Reject | OnLength::Keep if config.retry_max_tokens.is_some() => {
            return Err("`retry_max_tokens` is set, and `on_length` is not \"retry\"".to_owned());
        }
        OnLength::Reject | OnLength::Keep => None,
    };
    if config.on_length == OnLength::Retry {
        match (retry_max_tokens, tokens) {
            (None, _) => return Err("there is no `max_tokens` to go beyond".to_owned()),
            (Some(more), Some(tokens)) if u64::from(more) <= tokens => {
                return Err(format!("`retry_max_tokens` is {more}, `max_tokens` {tokens}"));
            }
            _ => {}
        }
    }
    Ok(Policy {
        length: config.on_length,
        content_filter: config.on_content_filter,
        refusal: config.on_refusal,
        retry_max_tokens,
    })
}

/// The JSON that `config` wants replies to be.
fn expected(config: &Config) -> Result<Option<Expected>, String> {
    let schema = match &config.json_schema {
        None => None,
        Some(Value::String(text)) => {
            let schema =
                serde_json::from_str(text).map_err(|error| format!("`json_schema` is not JSON: {error}"))?;
            Some(JsonSchema::new(schema)?)
        }
        Some(schema) => Some(JsonSchema::new(schema.clone())?),
    };
    let format = match (config.response_format, &schema) {
        (None, Some(_)) => Format::JsonSchema,
        (None | Some(Format::Text), None) => return Ok(None),
        (Some(Format::JsonSchema), None) => return Err("there is no `json_schema`".to_owned()),
        (Some(format), _) => format,
    };
    Ok(Some(Expected { format, schema, repair: config.repair }))
}

impl Ask {
    fn conversation(&self, batch: &RecordBatch, row: usize) -> Result<Vec<Message>> {
        let texts = strings(batch, MESSAGES)?;
        let text = if texts.is_valid(row) { texts.value(row) } else { "[]" };
        serde_json::from_str(text).map_err(|error| {
            Error::usage(format!("stage `{}`, row {row}: bad `messages`: {error}", self.stage))
                .hint("`messages` is a JSON array of objects with `role` and `content`")
        })
    }

    /// The reasoning and the text proper of a reply.
    fn parts<'a>(&self, reply: &'a Reply) -> (&'a str, &'a str) {
        match reply.reasoning.as_str() {
            "" => thinking::split(&reply.output, self.thinking),
            reasoning => (reasoning, &reply.output),
        }
    }

    /// The text that `output` gets of a reply, or why its row is rejected: reason and detail.
    fn output<'a>(&self, reply: &'a Reply) -> Result<Cow<'a, str>, (String, String)> {
        if let Some(problem) = self.finish.problem(reply) {
            return Err(problem);
        }
        let (_, output) = self.parts(reply);
        if output.trim().is_empty() {
            return Err(("empty_reply".to_owned(), "the reply has no text".to_owned()));
        }
        match &self.json {
            None => Ok(output.into()),
            Some(json) => match json.read(output) {
                Ok(value) => Ok(value.to_string().into()),
                Err(why) => Err(("json_invalid".to_owned(), why)),
            },
        }
    }
}

impl Ask {
    /// What the samples of one row came to. A reply that would reject a row of its own is told as such among the others.
    fn sampled(&self, answers: &[Answer]) -> Vec<Sampled> {
        let replies = answers.iter().filter_map(|answer| match answer {
            Answer::Model(reply) => Some(reply),
            Answer::Sandbox(_) => None,
        });
        let sample = |reply| match self.output(reply) {
            Ok(output) => Sampled { output: output.into_owned(), problem: None },
            Err((reason, _)) => Sampled { output: self.parts(reply).1.to_owned(), problem: Some(reason) },
        };
        replies.map(sample).collect()
    }
}

impl Effect for Ask {
    fn requests(&self, batch: &RecordBatch) -> Result<Vec<Vec<Request>>> {
        let rows = (0..batch.num_rows()).map(|row| {
            let messages: Arc<[Message]> = self.conversation(batch, row)?.into();
            let request = |sampling: &Arc<Sampling>| Request::Model {
                sampling: sampling.clone(),
                messages: messages.clone(),
            };
            Ok(self.sampling.iter().map(request).collect())
        });
        rows.collect()
    }

    /// A cut reply is asked for again with more tokens, and one that is not the JSON wanted is sent back; each once.
    fn follow_up(
        &self,
        batch: &RecordBatch,
        row: usize,
        request: usize,
        answers: &[Answer],
    ) -> Option<Request> {
        let mut sampling = Cow::Borrowed(&**self.sampling.get(request)?);
        let (mut is_longer, mut repair) = (false, None);
        for answer in answers {
            let Answer::Model(reply) = answer else { return None };
            let longer = self.finish.longer(reply, &sampling).filter(|_| !is_longer);
            if let Some(longer) = longer {
                sampling = Cow::Owned(longer);
                is_longer = true;
                continue;
            }
            let json =
                self.json.as_ref().filter(|_| repair.is_none() && self.finish.problem(reply).is_none())?;
            repair = Some(json.complaint(self.parts(reply).1)?);
        }
        let mut messages = self.conversation(batch, row).ok()?;
        if let Some((output, complaint)) = repair {
            let message =
                |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
            messages.extend([message("assistant", output), message("user", &complaint)]);
        }
        Some(Request::Model { sampling: Arc::new(sampling.into_owned()), messages: messages.into() })
    }

    fn fold(&self, batch: &RecordBatch, answers: &[Vec<Answer>]) -> Result<Change> {
        if let Some(column) = &self.samples_into {
            let mut change = Change::default();
            let mut texts = Vec::with_capacity(answers.len());
            for (row, answers) in answers.iter().enumerate() {
                let samples = self.sampled(answers);
                // Nobody has answered: not even that the row is hard to answer is known.
                if samples.iter().all(Sampled::is_refused) {
                    let detail = samples.into_iter().next().map(|sample| sample.output).unwrap_or_default();
                    change.rejected.push(Rejection { row, reason: REQUEST_REFUSED.to_owned(), detail });
                    texts.push("[]".to_owned());
                } else {
                    texts.push(sampled::text(&samples)?);
                }
            }
            change.add.push((column.clone(), sampled::column(&self.stage, texts)?));
            return Ok(change);
        }
        let mut change = match self.sampling.len() {
            1 => Change::default(),
            samples => children::samples(batch, samples as u32)?,
        };
        let replies: Vec<Option<&Reply>> = answers
            .iter()
            .flatten()
            .map(|answer| match answer {
                Answer::Model(reply) => Some(reply),
                Answer::Sandbox(_) => None,
            })
            .collect();
        let outputs = replies.iter().enumerate().map(|(row, reply)| {
            let reply = (*reply)?;
            match self.output(reply) {
                Ok(output) => Some(output),
                Err((reason, detail)) => {
                    change.rejected.push(Rejection { row, reason, detail });
                    Some(Cow::Borrowed(reply.output.as_str()))
                }
            }
        });
        let outputs: StringArray = outputs.collect();
        change.add.push((OUTPUT.into(), Arc::new(outputs) as ArrayRef));
        if let Some(name) = &self.reasoning_into {
            let reasoning = |reply: &Option<&Reply>| {
                Some(self.parts((*reply)?).0.to_owned()).filter(|text| !text.is_empty())
            };
            let column: StringArray = replies.iter().map(reasoning).collect();
            change.add.push((name.clone(), Arc::new(column)));
        }
        if let Some(name) = &self.finish_reason_into {
            let column: StringArray =
                replies.iter().map(|reply| reply.map(|reply| finish::code(&reply.finish_reason))).collect();
            change.add.push((name.clone(), Arc::new(column)));
        }
        Ok(change)
    }
}
