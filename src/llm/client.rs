//! The client of an OpenAI-compatible chat-completions endpoint.

mod api;

use std::mem::take;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Response, Url};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::address::{CHAT_PATH, addresses, host, is_loopback};
use super::limits::Told;
use super::models::{Listed, listed, names_model};
use super::provider::Provider;

use crate::error::{Error, Fault, Recovery, Result};
use crate::llm::Model;
use crate::llm::chat::{ChatRequest, Message, Reply, Sampling};
use crate::llm::key::sampling_fields;
use crate::llm::secret::Secret;
use crate::llm::{fault, reply, tls};

/// How long and how much to read of a refusal's body. The status says what to do; the body only says why.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);
const REFUSAL_BYTES: usize = 64 << 10;
/// How long the check before a run waits for the list of models.
const CHECK_WAIT: Duration = Duration::from_secs(15);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Extra fields that would change what kind of answer comes back.
const RESERVED: [&str; 4] = ["messages", "prompt", "stream", "n"];

/// Where a model is served and how patiently to talk to it. None of this changes replies.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Address of the API. If its path ends in `/chat/completions` it is used as it is; otherwise that is appended:
    /// `https://api.deepseek.com` and `http://localhost:8000/v1` both work. A trailing slash does not matter. One that ends in
    /// `/completions` alone is for models that do not chat: they get what is said as one prompt to go on from.
    pub base_url: String,
    /// The key, for endpoints that want one.
    pub api_key: Option<Secret>,
    /// What the model is called there, where that is not what the run calls it.
    pub model: Option<String>,
    /// Whose API it is; by default that of the provider whose host the address has.
    pub provider: Option<&'static Provider>,
    /// Certificates of authorities to trust besides the system's: the text of PEM files.
    pub ca_certs: Vec<Vec<u8>>,
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
            model: None,
            provider: None,
            ca_certs: Vec::new(),
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
    provider: Option<&'static Provider>,
}

/// A request body.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    #[serde(flatten)]
    pub fields: Map<String, Value>,
    pub messages: &'a [Message],
}

impl HttpModel {
    /// A client of `endpoint`. Nothing is sent yet. Proxies named by the environment are used, except for this
    /// machine's own addresses. Redirects are not followed: a redirected POST would lose its body. Trusted are the
    /// authorities of the system, or of the file in `SSL_CERT_FILE`, and the endpoint's own.
    ///
    /// # Errors
    /// The base URL is no http(s) URL or has a user name or password in it; a certificate does not read.
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
        for pem in &endpoint.ca_certs {
            for certificate in authorities(pem)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder.build().map_err(|error| {
            Error::environment(format!("cannot set up an HTTP client: {}", error.without_url()))
        })?;
        let provider = endpoint.provider.or_else(|| Provider::at(&chat_url));
        Ok(Self { client, endpoint, address: address.into(), chat_url, models_url, provider })
    }

    /// Host and port, by which messages call the endpoint.
    pub fn name(&self) -> String {
        host(&self.chat_url)
    }

    /// Where requests go, without query.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address as it was given.
    pub fn base_url(&self) -> &str {
        &self.endpoint.base_url
    }

    /// From sending a request to the last byte of its reply.
    pub fn timeout(&self) -> Duration {
        self.endpoint.timeout
    }

    /// The body of a request, as it is sent.
    pub fn body(&self, sampling: &Sampling, messages: &[Message]) -> serde_json::Result<Vec<u8>> {
        self.body_for(sampling, messages, 1)
    }

    /// The body of a request for `count` replies.
    fn body_for(&self, sampling: &Sampling, messages: &[Message], count: u32) -> serde_json::Result<Vec<u8>> {
        let (mut fields, _) = self.fields(sampling);
        if count > 1 {
            fields.insert("n".to_owned(), count.into());
        }
        if self.completes() {
            let said: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            fields.insert("prompt".to_owned(), said.join("\n\n").into());
            return serde_json::to_vec(&fields);
        }
        serde_json::to_vec(&Body { fields, messages })
    }

    /// Whether the endpoint goes on from a prompt instead of answering a conversation.
    pub fn completes(&self) -> bool {
        !self.chat_url.path().ends_with(CHAT_PATH)
    }

    /// The settings of a request as this endpoint takes them, and those it does not take.
    pub(super) fn fields(&self, sampling: &Sampling) -> (Map<String, Value>, Vec<&str>) {
        let mut fields = sampling_fields(sampling);
        if let Some(model) = &self.endpoint.model {
            fields.insert("model".to_owned(), model.as_str().into());
        }
        let omitted =
            self.provider.map(|provider| provider.adapt(self.model(sampling), sampling, &mut fields));
        (fields, omitted.unwrap_or_default())
    }

    /// What the model is called here.
    fn model<'a>(&'a self, sampling: &'a Sampling) -> &'a str {
        self.endpoint.model.as_deref().unwrap_or(&sampling.model)
    }

