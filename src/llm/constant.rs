//! A model that always says the same, for benchmarks.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::{Fault, Recovery};
use crate::llm::Model;
use crate::llm::chat::{ChatRequest, Reply};

/// Answers every request of a stage with that stage's fixed reply.
#[derive(Debug, Clone, Default)]
pub struct ConstantModel {
    replies: HashMap<String, Reply>,
    latency: Option<Duration>,
}

impl ConstantModel {
    /// A model that answers with `replies`, by stage name, after waiting `latency` if there is one.
    pub fn new(replies: HashMap<String, Reply>, latency: Option<Duration>) -> Self {
        Self { replies, latency }
    }
}

impl Model for ConstantModel {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(async move {
            if let Some(latency) = self.latency {
                tokio::time::sleep(latency).await;
            }
            self.replies.get(&*request.stage).cloned().ok_or_else(|| {
                let message = format!("the constant model has no reply for stage `{}`", request.stage);
                Fault::new(Recovery::Stop, "not_found", message)
            })
        })
    }
}
