//! The client of sandbox services that speak the reference's `POST /submit`.
//!
//! Several services share the jobs in turn; one that fails is left alone for a while. What the service says about
//! itself, an HTTP error, `INTERNAL_ERROR`, `UNKNOWN_ERROR`, `ARGUMENT_ERROR`, is a fault, never a verdict.

mod reply;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use reqwest::{Client, Response, StatusCode, Url, header};
use serde_json::json;

use super::Sandbox;
use super::job::{Job, LimitOverrides, Verdict};
use super::language::DEFAULT_TIMEOUT_SECONDS;
use super::token::{TOKEN_VARIABLE, Token};
use crate::error::{Error, Fault, Recovery, Result};

/// The longest answer that is read: two outputs of 16 MiB, twice over, escaped.
const MAX_REPLY_BYTES: usize = 128 * 1024 * 1024;

/// Jobs one service is given at once, unless the caller says otherwise.
const JOBS_PER_SERVICE: usize = 8;

/// How long a service that failed is left alone while others work.
const REST: Duration = Duration::from_secs(10);

/// Time a service may take beyond the job's own timeout: queueing, compiling, slow starts.
const GRACE: Duration = Duration::from_secs(120);

/// Sandbox services used in turn.
#[derive(Debug)]
pub struct RemoteSandbox {
    client: Client,
    token: Option<Token>,
    services: Vec<Service>,
    jobs: usize,
    turn: AtomicUsize,
    submitted: AtomicU64,
}

/// What verdicts on programs in `language` depend on where a service gives them, besides the service.
pub fn identity(language: &str) -> String {
    format!("remote {language}")
}

/// One service.
#[derive(Debug)]
struct Service {
    submit: Url,
    /// The base URL without a user name and password, for messages.
    name: String,
    /// When it may be used again, after a failure.
    rests_until: Mutex<Option<Instant>>,
}

impl RemoteSandbox {
    /// The services at these base URLs, e.g. `http://host:8080`, given `jobs` jobs at once, all together.
    ///
    /// # Errors
    /// No URL, or one that is not an HTTP URL.
    pub fn new(base_urls: &[String], jobs: Option<usize>) -> Result<Self> {
        if base_urls.is_empty() {
            return Err(
                Error::usage("no sandbox service was given").hint("give one: --sandbox http://host:8080")
            );
        }
        let services = base_urls.iter().map(|url| Service::new(url)).collect::<Result<Vec<_>>>()?;
        // Fails when another client of this process has installed it already.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| Error::environment(format!("cannot set up the HTTP client: {error}")))?;
        Ok(Self {
            client,
            token: None,
            services,
            jobs: jobs.unwrap_or(base_urls.len() * JOBS_PER_SERVICE).max(1),
            turn: AtomicUsize::new(0),
            submitted: AtomicU64::new(0),
        })
    }

    /// The same services, each shown this token.
    #[must_use]
    pub fn with_token(self, token: Option<Token>) -> Self {
        Self { token, ..self }
    }

    /// The service whose turn it is among those that work, or the one that has rested longest.
    fn next_service(&self) -> &Service {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn =
            (0..self.services.len()).map(|i| &self.services[turn.wrapping_add(i) % self.services.len()]);
        let now = Instant::now();
        // The first of equals wins, so services that work keep their turns.
        let mut best: Option<(&Service, Duration)> = None;
        for service in in_turn {
            let wait = service.wait(now);
            if best.is_none_or(|(_, shortest)| wait < shortest) {
                best = Some((service, wait));
            }
        }
        best.map_or(&self.services[0], |(service, _)| service)
    }

    async fn submit(&self, job: &Job) -> Result<Verdict, Fault> {
        let service = self.next_service();
        let answer = self.ask(service, job).await;
        match &answer {
            Err(fault) if fault.recovery == Recovery::Retry => {
                service.rest(fault.retry_after.unwrap_or(REST))
            }
            _ => service.rest(Duration::ZERO),
        }
        answer
    }

