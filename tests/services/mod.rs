//! A model and a sandbox service on loopback whose answers depend on nothing but the question.
//!
//! Both write down the journal key of every question, so that a test can tell which calls were made, in which order
//! they arrived, and which were answered.
#![allow(dead_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use autocodegen::frame::key::Key;
use autocodegen::llm::chat::{Message, Sampling};
use autocodegen::llm::key::request_key;
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, LimitOverrides};
use autocodegen::sandbox::remote::RemoteSandbox;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Who asked: the step of the pipeline that a prompt belongs to, or the sandbox stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asked {
    Solution,
    Tests,
    Question,
    Program,
}

/// A question as it arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The journal key that its answer gets.
    pub key: Key,
    pub asked: Asked,
    pub language: String,
}

/// What the services were asked since the last [`Services::take_log`].
#[derive(Debug, Default)]
pub struct Log {
    /// In order of arrival.
    pub arrived: Vec<Arrival>,
    /// Keys in order of completion: the answer was handed to the connection.
    pub answered: Vec<(Asked, Key)>,
    alarm: Option<(usize, Sender<()>)>,
}

struct Shared {
    log: Mutex<Log>,
    /// Time that every answer takes in addition to its own, ms.
    delay_ms: AtomicU64,
    /// Knows how jobs sent to a service are identified in journal keys.
    identity: RemoteSandbox,
}

/// Both services, on threads of their own, until dropped.
pub struct Services {
    pub model_url: String,
    pub sandbox_url: String,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

impl Services {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            delay_ms: AtomicU64::new(0),
            identity: RemoteSandbox::new(std::slice::from_ref(&url), None).unwrap(),
        });
        let app = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/submit", post(submit))
            .with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { model_url: format!("{url}/v1"), sandbox_url: url, shared, _runtime: runtime }
    }

    /// What was asked so far; the log starts anew.
    pub fn take_log(&self) -> Log {
        std::mem::take(&mut self.shared.log.lock().unwrap())
    }

    /// Starts the log anew. The receiver is told when the `nth` question arrives (counted from 1).
    pub fn alarm_at(&self, nth: usize) -> Receiver<()> {
        let (sender, receiver) = channel();
        *self.shared.log.lock().unwrap() = Log { alarm: Some((nth, sender)), ..Log::default() };
        receiver
    }

    /// Every answer from now on takes this much longer.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Shared {
    fn arrive(&self, arrival: Arrival) {
        let mut log = self.log.lock().unwrap();
        log.arrived.push(arrival);
        let seen = log.arrived.len();
        if let Some((_, sender)) = log.alarm.take_if(|(nth, _)| *nth == seen) {
            // The test may have stopped listening because the program ended before.
            let _ = sender.send(());
        }
    }

    /// Waits between 0 and 7 ms, so that answers overtake each other.
    async fn work(&self, hash: u64) {
        let delay = self.delay_ms.load(Ordering::Relaxed) + (hash >> 32) % 8;
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }

    fn answer(&self, asked: Asked, key: Key) {
        self.log.lock().unwrap().answered.push((asked, key));
    }
}

fn hash(key: &Key) -> u64 {
    u64::from_le_bytes(key.as_bytes()[..8].try_into().unwrap())
}

async fn chat(State(shared): State<Arc<Shared>>, Json(mut body): Json<Value>) -> Json<Value> {
    let messages = body.as_object_mut().unwrap().remove("messages").unwrap();
    let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
    let sampling: Sampling = serde_json::from_value(body).unwrap();
    let key = request_key(&sampling, &messages, 0);
    let prompt = &messages.last().unwrap().content;
    let asked = step(prompt);
    let language = language(prompt);
    let hash = hash(&key);
    let (text, finish_reason) = reply(asked, &language, hash);
    shared.arrive(Arrival { key, asked, language });
    shared.work(hash).await;
    shared.answer(asked, key);
    Json(json!({
        "id": "c", "object": "chat.completion", "model": sampling.model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text },
            "finish_reason": finish_reason,
        }],
        "usage": { "prompt_tokens": prompt.len() / 4, "completion_tokens": text.len() / 4 },
    }))
}

/// The step of a prompt, told by the sentence that says what the job is.
fn step(prompt: &str) -> Asked {
    let marks = [
        ("turn a code snippet into the reference solution", Asked::Solution),
        ("turn two test programs that print into two that assert", Asked::Tests),
        ("write the statement of a programming problem", Asked::Question),
    ];
    let found = marks.into_iter().find(|(mark, _)| prompt.contains(mark));
    found.map(|(_, asked)| asked).unwrap_or_else(|| panic!("a prompt of no known step: {prompt}"))
}

/// The language of a prompt: the word behind its first fence.
fn language(prompt: &str) -> String {
    let (_, after) = prompt.split_once("```").unwrap();
    after.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// What the model replies. Some replies cannot be used; some solutions are the same for several rows.
fn reply(asked: Asked, language: &str, hash: u64) -> (String, &'static str) {
    let block = |what: &str, id: &str| format!("```{language}\n# {what} {id}\n```\n");
    let id = if hash % 5 == 4 { "shared".to_owned() } else { format!("{hash:016x}") };
    let blocks = |names: &[&str]| names.iter().map(|name| block(name, &id)).collect::<String>();
    match (asked, hash % 16) {
        (Asked::Solution, 0) => ("I would rather not.".to_owned(), "stop"),
        (Asked::Solution, 1) => (blocks(&["solution", "demo"]), "stop"),
        (Asked::Solution, 2) => (blocks(&["solution"]), "length"),
        (Asked::Solution, _) => (blocks(&["solution", "demo", "full"]), "stop"),
        (Asked::Tests, 3) => (blocks(&["asserting demo"]), "stop"),
        (Asked::Tests, _) => (blocks(&["asserting demo", "asserting full"]), "stop"),
        (_, 5) => ("<question>unfinished".to_owned(), "stop"),
        _ => (format!("<question>\nWhat is {id} in {language}?\n</question>"), "stop"),
    }
}

async fn submit(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Json<Value> {
    let text = |name: &str| body.get(name).map(|value| value.as_str().unwrap().to_owned());
    let seconds = body["request_extensions"]["timeout"].as_f64().unwrap();
    let job = Job {
        language: text("lang").unwrap(),
        source: text("func_code").or_else(|| text("source_code")).unwrap(),
        tests: text("main_code"),
        limits: LimitOverrides { cpu_ms: Some((seconds * 1000.0) as u64), ..LimitOverrides::default() },
        strict: body["request_extensions"]["strict"] == true,
        ..Job::default()
    };
    let identity = shared.identity.identity(&job.language);
    let key = Key::of(&[identity.into_bytes(), serde_json::to_vec(&job).unwrap()]);
    let hash = hash(&key);
    shared.arrive(Arrival { key, asked: Asked::Program, language: job.language });
    shared.work(hash).await;
    shared.answer(Asked::Program, key);
    let failed = hash.is_multiple_of(16);
    let stdout = format!("in 1\nout {hash:x}\n");
    Json(json!({
        "src_uid": body["src_uid"], "all_code": "", "exec_cout": stdout,
        "exec_outcome": if failed { "RUNTIME_ERROR" } else { "PASSED" },
        "exec_compile_message": "",
        "exec_runtime_message": if failed { "it broke" } else { "" },
        "response_extensions": {
            "exit_code": i32::from(failed), "stdout": stdout, "stderr": if failed { "it broke" } else { "" },
            "process_exec_time": 0.01, "process_cpu_time": 0.01, "process_peak_memory": 1024,
        },
    }))
}
