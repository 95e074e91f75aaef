//! Loopback servers to try the model client on: one that follows a script, and bare sockets that misbehave.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// One scripted answer: status, headers, body.
pub type Answer = (u16, Vec<(&'static str, String)>, String);

/// A request as the server saw it.
pub struct Seen {
    pub at: Instant,
    pub line: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A running server and what it was asked.
pub struct Server {
    pub base_url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

/// A server that answers the n-th request with the n-th answer, and the rest with the last.
pub async fn scripted(answers: Vec<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let app = Router::new().fallback(move |request: Request| async move {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let line = format!("{} {}", head.method, head.uri.path());
        let mut log = log.lock().unwrap();
        let (status, headers, text) = &answers[log.len().min(answers.len() - 1)];
        log.push(Seen { at: Instant::now(), line, headers: head.headers, body });
        let response = Response::builder().status(*status);
        let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, value));
        response.body(Body::from(text.clone())).unwrap()
    });
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Server { base_url, seen }
}

/// A server that hands each connection to `talk`.
pub async fn raw<F: Future<Output = ()> + Send + 'static>(talk: fn(TcpStream) -> F) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            tokio::spawn(talk(listener.accept().await.unwrap().0));
        }
    });
    base_url
}

/// Reads the request, says `reply`, and keeps the connection.
pub async fn say(mut stream: TcpStream, reply: &str) -> TcpStream {
    let mut buffer = vec![0; 4096];
    while let Ok(Ok(1..)) = timeout(Duration::from_millis(30), stream.read(&mut buffer)).await {}
    stream.write_all(reply.as_bytes()).await.unwrap();
    stream
}

/// An address where nobody listens. The socket keeps others from taking the port.
pub fn refused() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base_url = format!("http://{}/v1", socket.local_addr().unwrap());
    (socket, base_url)
}
