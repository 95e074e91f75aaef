//! `/v1/batches`: files of requests answered from the recording, all at once and later.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::uniform;
use super::files::{missing, now};
use super::{Options, Service, chat, refusal};

const ENDPOINT: &str = "/v1/chat/completions";
/// Parts of a batch's time after which it is checked and worked off.
const CHECKED: f64 = 0.1;
const WORKED_OFF: f64 = 0.9;
/// Most batches of a page of the list.
const PAGE: usize = 100;

/// All batches there are, and how they go.
pub(super) struct Batches {
    time: Duration,
    expire: f64,
    fail: f64,
    seed: u64,
    batches: Mutex<Vec<Batch>>,
}

struct Batch {
    id: String,
    input: String,
    metadata: Value,
    created: Instant,
    created_at: u64,
    end: End,
    cancelled: bool,
    /// What came of it, once that is known.
    results: Option<Results>,
}

/// How a batch is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Completed,
    Expired,
    Failed,
}

#[derive(Debug, Clone, Default)]
struct Results {
    output: Option<String>,
    errors: Option<String>,
    completed: u64,
    failed: u64,
    /// Why the whole batch failed: code and message.
    refused: Option<(&'static str, String)>,
}

/// One line of an input file.
#[derive(Deserialize)]
struct Line {
    custom_id: String,
    method: String,
    url: String,
    body: Value,
}

impl Batches {
    pub fn new(options: &Options) -> Self {
        let Options { batch_time, batch_expire, batch_fail, seed, .. } = *options;
        Self { time: batch_time, expire: batch_expire, fail: batch_fail, seed, batches: Mutex::default() }
    }

    /// A new batch, and how it will end.
    fn add(&self, input: String, metadata: Value) -> (String, End) {
        let mut batches = self.lock();
        let id = format!("batch_{}", batches.len() + 1);
        let at = uniform(self.seed, &[id.as_bytes()]);
        let end = match at {
            at if at < self.expire => End::Expired,
            at if at < self.expire + self.fail => End::Failed,
            _ => End::Completed,
        };
        let (created, created_at) = (Instant::now(), now());
        let (cancelled, results) = (false, None);
        batches.push(Batch { id: id.clone(), input, metadata, created, created_at, end, cancelled, results });
        (id, end)
    }

    /// Does `with` to the batch `id`, if there is one, and describes it.
    fn update(&self, id: &str, with: impl FnOnce(&mut Batch)) -> Option<Value> {
        let mut batches = self.lock();
        let batch = batches.iter_mut().find(|batch| batch.id == id)?;
        with(batch);
        Some(batch.describe(self.time))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    fn status(&self, time: Duration) -> &'static str {
        let passed = self.created.elapsed().as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE);
        match &self.results {
            Some(results) if results.refused.is_some() && (passed >= CHECKED || self.cancelled) => "failed",
            Some(_) if self.cancelled => "cancelled",
            None if self.cancelled => "cancelling",
            _ if passed < CHECKED => "validating",
            _ if passed < WORKED_OFF => "in_progress",
            Some(_) if passed >= 1.0 && self.end == End::Expired => "expired",
            Some(_) if passed >= 1.0 => "completed",
            _ => "finalizing",
        }
    }

    fn describe(&self, time: Duration) -> Value {
        let status = self.status(time);
        let results = self.results.clone().unwrap_or_default();
        let over = ["completed", "expired", "cancelled"].contains(&status);
        let refused = results.refused.filter(|_| status == "failed");
        json!({
            "id": self.id,
            "object": "batch",
            "endpoint": ENDPOINT,
            "errors": refused.map(|(code, message)| json!({
                "object": "list", "data": [{"code": code, "message": message}],
            })),
            "input_file_id": self.input,
            "completion_window": "24h",
            "status": status,
            "output_file_id": results.output.filter(|_| over),
            "error_file_id": results.errors.filter(|_| over),
            "created_at": self.created_at,
            "request_counts": {
                "total": results.completed + results.failed,
                "completed": results.completed,
                "failed": results.failed,
            },
            "metadata": self.metadata,
        })
    }
}

/// The body of a request for a new batch.
#[derive(Deserialize)]
pub(super) struct NewBatch {
    input_file_id: String,
    endpoint: String,
    #[serde(default)]
    metadata: Value,
}

pub(super) async fn create(State(service): State<Arc<Service>>, Json(new): Json<NewBatch>) -> Response {
    if new.endpoint != ENDPOINT {
        let message = format!("batches are for the endpoint {ENDPOINT}");
        return refusal(StatusCode::BAD_REQUEST, "invalid_request", message);
    }
    let Some(input) = service.files.path(&new.input_file_id, Some("batch")) else {
        return missing(&new.input_file_id);
    };
    let (id, end) = service.batches.add(new.input_file_id, new.metadata);
    let (worker, batch) = (service.clone(), id.clone());
    tokio::task::spawn_blocking(move || {
        let results = work_off(&worker, &batch, input, end);
        worker.batches.update(&batch, |batch| batch.results = Some(results));
    });
    // A client that is killed while it waits here has a batch that it does not know of.
    tokio::time::sleep(service.latency).await;
    Json(service.batches.update(&id, |_| ())).into_response()
}

