//! `autocodegen sandbox serve`: the sandbox as an HTTP service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::runtime;
use crate::error::{Error, Result};
use crate::sandbox::language::Languages;
use crate::sandbox::local::{Isolation, LocalSandbox, Options as LocalOptions};
use crate::sandbox::server::{self, Ceilings, Options};
use crate::sandbox::token::{TOKEN_VARIABLE, Token};
use crate::sandbox::{RETRIES, Sandbox};

/// Memory for answers; enough for a program that prints all it may on every seat, while as many such answers are sent.
const ANSWER_BYTES: u64 = 1 << 30;
const SEAT_BYTES: u64 = 160 << 20;

/// A request and its body arrive, and an answer is taken, well within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `sandbox serve`.
#[derive(clap::Args)]
#[command(
    after_help = "Endpoints: POST /submit, /splice_code, /run_code, /batch; GET /languages, /health, /metrics.
With AUTOCODEGEN_SANDBOX_TOKEN set, all but /health want it as a bearer token.
Ctrl-C or SIGTERM: takes no more requests, answers those there are, ends with 0; a second one ends at once.

Examples:
  autocodegen sandbox serve
  AUTOCODEGEN_SANDBOX_TOKEN=... autocodegen sandbox serve --listen 0.0.0.0:8080 --max-timeout 60
  curl -s http://127.0.0.1:8080/submit -H 'Content-Type: application/json' \\
    -d '{\"src_uid\": \"1\", \"lang\": \"python\", \"source_code\": \"print(42)\"}'"
)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Serve anybody who can reach an address that is not of this machine alone, without a token.
    #[arg(long)]
    pub allow_anonymous: bool,
    /// Programs run at once. Default: the number of cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// Requests that may wait while others are worked on; further ones are answered with 429. The reference's client sends
    /// 256 at once, and scores an answer of 429 as a wrong program.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub queue: u32,
    /// Longest request body, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u32).range(1024..))]
    pub max_request_bytes: u32,
    /// Most CPU seconds that a request may ask for; a language's own extra time is added.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub max_timeout: u64,
    /// Most memory that a program may have, MiB.
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub max_memory_mb: u64,
    /// Weakest isolation to accept.
    #[arg(long, value_enum, default_value = "auto")]
    pub isolation: Isolation,
}

/// Runs the command until a signal ends it.
///
/// # Errors
/// No isolation, an address that cannot be listened on or must not be without a token.
pub fn run(args: &ServeArgs) -> Result<u8> {
    let token = Token::from_env()?;
    runtime()?.block_on(async {
        let addresses = resolve(&args.listen).await?;
        let open = addresses.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = open.filter(|_| token.is_none() && !args.allow_anonymous) {
            return Err(Error::usage(format!(
                "listening on {address} would let everybody who reaches it run programs on this machine"
            ))
            .hint(format!(
                "set {TOKEN_VARIABLE} to a secret that clients must send, or add --allow-anonymous"
            )));
        }
        let languages = Languages::embedded()?;
        let sandbox = LocalSandbox::start(LocalOptions {
            jobs: args.jobs.map(|jobs| jobs as usize),
            isolation: args.isolation,
            languages: Some(languages.clone()),
            ..LocalOptions::default()
        })?;
        let unusable = |error: std::io::Error| {
            Error::environment(format!("cannot listen on {}: {error}", args.listen))
                .hint("choose another address with --listen; port 0 takes a free one")
        };
        let listener = TcpListener::bind(addresses.as_slice()).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let shutdown = first_signal()?;
        let access = if token.is_some() { "with the token" } else { "by anybody who reaches it" };
        eprintln!(
            "serving on http://{address}, {access}: {}, {} at once, {} may wait",
            sandbox.describe(),
            sandbox.capacity(),
            args.queue
        );
        let options = Options {
            queue: args.queue as usize,
            max_request_bytes: args.max_request_bytes as usize,
            answer_bytes: ANSWER_BYTES.max(sandbox.capacity() as u64 * SEAT_BYTES),
            ceilings: Ceilings { cpu_ms: args.max_timeout * 1000, memory_bytes: args.max_memory_mb << 20 },
            token,
            retry: RETRIES,
            patience: PATIENCE,
        };
        server::serve(listener, Arc::new(sandbox), languages, options, shutdown).await?;
        Ok(0)
    })
}

/// The addresses that `--listen` names.
///
/// # Errors
/// It names none.
pub(super) async fn resolve(listen: &str) -> Result<Vec<SocketAddr>> {
    let wrong = |what: String| {
        Error::usage(format!("--listen {listen:?}: {what}")).hint("it looks like 127.0.0.1:8080")
    };
    let found: Vec<_> =
        tokio::net::lookup_host(listen).await.map_err(|error| wrong(error.to_string()))?.collect();
    if found.is_empty() { Err(wrong("the name has no address".to_owned())) } else { Ok(found) }
}

/// Resolves at the first SIGINT or SIGTERM; the second ends the process.
///
/// # Errors
/// The system grants no signal handlers.
fn first_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    let failed = |error: std::io::Error| Error::environment(format!("cannot handle signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        let mut next = async move || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        eprintln!("stopping: answering the requests there are (again to stop at once)");
        tokio::spawn(async move {
            next().await;
            // The launcher sees this process end, and ends the jails.
            std::process::exit(130);
        });
    })
}
