//! The client of an OpenAI-compatible chat-completions endpoint.

mod api;

use std::mem::take;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Fault, Recovery, Result};
use crate::llm::Model;
use crate::llm::chat::{ChatRequest, Message, Reply, Sampling};
use crate::llm::key::sampling_fields;
use crate::llm::secret::Secret;
use crate::llm::{fault, reply, tls};

/// Where the path of a chat-completions address ends.
const CHAT_PATH: &str = "/chat/completions";
/// How long and how much to read of a refusal's body. The status says what to do; the body only says why.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);
const REFUSAL_BYTES: usize = 64 << 10;
/// How long the check before a run waits for the list of models.
const CHECK_WAIT: Duration = Duration::from_secs(15);
/// Extra fields that would change what kind of answer comes back.
const RESERVED: [&str; 3] = ["messages", "stream", "n"];

/// Where a model is served and how patiently to talk to it. None of this changes replies.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Address of the API. If its path ends in `/chat/completions` it is used as it is; otherwise that is appended:
    /// `https://api.deepseek.com` and `http://localhost:8000/v1` both work. A trailing slash does not matter.
    pub base_url: String,
    /// The key, for endpoints that want one.
    pub api_key: Option<Secret>,
    /// From sending a request to the last byte of its reply.
    pub timeout: Duration,
    /// For the connection alone, within `timeout`.
    pub connect_timeout: Duration,
    /// Largest reply body that is read.
    pub max_response_bytes: usize,
}

impl Endpoint {
    /// The endpoint at `base_url` with the default limits: 10 min for a reply, 10 s to connect, 16 MiB of body.
    pub fn new(base_url: impl Into<String>, api_key: Option<Secret>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key,
            timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(10),
            max_response_bytes: 16 << 20,
        }
    }
}

/// A model behind an OpenAI-compatible chat-completions endpoint.
#[derive(Debug)]
pub struct HttpModel {
    client: Client,
    endpoint: Endpoint,
    /// The address in messages: without query, which may hold what nobody else should read.
    address: String,
    chat_url: Url,
    models_url: Url,
}

/// A request body.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    fields: Map<String, Value>,
    messages: &'a [Message],
}

