//! What clients may not do: crowd the service, send too much or too slowly, come without the token, send rubbish.

use std::time::{Duration, Instant};

use autocodegen::error::Recovery;
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Outcome};
use autocodegen::sandbox::remote::RemoteSandbox;
use autocodegen::sandbox::token::Token;
use reqwest::{Body, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Server, command, eventually};

fn shell(source: &str) -> Value {
    json!({ "src_uid": "b", "lang": "shell", "source_code": source, "request_extensions": { "timeout": 60 } })
}

#[tokio::test]
async fn a_full_service_says_when_to_come_back() {
    let Some(server) = Server::start("queue", &["--jobs", "1", "--queue", "1"]) else { return };
    let (first, second) = (shell("sleep 2; echo 1"), shell("echo 2"));
    let crowd = async {
        let server = &server;
        let running = async { server.ask("/submit", first).await };
        let waiting = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.ask("/submit", second).await
        };
        tokio::join!(running, waiting)
    };
    let turned_away = async {
        eventually("both places are taken", async || server.get("/health").await["admitted"] == 2).await;
        let health = server.get("/health").await;
        assert_eq!(
            (&health["status"], &health["running"], &health["waiting"]),
            (&json!("full"), &json!(1), &json!(1))
        );
        for path in ["/submit", "/batch", "/run_code", "/splice_code"] {
            let body = json!({
                "src_uid": "b", "lang": "shell", "source_code": "true", "func_code": ":", "main_code": ":",
                "tests": [":"], "code": "true", "language": "shell",
            });
            let response = server.post(path, &body).await;
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
            let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            assert_eq!(response.json::<Value>().await.unwrap()["error"], "queue_full");
        }
        let ours = RemoteSandbox::new(std::slice::from_ref(&server.url), None).unwrap();
        let job = Job { language: "shell".into(), source: "true".into(), ..Job::default() };
        let fault = ours.run(&job).await.unwrap_err();
        assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "overloaded"));
        assert!(fault.retry_after.unwrap() >= Duration::from_secs(1));
    };
    let ((running, waiting), ()) = tokio::join!(crowd, turned_away);
    assert_eq!((&running["exec_cout"], &waiting["exec_cout"]), (&json!("1\n"), &json!("2\n")));
    assert_eq!(server.metric("autocodegen_sandbox_rejected_total{cause=\"queue_full\"}").await, 5.0);
    assert_eq!(server.submit("shell", "echo 3").await["exec_cout"], "3\n");
}

#[tokio::test]
async fn long_bodies_are_refused() {
    let Some(server) = Server::start("long bodies", &["--max-request-bytes", "4096"]) else { return };
    let long = json!({ "src_uid": "l", "lang": "shell", "source_code": "#".repeat(20 << 20) }).to_string();
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        long.as_bytes().chunks(1 << 16).map(|chunk| Ok(chunk.to_vec())).collect();
    let post = || server.client.post(server.url("/submit")).header("content-type", "application/json");
    for request in [post().body(long.clone()), post().body(Body::wrap_stream(futures::stream::iter(chunks)))]
    {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(response.json::<Value>().await.unwrap()["error"], "too_large");
    }
    let fits = json!({ "src_uid": "l", "lang": "shell", "source_code": "#".repeat(4000) });
    assert_eq!(server.ask("/submit", fits).await["exec_outcome"], "PASSED");
}

#[tokio::test]
async fn large_programs_and_outputs_come_through() {
    let Some(server) = Server::start("large", &[]) else { return };
    let source = format!("# {}\nprint('x' * (10 << 20))", "é".repeat(1 << 20));
    let answer = server.submit("python", &source).await;
    assert_eq!(answer["exec_outcome"], "PASSED");
    assert_eq!(answer["response_extensions"]["stdout"].as_str().unwrap().len(), (10 << 20) + 1);
    assert_eq!(answer["response_extensions"]["truncated"], false);
}

#[tokio::test]
async fn the_token_opens_and_is_not_told() {
    let token = "correct-horse-battery";
    let Some(server) = Server::with_token("token", &[], Some(token)) else { return };
    let ask = |shown: Option<&str>| {
        let request = server.client.post(server.url("/submit")).json(&shell("echo in"));
        match shown {
            Some(shown) => request.header("authorization", shown),
            None => request,
        }
    };
    for wrong in [None, Some("Bearer wrong"), Some("Bearer "), Some(token), Some("Basic Y29ycmVjdA==")] {
        let response = ask(wrong).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{wrong:?}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let told = response.text().await.unwrap();
        assert!(told.contains("AUTOCODEGEN_SANDBOX_TOKEN") && !told.contains(token), "{told}");
    }
    for path in ["/metrics", "/languages", "/nowhere"] {
        let response = server.client.get(server.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(server.get("/health").await["status"], "ready");
    let answer: Value = ask(Some(&format!("bearer {token}"))).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["exec_cout"], "in\n");

    let job = Job { language: "shell".into(), source: "echo in".into(), ..Job::default() };
    let ours = || RemoteSandbox::new(std::slice::from_ref(&server.url), None).unwrap();
    let verdict = ours().with_token(Some(Token::new(token).unwrap())).run(&job).await.unwrap();
    assert_eq!((verdict.outcome, verdict.stdout.as_str()), (Outcome::Passed, "in\n"));
    let fault = ours().run(&job).await.unwrap_err();
    assert_eq!((fault.recovery, fault.cause), (Recovery::Stop, "unauthorized"));
    assert!(fault.hint.unwrap().contains("AUTOCODEGEN_SANDBOX_TOKEN"));

    // The command line takes it from the environment.
    let exec = |value: Option<&str>| {
        let mut exec = std::process::Command::new(env!("CARGO_BIN_EXE_autocodegen"));
        exec.args(["sandbox", "exec", "--sandbox", &server.url, "--language", "shell", "-"]);
        exec.env_remove(super::TOKEN).stdin(std::process::Stdio::null());
        exec.envs(value.map(|value| (super::TOKEN, value))).output().unwrap()
    };
    assert!(exec(Some(token)).status.success());
    let refused = exec(None);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("AUTOCODEGEN_SANDBOX_TOKEN"));

    server.signal(nix::sys::signal::Signal::SIGTERM);
    let (_, stderr) = server.wait();
    assert!(!stderr.contains(token), "{stderr}");
}