    /// Whether the endpoint has a name of its own for whatever model is asked.
    pub(super) fn renames(&self) -> bool {
        self.endpoint.model.is_some()
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
    /// the kind of answer (`messages`, `prompt`, `stream`, `n`): usage.
    pub async fn check(&self, sampling: &Sampling) -> Result<()> {
        refuse_reserved(sampling)?;
        self.probe(sampling).await.map_err(Error::from)
    }

    /// [`HttpModel::check`], of the endpoint alone.
    pub(super) async fn probe(&self, sampling: &Sampling) -> Result<(), Fault> {
        for name in self.fields(sampling).1 {
            tracing::warn!("{} does not take `{name}`: it is left out of requests", self.name());
        }
        let body = match self.list().await {
            Ok(body) => body,
            Err(fault) if matches!(fault.cause, "unauthorized" | "payment_required" | "connection") => {
                return Err(self.presentable(fault));
            }
            Err(fault) => {
                tracing::debug!("no list of models: {}", self.presentable(fault).message);
                return Ok(());
            }
        };
        let model = self.model(sampling);
        let Some((listed, true)) = listed(&body) else { return Ok(()) };
        if listed.is_empty() || listed.iter().any(|listed| names_model(&listed.id, model)) {
            return Ok(());
        }
        let some: Vec<&str> = listed.iter().take(8).map(|listed| listed.id.as_str()).collect();
        let fault =
            Fault::new(Recovery::Stop, "not_found", format!("{} has no model `{model}`", self.address))
                .hint(format!("it offers {} models: {}", listed.len(), some.join(", ")));
        Err(self.presentable(fault))
    }

    /// The models that the endpoint lists.
    ///
    /// # Errors
    /// No connection, a refusal, or an answer that is no list of models.
    pub async fn models(&self) -> Result<Vec<Listed>> {
        let body = self.list().await.map_err(|fault| Error::from(self.presentable(fault)))?;
        let (mut models, _) = listed(&body).ok_or_else(|| {
            Error::environment(format!("the answer from {} is no list of models", self.models_url.path()))
                .hint("check the base URL; many endpoints want it to end in /v1")
        })?;
        for model in &mut models {
            model.id = self.clean(&model.id);
        }
        Ok(models)
    }

    /// The body of the list of models.
    async fn list(&self) -> Result<Vec<u8>, Fault> {
        let request = self.client.get(self.models_url.clone());
        self.exchange(request, self.endpoint.timeout.min(CHECK_WAIT), &mut Told::default()).await
    }

    /// Makes one attempt at 1 to `count` replies to `request`; also what the response's headers tell.
    pub(super) async fn send(&self, request: &ChatRequest, count: u32) -> (Result<Vec<Reply>, Fault>, Told) {
        let mut told = Told::default();
        let result = self.attempt(request, count, &mut told).await;
        (result.map_err(|fault| self.presentable(fault)), told)
    }

    async fn attempt(&self, request: &ChatRequest, count: u32, told: &mut Told) -> Result<Vec<Reply>, Fault> {
        let started = Instant::now();
        let count = if self.provider.is_none_or(|provider| provider.n) { count } else { 1 };
        let body = self.body_for(&request.sampling, &request.messages, count).map_err(|error| {
            Fault::new(Recovery::Pend, "internal", format!("the request cannot be written as JSON: {error}"))
        })?;
        let post = self.client.post(self.chat_url.clone()).header(CONTENT_TYPE, JSON).body(body);
        let body = self.exchange(post, self.endpoint.timeout, told).await?;
        let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // An endpoint that gives up half-way may charge for what it did.
        let replies = reply::parse(&body, count as usize);
        let mut replies = replies.map_err(|fault| fault.billed(reply::billed(&body)))?;
        for reply in &mut replies {
            reply.latency_ms = latency_ms;
            let Some(key) = &self.endpoint.api_key else { continue };
            // Replies are written down: a server that echoes the key must not get it into a data set.
            for text in [&mut reply.output, &mut reply.reasoning, &mut reply.model, &mut reply.finish_reason]
            {
                key.scrub_reply(text);
            }
        }
        Ok(replies)
    }

    /// Sends `request` and reads the body of a successful response, all within `timeout`.
    async fn exchange(
        &self,
        request: RequestBuilder,
        timeout: Duration,
        told: &mut Told,
    ) -> Result<Vec<u8>, Fault> {
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
        *told = Told::read(response.headers());
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
        Box::pin(async move {
            let mut replies = self.send(request, 1).await.0?;
            // There is at least one.
            Ok(replies.swap_remove(0))
        })
    }

    fn ask_samples<'a>(
        &'a self,
        request: &'a ChatRequest,
        count: u32,
    ) -> BoxFuture<'a, Result<Vec<Reply>, Fault>> {
        Box::pin(async move { self.send(request, count).await.0 })
    }
}

/// # Errors
/// An extra field of `sampling` would change what kind of answer comes back.
pub(super) fn refuse_reserved(sampling: &Sampling) -> Result<()> {
    match RESERVED.into_iter().find(|name| sampling.extra.contains_key(*name)) {
        Some(name) => Err(Error::usage(format!("the extra request field `{name}` cannot be set"))
            .hint("remove it from the model's extra fields")),
        None => Ok(()),
    }
}

/// The certificates in the text of a PEM file.
fn authorities(pem: &[u8]) -> Result<Vec<Certificate>> {
    let bad = |why: String| {
        Error::usage(format!("the file of --ca-cert {why}"))
            .hint("give the certificate of the authority in PEM form: -----BEGIN CERTIFICATE-----")
    };
    match Certificate::from_pem_bundle(pem) {
        Ok(certificates) if certificates.is_empty() => Err(bad("has no certificate in it".into())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(bad(format!("does not read: {error}"))),
    }
}