    async fn ask(&self, service: &Service, job: &Job) -> Result<Verdict, Fault> {
        if !job.stdin.is_empty() {
            let what = "`POST /submit` takes no standard input";
            return Err(service.fault(Recovery::Pend, "unsupported_job", what));
        }
        let timeout = Duration::from_millis(job.limits.cpu_ms.unwrap_or(DEFAULT_TIMEOUT_SECONDS * 1000));
        let mut request = json!({
            "src_uid": format!("autocodegen-{}", self.submitted.fetch_add(1, Ordering::Relaxed)),
            "lang": job.language,
            "request_extensions": { "timeout": timeout.as_secs_f64(), "debug": false },
            "show_log": true,
        });
        match &job.tests {
            Some(tests) => {
                request["func_code"] = json!(job.source);
                request["main_code"] = json!(tests);
            }
            None => request["source_code"] = json!(job.source),
        }
        let others = LimitOverrides { cpu_ms: None, ..job.limits };
        if others != LimitOverrides::default() {
            request["request_extensions"]["limits"] = json!(others);
        }
        if job.strict {
            request["request_extensions"]["strict"] = json!(true);
        }
        // A service that does not know this runs the program again as before: much of what is flaky shows even so.
        if job.variation > 0 {
            request["request_extensions"]["variation"] = json!(job.variation);
        }
        let mut post = self
            .client
            .post(service.submit.clone())
            .timeout(timeout.saturating_mul(2).saturating_add(GRACE))
            .json(&request);
        if let Some(token) = &self.token {
            post = post.header(header::AUTHORIZATION, token.authorization());
        }
        let response = post.send().await.map_err(|error| service.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(service.refused(response).await);
        }
        let body = service.body(response, MAX_REPLY_BYTES).await?;
        reply::read(&body, &service.name)
    }
}

impl Service {
    fn new(base_url: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::usage(format!("{base_url:?} is not the URL of a sandbox service: {why}"))
                .hint("it looks like http://host:8080")
        };
        let mut submit = Url::parse(base_url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(submit.scheme(), "http" | "https") {
            return Err(wrong("its scheme is neither http nor https"));
        }
        let name =
            format!("{}{}", submit.origin().ascii_serialization(), submit.path().trim_end_matches('/'));
        let path = format!("{}/submit", submit.path().trim_end_matches('/'));
        submit.set_path(&path);
        Ok(Self { submit, name, rests_until: Mutex::new(None) })
    }

    /// How long it should still be left alone.
    fn wait(&self, now: Instant) -> Duration {
        let until = self.rests_until.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn rest(&self, pause: Duration) {
        let mut until = self.rests_until.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *until = (!pause.is_zero()).then(|| Instant::now() + pause.min(Duration::from_secs(3600)));
    }

    fn fault(&self, recovery: Recovery, cause: &'static str, what: &str) -> Fault {
        Fault::new(recovery, cause, format!("sandbox service {}: {what}", self.name))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Fault {
        let cause = if error.is_timeout() { "timeout" } else { "unreachable" };
        self.fault(Recovery::Retry, cause, &innermost(error)).hint("check that the service is up")
    }

    /// The fault for an answer whose status is no success.
    async fn refused(&self, response: Response) -> Fault {
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let said = self.body(response, 4096).await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let what = format!("HTTP status {status}: {}", said.trim());
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => self
                .fault(Recovery::Retry, "overloaded", &what)
                .retry_after(retry_after.map(Duration::from_secs)),
            StatusCode::PAYLOAD_TOO_LARGE => self.fault(Recovery::Pend, "job_too_large", &what),
            StatusCode::UNAUTHORIZED => self
                .fault(Recovery::Stop, "unauthorized", &what)
                .hint(format!("put the service's token into {TOKEN_VARIABLE}")),
            StatusCode::REQUEST_TIMEOUT => self.fault(Recovery::Retry, "timeout", &what),
            _ if status.is_server_error() => self.fault(Recovery::Retry, "http_error", &what),
            _ => self
                .fault(Recovery::Stop, "http_error", &what)
                .hint("check that --sandbox is the base URL of a sandbox service"),
        }
    }

    /// The answer's body, of which no more than `limit` bytes are taken.
    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > limit {
                let what = format!("the answer is longer than {limit} bytes");
                return Err(self.fault(Recovery::Pend, "reply_too_large", &what));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// What an error's innermost cause says: "connection refused" rather than "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl Sandbox for RemoteSandbox {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Verdict, Fault>> {
        Box::pin(self.submit(job))
    }

    /// Services do not tell their toolchains beforehand, and which of them answers does not matter.
    fn identity(&self, language: &str) -> String {
        identity(language)
    }

    fn capacity(&self) -> usize {
        self.jobs
    }

    fn describe(&self) -> String {
        let urls: Vec<_> = self.services.iter().map(|service| service.name.as_str()).collect();
        format!("sandbox services {}", urls.join(", "))
    }
}
