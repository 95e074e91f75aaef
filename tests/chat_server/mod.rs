//! A loopback chat endpoint for tests that run the real binary: answers as it is told and counts what it is asked.
#![allow(dead_code)]

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::Response;
use serde_json::{Value, json};

/// What a server says to one chat request: status and body.
pub type Said = (u16, String);

/// A running endpoint. It ends with the test's process.
pub struct ChatServer {
    /// To be given as `--base-url`.
    pub base_url: String,
    chats: Arc<Mutex<Vec<Value>>>,
}

impl ChatServer {
    /// A server without a list of models, which answers chat requests by `say`, after `delay`.
    pub fn new(delay: Duration, say: impl Fn(&Value, &str) -> Said + Send + Sync + 'static) -> Self {
        Self::with_models((404, String::new()), delay, say)
    }

    /// A server that answers `GET /models` with `models`. `say` gets a request's body and its Authorization header.
    pub fn with_models(
        models: Said,
        delay: Duration,
        say: impl Fn(&Value, &str) -> Said + Send + Sync + 'static,
    ) -> Self {
        let chats = Arc::new(Mutex::new(Vec::new()));
        let (log, say, models) = (chats.clone(), Arc::new(say), Arc::new(models));
        let app = Router::new().fallback(move |request: Request| {
            let (log, say, models) = (log.clone(), say.clone(), models.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, 16 << 20).await.unwrap();
                let (status, text) = if head.uri.path().ends_with("/models") {
                    (*models).clone()
                } else {
                    let asked: Value = serde_json::from_slice(&body).unwrap();
                    log.lock().unwrap().push(asked.clone());
                    tokio::time::sleep(delay).await;
                    let key = head.headers.get("authorization").map(|key| key.to_str().unwrap());
                    say(&asked, key.unwrap_or_default())
                };
                Response::builder().status(status).body(Body::from(text)).unwrap()
            }
        });
        let (ready, address) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        Self { base_url: format!("http://{}/v1", address.recv().unwrap()), chats }
    }

    /// Bodies of the chat requests so far.
    pub fn chats(&self) -> Vec<Value> {
        self.chats.lock().unwrap().clone()
    }

    /// Number of chat requests so far.
    pub fn asked(&self) -> usize {
        self.chats.lock().unwrap().len()
    }
}

/// A complete reply with `output` as its text.
pub fn reply(output: &str) -> Said {
    let body = json!({
        "model": "loopback",
        "choices": [{"message": {"role": "assistant", "content": output}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    });
    (200, body.to_string())
}

/// What the user said in a chat request.
pub fn prompt_of(asked: &Value) -> &str {
    asked["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
}