#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// Newest first.
pub(super) async fn list(State(service): State<Arc<Service>>, Query(page): Query<Page>) -> Json<Value> {
    let batches = service.batches.lock();
    let mut newest: Vec<&Batch> = batches.iter().rev().collect();
    if let Some(after) = page.after
        && let Some(at) = newest.iter().position(|batch| batch.id == after)
    {
        newest.drain(..=at);
    }
    let limit = page.limit.unwrap_or(20).clamp(1, PAGE);
    let more = newest.len() > limit;
    newest.truncate(limit);
    let data: Vec<Value> = newest.iter().map(|batch| batch.describe(service.batches.time)).collect();
    Json(json!({
        "object": "list", "data": data, "has_more": more,
        "first_id": newest.first().map(|batch| &batch.id), "last_id": newest.last().map(|batch| &batch.id),
    }))
}

pub(super) async fn describe(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    let batch = service.batches.update(&id, |_| ());
    batch.map_or_else(|| missing(&id), |batch| Json(batch).into_response())
}

pub(super) async fn cancel(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    let time = service.batches.time;
    let over = |batch: &Batch| ["completed", "expired", "failed"].contains(&batch.status(time));
    let batch = service.batches.update(&id, |batch| batch.cancelled |= !over(batch));
    batch.map_or_else(|| missing(&id), |batch| Json(batch).into_response())
}

/// Answers every request of the file `input`.
fn work_off(service: &Service, batch: &str, input: PathBuf, end: End) -> Results {
    let refused = |code, message| Results { refused: Some((code, message)), ..Results::default() };
    if end == End::Failed {
        return refused("token_limit_exceeded", "a fault that this server was told to have".to_owned());
    }
    let read = std::fs::File::open(input).map_err(|error| error.to_string());
    let answered = read.and_then(|file| {
        let lines = lines(BufReader::new(file))?;
        answer_all(service, batch, lines, end).map_err(|error| error.to_string())
    });
    answered.unwrap_or_else(|message| refused("invalid_batch", message))
}

/// The requests of an input file.
///
/// # Errors
/// One is none, or has the id of another: the whole file is refused, and the message names the line.
fn lines(file: impl BufRead) -> Result<Vec<Line>, String> {
    let mut ids = HashSet::new();
    let mut lines = Vec::new();
    for (at, text) in file.lines().enumerate() {
        let number = at + 1;
        let text = text.map_err(|error| format!("line {number}: {error}"))?;
        let line: Line = serde_json::from_str(&text).map_err(|error| format!("line {number}: {error}"))?;
        if (line.method.as_str(), line.url.as_str()) != ("POST", ENDPOINT) {
            return Err(format!("line {number}: requests are POST {ENDPOINT}"));
        }
        if !ids.insert(line.custom_id.clone()) {
            return Err(format!("line {number}: the custom_id `{}` is that of another line", line.custom_id));
        }
        lines.push(line);
    }
    if lines.is_empty() { Err("the file has no requests".to_owned()) } else { Ok(lines) }
}

fn answer_all(service: &Service, batch: &str, lines: Vec<Line>, end: End) -> std::io::Result<Results> {
    let mut results = Results::default();
    let mut output = BufWriter::new(service.files.new_file()?);
    let mut errors = BufWriter::new(service.files.new_file()?);
    // Services hand results out in any order; here it is the reverse.
    for (at, line) in lines.into_iter().enumerate().rev() {
        let id = format!("batch_req_{batch}_{at}");
        let expires = end == End::Expired && at % 2 == 1;
        let (status, result) = answer_one(service, batch, &id, line, expires);
        let file = if status == 200 { &mut output } else { &mut errors };
        writeln!(file, "{result}")?;
        if status == 200 { results.completed += 1 } else { results.failed += 1 }
    }
    let keep = |file: BufWriter<tempfile::NamedTempFile>, name: &str, lines: u64| {
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let name = format!("{batch}_{name}.jsonl");
        if lines == 0 { Ok(None) } else { service.files.keep(file, &name, "batch_output").map(Some) }
    };
    results.output = keep(output, "output", results.completed)?;
    results.errors = keep(errors, "error", results.failed)?;
    Ok(results)
}

/// The status of one request of a batch, and its line in the results.
fn answer_one(service: &Service, batch: &str, id: &str, line: Line, expires: bool) -> (u16, Value) {
    let mut logged = service.log.request(Some(batch.to_owned()));
    let custom_id = line.custom_id;
    let (status, body) = match chat::of_value(line.body) {
        _ if expires => {
            logged.entry.fault = Some("expired");
            let error =
                json!({"code": "batch_expired", "message": "this request could not be executed in time"});
            return (499, json!({"id": id, "custom_id": custom_id, "response": null, "error": error}));
        }
        Err(message) => (StatusCode::BAD_REQUEST, super::error_body("invalid_request", message)),
        Ok(asked) => {
            let key = asked.key(0);
            let (attempt, first) = service.attempt(key);
            let entry = &mut logged.entry;
            (entry.key, entry.n, entry.model) = (Some(asked.key(first)), asked.n, asked.model().to_owned());
            match service.faults.choose(key, attempt) {
                Some(fault) => {
                    entry.fault = Some(fault.name());
                    // A batch has no connection of its own to break: other faults are errors here.
                    let status = fault.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    (status, super::error_body("injected", "a fault that this server was told to have"))
                }
                None => {
                    let answer = chat::answer(service, &asked, first);
                    if answer.0 == StatusCode::OK {
                        service.gave(key, asked.n);
                    }
                    answer
                }
            }
        }
    };
    let status = status.as_u16();
    logged.entry.status = status;
    let response = json!({"status_code": status, "request_id": id, "body": body});
    (status, json!({"id": id, "custom_id": custom_id, "response": response, "error": null}))
}
