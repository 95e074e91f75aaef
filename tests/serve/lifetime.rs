//! Clients that go away, and the service's own end.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Server, eventually, is_running};

/// A program that sleeps for a time that no other process of this machine sleeps for, and that time.
fn sleeper(test: u32) -> (Value, String) {
    let time = format!("{}.{}", 1000 + test, std::process::id());
    let source = format!("sleep {time}");
    let body = json!({
        "src_uid": "s", "lang": "shell", "source_code": source, "code": source, "language": "shell",
        "source": source, "tests": [":", ":"], "request_extensions": { "timeout": 100 }, "run_timeout": 100,
    });
    (body, format!("sleep {time}"))
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_programs_with_it() {
    let Some(server) = Server::start("cancel", &["--jobs", "1", "--queue", "8"]) else { return };
    for (n, path) in ["/submit", "/run_code", "/batch"].into_iter().enumerate() {
        let (body, words) = sleeper(n as u32);
        let request = server.client.post(server.url(path)).json(&body).send();
        let client = tokio::spawn(request);
        eventually("the program runs", async || is_running(&words)).await;
        client.abort();
        let left = Instant::now();
        eventually("the program is gone", async || !is_running(&words)).await;
        assert!(left.elapsed() < Duration::from_secs(3), "{path}: {:?}", left.elapsed());
    }
    eventually("seats and places are free", async || {
        let health = server.get("/health").await;
        health["free_seats"] == 1 && health["admitted"] == 0
    })
    .await;
    assert_eq!(server.metric("autocodegen_sandbox_jobs_cancelled_total").await, 3.0);
    assert_eq!(server.submit("shell", "echo next").await["exec_cout"], "next\n");
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_is_not_served() {
    let Some(server) = Server::start("leave queue", &["--jobs", "1"]) else { return };
    let (body, words) = sleeper(10);
    let running = tokio::spawn(server.client.post(server.url("/submit")).json(&body).send());
    eventually("the first runs", async || is_running(&words)).await;
    let waiting = tokio::spawn(server.client.post(server.url("/submit")).json(&sleeper(11).0).send());
    eventually("the second waits", async || server.get("/health").await["waiting"] == 1).await;
    waiting.abort();
    eventually("nobody waits", async || server.get("/health").await["waiting"] == 0).await;
    running.abort();
    eventually("all is free", async || server.get("/health").await["admitted"] == 0).await;
    assert!(!is_running(&sleeper(11).1));
    assert_eq!(server.metric("autocodegen_sandbox_wait_seconds_count").await, 1.0);
}

#[tokio::test]
async fn the_first_signal_drains() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let Some(server) = Server::start("drain", &["--jobs", "1"]) else { return };
        let address = server.url.strip_prefix("http://").unwrap().to_owned();
        // Connections that ask for nothing hold nothing up.
        let _idle = TcpStream::connect(&address).await.unwrap();
        let mut begun = TcpStream::connect(&address).await.unwrap();
        begun.write_all(b"GET /hea").await.unwrap();
        let mut kept = TcpStream::connect(&address).await.unwrap();
        kept.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(kept.read(&mut [0; 4096]).await.unwrap() > 0);

        let body = |source: &str| json!({ "src_uid": "d", "lang": "shell", "source_code": source });
        let ask =
            |source: &str| tokio::spawn(server.client.post(server.url("/submit")).json(&body(source)).send());
        let running = ask("sleep 1; echo running");
        eventually("it runs", async || server.get("/health").await["running"] == 1).await;
        let waiting = ask("echo waiting");
        eventually("it waits", async || server.get("/health").await["waiting"] == 1).await;
        server.signal(signal);
        eventually("connections are refused", async || TcpStream::connect(&address).await.is_err()).await;
        for (answer, expected) in [(running, "running\n"), (waiting, "waiting\n")] {
            let answer: Value = answer.await.unwrap().unwrap().json().await.unwrap();
            assert_eq!(answer["exec_cout"], expected);
        }
        let drained = Instant::now();
        let (code, stderr) = server.wait();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("stopping"), "{stderr}");
        assert!(drained.elapsed() < Duration::from_secs(3), "{:?}", drained.elapsed());
    }
}

#[tokio::test]
async fn the_second_signal_ends_at_once() {
    let Some(server) = Server::start("second signal", &[]) else { return };
    let (body, words) = sleeper(20);
    let client = tokio::spawn(server.client.post(server.url("/submit")).json(&body).send());
    eventually("the program runs", async || is_running(&words)).await;
    server.signal(Signal::SIGINT);
    eventually("it says so", async || server.stderr.lock().unwrap().contains("stopping")).await;
    assert!(is_running(&words));
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait().0, Some(130));
    eventually("the program is gone", async || !is_running(&words)).await;
    assert!(client.await.unwrap().is_err());
}

#[tokio::test]
async fn a_program_cannot_reach_the_service() {
    let Some(server) = Server::start("reach", &[]) else { return };
    let (_, port) = server.url.rsplit_once(':').unwrap();
    let host = Command::new("hostname").arg("-I").output().map(|output| output.stdout).unwrap_or_default();
    let mut hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned(), "0.0.0.0".to_owned()];
    hosts.extend(String::from_utf8_lossy(&host).split_whitespace().map(str::to_owned));
    let program = format!(
        "import socket\nfor host in {hosts:?}:\n    try:\n        socket.create_connection((host, {port}), 2)\n        \
         print('reached', host)\n    except OSError as error:\n        print('refused')\n"
    );
    let answer = server.submit("python", &program).await;
    assert_eq!(answer["exec_outcome"], "PASSED", "{answer}");
    assert_eq!(answer["exec_cout"], "refused\n".repeat(hosts.len()));
}
