//! `run --metrics`: what the calls of a run come to, in the text format of Prometheus and OpenMetrics.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::engine::metrics::{Metrics, StageCalls};

/// Serves `collector` at `/metrics` until the task is aborted.
pub async fn serve(listener: TcpListener, collector: Arc<Metrics>) {
    let mut registry = Registry::with_prefix("autocodegen");
    registry.register_collector(Box::new(Page(collector)));
    let app = Router::new().route("/metrics", get(page)).with_state(Arc::new(registry));
    if let Err(error) = axum::serve(listener, app).await {
        tracing::warn!("metrics are no longer served: {error}");
    }
}

async fn page(State(registry): State<Arc<Registry>>) -> Response {
    let mut page = String::new();
    // Writing into a String cannot fail.
    let _ = text::encode(&mut page, &registry);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page).into_response()
}

/// Reads the collector whenever the page is asked for.
struct Page(Arc<Metrics>);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

impl Collector for Page {
    fn encode(&self, mut to: DescriptorEncoder) -> Result<(), fmt::Error> {
        let stages = self.0.now();
        counters(&mut to, &stages, "calls", "Calls ended, by outcome", "outcome", |calls| {
            vec![("answered", calls.answered as f64), ("failed", calls.failed as f64)]
        })?;
        counters(&mut to, &stages, "retries", "Calls tried again, by cause", "cause", |calls| {
            calls.retries.iter().map(|(cause, n)| (cause.as_str(), *n as f64)).collect()
        })?;
        counters(
            &mut to,
            &stages,
            "tokens",
            "Tokens charged, by kind; prompt includes cached",
            "kind",
            |calls| {
                let tokens = calls.tokens;
                let of_model =
                    [("prompt", tokens.prompt), ("cached", tokens.cached), ("completion", tokens.completion)];
                of_model.into_iter().filter(|_| calls.model).map(|(kind, n)| (kind, n as f64)).collect()
            },
        )?;
        gauges(&mut to, &stages, "in_flight", "Calls in flight", |calls| Some(calls.in_flight as f64))?;
        gauges(
            &mut to,
            &stages,
            "answers_per_second",
            "Answers a second, over the last 10 seconds",
            |calls| Some(calls.answers_per_s),
        )?;
        gauges(
            &mut to,
            &stages,
            "tokens_per_second",
            "Tokens a second, over the last 10 seconds",
            |calls| calls.model.then_some(calls.tokens_per_s),
        )?;
        gauges(
            &mut to,
            &stages,
            "latency_p50_seconds",
            "Time that half of the answered calls took at most",
            |calls| Some(calls.p50_ms as f64 / 1000.0),
        )?;
        gauges(
            &mut to,
            &stages,
            "latency_p99_seconds",
            "Time that 99 of 100 answered calls took at most",
            |calls| Some(calls.p99_ms as f64 / 1000.0),
        )?;
        gauges(
            &mut to,
            &stages,
            "stage_usd",
            "Cost of this invocation's calls, where the price is known",
            |calls| calls.usd.filter(|_| calls.model),
        )?;
        let (tokens, usd) = self.0.spent();
        single(
            &mut to,
            "spent_tokens",
            "Tokens the run directory has spent, all invocations",
            tokens.total() as f64,
        )?;
        match usd {
            Some(usd) => single(&mut to, "spent_usd", "Cost of all calls of the run directory", usd),
            None => Ok(()),
        }
    }
}

fn counters<'a>(
    to: &mut DescriptorEncoder,
    stages: &'a [StageCalls],
    name: &str,
    help: &str,
    by: &str,
    values: impl Fn(&'a StageCalls) -> Vec<(&'a str, f64)>,
) -> Result<(), fmt::Error> {
    let kind = ConstCounter::new(0.0).metric_type();
    let mut family = to.encode_descriptor(name, help, None, kind)?;
    for calls in stages {
        for (what, value) in values(calls) {
            let labels = [("stage", calls.stage.as_str()), (by, what)];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn gauges(
    to: &mut DescriptorEncoder,
    stages: &[StageCalls],
    name: &str,
    help: &str,
    value: impl Fn(&StageCalls) -> Option<f64>,
) -> Result<(), fmt::Error> {
    let kind = ConstGauge::new(0.0).metric_type();
    let mut family = to.encode_descriptor(name, help, None, kind)?;
    for calls in stages {
        if let Some(value) = value(calls) {
            ConstGauge::new(value).encode(family.encode_family(&[("stage", calls.stage.as_str())])?)?;
        }
    }
    Ok(())
}

fn single(to: &mut DescriptorEncoder, name: &str, help: &str, value: f64) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(to.encode_descriptor(name, help, None, gauge.metric_type())?)
}
