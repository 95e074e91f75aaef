//! `autocodegen replay serve`: a recording as an OpenAI-compatible service.

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{bundled, runtime, serve};
use crate::error::{Error, Result};
use crate::llm::recording::Recording;
use crate::llm::replay_server::{self, Answers, FaultRate, Kind, Options};

/// Commands about recordings.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Answer chat requests and batches from a recording, over HTTP.
    Serve(ServeArgs),
}

/// Arguments of `replay serve`.
#[derive(clap::Args)]
#[command(
    after_help = "Endpoints: POST /v1/chat/completions (`n` too), GET /v1/models, /v1/files, /v1/batches.
A request is found by its journal key, whichever model it names; in a recording also by its messages alone. Samples beyond
`n` are given in the order they are asked for. What is not recorded is answered with 404.
Faults: 500, 503, 429, reset, truncate, stall, hang, drip, html, no-choices, endless.

Examples:
  autocodegen replay serve
  autocodegen run --model any --base-url http://127.0.0.1:8000/v1 --out runs/rehearsal
  autocodegen replay serve --journal runs/mine --listen 127.0.0.1:0 --latency-ms 500 --rate-limit 50/s
  autocodegen replay serve --fault 500=0.2 --fault reset=0.05 --fault hang=0.01 --seed 7 --log requests.jsonl"
)]
pub struct ServeArgs {
    /// Recordings that `--record` made (plain, .gz, .zst), and run directories. Default: the bundled recording.
    #[arg(long, num_args = 1.., value_name = "FILE|RUN_DIR")]
    pub journal: Vec<PathBuf>,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    pub listen: String,
    /// Time that every answer takes, ms.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub latency_ms: u64,
    /// Share of requests answered with 500: short for --fault 500=P.
    #[arg(long, value_name = "P", value_parser = share)]
    pub error_rate: Option<f64>,
    /// A fault, and the share of requests that meet it; may be given several times.
    #[arg(long, value_name = "KIND=P")]
    pub fault: Vec<FaultRate>,
    /// Chat requests admitted per second; others are answered with 429 and a Retry-After.
    #[arg(long, value_name = "N/s", value_parser = per_second)]
    pub rate_limit: Option<f64>,
    /// Decides which requests meet faults: the same seed, the same faults.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Append one JSON line per request to this file: its journal key, model, status and fault.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Time that a batch takes, ms.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub batch_ms: u64,
    /// Share of batches that expire when half of their requests are answered.
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = share)]
    pub batch_expire: f64,
    /// Share of batches that fail as a whole.
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = share)]
    pub batch_fail: f64,
}

/// Runs the command.
///
/// # Errors
/// A recording does not read, or the address cannot be listened on.
pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Serve(args) => serve(args),
    }
}

fn serve(args: &ServeArgs) -> Result<u8> {
    let mut faults = args.fault.clone();
    faults.extend(args.error_rate.map(|rate| FaultRate { kind: Kind::ServerError, rate }));
    if faults.iter().map(|fault| fault.rate).sum::<f64>() > 1.0 + f64::EPSILON {
        return Err(Error::usage("the shares of all faults are more than 1 together"));
    }
    let answers = match args.journal.as_slice() {
        [] => Answers::of_recording(Recording::from_lines("data/quickstart", &bundled::replies())?),
        paths => Answers::load(paths)?,
    };
    let options = Options {
        latency: Duration::from_millis(args.latency_ms),
        faults,
        rate_limit: args.rate_limit,
        seed: args.seed,
        log: args.log.clone(),
        batch_time: Duration::from_millis(args.batch_ms),
        batch_expire: args.batch_expire,
        batch_fail: args.batch_fail,
    };
    runtime()?.block_on(async {
        let unusable = |error: std::io::Error| {
            Error::environment(format!("cannot listen on {}: {error}", args.listen))
                .hint("choose another address with --listen; port 0 takes a free one")
        };
        let addresses = serve::resolve(&args.listen).await?;
        let listener = TcpListener::bind(addresses.as_slice()).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let mut terminate = signal(SignalKind::terminate())
            .map_err(|error| Error::environment(format!("cannot handle signals: {error}")))?;
        let shutdown = async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        };
        eprintln!("serving {} recorded answers on http://{address}/v1", answers.len());
        replay_server::serve(listener, answers, options, shutdown).await?;
        Ok(0)
    })
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is no number")?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("it is a share, from 0 to 1".to_owned()) }
}

/// `50/s` or `50`.
fn per_second(text: &str) -> Result<f64, String> {
    let rate: f64 = text.trim_end_matches("/s").parse().map_err(|_| "it looks like 50/s")?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("it is more than 0".to_owned()) }
}
