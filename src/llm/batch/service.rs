//! The client of a batch service: files and batches beside an endpoint's chat completions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::CHAT_URL;
use crate::error::{Error, Fault, Recovery, Result};
use crate::frame::atomic::NewFile;
use crate::llm::client::HttpModel;
use crate::llm::fault::malformed;
use crate::llm::secret::Secret;

/// Bytes read or sent at a time.
const CHUNK: usize = 256 << 10;
/// Longest time for a file of some hundred megabytes to be taken, and longest silence while one is handed out.
const UPLOAD_TIME: Duration = Duration::from_secs(3600);
const SILENCE: Duration = Duration::from_secs(120);
/// Batches asked for at a time when looking for one.
const PAGE: usize = 100;
/// Most pages looked through: services list the newest first.
const PAGES: usize = 20;
/// Name of our mark in a batch's metadata.
const MARK: &str = "autocodegen";

/// A batch as the service describes it. What it leaves out is empty.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Batch {
    pub id: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub input_file_id: Option<String>,
    #[serde(default)]
    pub output_file_id: Option<String>,
    #[serde(default)]
    pub error_file_id: Option<String>,
    #[serde(default)]
    pub errors: Value,
    #[serde(default)]
    pub request_counts: Value,
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize)]
struct Uploaded {
    id: String,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Batch>,
    #[serde(default)]
    has_more: bool,
}

/// The batch service of an endpoint.
pub struct BatchService {
    endpoint: Arc<HttpModel>,
}

impl BatchService {
    /// The service beside the chat completions of `endpoint`.
    pub fn new(endpoint: Arc<HttpModel>) -> Self {
        Self { endpoint }
    }

