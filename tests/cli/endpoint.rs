//! Endpoints that refuse, keys, interrupts and full disks: exit code 3 or 130, and a state to resume from.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

const KEY: &str = "sk-loopback-5ecret-0123456789";

/// A JSON error in the form OpenAI's endpoints have.
fn refusal(status: u16, code: &str, message: &str) -> Said {
    (status, serde_json::json!({"error": {"message": message, "code": code}}).to_string())
}

#[test]
fn a_real_model_without_a_key_is_refused() {
    let place = Place::new();
    // 192.0.2.0/24 is nobody's: were it asked, the test would end with another message.
    let args = "run ask.toml --seeds seeds.jsonl --out r --model m --base-url http://192.0.2.1/v1";
    place.run(args).says(3, &["no API key", "OPENAI_API_KEY", "export OPENAI_API_KEY="]);
    place.run(&format!("{args} --api-key-env MY_KEY")).says(3, &["export MY_KEY="]);
    let empty = place.command(args).env("OPENAI_API_KEY", "").output().unwrap();
    ended(empty).says(3, &["OPENAI_API_KEY is empty"]);
    place
        .run("run ask.toml --seeds seeds.jsonl --out r")
        .says(2, &["no model to ask", "--model", "--replay"]);
    let stage = "stage solution.reply --in seeds.jsonl --out o.jsonl";
    place.run(&format!("{stage} --model m --base-url http://192.0.2.1/v1")).says(3, &["no API key"]);
}

#[test]
fn a_refused_key_is_told_before_anything_is_asked() {
    let place = Place::new();
    let refused = refusal(401, "invalid_api_key", "Incorrect API key provided");
    let server = ChatServer::with_models(refused, Duration::ZERO, |_, _| reply("paid"));
    let words = ["401", "Incorrect API key", "check the API key in OPENAI_API_KEY"];
    let args = format!("run ask.toml --seeds seeds.jsonl --out r --model m --base-url {}", server.base_url);
    ended(place.command(&args).env("OPENAI_API_KEY", KEY).output().unwrap()).says(3, &words);
    place.run("stage solution.prompt --in seeds.jsonl --out m.jsonl").says(0, &[]);
    place.ask(&server, "stage solution.reply --in m.jsonl --out o.jsonl").says(3, &["401"]);
    assert_eq!(server.asked(), 0);
}

