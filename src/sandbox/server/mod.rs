//! The sandbox as an HTTP service.
//!
//! A request goes through, in this order: the token, its size and JSON, its meaning, a place (429 when all are taken), a
//! seat per program, the sandbox. A client that goes away takes its programs with it: its handler is dropped, and with
//! that the job's jail.

mod admission;
mod auth;
mod batch;
mod body;
mod ceilings;
mod listener;
mod loose;
mod memory;
mod metrics;
mod refusal;
mod run_code;
mod runner;
mod status;
mod submit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, OwnedSemaphorePermit};

use super::Sandbox;
use super::language::{Language, Languages};
use super::token::Token;
use crate::error::{Error, Result};
use crate::retry::RetryPolicy;
use admission::Admission;
pub use ceilings::Ceilings;
use listener::{Connections, Requests};
use memory::{Memory, Share};
use metrics::Metrics;
use refusal::Refusal;
use runner::Runner;

/// Bodies of this many bytes are held at once, all together, and never fewer than four of the largest.
const BODY_BYTES: u64 = 256 << 20;

/// Connections beyond those whose requests have a place, so that a full service can still say that it is full.
const SPARE_CONNECTIONS: usize = 128;

const ENDPOINTS: [&str; 7] =
    ["/submit", "/splice_code", "/run_code", "/batch", "/languages", "/health", "/metrics"];

/// What a service grants its clients.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests that may wait beyond those being worked on.
    pub queue: usize,
    /// Longest request body, bytes.
    pub max_request_bytes: usize,
    /// Bytes of answers made or being made, all together, that clients have yet to take.
    pub answer_bytes: u64,
    /// The largest limits of a job.
    pub ceilings: Ceilings,
    /// Who does not show it is turned away, if there is one.
    pub token: Option<Token>,
    /// How often a job that the sandbox failed at is run again.
    pub retry: RetryPolicy,
    /// How long a client may take to send a request's head, to send its body, and to take any of the answer.
    pub patience: Duration,
}

/// What the handlers share.
struct Service {
    languages: Languages,
    runner: Runner,
    admission: Admission,
    /// What clients send.
    bodies: Memory,
    /// What clients have yet to take.
    answers: Memory,
    metrics: Arc<Metrics>,
    options: Options,
    /// The address listened on, which the reference's answers name.
    server_ip: String,
    draining: Arc<AtomicBool>,
    /// The languages and their toolchains, once somebody has asked.
    listing: OnceCell<Value>,
}

impl Service {
    /// The language a client names.
    fn language(&self, name: &str) -> Result<&Language, String> {
        self.languages.get(name).ok_or_else(|| {
            let name: String = name.chars().take(60).collect();
            format!("unknown language {name:?}; GET /languages lists those there are")
        })
    }

    /// A place for a request, until it is dropped.
    fn admit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.admission.place().ok_or_else(|| self.queue_full())
    }

    /// Memory for the answer to a job with these limits, once there is enough: jobs whose answers could not be held
    /// are not run before others have been taken.
    async fn memory_for(&self, output_bytes: u64) -> Share {
        let _waiting = self.runner.queue();
        let mut share = self.answers.share();
        share.wait_for(output_bytes).await;
        share
    }

    fn queue_full(&self) -> Refusal {
        self.metrics.rejected("queue_full");
        let message = format!("all {} places are taken", self.admission.capacity());
        let mut refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)
            .hint("come back after the time Retry-After tells");
        refusal.retry_after = Some(self.runner.time_to_drain());
        refusal
    }
}

/// Serves `sandbox` on `listener` until `shutdown` resolves; then takes no more connections and returns once the
/// requests there are have been answered.
///
/// # Errors
/// The listener has no address.
pub async fn serve(
    listener: TcpListener,
    sandbox: Arc<dyn Sandbox>,
    languages: Languages,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let failed = |error: std::io::Error| Error::environment(format!("cannot serve: {error}"));
    let address = listener.local_addr().map_err(failed)?;
    let metrics = Arc::new(Metrics::new(&sandbox.describe()));
    let runner = Runner::new(sandbox, options.retry, Arc::clone(&metrics));
    let admission = Admission::new(runner.seats(), options.queue);
    let most_connections = admission.capacity().saturating_add(SPARE_CONNECTIONS);
    let draining = Arc::new(AtomicBool::new(false));
    let connections = Connections::new(listener, most_connections, options.patience, Arc::clone(&draining));
    let service = Arc::new(Service {
        languages,
        runner,
        admission,
        bodies: Memory::new(BODY_BYTES.max(4 * options.max_request_bytes as u64)),
        answers: Memory::new(options.answer_bytes),
        metrics,
        options,
        server_ip: address.ip().to_string(),
        draining: Arc::clone(&draining),
        listing: OnceCell::new(),
    });
    let app = router(Arc::clone(&service)).into_make_service_with_connect_info::<Requests>();
    let shutdown = async move {
        shutdown.await;
        draining.store(true, Ordering::Relaxed);
    };
    axum::serve(connections, app).with_graceful_shutdown(shutdown).await.map_err(failed)
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/submit", post(submit::submit))
        .route("/splice_code", post(submit::splice_code))
        .route("/run_code", post(run_code::run_code))
        .route("/batch", post(batch::batch))
        .route("/languages", get(status::languages))
        .route("/health", get(status::health))
        .route("/metrics", get(metrics::metrics))
        .fallback(async || {
            Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such endpoint")
                .hint(format!("the endpoints are {}", ENDPOINTS.join(", ")))
        })
        .method_not_allowed_fallback(async || {
            let message = "this endpoint does not take this method";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .layer(from_fn_with_state(Arc::clone(&service), auth::check))
        .layer(from_fn_with_state(Arc::clone(&service), observe))
        .with_state(service)
}

/// Counts a request, and tells its connection that it is being worked on.
async fn observe(
    State(service): State<Arc<Service>>,
    ConnectInfo(requests): ConnectInfo<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let _begun = requests.begin();
    let path = request.uri().path();
    let endpoint = ENDPOINTS.into_iter().find(|endpoint| *endpoint == path).unwrap_or("other");
    let response = next.run(request).await;
    service.metrics.request(endpoint, response.status().as_u16());
    response
}