    /// The key that requests are made with.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.endpoint.secret()
    }

    /// A shell command that cancels the batch `id`.
    pub(super) fn cancel_command(&self, id: &str) -> String {
        let mut url = self.endpoint.url(&format!("/batches/{id}/cancel"));
        url.set_query(None);
        match self.secret() {
            Some(key) => format!("curl -X POST -H \"Authorization: Bearer ${}\" {url}", key.variable()),
            None => format!("curl -X POST {url}"),
        }
    }

    /// Uploads a request file. Its id at the service.
    ///
    /// # Errors
    /// The service's faults; the file does not read.
    pub(super) async fn upload(&self, path: &Path) -> Result<String, Fault> {
        let unreadable =
            |error| Fault::new(Recovery::Stop, "requests_file", Error::io("read", path, error).to_string());
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let length = file.metadata().await.map_err(unreadable)?.len();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("requests.jsonl");
        // A boundary comes after CR and LF, and JSON text has no CR: no file can hold it.
        let boundary = format!("autocodegen-{length}-boundary");
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/jsonl\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let total = head.len() as u64 + length + tail.len() as u64;
        let chunks =
            stream::try_unfold((Some(head), file, Some(tail)), async |(head, mut file, mut tail)| {
                if let Some(head) = head {
                    return Ok::<_, std::io::Error>(Some((head.into_bytes(), (None, file, tail))));
                }
                let mut chunk = vec![0; CHUNK];
                let read = file.read(&mut chunk).await?;
                chunk.truncate(read);
                if read == 0 {
                    return Ok(tail.take().map(|tail| (tail.into_bytes(), (None, file, None))));
                }
                Ok(Some((chunk, (None, file, tail))))
            });
        let request = self
            .endpoint
            .request(Method::POST, "/files")
            .header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
            .header(reqwest::header::CONTENT_LENGTH, total)
            .body(Body::wrap_stream(chunks));
        let answer = self.endpoint.fetch(request, UPLOAD_TIME).await;
        let Uploaded { id } = self.read(answer)?;
        self.checked(&id)?;
        Ok(id)
    }

    /// Makes a batch of an uploaded file.
    ///
    /// # Errors
    /// The service's faults. After any but a refusal the batch may exist all the same.
    pub(super) async fn create(&self, file_id: &str, mark: &str) -> Result<Batch, Fault> {
        let body = json!({
            "input_file_id": file_id, "endpoint": CHAT_URL, "completion_window": "24h", "metadata": {MARK: mark},
        });
        let batch: Batch = self.ask(Method::POST, "/batches", Some(&body)).await?;
        self.checked(&batch.id)?;
        Ok(batch)
    }

    /// The batch `id` as it is now.
    ///
    /// # Errors
    /// The service's faults.
    pub(super) async fn batch(&self, id: &str) -> Result<Batch, Fault> {
        self.ask(Method::GET, &format!("/batches/{id}"), None).await
    }

    /// The batch that was made of `file_id` or carries `mark`, if the service has one.
    ///
    /// # Errors
    /// The service's faults.
    pub(super) async fn find(&self, file_id: &str, mark: &str) -> Result<Option<Batch>, Fault> {
        let mut after: Option<String> = None;
        for _ in 0..PAGES {
            let request = self.endpoint.request(Method::GET, "/batches").query(&[("limit", PAGE)]);
            let request = match &after {
                Some(after) => request.query(&[("after", after)]),
                None => request,
            };
            let Page { data, has_more } =
                self.read(self.endpoint.fetch(request, self.endpoint.patience()).await)?;
            let last = data.last().map(|batch| batch.id.clone());
            let ours = |batch: &Batch| {
                batch.input_file_id.as_deref() == Some(file_id) || batch.metadata[MARK] == json!(mark)
            };
            if let Some(found) = data.into_iter().find(ours) {
                self.checked(&found.id)?;
                return Ok(Some(found));
            }
            if !has_more || last.is_none() {
                break;
            }
            after = last;
        }
        Ok(None)
    }

    /// Downloads the file `id` to `path`, where it is once it is whole and on disk.
    ///
    /// # Errors
    /// The service's faults; the disk.
    pub(super) async fn download(&self, id: &str, path: &Path) -> Result<(), Fault> {
        self.checked(id)?;
        let request = self.endpoint.request(Method::GET, &format!("/files/{id}/content"));
        let sent = self.endpoint.open(request, self.endpoint.patience()).await;
        let mut response = sent.map_err(|fault| self.explain(fault))?;
        let full = |error: Error| Fault::new(Recovery::Stop, "disk", error.to_string());
        let (new, file) = NewFile::create(path).map_err(full)?;
        let mut file = tokio::fs::File::from_std(file);
        loop {
            let silent = |_| Fault::new(Recovery::Retry, "timeout", format!("the file {id} stopped coming"));
            let chunk = timeout(SILENCE, response.chunk()).await.map_err(silent)?;
            let chunk = chunk.map_err(|error| {
                let error = error.without_url();
                Fault::new(Recovery::Retry, "connection", format!("the file {id} broke off: {error}"))
            })?;
            let Some(chunk) = chunk else { break };
            file.write_all(&chunk).await.map_err(|error| full(Error::io("write", path, error)))?;
        }
        file.flush().await.map_err(|error| full(Error::io("write", path, error)))?;
        new.place().map_err(full)
    }

    /// Ids become parts of addresses, and of a shell command that is shown.
    fn checked(&self, id: &str) -> Result<(), Fault> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if (1..=200).contains(&id.len()) && id.chars().all(plain) && !id.starts_with('.') {
            return Ok(());
        }
        Err(self
            .explain(malformed(format!("the batch service's answer makes no sense: it has the id {id:?}"))))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        end: &str,
        body: Option<&Value>,
    ) -> Result<T, Fault> {
        let request = self.endpoint.request(method, end);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.read(self.endpoint.fetch(request, self.endpoint.patience()).await)
    }

    fn read<T: DeserializeOwned>(&self, answer: Result<Vec<u8>, Fault>) -> Result<T, Fault> {
        let body = answer.map_err(|fault| self.explain(fault))?;
        serde_json::from_slice(&body).map_err(|error| {
            let said = String::from_utf8_lossy(&body).into_owned();
            self.explain(malformed(format!("the batch service's answer makes no sense ({error}): {said}")))
        })
    }

    /// `fault` fit to be shown, with a hint that fits batches.
    fn explain(&self, fault: Fault) -> Fault {
        let missing = fault.cause == "not_found";
        let fault = self.endpoint.shown(fault);
        match missing {
            true => fault
                .hint("an endpoint without /files and /batches has no batch service: run without --batch"),
            false => fault,
        }
    }
}
