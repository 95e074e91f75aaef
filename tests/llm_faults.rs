//! The model client against loopback servers that refuse, break, stall and lie: what each becomes, and that the API
//! key never shows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod servers;

use std::future::pending;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use autocodegen::error::{Fault, Recovery};
use autocodegen::frame::recorded::Recorded;
use autocodegen::llm::Model;
use autocodegen::llm::chat::{ChatRequest, Message, Reply, Sampling};
use autocodegen::llm::client::{Endpoint, HttpModel};
use autocodegen::llm::key::request_key;
use autocodegen::llm::recorder::Recorder;
use autocodegen::llm::recording::{Recording, ReplayModel};
use autocodegen::llm::secret::Secret;
use autocodegen::retry::{RetryPolicy, with_retries};
use serde_json::{Value, json};
use servers::{Answer, raw, refused, say, scripted};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

const KEY: &str = "sk-do-not-show-me";
const LATE: Duration = Duration::from_secs(1);

fn model(base_url: &str) -> HttpModel {
    let endpoint = Endpoint::new(base_url, Some(Secret::new(KEY, "MY_KEY").unwrap()));
    HttpModel::new(Endpoint { timeout: LATE, max_response_bytes: 100_000, ..endpoint }).unwrap()
}

fn request() -> ChatRequest {
    let extra = json!({"top_k": 5, "max_tokens": 7}).as_object().unwrap().clone();
    let model = "deepseek-chat".to_owned();
    let sampling = Sampling {
        model,
        temperature: Some(0.0),
        max_tokens: Some(4096),
        top_p: Some(0.5),
        seed: Some(1),
        extra,
    };
    let messages = vec![Message { role: "user".into(), content: "say {{ hello }}".into() }];
    let key = request_key(&sampling, &messages, 0);
    let sampling = Arc::new(sampling);
    let (stage, row, language) = ("solution.reply".into(), "r1".into(), "go".into());
    ChatRequest { key, stage, row, language, sample: 0, sampling, messages: messages.into() }
}

