//! A recording as an OpenAI-compatible service: chat completions, the list of models, files and batches.
//!
//! For rehearsals and tests: a run against it takes the same way as against a paid endpoint, with whatever faults are
//! asked for. Nothing here is random: the same seed gives the same requests the same faults.

mod answers;
mod batches;
mod chat;
mod faults;
mod files;
mod listener;
mod log;
mod rate;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::error::{Error, Result};
use crate::frame::key::Key;
pub use answers::Answers;
use batches::Batches;
pub use faults::{FaultRate, Kind};
use faults::{Faults, spoil};
use files::Files;
use listener::{Reset, ResettingListener};
use log::Log;
use rate::RateLimit;

/// Longest body of a chat request, bytes.
const BODY_BYTES: usize = 64 << 20;

/// How the service behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Time that every answer takes.
    pub latency: Duration,
    /// Faults, each with the share of requests that meet it. Shares add up to 1 at most.
    pub faults: Vec<FaultRate>,
    /// Chat requests admitted per second; others are answered with 429 and a `Retry-After`. `None`: all.
    pub rate_limit: Option<f64>,
    /// Decides which requests and batches meet faults.
    pub seed: u64,
    /// File that gets one JSON line per request.
    pub log: Option<PathBuf>,
    /// Time from creating a batch to its end.
    pub batch_time: Duration,
    /// Share of batches that expire with half of their requests answered.
    pub batch_expire: f64,
    /// Share of batches that fail as a whole.
    pub batch_fail: f64,
}

/// What the handlers share.
struct Service {
    answers: Answers,
    faults: Faults,
    rate: Option<RateLimit>,
    latency: Duration,
    /// By request: how often it was asked, and how many of its samples were given.
    served: Mutex<HashMap<Key, Served>>,
    log: Log,
    files: Files,
    batches: Batches,
    /// Requests about files and batches so far.
    attempts: AtomicU32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Served {
    attempts: u32,
    answers: u32,
}

impl Service {
    /// Counts an attempt at the request `key`: its number from 0 on, and the first sample that was not given yet.
    fn attempt(&self, key: Key) -> (u32, u32) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let served = served.entry(key).or_default();
        served.attempts += 1;
        (served.attempts - 1, served.answers)
    }

    /// Counts `n` samples of the request `key` as given.
    fn gave(&self, key: Key, n: u32) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.entry(key).or_default().answers += n;
    }
}

/// Serves `answers` on `listener` until `shutdown` resolves. Connections that are open then are cut.
///
/// # Errors
/// The log cannot be written, or there is no room for temporary files.
pub async fn serve(
    listener: TcpListener,
    answers: Answers,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let service = Arc::new(Service {
        answers,
        rate: options.rate_limit.map(RateLimit::new),
        latency: options.latency,
        served: Mutex::default(),
        log: Log::open(options.log.as_deref())?,
        files: Files::create()?,
        batches: Batches::new(&options),
        attempts: AtomicU32::new(0),
        faults: Faults::new(options.faults, options.seed),
    });
    let app = router(service).into_make_service_with_connect_info::<Reset>();
    let serving = axum::serve(ResettingListener(listener), app);
    tokio::select! {
        ended = serving => ended.map_err(|error| Error::environment(format!("cannot serve: {error}"))),
        () = shutdown => Ok(()),
    }
}

fn router(service: Arc<Service>) -> Router {
    let of_batches = Router::new()
        .route("/v1/files", post(files::upload).layer(DefaultBodyLimit::disable()))
        .route("/v1/files/{id}", get(files::describe))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/batches", post(batches::create).get(batches::list))
        .route("/v1/batches/{id}", get(batches::describe))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .layer(from_fn_with_state(service.clone(), with_faults));
    Router::new()
        .route("/v1/chat/completions", post(chat::completions).layer(DefaultBodyLimit::max(BODY_BYTES)))
        .route("/v1/models", get(models))
        .merge(of_batches)
        .fallback(async || refusal(StatusCode::NOT_FOUND, "not_found", "there is no such endpoint"))
        .with_state(service)
}

/// Injects faults into requests about files and batches. One that shows no status comes after the request was served:
/// the client does not learn what came of it.
async fn with_faults(
    State(service): State<Arc<Service>>,
    ConnectInfo(reset): ConnectInfo<Reset>,
    request: Request,
    next: Next,
) -> Response {
    let attempt = service.attempts.fetch_add(1, Ordering::Relaxed);
    let key = Key::of(&[request.method().as_str(), request.uri().path()]);
    let Some(fault) = service.faults.choose(key, attempt) else { return next.run(request).await };
    if fault.status().is_some() {
        return spoil(fault, Vec::new(), &reset).await;
    }
    let body = to_bytes(next.run(request).await.into_body(), usize::MAX).await;
    spoil(fault, body.unwrap_or_default().to_vec(), &reset).await
}

/// The models the recording was made with. Any other name is answered as well, and `has_more` says so.
async fn models(State(service): State<Arc<Service>>) -> Json<Value> {
    let model = |id: &String| json!({"id": id, "object": "model", "created": 0, "owned_by": "recording"});
    let data: Vec<Value> = service.answers.models().iter().map(model).collect();
    Json(json!({"object": "list", "data": data, "has_more": true}))
}

/// An error in the form that clients of such services expect.
fn refusal(status: StatusCode, code: &str, message: impl Into<String>) -> Response {
    (status, Json(error_body(code, message))).into_response()
}

fn error_body(code: &str, message: impl Into<String>) -> Value {
    json!({"error": {"message": message.into(), "type": code, "code": code}})
}
