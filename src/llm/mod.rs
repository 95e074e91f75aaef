//! Asking a language model: chat requests in, replies out.

mod address;
pub mod batch;
mod bucket;
pub mod chat;
pub mod client;
pub mod constant;
pub mod endpoints;
mod fault;
mod gate;
pub mod key;
mod limits;
mod models;
pub mod pool;
pub mod pricing;
pub mod provider;
pub mod recorder;
pub mod recording;
pub mod replay_server;
mod reply;
pub mod router;
pub mod secret;
pub mod status;
pub mod tls;
pub mod tokens;

pub use gate::Limits;
pub use models::Listed;

use futures::future::BoxFuture;

use crate::error::Fault;
use chat::{ChatRequest, Reply};
use status::Status;

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

    /// Whether [`Model::ask_samples`] may give several replies.
    fn gives_samples(&self) -> bool {
        true
    }

    /// How it is doing, where there is something to tell.
    fn status(&self) -> Option<Status> {
        None
    }

    /// Sends no further request: calls that still wait for their turn end with a fault, those in flight are left to finish.
    fn drain(&self) {}
}