fn good() -> String {
    json!({
        "model": "deepseek-chat-v3",
        "choices": [{"message": {"content": "hello", "reasoning_content": "hm"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3, "prompt_cache_hit_tokens": 8},
    })
    .to_string()
}

/// The fault of one attempt, after the checks that hold for every fault.
async fn fault(base_url: &str) -> Fault {
    let started = Instant::now();
    let fault = model(base_url).ask(&request()).await.unwrap_err();
    assert!(started.elapsed() < LATE + Duration::from_secs(3), "took {:?}", started.elapsed());
    for text in [&fault.message, &format!("{fault:?}"), fault.hint.as_ref().unwrap_or(&fault.message)] {
        assert!(!text.contains(KEY), "the key shows in: {text}");
    }
    assert!(fault.message.chars().count() <= 300, "{}", fault.message);
    assert!(!fault.message.chars().any(char::is_control), "{:?}", fault.message);
    fault
}

async fn fault_of(answer: Answer) -> Fault {
    fault(&scripted(vec![answer]).await.base_url).await
}

#[tokio::test]
async fn a_request_goes_out_and_a_reply_comes_back_whole() {
    let server = scripted(vec![(200, vec![], good())]).await;
    let reply = model(&server.base_url).ask(&request()).await.unwrap();
    let expected = Reply {
        output: "hello".into(),
        reasoning: "hm".into(),
        finish_reason: "stop".into(),
        model: "deepseek-chat-v3".into(),
        prompt_tokens: 12,
        cached_tokens: 8,
        completion_tokens: 3,
        latency_ms: reply.latency_ms,
    };
    assert_eq!(reply, expected);

    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line, "POST /v1/chat/completions");
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {KEY}"));
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    let expected = json!({
        "model": "deepseek-chat", "temperature": 0.0, "max_tokens": 7, "top_p": 0.5, "seed": 1, "top_k": 5,
        "messages": [{"role": "user", "content": "say {{ hello }}"}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn latency_runs_to_the_last_byte() {
    let slow = raw(|stream| async move {
        let body = good();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut stream = say(stream, &head).await;
        for part in [&body[..20], &body[20..]] {
            sleep(Duration::from_millis(60)).await;
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        pending().await
    })
    .await;
    let reply = model(&slow).ask(&request()).await.unwrap();
    assert!((120..1000).contains(&reply.latency_ms), "{}", reply.latency_ms);
}

#[tokio::test]
async fn every_refusal_has_its_recovery_and_cause() {
    use Recovery::{Pend, Retry, Stop};
    let mut cases =
        vec![(429, Retry, "rate_limited"), (402, Stop, "payment_required"), (404, Stop, "not_found")];
    cases.extend([302, 308].map(|status| (status, Stop, "not_found")));
    cases.extend([401, 403].map(|status| (status, Stop, "unauthorized")));
    cases.extend([400, 405, 418, 422].map(|status| (status, Pend, "bad_request")));
    cases.push((413, Pend, "request_refused"));
    cases.extend([503, 529].map(|status| (status, Retry, "overloaded")));
    cases.extend([408, 409, 425, 500, 502, 504].map(|status| (status, Retry, "server_error")));
    for (status, recovery, cause) in cases {
        // The server echoes the key and tries to write on the terminal.
        let said = format!("because {KEY} \u{1b}[31m\r\n{}", "long ".repeat(200));
        let bodies = [json!({"error": {"message": said, "code": 7}}).to_string(), said];
        for body in bodies {
            let fault = fault_of((status, vec![("location", format!("/{KEY}"))], body)).await;
            assert_eq!((fault.recovery, fault.cause), (recovery, cause), "{status}");
            let says_why =
                fault.message.contains(if status < 400 { "moved to" } else { "because [api key]" });
            assert!(says_why && fault.message.contains(&status.to_string()), "{}", fault.message);
            match cause {
                "unauthorized" => assert!(fault.hint.unwrap().contains("MY_KEY")),
                "rate_limited" | "server_error" | "overloaded" => assert_eq!(fault.retry_after, None),
                _ => assert!(fault.hint.is_some(), "{status}"),
            }
        }
    }
}

#[tokio::test]
async fn error_codes_that_say_more_than_the_status() {
    let coded =
        |status, code: &str| (status, vec![], json!({"error": {"message": "m", "code": code}}).to_string());
    let quota = fault_of(coded(429, "insufficient_quota")).await;
    assert_eq!((quota.recovery, quota.cause), (Recovery::Stop, "payment_required"));
    for code in ["context_length_exceeded", "content_filter"] {
        let refused = fault_of(coded(400, code)).await;
        assert_eq!((refused.recovery, refused.cause), (Recovery::Pend, "request_refused"));
    }
    let vllm = json!({"object": "error", "message": "This model's maximum context length is 8 tokens.", "code": 400});
    assert_eq!(fault_of((400, vec![], vllm.to_string())).await.cause, "request_refused");
    let model = fault_of(coded(400, "model_not_found")).await;
    assert_eq!((model.recovery, model.cause), (Recovery::Stop, "not_found"));
}

#[tokio::test]
async fn the_wait_a_server_asks_for_is_passed_on() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
    let cases = [
        (429, vec![("retry-after", "7".to_owned())], 7_000..7_001),
        (503, vec![("retry-after", date)], 97_000..100_001),
        (529, vec![("retry-after", "9".to_owned()), ("retry-after-ms", "250".to_owned())], 250..251),
    ];
    for (status, headers, expected) in cases {
        let wait = fault_of((status, headers, String::new())).await.retry_after.unwrap().as_millis();
        assert!(expected.contains(&wait), "{status}: {wait}");
    }
}

#[tokio::test]
async fn successes_that_are_none() {
    let bodies =
        ["<html>busy</html>", "", "{\"choices\": []}", "{\"choices\": [{\"message\": {}}]}", "[1", "\u{0}"];
    for body in bodies {
        let fault = fault_of((200, vec![], body.to_owned())).await;
        assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "malformed_reply"), "{body}");
    }
    let echo = json!({"error": {"message": format!("overloaded, {KEY}")}}).to_string();
    assert!(fault_of((200, vec![], echo)).await.message.contains("overloaded, [api key]"));
    let huge = fault_of((200, vec![], "x".repeat(100_001))).await;
    assert_eq!((huge.recovery, huge.cause), (Recovery::Retry, "reply_too_large"));
}

#[tokio::test]
async fn broken_connections() {
    let truncated = raw(|stream| async {
        say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"choices\"").await;
    });
    let cut_chunk = raw(|stream| async {
        say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{\"choices\"").await;
    });
    let garbage = raw(|stream| async {
        say(stream, "\u{1}\u{2} garbage sk-do-not-show-me\r\n\r\n").await;
    });
    let closed = raw(|stream| async {
        say(stream, "").await;
    });
    // Closing with the request unread makes the kernel reset the connection.
    let reset = raw(|mut stream| async move {
        stream.readable().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{").await.unwrap();
    });
    let (_socket, nobody) = refused();
    let servers = [truncated.await, cut_chunk.await, garbage.await, closed.await, reset.await, nobody];
    let no_tls = servers[2].replace("http:", "https:");
    for (n, base_url) in servers.iter().chain([&no_tls]).enumerate() {
        let fault = fault(base_url).await;
        assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "connection"), "server {n}: {fault}");
        assert!(fault.message.contains(base_url.as_str()), "{}", fault.message);
    }
}

#[tokio::test]
async fn stalls_end_at_the_deadline() {
    let silent = raw(|stream| async {
        let _open = say(stream, "").await;
        pending().await
    });
    let headers_only = raw(|stream| async {
        let _open = say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        pending().await
    });
    // Never idle, never done: an idle time-out would wait forever.
    let drip = raw(|stream| async {
        let mut stream = say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while stream.write_all(b"1\r\n \r\n").await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    for base_url in [silent.await, headers_only.await, drip.await] {
        let fault = fault(&base_url).await;
        assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "timeout"), "{fault}");
    }

    // A status says enough, whatever becomes of the body.
    let half_refusal = raw(|stream| async {
        let head = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 90\r\n\r\nslow down";
        let _open = say(stream, head).await;
        pending().await
    });
    let fault = fault(&half_refusal.await).await;
    assert_eq!((fault.cause, fault.retry_after), ("rate_limited", Some(Duration::from_secs(3))));
    assert!(fault.message.contains("slow down"), "{fault}");
}

#[tokio::test]
async fn retries_wait_as_asked_and_then_succeed() {
    let busy = (429, vec![("retry-after-ms", "150".to_owned())], String::new());
    let server = scripted(vec![busy, (500, vec![], String::new()), (200, vec![], good())]).await;
    let (model, request) = (model(&server.base_url), request());
    let ms = Duration::from_millis;
    let policy = RetryPolicy { tries: 3, min_wait: ms(5), max_wait: ms(10), max_retry_after: ms(1000) };
    let mut causes = Vec::new();
    let tried =
        with_retries(&policy, pending(), |_| model.ask(&request), |fault, _| causes.push(fault.cause)).await;
    assert_eq!((tried.result.unwrap().output.as_str(), tried.attempts), ("hello", 3));
    assert_eq!(causes, ["rate_limited", "server_error"]);
    let seen = server.seen.lock().unwrap();
    assert!(seen[1].at - seen[0].at >= ms(150));
}

#[tokio::test]
async fn the_check_refuses_what_cannot_work_and_passes_what_might() {
    let list = |ids: &[&str]| {
        let data: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
        json!({"object": "list", "data": data}).to_string()
    };
    let check = async |answer: Answer| {
        let server = scripted(vec![answer]).await;
        let result = model(&server.base_url).check(&request().sampling).await;
        assert_eq!(server.seen.lock().unwrap()[0].line, "GET /v1/models");
        result
    };
    for (status, body) in [
        (200, list(&["other", "deepseek-chat"])),
        (200, list(&[])),
        (200, "<html></html>".into()),
        (200, json!({"data": [{"id": "other"}], "has_more": true}).to_string()),
        (404, "no".into()),
        (405, "no".into()),
        (500, format!("down {KEY}")),
        (429, "busy".into()),
    ] {
        assert!(check((status, vec![], body.clone())).await.is_ok(), "{status} {body}");
    }
    for (status, body, hint) in [
        (401, format!("bad key {KEY}"), "MY_KEY"),
        (403, "no".into(), "MY_KEY"),
        (402, "pay".into(), "balance"),
        (200, list(&["other-model", KEY]), "other-model"),
    ] {
        let error = check((status, vec![], body)).await.unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
        assert!(!format!("{error:?}").contains(KEY), "{error:?}");
    }

    let (_socket, base_url) = refused();
    let error = model(&base_url).check(&request().sampling).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains(&base_url), "{error}");

    let mut streaming = Sampling::clone(&request().sampling);
    streaming.extra.insert("stream".into(), json!(true));
    assert_eq!(model(&base_url).check(&streaming).await.unwrap_err().exit_code(), 2);
}

