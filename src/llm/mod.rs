//! Asking a language model: chat requests in, replies out.

pub mod batch;
pub mod chat;
pub mod client;
pub mod constant;
mod fault;
pub mod key;
pub mod recorder;
pub mod recording;
pub mod replay_server;
mod reply;
pub mod secret;
pub mod tls;

use futures::future::BoxFuture;

use crate::error::Fault;
use chat::{ChatRequest, Reply};

/// Something that answers chat requests: an HTTP endpoint, a recording, or a constant for benchmarks.
pub trait Model: Send + Sync {
    /// Makes one attempt at answering `request`. Retrying is the caller's business.
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>>;
}