impl HttpModel {
    /// A client of `endpoint`. Nothing is sent yet. Proxies named by the environment are used, except for this
    /// machine's own addresses. Redirects are not followed: a redirected POST would lose its body.
    ///
    /// # Errors
    /// The base URL is no http(s) URL or has a user name or password in it.
    pub fn new(endpoint: Endpoint) -> Result<Self> {
        let (chat_url, models_url) = addresses(&endpoint.base_url)?;
        let mut address = chat_url.clone();
        address.set_query(None);
        tls::install_provider();
        let mut builder = Client::builder()
            .user_agent(concat!("autocodegen/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(endpoint.connect_timeout);
        if is_loopback(&chat_url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            Error::environment(format!("cannot set up an HTTP client: {}", error.without_url()))
        })?;
        Ok(Self { client, endpoint, address: address.into(), chat_url, models_url })
    }

    /// Whether the endpoint is on this machine.
    pub fn is_local(&self) -> bool {
        is_loopback(&self.chat_url)
    }

    /// Checks that the endpoint is there, takes the key and knows the model, before anything is paid for.
    ///
    /// Asks for the list of models. An endpoint that has no such list, or is busy, passes.
    ///
    /// # Errors
    /// No connection, the key is refused, or the list lacks the model: environment. An extra field that would change
    /// the kind of answer (`messages`, `stream`, `n`): usage.
    pub async fn check(&self, sampling: &Sampling) -> Result<()> {
        if let Some(name) = RESERVED.into_iter().find(|name| sampling.extra.contains_key(*name)) {
            return Err(Error::usage(format!("the extra request field `{name}` cannot be set"))
                .hint("remove it from the model's extra fields"));
        }
        let request = self.client.get(self.models_url.clone());
        let body = match self.exchange(request, self.endpoint.timeout.min(CHECK_WAIT)).await {
            Ok(body) => body,
            Err(fault) if matches!(fault.cause, "unauthorized" | "payment_required" | "connection") => {
                return Err(self.presentable(fault).into());
            }
            Err(fault) => {
                tracing::debug!("no list of models: {}", self.presentable(fault).message);
                return Ok(());
            }
        };
        let listed = listed_models(&body);
        if listed.is_empty() || listed.iter().any(|id| names_model(id, &sampling.model)) {
            return Ok(());
        }
        let some: Vec<&str> = listed.iter().take(8).map(String::as_str).collect();
        let message = format!("{} has no model `{}`", self.address, sampling.model);
        let hint = format!("it offers {} models: {}", listed.len(), some.join(", "));
        Err(Error::environment(self.clean(&message)).hint(self.clean(&hint)))
    }

    async fn attempt(&self, request: &ChatRequest) -> Result<Reply, Fault> {
        let started = Instant::now();
        let body = Body { fields: sampling_fields(&request.sampling), messages: &request.messages };
        let post = self.client.post(self.chat_url.clone()).json(&body);
        let body = self.exchange(post, self.endpoint.timeout).await?;
        let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut reply = Reply { latency_ms, ..reply::parse(&body)? };
        if let Some(key) = &self.endpoint.api_key {
            // Replies are written down: a server that echoes the key must not get it into a data set.
            for text in [&mut reply.output, &mut reply.reasoning, &mut reply.model, &mut reply.finish_reason]
            {
                key.scrub_reply(text);
            }
        }
        Ok(reply)
    }

    /// Sends `request` and reads the body of a successful response, all within `timeout`.
    async fn exchange(&self, request: RequestBuilder, timeout: Duration) -> Result<Vec<u8>, Fault> {
        let deadline = Instant::now() + timeout;
        let late = |_| {
            let message = format!("no complete reply from {} within {timeout:?}", self.address);
            Fault::new(Recovery::Retry, "timeout", message)
        };
        let request = match &self.endpoint.api_key {
            Some(key) => request.header(AUTHORIZATION, key.authorization()),
            None => request,
        };
        let sent = timeout_at(deadline, request.send()).await.map_err(late)?;
        let mut response = sent.map_err(|error| fault::of_transport(&self.address, error))?;
        let mut body = Vec::new();
        if response.status().is_success() {
            let limit = self.endpoint.max_response_bytes;
            timeout_at(deadline, self.read_body(&mut response, limit, &mut body)).await.map_err(late)??;
            return Ok(body);
        }
        let deadline = deadline.min(Instant::now() + REFUSAL_WAIT);
        // However the reading ends, what was read is kept.
        let _ = timeout_at(deadline, self.read_body(&mut response, REFUSAL_BYTES, &mut body)).await;
        let headers = take(response.headers_mut());
        Err(fault::of_status(response.status(), &headers, &body, &self.key_hint()))
    }

    async fn read_body(
        &self,
        response: &mut Response,
        limit: usize,
        body: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let broken = |error| fault::of_transport(&self.address, error);
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > limit {
                let message = format!("the reply from {} is larger than {limit} bytes", self.address);
                return Err(Fault::new(Recovery::Retry, "reply_too_large", message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(())
    }

    fn key_hint(&self) -> String {
        match &self.endpoint.api_key {
            Some(key) => format!("check the API key in {}", key.variable()),
            None => {
                "the endpoint wants an API key: set OPENAI_API_KEY, or name the variable that holds it".into()
            }
        }
    }

    /// `fault` with its text fit to be shown: no key, even if the server echoed it; nothing but printable characters.
    fn presentable(&self, mut fault: Fault) -> Fault {
        fault.message = self.clean(&fault.message);
        fault.hint = fault.hint.map(|hint| self.clean(&hint));
        fault
    }

    fn clean(&self, text: &str) -> String {
        match &self.endpoint.api_key {
            Some(key) => fault::printable(&key.scrub(text)),
            None => fault::printable(text),
        }
    }
}

impl Model for HttpModel {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(async move { self.attempt(request).await.map_err(|fault| self.presentable(fault)) })
    }
}

/// The addresses for chat completions and for the list of models.
fn addresses(base_url: &str) -> Result<(Url, Url)> {
    let bad = |why: &str| {
        Error::usage(format!("the base URL {why}"))
            .hint("give it like https://api.deepseek.com or http://localhost:8000/v1")
    };
    let mut base =
        Url::parse(base_url.trim()).map_err(|error| bad(&format!("`{base_url}` is not a URL: {error}")))?;
    if !base.username().is_empty() || base.password().is_some() {
        return Err(bad(
            "has a user name or password in it; put the key into an environment variable instead",
        ));
    }
    if !matches!(base.scheme(), "http" | "https") {
        return Err(bad(&format!("`{base_url}` is neither http nor https")));
    }
    base.set_fragment(None);
    let path = base.path().trim_end_matches('/');
    let root = path.strip_suffix(CHAT_PATH).unwrap_or(path).to_owned();
    let at = |end: &str| {
        let mut url = base.clone();
        url.set_path(&format!("{root}{end}"));
        url
    };
    Ok((at(CHAT_PATH), at("/models")))
}

/// Whether `url` is on this machine, where no proxy should stand in between.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The ids in a complete list of models; empty when `body` is no such list.
fn listed_models(body: &[u8]) -> Vec<String> {
    let list: Value = serde_json::from_slice(body).unwrap_or_default();
    if list.get("has_more").and_then(Value::as_bool) == Some(true) {
        return Vec::new();
    }
    let models = list.get("data").unwrap_or(&list).as_array().map(Vec::as_slice).unwrap_or_default();
    models.iter().filter_map(|model| model.get("id")?.as_str().map(str::to_owned)).collect()
}

/// Whether the listed `id` is what the user calls `model`: servers list `llama3:latest` or `models/gemini-pro`
/// and take `llama3` and `gemini-pro`.
fn names_model(id: &str, model: &str) -> bool {
    let extended = id.strip_prefix(model).is_some_and(|tag| tag.starts_with(':'));
    let qualified = id.strip_suffix(model).is_some_and(|owner| owner.ends_with('/'));
    id == model || extended || qualified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_in_every_form() {
        let cases = [
            (
                "https://api.deepseek.com",
                "https://api.deepseek.com/chat/completions",
                "https://api.deepseek.com/models",
            ),
            (
                "http://localhost:8000/v1",
                "http://localhost:8000/v1/chat/completions",
                "http://localhost:8000/v1/models",
            ),
            ("http://[::1]:80/v1/", "http://[::1]/v1/chat/completions", "http://[::1]/v1/models"),
            ("https://h/v1/chat/completions/", "https://h/v1/chat/completions", "https://h/v1/models"),
            ("https://h/d?v=1#x", "https://h/d/chat/completions?v=1", "https://h/d/models?v=1"),
        ];
        for (base, chat, models) in cases {
            let (chat_url, models_url) = addresses(base).unwrap();
            assert_eq!((chat_url.as_str(), models_url.as_str()), (chat, models), "{base}");
        }
        for bad in ["", "api.deepseek.com", "ftp://h/v1", "https://me:sesame@h/v1", "http://"] {
            let error = addresses(bad).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
            assert!(!error.to_string().contains("sesame"));
        }
    }

    #[test]
    fn which_hosts_are_this_machine() {
        let loopback = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(
            loopback("http://localhost:1/") && loopback("http://127.0.0.1/") && loopback("http://[::1]:2/")
        );
        assert!(!loopback("http://localhost.example.com/") && !loopback("http://10.0.0.1/"));
    }

    #[test]
    fn a_model_may_be_listed_under_a_longer_name() {
        assert!(names_model("m", "m") && names_model("m:latest", "m") && names_model("models/m", "m"));
        assert!(!names_model("m2", "m") && !names_model("xm", "m") && !names_model("m", "m2"));
    }
}