#[test]
fn an_unknown_model_is_told_before_anything_is_asked() {
    let place = Place::new();
    let list = (200, r#"{"data": [{"id": "small"}, {"id": "large"}]}"#.to_owned());
    let server = ChatServer::with_models(list, Duration::ZERO, |_, _| reply("paid"));
    let run = place.ask(&server, "run ask.toml --seeds seeds.jsonl --out r");
    run.says(3, &["has no model `m`", "small, large"]);
    assert_eq!(server.asked(), 0);
}

/// Without a list of models only the first request can tell. It is refused, so it costs nothing; no second one is made.
#[test]
fn an_endpoint_that_refuses_the_first_request_stops_the_run() {
    for (status, code, words) in [
        (404, "model_not_found", ["404", "no such model", "base URL"]),
        (401, "invalid_api_key", ["401", "no such model", "key"]),
        (402, "insufficient_quota", ["402", "no such model", "top it up"]),
    ] {
        let place = Place::new();
        let server = ChatServer::new(Duration::ZERO, move |_, _| refusal(status, code, "no such model"));
        place.ask(&server, "run ask.toml --seeds seeds.jsonl --in-flight 1 --out r").says(3, &words);
        assert_eq!(server.asked(), 1);
        // Mended, the same directory goes on.
        let mended = willing();
        place.ask(&mended, "run ask.toml --seeds seeds.jsonl --out r").says(0, &[]);
        assert_eq!(mended.asked(), 2);
    }
}

#[test]
fn an_endpoint_that_is_not_there_is_told() {
    let place = Place::new();
    let (_socket, closed) = common::closed_port();
    let args = format!("run ask.toml --seeds seeds.jsonl --out r --model m --base-url http://{closed}/v1");
    place.run(&args).says(3, &["cannot connect", "check the base URL"]);
}

#[test]
fn requests_that_fail_leave_rows_pending() {
    let place = Place::new();
    let server =
        ChatServer::new(Duration::ZERO, |asked, _| match chat_server::prompt_of(asked).contains("def one") {
            true => refusal(400, "invalid_request", "no such setting"),
            false => reply("fine"),
        });
    let run = place.ask(&server, "run ask.toml --seeds seeds.jsonl --out r");
    run.says(1, &["pending: 1 row", "ask.reply", "no such setting", "run the same command again"]);
    assert_eq!(place.table("r", "dataset").len(), 1);
    let again = willing();
    place.ask(&again, "run ask.toml --seeds seeds.jsonl --out r").says(0, &[]);
    assert_eq!(again.asked(), 1, "the answered row was asked again");
    assert_eq!(place.table("r", "dataset").len(), 2);
}

/// No endpoint will ever answer a prompt that is too long: its row is rejected once and for all.
#[test]
fn a_request_refused_for_what_it_says_rejects_its_row() {
    let place = Place::new();
    let server =
        ChatServer::new(Duration::ZERO, |asked, _| match chat_server::prompt_of(asked).contains("def one") {
            true => refusal(400, "context_length_exceeded", "prompt too long by far"),
            false => reply("fine"),
        });
    let args = "run ask.toml --seeds seeds.jsonl --out r";
    let run = place.ask(&server, args);
    run.says(0, &[]);
    assert!(run.stdout.contains("request_refused 1"), "{run:#?}");
    assert_eq!(place.table("r", "dataset").len(), 1);
    let rejected = place.table("r", "rejected");
    assert_eq!((rejected.len(), rejected[0]["reason"].as_str()), (1, Some("request_refused")));
    assert!(rejected[0]["detail"].as_str().unwrap().contains("prompt too long by far"), "{rejected:?}");
    // Written down like a reply: made anew from the journal, the row is not asked for again.
    fs::remove_dir_all(place.path("r/stages")).unwrap();
    let run = place.ask(&server, args);
    run.says(0, &[]);
    assert!(run.stdout.contains("request_refused 1"), "{run:#?}");
    assert_eq!(server.asked(), 2);
}

#[test]
fn a_finished_run_needs_no_endpoint() {
    let place = Place::new();
    let run = "run ask.toml --seeds seeds.jsonl --out r";
    place.ask(&willing(), run).says(0, &[]);
    let (_socket, closed) = common::closed_port();
    let gone = format!("{run} --model m --base-url http://{closed}/v1");
    place.run(&gone).says(0, &[]);
    // Other settings, other replies: now there is something to ask.
    place.run(&format!("{gone} --max-tokens 7")).says(3, &["cannot connect"]);
}

#[test]
fn an_interrupted_run_drains_and_resumes() {
    let place = Place::new();
    let seeds: String = (0..40).map(|n| seed(&format!("x = {n}"))).collect();
    place.write("seeds.jsonl", seeds);
    let server = ChatServer::new(Duration::from_millis(300), |_, _| reply("slowly"));
    let args = format!(
        "run ask.toml --seeds seeds.jsonl --out r --in-flight 4 --model m --base-url {}",
        server.base_url
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let before = server.asked();
        let child = place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while server.asked() < before + 6 {
            std::thread::sleep(Duration::from_millis(10));
        }
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        ended(child.wait_with_output().unwrap()).says(130, &["stopping", "interrupted", "to resume"]);
    }
    assert!(server.asked() < 40);
    place.run(&args).says(0, &[]);
    assert_eq!(server.asked(), 40, "answers in flight at the interrupts were thrown away");
    assert_eq!(place.table("r", "dataset").len(), 40);
}

#[test]
fn a_full_disk_stops_the_run_which_resumes_with_more_space() {
    let place = Place::new();
    fs::create_dir(place.path("disk")).unwrap();
    let Some(_disk) = common::SmallDisk::mount(&place.path("disk")) else {
        return common::skip("a_full_disk_stops_the_run", "mounting a small disk needs root");
    };
    let seeds: String = (0..60).map(|n| seed(&format!("x = {n}"))).collect();
    place.write("seeds.jsonl", seeds);
    // Incompressible text, so that tables need as much room as journals.
    let server = ChatServer::new(Duration::ZERO, |asked, _| {
        let mut state = blake3::hash(chat_server::prompt_of(asked).as_bytes());
        let mut text = String::new();
        while text.len() < 40_000 {
            text.push_str(&state.to_hex());
            state = blake3::hash(state.as_bytes());
        }
        reply(&text)
    });
    let args = "run ask.toml --seeds seeds.jsonl --in-flight 4 --out disk/r";
    place.ask(&server, args).says(3, &["No space left on device", "run the same command again: it resumes"]);
    let first = server.asked();
    assert!((10..60).contains(&first), "{first} requests before the disk was full");
    place.ask(&server, args).says(3, &["No space left on device"]);
    let still_full = server.asked();
    assert!(still_full <= first + 8, "{} requests on a full disk", still_full - first);

    let disk = place.path("disk");
    let remount = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&disk).status().unwrap();
    assert!(remount.success());
    place.ask(&server, args).says(0, &[]);
    assert_eq!(place.table("disk/r", "dataset").len(), 60);
    // Only answers that could not be kept were asked for again.
    assert!(server.asked() <= 60 + 12, "{} requests for 60 rows", server.asked());
}

#[test]
fn the_key_is_nowhere_in_what_is_printed_or_written() {
    let place = Place::new();
    place.write("seeds.jsonl", (0..4).map(|n| seed(&format!("x = {n}"))).collect::<String>());
    // It says back the key in every field and every error it can.
    let server = ChatServer::new(Duration::ZERO, |asked, key| {
        assert_eq!(key, format!("Bearer {KEY}"));
        let prompt = chat_server::prompt_of(asked);
        if prompt.contains("x = 0") {
            return refusal(400, "echo", &format!("you sent {key}"));
        }
        if prompt.contains("x = 1") {
            return (500, format!("{key} again"));
        }
        let body = serde_json::json!({
            "model": format!("model of {key}"),
            "choices": [{
                "message": {"content": format!("your key is {key}"), "reasoning_content": key},
                "finish_reason": if prompt.contains("x = 2") { "stop" } else { key },
            }],
        });
        (200, body.to_string())
    });
    let args = format!(
        "run ask.toml --seeds seeds.jsonl --out r --tries 2 --record rec.jsonl --model m --base-url {}",
        server.base_url
    );
    let mut command = place.command(&args);
    let run = ended(command.env("OPENAI_API_KEY", KEY).env("AUTOCODEGEN_LOG", "trace").output().unwrap());
    run.says(1, &["pending"]);
    let mut shown = run.stdout + &run.stderr;
    assert!(shown.contains("you sent Bearer [api key]"), "the server was not asked as planned: {shown}");
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
    assert!(read > 10 && shown.contains("your key is"), "{read} files");
    assert!(!shown.contains(KEY), "{}", &shown[shown.find(KEY).unwrap().saturating_sub(300)..]);
}