#[test]
fn an_open_address_needs_a_token_or_a_word() {
    let refused = command(None).args(["--listen", "0.0.0.0:0"]).output().unwrap();
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--allow-anonymous") && stderr.contains("AUTOCODEGEN_SANDBOX_TOKEN"), "{stderr}");

    for (token, code, told) in [("", 3, "empty"), ("a\nb", 3, "no HTTP header")] {
        let refused = command(Some(token)).output().unwrap();
        let stderr = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
    }
    for listen in ["nonsense", "127.0.0.1", "127.0.0.1:99999", "no-such-host.invalid:80"] {
        let refused = command(None).args(["--listen", listen]).output().unwrap();
        let stderr = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(listen) && stderr.contains("hint:"), "{stderr}");
    }
}

#[tokio::test]
async fn an_open_address_is_served_when_told_so_and_a_taken_one_is_not() {
    let Some(server) = Server::start("taken", &["--listen", "0.0.0.0:0", "--allow-anonymous"]) else {
        return;
    };
    let (_, port) = server.url.rsplit_once(':').unwrap();
    let url = format!("http://127.0.0.1:{port}/health");
    assert!(server.client.get(url).send().await.unwrap().status().is_success());

    let taken = command(None).args(["--listen", &format!("127.0.0.1:{port}")]).output().unwrap();
    let stderr = String::from_utf8(taken.stderr).unwrap();
    assert_eq!(taken.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("in use") && stderr.contains("--listen"), "{stderr}");
}

#[tokio::test]
async fn rubbish_is_refused_and_does_no_harm() {
    let Some(server) = Server::start("rubbish", &[]) else { return };
    let bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{".to_vec(),
        b"{\"src_uid\": \"a\xff\xfe\"}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"src_uid\": \"\\ud800\"}".to_vec(),
        b"{\"a\": 1e999}".to_vec(),
        b"NaN".to_vec(),
        b"{} {}".to_vec(),
        "[".repeat(1 << 20).into_bytes(),
        "{\"a\":".repeat(100_000).into_bytes(),
        vec![0; 4096],
    ];
    for path in ["/submit", "/splice_code", "/run_code", "/batch"] {
        for body in &bodies {
            let request = server.client.post(server.url(path)).header("content-type", "application/json");
            let response = request.body(body.clone()).send().await.unwrap();
            let start = String::from_utf8_lossy(&body[..body.len().min(20)]);
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path} {start:?}");
            assert_eq!(response.json::<Value>().await.unwrap()["error"], "bad_json", "{path} {start:?}");
        }
    }
    // What is JSON may still be strange.
    let odd = "\0echo $((6 * 7))\u{202e}\r\n\0";
    for (language, source) in [("shell", odd), ("python", odd), ("python", "\u{feff}print(1)")] {
        let answer = server.submit(language, source).await;
        assert!(answer["exec_outcome"].is_string() && answer["exec_outcome"] != "INTERNAL_ERROR", "{answer}");
    }
    let uid = "u\0\r\nX: 1\u{202e}".repeat(1000);
    let answer =
        server.ask("/submit", json!({ "src_uid": uid, "lang": "shell", "source_code": "true" })).await;
    assert_eq!((&answer["src_uid"], &answer["exec_outcome"]), (&json!(uid), &json!("PASSED")));

    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    for raw in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n".to_owned(),
        "POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
            .to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100_000)),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // The service may close before it has read everything.
        let _ = stream.write_all(raw.as_bytes()).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        let start = &raw[..raw.len().min(40)];
        assert!(read.is_ok() && !answer.starts_with("HTTP/1.1 2"), "{start:?}: {answer}");
    }
    assert_eq!(server.submit("shell", "echo still well").await["exec_cout"], "still well\n");
}

#[tokio::test]
async fn connections_that_only_wait_keep_nobody_out() {
    let Some(server) = Server::start("idle connections", &["--jobs", "1", "--queue", "1"]) else { return };
    let address = server.url.strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    // Two have a place, 128 are spare.
    for n in 0..100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head =
            "POST /submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n";
        stream.write_all(if n % 2 == 0 { head } else { "" }.as_bytes()).await.unwrap();
        idle.push(stream);
    }
    let started = Instant::now();
    assert_eq!(server.submit("shell", "echo in").await["exec_cout"], "in\n");
    assert!(started.elapsed() < Duration::from_secs(5));
}
