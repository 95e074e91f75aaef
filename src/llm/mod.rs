//! Asking a language model: chat requests in, replies out.

pub mod chat;
pub mod client;
pub mod constant;
mod fault;
pub mod key;
pub mod recorder;
pub mod recording;
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

    /// Makes one attempt at `count` independent replies to the same conversation, in one call that pays for its prompt once.
    /// `request` is that of the first of them. There are 1 to `count` replies: what an endpoint leaves out is asked for
    /// again by the caller. A model that has no such call answers the first.
    fn ask_samples<'a>(
        &'a self,
        request: &'a ChatRequest,
        _count: u32,
    ) -> BoxFuture<'a, Result<Vec<Reply>, Fault>> {
        Box::pin(async move { self.ask(request).await.map(|reply| vec![reply]) })
    }
}
