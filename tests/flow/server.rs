//! A chat server on bare sockets that does whatever a test wants, and keeps count of what it did.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// A whole reply that repeats the prompt.
    Answer,
    /// This status, these headers, this body.
    Say(u16, Vec<(&'static str, String)>, String),
    /// A reply that breaks off in the middle of its body, with a reset.
    Reset,
    /// Headers, and nothing more.
    Hang,
    /// A byte now and then.
    Drip,
    /// A body without end.
    Endless,
}

/// A status without headers.
pub fn status(status: u16, body: &str) -> Act {
    Act::Say(status, vec![], body.to_owned())
}

/// A refusal that asks to wait.
pub fn busy(retry_after: Duration) -> Act {
    Act::Say(429, vec![("retry-after-ms", retry_after.as_millis().to_string())], "slow down".to_owned())
}

#[derive(Default)]
pub struct Log {
    /// When each request came.
    pub asked: Vec<Instant>,
    /// Whole replies, by prompt.
    pub answered: HashMap<String, usize>,
}

impl Log {
    /// Whole replies.
    pub fn replies(&self) -> usize {
        self.answered.values().sum()
    }
}

pub struct Server {
    pub base_url: String,
    pub log: Arc<Mutex<Log>>,
}

/// A server that takes `latency` for each reply and does what `act` says to the n-th request.
pub async fn serve(latency: Duration, act: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Log::default()));
    let (act, shared) = (Arc::new(act), log.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (act, log) = (act.clone(), shared.clone());
            tokio::spawn(async move {
                // The client may go away at any time.
                let _ = talk(stream, latency, &*act, &log).await;
            });
        }
    });
    Server { base_url, log }
}

async fn talk(
    stream: TcpStream,
    latency: Duration,
    act: &(dyn Fn(usize, &str) -> Act + Send + Sync),
    log: &Mutex<Log>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let prompt = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        let act = {
            let mut log = log.lock().unwrap();
            log.asked.push(Instant::now());
            act(log.asked.len(), &prompt)
        };
        let reply = json!({
            "choices": [{"message": {"content": format!("re: {prompt}")}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        })
        .to_string();
        match act {
            Act::Answer => {
                sleep(latency).await;
                *log.lock().unwrap().answered.entry(prompt).or_default() += 1;
                write(&mut stream, 200, &[], &reply).await?;
            }
            Act::Say(status, headers, body) => write(&mut stream, status, &headers, &body).await?,
            Act::Reset => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", reply.len());
                stream.write_all(format!("{head}{}", &reply[..reply.len() / 2]).as_bytes()).await?;
                stream.get_ref().set_zero_linger()?;
                return Ok(());
            }
            Act::Hang => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await?;
                stream.read_u8().await?;
            }
            Act::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(b"1\r\n \r\n").await?;
                    sleep(Duration::from_millis(20)).await;
                }
            }
            Act::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(format!("1000\r\n{}\r\n", "x".repeat(0x1000)).as_bytes()).await?;
                }
            }
        }
    }
}

async fn write(
    stream: &mut BufReader<TcpStream>,
    status: u16,
    headers: &[(&str, String)],
    body: &str,
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await
}

/// Admits `per_second` requests, as many as in one second at once, and refuses the others.
pub struct Admission {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
    started: Mutex<Option<Instant>>,
}

impl Admission {
    pub fn new(per_second: f64) -> Self {
        Self { per_second, state: Mutex::new((per_second, Instant::now())), started: Mutex::new(None) }
    }

    pub fn admits(&self) -> bool {
        let now = Instant::now();
        self.started.lock().unwrap().get_or_insert(now);
        let (left, at) = &mut *self.state.lock().unwrap();
        *left = (*left + now.duration_since(*at).as_secs_f64() * self.per_second).min(self.per_second);
        *at = now;
        let admitted = *left >= 1.0;
        if admitted {
            *left -= 1.0;
        }
        admitted
    }

    /// What had to be admitted from the first request until now, or was lost: what is saved up is neither.
    pub fn capacity(&self) -> f64 {
        let started = self.started.lock().unwrap().unwrap();
        let (left, at) = *self.state.lock().unwrap();
        let saved = (left + at.elapsed().as_secs_f64() * self.per_second).min(self.per_second);
        self.per_second * (1.0 + started.elapsed().as_secs_f64()) - saved
    }
}
