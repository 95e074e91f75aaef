//! What a run shows of itself while it works: metrics, JSON logs; and that no key is in any of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::json;

use super::*;

const KEY: &str = "sk-loopback-t3lemetry-9876543210";

/// The page at `address`, headers and all.
fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// Starts a run with metrics, gives its page once `ready` holds for it, and how the run ended.
fn watched(mut command: Command, ready: impl Fn(&str) -> bool) -> (String, Ended) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    let address = loop {
        let start = said.len();
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
        if let Some((_, rest)) = said[start..].split_once("metrics are at http://") {
            break rest.split_once("/metrics").unwrap().0.to_owned();
        }
    };
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        rest
    });
    let page = loop {
        let page = get(&address);
        if ready(&page) {
            break page;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut ended = ended(child.wait_with_output().unwrap());
    ended.stderr = said + &rest.join().unwrap();
    (page, ended)
}

#[test]
fn metrics_tell_of_calls_tokens_retries_and_money_while_the_run_works() {
    let place = Place::new();
    place.write("seeds.jsonl", (0..12).map(|n| seed(&format!("x = {n}"))).collect::<String>());
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = ChatServer::new(Duration::from_millis(400), move |_, _| {
        match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            true => (500, "broken".to_owned()),
            false => reply("fine"),
        }
    });
    let command = place.command(&format!(
        "run ask.toml --seeds seeds.jsonl --out r --in-flight 3 --model m --base-url {} --metrics 127.0.0.1:0 \
         --price-input 1000 --price-output 1000 --log-format json --log-file log.jsonl",
        server.base_url
    ));
    let answered = |page: &str| {
        let (_, rest) =
            page.split_once("autocodegen_calls_total{stage=\"ask.reply\",outcome=\"answered\"} ")?;
        rest.lines().next()?.parse::<f64>().ok()
    };
    let is_under_way =
        |page: &str| answered(page).is_some_and(|n| n >= 2.0) && page.contains("retries_total{");
    let (page, ended) = watched(command, is_under_way);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let prompts = format!("kind=\"prompt\"}} {:.1}\n", answered(&page).unwrap() * 10.0);
    assert!(page.contains(&prompts), "{prompts} is missing in {page}");
    for line in [
        "content-type: application/openmetrics-text",
        "autocodegen_calls_total{stage=\"ask.reply\",outcome=\"failed\"} 1.0",
        "autocodegen_retries_total{stage=\"ask.reply\",cause=\"server_error\"} 1.0",
        "autocodegen_tokens_total{stage=\"ask.reply\",kind=\"completion\"} ",
        "autocodegen_in_flight{stage=\"ask.reply\"} ",
        "autocodegen_latency_p50_seconds{stage=\"ask.reply\"} 0.4",
        "autocodegen_latency_p99_seconds{stage=\"ask.reply\"} 0.",
        "autocodegen_answers_per_second{stage=\"ask.reply\"} ",
        "autocodegen_tokens_per_second{stage=\"ask.reply\"} ",
        "autocodegen_spent_usd 0.",
        "# EOF",
    ] {
        assert!(page.contains(line), "{line} is missing in {page}");
    }

    // The same in run.json, the progress line and the log.
    let file: Value = serde_json::from_slice(&fs::read(place.path("r/run.json")).unwrap()).unwrap();
    let calls = &file["calls"][0];
    assert_eq!((&calls["answered"], &calls["failed"]), (&json!(12), &json!(1)), "{calls}");
    assert_eq!(calls["retries"], json!({"server_error": 1}));
    assert!(calls["p50_ms"].as_u64().unwrap() >= 400 && calls["in_flight_max"] == 3, "{calls}");
    assert_eq!(calls["usd"].as_f64().map(|usd| (usd * 1e6).round()), Some(180_000.0));
    assert!(ended.stderr.contains("asked 13, from the journal 0, reused 0, retries 1"), "{}", ended.stderr);
    assert!(ended.stderr.contains("spent 180 tokens, cost 0.1800 USD"), "{}", ended.stderr);
    let log = fs::read_to_string(place.path("log.jsonl")).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |message: &str| events.iter().find(|event| event["message"] == message).unwrap();
    let (retried, whole) = (find("tried again"), find("calls of the run"));
    assert_eq!((&retried["cause"], &retried["level"]), (&json!("server_error"), &json!("INFO")));
    assert_eq!((&whole["answered"], &whole["retries"]), (&json!(12), &json!("server_error 1")));
    assert!(whole["timestamp"].as_str().unwrap().ends_with('Z') && whole["p99_ms"].is_u64(), "{whole}");
}