#[tokio::test]
async fn a_recording_answers_like_the_endpoint_it_was_made_from() {
    let server = scripted(vec![(200, vec![], good())]).await;
    let request = request();
    let answer = model(&server.base_url).ask(&request).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.jsonl");
    let recorded = Recorded {
        key: Some(request.key),
        stage: request.stage.to_string(),
        row: request.row.clone(),
        language: "python".into(),
        sample: request.sample,
        attempts: 1,
        reused: false,
        answer: answer.clone(),
    };
    Recorder::create(&path).unwrap().record(&recorded, &[]).unwrap();
    assert!(!std::fs::read_to_string(&path).unwrap().contains(KEY));
    let replay = ReplayModel::new(Recording::load(&[path]).unwrap());
    assert_eq!(replay.ask(&request).await.unwrap(), answer);
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

/// Everything logged in this process, at every level.
fn log() -> Arc<Mutex<Vec<u8>>> {
    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    let start = || {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(log.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    };
    LOG.get_or_init(start).clone()
}

#[tokio::test]
async fn the_key_is_in_no_log() {
    let log = log();
    let echo = scripted(vec![(500, vec![], format!("down {KEY}"))]).await;
    let model = model(&echo.base_url);
    model.check(&request().sampling).await.unwrap();
    model.ask(&request()).await.unwrap_err();
    tracing::info!("{model:?}");
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(log.contains("down [api key]") && log.contains("Secret(MY_KEY)"), "{log}");
    assert!(!log.contains(KEY), "{log}");
}
