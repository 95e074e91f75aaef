//! What a run tells about its calls while it works: to the log and to whoever asks its metrics endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::metrics;
use crate::engine::events::{All, Event, Observer};
use crate::engine::metrics::{Metrics, StageCalls};
use crate::error::{Error, Result};

/// How often the log tells what calls come to.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Who may look at the run.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Metrics")]
pub struct TelemetryArgs {
    /// Serve what calls come to, as Prometheus reads it, at http://HOST:PORT/metrics while the run works; port 0 takes a
    /// free one.
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<String>,
    /// Let --metrics listen on an address that others than this machine can reach.
    #[arg(long, requires = "metrics")]
    pub metrics_remote: bool,
}

/// The telemetry of one run; ends when dropped.
pub struct Telemetry {
    collector: Arc<Metrics>,
    tasks: Vec<JoinHandle<()>>,
}

impl Telemetry {
    /// Starts logging what `collector` knows and, where asked for, serving it.
    ///
    /// # Errors
    /// The address cannot be listened on, or is not of this machine and that is not allowed.
    pub async fn start(args: &TelemetryArgs, collector: Arc<Metrics>) -> Result<Self> {
        let mut telemetry = Self { collector, tasks: Vec::new() };
        if let Some(listen) = &args.metrics {
            let listener = bind(listen, args.metrics_remote).await?;
            if let Ok(address) = listener.local_addr() {
                eprintln!("metrics are at http://{address}/metrics");
            }
            telemetry.tasks.push(tokio::spawn(metrics::serve(listener, telemetry.collector.clone())));
        }
        let collector = telemetry.collector.clone();
        telemetry.tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOG_EVERY).await;
                log(&collector.now(), collector.spent().1, "calls of the last seconds");
            }
        }));
        Ok(telemetry)
    }

    /// An observer that keeps count, logs, and passes everything on to `shown`.
    pub fn with(&self, shown: Arc<dyn Observer>) -> Arc<dyn Observer> {
        Arc::new(All(vec![self.collector.clone(), Arc::new(Log), shown]))
    }

    /// Logs what all calls came to.
    pub fn finish(&self) {
        log(&self.collector.total(), self.collector.spent().1, "calls of the run");
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn bind(listen: &str, remote: bool) -> Result<TcpListener> {
    let unusable = |what: String| {
        Error::usage(format!("--metrics {listen}: {what}"))
            .hint("it looks like 127.0.0.1:9464; port 0 takes a free one")
    };
    let found = tokio::net::lookup_host(listen).await.map_err(|error| unusable(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.collect();
    if let Some(address) = addresses.iter().find(|address| !address.ip().is_loopback() && !remote) {
        return Err(Error::usage(format!("--metrics would show the run to whoever reaches {address}"))
            .hint("listen on 127.0.0.1, or add --metrics-remote"));
    }
    TcpListener::bind(addresses.as_slice()).await.map_err(|error| unusable(error.to_string()))
}

fn log(stages: &[StageCalls], spent_usd: Option<f64>, message: &str) {
    for calls in stages {
        let retries =
            calls.retries.iter().map(|(cause, n)| format!("{cause} {n}")).collect::<Vec<_>>().join(", ");
        tracing::info!(
            target: "autocodegen::calls",
            stage = calls.stage,
            in_flight = calls.in_flight,
            answered = calls.answered,
            failed = calls.failed,
            retries,
            answers_per_s = calls.answers_per_s,
            tokens_per_s = calls.tokens_per_s,
            prompt_tokens = calls.tokens.prompt,
            cached_tokens = calls.tokens.cached,
            completion_tokens = calls.tokens.completion,
            p50_ms = calls.p50_ms,
            p99_ms = calls.p99_ms,
            usd = calls.usd,
            spent_usd,
            "{message}"
        );
    }
}

/// Logs calls that fail, as `info`, and calls that are answered, as `debug`.
struct Log;

impl Observer for Log {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Asked { stage, language, took, tokens, fault, .. } => {
                let (ms, cause) = (took.as_millis() as u64, fault.map(|fault| fault.cause));
                tracing::debug!(
                    target: "autocodegen::calls",
                    stage, language, ms, cause,
                    prompt_tokens = tokens.prompt, completion_tokens = tokens.completion,
                    "asked"
                );
            }
            Event::Retry { stage, fault, wait } => {
                let (cause, wait_ms) = (fault.cause, wait.as_millis() as u64);
                tracing::info!(target: "autocodegen::calls", stage, cause, wait_ms, reason = fault.message, "tried again");
            }
            Event::Pending { stage, row, fault } => {
                tracing::info!(target: "autocodegen::calls", stage, row, cause = fault.cause, reason = fault.message, "pending");
            }
            _ => {}
        }
    }
}