#[test]
fn metrics_are_for_this_machine_unless_allowed() {
    let place = Place::new();
    let server = willing();
    let run = "run ask.toml --seeds seeds.jsonl --out r";
    place.ask(&server, &format!("{run} --metrics 0.0.0.0:0")).says(2, &["0.0.0.0", "--metrics-remote"]);
    place.ask(&server, &format!("{run} --metrics nonsense")).says(2, &["nonsense", "127.0.0.1:9464"]);
    assert_eq!(server.asked(), 0);
    place.ask(&server, &format!("{run} --metrics 0.0.0.0:0 --metrics-remote")).says(0, &["metrics are at"]);
    place.ask(&server, &format!("{run} --log-file no/such/file")).says(2, &["no/such/file"]);
}

/// Everything on: metrics, JSON logs at their loudest, a recording, a pilot; the server says the key back wherever it can.
#[test]
fn the_key_is_nowhere_in_what_is_shown_logged_or_written() {
    let place = Place::new();
    place.write("seeds.jsonl", (0..6).map(|n| seed(&format!("x = {n}"))).collect::<String>());
    let server = ChatServer::new(Duration::from_millis(100), |asked, key| {
        assert_eq!(key, format!("Bearer {KEY}"));
        let prompt = chat_server::prompt_of(asked);
        if prompt.contains("x = 0") {
            return (400, json!({"error": {"message": format!("you sent {key}"), "code": key}}).to_string());
        }
        if prompt.contains("x = 1") {
            return (500, format!("{key} again"));
        }
        if prompt.contains("x = 2") {
            return (200, format!("<html>{key}</html>"));
        }
        let body = json!({
            "model": format!("model of {key}"), "id": key,
            "choices": [{
                "message": {"content": format!("your key is {key}"), "reasoning_content": key, "refusal": key},
                "finish_reason": if prompt.contains("x = 3") { key } else { "stop" },
            }],
            "usage": {"prompt_tokens": 10, "completion_tokens": key},
            "error": key,
        });
        (200, body.to_string())
    });
    let loud = |args: &str| {
        let mut command = place.command(&format!(
            "{args} --seeds seeds.jsonl --out r --tries 2 --record rec.jsonl --model m --base-url {} \
             --price-input 1 --price-output 1 --metrics 127.0.0.1:0",
            server.base_url
        ));
        command.env("OPENAI_API_KEY", KEY).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        command.env("XDG_CACHE_HOME", place.path("cache")).env("AUTOCODEGEN_CACHE", place.path("cache"));
        command
    };
    let mut shown = String::new();
    for args in [
        "run ask.toml --log-format json",
        "run ask.toml --log-format json --log-file log.jsonl",
        "run ask.toml --log-file log.txt",
    ] {
        let (page, run) = watched(loud(args), |page| page.contains("autocodegen_calls_total{"));
        run.says(1, &["pending"]);
        shown.extend([page, run.stdout, run.stderr]);
    }
    let pilot = ended(loud("estimate ask.toml --pilot 2 --log-format json").output().unwrap());
    shown.extend([pilot.stdout, pilot.stderr]);
    assert!(shown.contains("you sent Bearer [api key]"), "the server was not asked as planned: {shown}");
    let logged = fs::read_to_string(place.path("log.jsonl")).unwrap();
    for level in ["\"level\":\"TRACE\"", "\"level\":\"DEBUG\"", "\"level\":\"INFO\""] {
        assert!(logged.contains(level), "nothing was logged as {level}");
    }
    let mut files = vec![place.0.path().to_owned()];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        read += 1;
        shown.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
        if path.extension().is_some_and(|extension| extension == "parquet") {
            shown.extend(records(&path).iter().map(Value::to_string));
        }
    }
    assert!(read > 20 && shown.contains("your key is"), "{read} files");
    assert!(!shown.contains(KEY), "{}", &shown[shown.find(KEY).unwrap().saturating_sub(300)..]);
}
