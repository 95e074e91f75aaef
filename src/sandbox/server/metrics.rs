//! What `GET /metrics` tells, in the text format of Prometheus and OpenMetrics.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Service;
use crate::sandbox::job::Outcome;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    language: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LanguageLabel {
    language: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

type Histograms = Family<LanguageLabel, Histogram, fn() -> Histogram>;

/// Counters of a service. Labels never hold what a client made up.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    rejected: Family<CauseLabel, Counter>,
    request_bytes: Counter,
    jobs: Family<JobLabels, Counter>,
    faults: Family<CauseLabel, Counter>,
    cancelled: Counter,
    compiles_reused: Family<LanguageLabel, Counter>,
    output_bytes: Counter,
    job_seconds: Histograms,
    wait_seconds: Histogram,
    seats: Gauge,
    running: Gauge,
    waiting: Gauge,
    admitted: Gauge,
}

/// From 1 ms to about four and a half minutes.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 10))
}

impl Metrics {
    pub fn new(isolation: &str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("autocodegen_sandbox"),
            requests: Family::default(),
            rejected: Family::default(),
            request_bytes: Counter::default(),
            jobs: Family::default(),
            faults: Family::default(),
            cancelled: Counter::default(),
            compiles_reused: Family::default(),
            output_bytes: Counter::default(),
            job_seconds: Family::new_with_constructor(durations),
            wait_seconds: durations(),
            seats: Gauge::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            admitted: Gauge::default(),
        };
        let service = Info::new(vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("isolation", isolation.to_owned()),
        ]);
        let to = &mut metrics.registry;
        to.register("service", "The service", service);
        to.register("requests", "HTTP requests by endpoint and status", metrics.requests.clone());
        to.register("rejected", "Requests turned away, by cause", metrics.rejected.clone());
        let bytes = metrics.request_bytes.clone();
        to.register_with_unit("request", "Size of the request bodies read", Unit::Bytes, bytes);
        to.register("jobs", "Programs run, by language and outcome", metrics.jobs.clone());
        to.register("faults", "Failures of the sandbox itself, retried or not", metrics.faults.clone());
        to.register("jobs_cancelled", "Programs given up by their clients", metrics.cancelled.clone());
        let reused = metrics.compiles_reused.clone();
        to.register("compiles_reused", "Programs that an earlier job's compile step has made", reused);
        let bytes = metrics.output_bytes.clone();
        to.register_with_unit("output", "Size of the programs' kept output", Unit::Bytes, bytes);
        let seconds = metrics.job_seconds.clone();
        to.register_with_unit("job", "Time from seat to verdict", Unit::Seconds, seconds);
        let seconds = metrics.wait_seconds.clone();
        to.register_with_unit("wait", "Time programs waited for a seat", Unit::Seconds, seconds);
        to.register("seats", "Programs run at once at most", metrics.seats.clone());
        to.register("running", "Programs running", metrics.running.clone());
        to.register("waiting", "Programs waiting for a seat", metrics.waiting.clone());
        to.register("admitted", "Requests waiting or being worked on", metrics.admitted.clone());
        metrics
    }

    pub fn request(&self, endpoint: &'static str, status: u16) {
        self.requests.get_or_create(&RequestLabels { endpoint, status }).inc();
    }

    pub fn rejected(&self, cause: &'static str) {
        self.rejected.get_or_create(&CauseLabel { cause }).inc();
    }

    pub fn received(&self, bytes: usize) {
        self.request_bytes.inc_by(bytes as u64);
    }

    pub fn waited(&self, time: Duration) {
        self.wait_seconds.observe(time.as_secs_f64());
    }

    pub fn fault(&self, cause: &'static str) {
        self.faults.get_or_create(&CauseLabel { cause }).inc();
    }

    pub fn cancelled(&self) {
        self.cancelled.inc();
    }

    /// A job was given what an earlier one has compiled.
    pub fn reused(&self, language: &str) {
        self.compiles_reused.get_or_create(&LanguageLabel { language: language.to_owned() }).inc();
    }

    /// A job has come to its end, be it a verdict or not.
    pub fn ended(&self, language: &str, outcome: Outcome, time: Duration, output_bytes: usize) {
        let language = language.to_owned();
        self.job_seconds
            .get_or_create(&LanguageLabel { language: language.clone() })
            .observe(time.as_secs_f64());
        self.jobs.get_or_create(&JobLabels { language, outcome: outcome.name() }).inc();
        self.output_bytes.inc_by(output_bytes as u64);
    }
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `GET /metrics`.
pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let metrics = &service.metrics;
    metrics.seats.set(gauge(service.runner.seats()));
    metrics.running.set(gauge(service.runner.running()));
    metrics.waiting.set(gauge(service.runner.waiting()));
    metrics.admitted.set(gauge(service.admission.admitted()));
    let mut page = String::new();
    // Writing into a String cannot fail.
    let _ = text::encode(&mut page, &metrics.registry);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page)
        .into_response()
}
