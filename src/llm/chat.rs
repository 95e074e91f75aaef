//! A chat request and its reply, as they are sent, journaled and replayed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Tokens;
use crate::frame::key::Key;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// Model and sampling settings: the half of the model configuration that changes replies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Model name as the endpoint knows it.
    pub model: String,
    /// Sampling temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Most tokens a reply may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Nucleus sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Sampling seed, for endpoints that honour it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Extra fields put into the request body as they are.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// One request to a model.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// Journal key: hash of sampling, messages and sample number.
    pub key: Key,
    /// Stage asking, e.g. `solution.reply`.
    pub stage: Arc<str>,
    /// Id of the row asking.
    pub row: String,
    /// Language of the row asking.
    pub language: String,
    /// Which of several samples of the same request.
    pub sample: u32,
    /// Model and sampling.
    pub sampling: Arc<Sampling>,
    /// The conversation.
    pub messages: Arc<[Message]>,
}

/// A model's reply to one request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The text of the reply.
    pub output: String,
    /// The model's reasoning, where the endpoint hands it out apart from the text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// Why the model stopped, as the endpoint says: `stop`, `length`, `content_filter`, ...
    pub finish_reason: String,
    /// Model name as the endpoint reports it.
    #[serde(default)]
    pub model: String,
    /// Tokens of the prompt, when reported.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the prompt that the endpoint had cached, when reported.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Tokens of the reply, when reported.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Time from sending the request to the last byte of the reply, ms.
    #[serde(default)]
    pub latency_ms: u64,
}

/// The finish reason of a request that no endpoint will ever answer as it is: too long, or against a content policy.
pub const REQUEST_REFUSED: &str = "request_refused";

impl Reply {
    /// The reply that stands for a request which endpoints refuse for what it says; `words` tell why. It is written
    /// down like any other, so that the request is not made again.
    pub fn request_refused(words: impl Into<String>) -> Self {
        Self { output: words.into(), finish_reason: REQUEST_REFUSED.into(), ..Self::default() }
    }

    /// What it is charged by.
    pub fn tokens(&self) -> Tokens {
        Tokens { prompt: self.prompt_tokens, cached: self.cached_tokens, completion: self.completion_tokens }
    }
}
