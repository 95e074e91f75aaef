//! Other endpoints of the API that a client's chat completions belong to: files and batches.

use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder, Response, Url};
use tokio::time::{Instant, timeout_at};

use super::{HttpModel, REFUSAL_BYTES, REFUSAL_WAIT};
use crate::error::{Fault, Recovery};
use crate::llm::address::{CHAT_PATH, COMPLETIONS_PATH};
use crate::llm::fault;
use crate::llm::secret::Secret;

impl HttpModel {
    /// The address of another endpoint of the same API, e.g. `/batches`.
    pub(in crate::llm) fn url(&self, end: &str) -> Url {
        let mut url = self.chat_url.clone();
        let ending = if self.completes() { COMPLETIONS_PATH } else { CHAT_PATH };
        let root = url.path().strip_suffix(ending).unwrap_or_default().to_owned();
        url.set_path(&format!("{root}{end}"));
        url
    }

    /// Begins a request that goes the way of chat requests: same proxies, certificates and key.
    pub(in crate::llm) fn request(&self, method: Method, end: &str) -> RequestBuilder {
        let request = self.client.request(method, self.url(end));
        match self.secret() {
            Some(key) => request.header(AUTHORIZATION, key.authorization()),
            None => request,
        }
    }

    /// The API key.
    pub(in crate::llm) fn secret(&self) -> Option<&Secret> {
        self.endpoint.api_key.as_ref()
    }

    /// From sending a request to the last byte of its answer.
    pub(in crate::llm) fn patience(&self) -> Duration {
        self.endpoint.timeout
    }

    /// Sends `request` and reads the body of a successful response, all within `timeout`.
    pub(in crate::llm) async fn fetch(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let deadline = Instant::now() + timeout;
        let mut response = self.open(request, timeout).await?;
        let limit = self.endpoint.max_response_bytes;
        let mut body = Vec::new();
        let read = timeout_at(deadline, self.read_body(&mut response, limit, &mut body)).await;
        read.map_err(|_| self.late(timeout))?.map_err(|fault| self.presentable(fault))?;
        Ok(body)
    }

    /// Sends `request` and waits for the head of a successful response.
    pub(in crate::llm) async fn open(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Response, Fault> {
        let deadline = Instant::now() + timeout;
        let sent = timeout_at(deadline, request.send()).await.map_err(|_| self.late(timeout))?;
        let mut response =
            sent.map_err(|error| self.presentable(fault::of_transport(&self.address, error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let mut body = Vec::new();
        let deadline = deadline.min(Instant::now() + REFUSAL_WAIT);
        // However the reading ends, what was read is kept.
        let _ = timeout_at(deadline, self.read_body(&mut response, REFUSAL_BYTES, &mut body)).await;
        let refused = fault::of_status(response.status(), response.headers(), &body, &self.key_hint());
        Err(self.presentable(refused))
    }

    /// `fault` with its text fit to be shown: see `presentable`.
    pub(in crate::llm) fn shown(&self, fault: Fault) -> Fault {
        self.presentable(fault)
    }

    fn late(&self, timeout: Duration) -> Fault {
        let message = format!("no complete answer from {} within {timeout:?}", self.address);
        Fault::new(Recovery::Retry, "timeout", message)
    }
}
