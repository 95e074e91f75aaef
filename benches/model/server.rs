//! The server to measure against, in a process of its own: bare sockets, one thread, a reply made ahead. Its log is what
//! nobody can lose or double unseen.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Argument that makes the bench be the server.
pub const ARGUMENT: &str = "--serve";

/// How the server behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    /// Waits so long before each reply, ms.
    pub latency_ms: u64,
    /// Admits so many requests a second, saved up for one second at most; the others are refused.
    pub per_second: Option<f64>,
    /// How long refusals ask to wait, ms: whole seconds are told in `Retry-After`, others in `retry-after-ms`.
    pub retry_after_ms: u64,
    /// Answers so many of 100 requests with 500.
    pub errors: u32,
    /// Answers so many of 100 requests with a fault, of five kinds.
    pub faults: u32,
}

/// A server process; killed when dropped.
pub struct Server {
    child: Child,
    pub base_url: String,
}

/// What the server counted.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// Requests.
    pub asked: u64,
    /// Whole replies.
    pub replies: u64,
}

impl Server {
    pub fn start(behaviour: Behaviour) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let Behaviour { latency_ms, per_second, retry_after_ms, errors, faults } = behaviour;
        let arguments = [
            port.to_string(),
            latency_ms.to_string(),
            per_second.unwrap_or(0.0).to_string(),
            retry_after_ms.to_string(),
            errors.to_string(),
            faults.to_string(),
        ];
        let this = std::env::current_exe().unwrap();
        let child = Command::new(this).arg(ARGUMENT).args(arguments).stdout(Stdio::null()).spawn().unwrap();
        let base_url = format!("http://127.0.0.1:{port}/v1");
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, base_url }
    }

    /// What it counted so far.
    pub fn count(&self) -> Count {
        let address = self.base_url.trim_start_matches("http://").trim_end_matches("/v1");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /count HTTP/1.1\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        let numbers: Vec<u64> = text.lines().last().unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        Count { asked: numbers[0], replies: numbers[1] }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have died already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Shared {
    behaviour: Behaviour,
    reply: Vec<u8>,
    asked: AtomicU64,
    replies: AtomicU64,
    bucket: Mutex<(f64, Option<Instant>)>,
}

/// The server's main function.
pub fn main(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<f64>().unwrap();
    let behaviour = Behaviour {
        latency_ms: number(1) as u64,
        per_second: Some(number(2)).filter(|rate| *rate > 0.0),
        retry_after_ms: number(3) as u64,
        errors: number(4) as u32,
        faults: number(5) as u32,
    };
    let content: String =
        "The quick brown fox jumps over the lazy dog.\n".chars().cycle().take(2048).collect();
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 500, "total_tokens": 1000},
    })
    .to_string();
    let shared = Arc::new(Shared {
        behaviour,
        reply: said(200, "", &body),
        asked: AtomicU64::new(0),
        replies: AtomicU64::new(0),
        bucket: Mutex::new((0.0, None)),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", number(0) as u16)).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let shared = shared.clone();
            tokio::spawn(async move {
                // The client may go away at any time.
                let _ = talk(stream, &shared).await;
            });
        }
    });
}

fn said(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} S\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn talk(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer: Vec<u8> = Vec::with_capacity(16 << 10);
    loop {
        let (head, length) = loop {
            if let Some(end) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
                break (end + 4, content_length(&buffer[..end]));
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        if buffer.starts_with(b"GET /count") {
            let (asked, replies) =
                (shared.asked.load(Ordering::Relaxed), shared.replies.load(Ordering::Relaxed));
            return stream.write_all(&said(200, "", &format!("{asked} {replies}"))).await;
        }
        buffer.drain(..head + length);
        shared.asked.fetch_add(1, Ordering::Relaxed);
        if !act(&mut stream, shared).await? {
            return Ok(());
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap_or_default().to_ascii_lowercase();
    head.split("content-length:")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.trim().parse().ok())
        .unwrap_or(0)
}

/// Answers one request; whether the connection goes on.
async fn act(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<bool> {
    let behaviour = &shared.behaviour;
    if let Some(rate) = behaviour.per_second {
        let admitted = {
            let (left, at) = &mut *shared.bucket.lock().unwrap();
            let now = Instant::now();
            let rest = at.replace(now).map_or(0.0, |at| now.duration_since(at).as_secs_f64());
            *left = (*left + rest * rate).min(rate);
            let admitted = *left >= 1.0;
            *left -= f64::from(u8::from(admitted));
            admitted
        };
        if !admitted {
            let header = match behaviour.retry_after_ms {
                ms if ms % 1000 == 0 => format!("retry-after: {}\r\n", ms / 1000),
                ms => format!("retry-after-ms: {ms}\r\n"),
            };
            stream.write_all(&said(429, &header, "{\"error\": {\"message\": \"slow down\"}}")).await?;
            return Ok(true);
        }
    }
    if fastrand::u32(..100) < behaviour.errors {
        stream.write_all(&said(500, "", "{\"error\": {\"message\": \"oops\"}}")).await?;
        return Ok(true);
    }
    if fastrand::u32(..100) < behaviour.faults {
        match fastrand::u32(..5) {
            0 => {
                stream.write_all(&said(500, "", "oops")).await?;
                return Ok(true);
            }
            1 => {
                stream.write_all(&said(200, "", "{\"choices\": [{\"message\": {\"content\": \"cut")).await?;
                return Ok(true);
            }
            2 => {
                stream.write_all(&shared.reply[..shared.reply.len() / 2]).await?;
                stream.set_zero_linger()?;
            }
            3 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await?;
                stream.read_u8().await?;
            }
            _ => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(b"1\r\n \r\n").await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        return Ok(false);
    }
    if behaviour.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(behaviour.latency_ms)).await;
    }
    shared.replies.fetch_add(1, Ordering::Relaxed);
    stream.write_all(&shared.reply).await?;
    Ok(true)
}
