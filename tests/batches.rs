//! Requests in files and batches: the same dataset as call by call, whatever fails and whenever the run is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod rehearsal;
mod services;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rehearsal::{Bench, ReplayServer, stderr, stdout};
use serde_json::{Value, json};

/// Longest that any of these runs may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that asks the server's batch service.
fn batch_run(bench: &Bench, server: &ReplayServer, out: &str, more: &[&str]) -> Command {
    let mut run = bench.run(out, "m", &server.base_url);
    run.args(["--batch", "--batch-poll", "0.05", "--batch-requests", "10"]).args(more);
    run
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The exported requests of `folder`, file by file.
fn exported(folder: &Path) -> Vec<Vec<Value>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| lines(path)).collect()
}

/// The replies of the online run, by key.
fn recorded(bench: &Bench) -> HashMap<String, Value> {
    let lines = lines(&bench.path("recording.jsonl"));
    lines.into_iter().map(|line| (line["key"].as_str().unwrap().to_owned(), line["answer"].clone())).collect()
}

/// The result line of an exported request, as a service writes it.
fn result(request: &Value, recorded: &HashMap<String, Value>) -> Value {
    let id = request["custom_id"].as_str().unwrap();
    let answer = &recorded[id];
    json!({
        "id": "x", "custom_id": id, "error": null,
        "response": {"status_code": 200, "body": {
            "model": answer["model"],
            "choices": [{
                "message": {"role": "assistant", "content": answer["output"]},
                "finish_reason": answer["finish_reason"],
            }],
            "usage": {"prompt_tokens": answer["prompt_tokens"], "completion_tokens": answer["completion_tokens"]},
        }},
    })
}

fn write_lines(path: &Path, lines: &[Value]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[test]
fn a_cluster_without_network_gives_the_same_dataset() {
    let bench = Bench::new(40);
    let recorded = recorded(&bench);
    bench.services.take_log();
    let arguments = bench.seeds_and_sandbox();
    let mut rounds = 0;
    loop {
        let folder = format!("round-{rounds}");
        let mut export = bench.command(&["requests", "export", "--run", "offline", "--out", &folder]);
        export.args(["--max-requests", "15"]);
        if rounds == 0 {
            // Later rounds know these from the run directory.
            export.arg("--").args(arguments).args(["--model", "m"]);
        }
        let output = export.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        if stdout(&output).is_empty() {
            break;
        }
        let files = exported(&bench.path(&folder));
        assert!(files.iter().all(|file| (1..=15).contains(&file.len())));
        let requests = files.concat();
        assert!(requests.iter().all(|request| request["url"] == "/v1/chat/completions"));
        let results: Vec<Value> = requests.iter().map(|request| result(request, &recorded)).collect();
        // In two files and another order than asked.
        let (first, second) = results.split_at(results.len() / 3);
        write_lines(&bench.path("second.jsonl"), second);
        write_lines(&bench.path("first.jsonl"), first);
        let import = ["requests", "import", "--run", "offline", "second.jsonl", "first.jsonl"];
        let output = bench.command(&import).output().unwrap();
        assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
        assert!(
            stdout(&output).contains(&format!("imported {} answers", requests.len())),
            "{}",
            stdout(&output)
        );
        rounds += 1;
    }
    assert_eq!(rounds, 3, "one round for each model stage");
    let mut last = bench.command(&["run", "--out", "offline", "--model", "m", "--no-ask"]);
    let output = last.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    bench.assert_same("offline");
    let asked = bench.services.take_log().arrived;
    assert!(asked.iter().all(|arrival| arrival.asked == services::Asked::Program), "a model was asked");
}

#[test]
fn a_file_asks_one_model_where_stages_ask_several() {
    let bench = Bench::new(6);
    let mut export =
        bench.command(&["requests", "export", "--run", "several", "--out", "files", "--max-requests", "4"]);
    export.arg("--").args(bench.seeds_and_sandbox()).args([
        "--model",
        "m",
        "--stage-model",
        "solution.reply=m,n",
    ]);
    let output = export.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let mut asked: HashMap<String, usize> = HashMap::new();
    for file in exported(&bench.path("files")) {
        let models: Vec<&str> =
            file.iter().map(|request| request["body"]["model"].as_str().unwrap()).collect();
        assert!(models.len() <= 4 && models.iter().all(|model| *model == models[0]), "{models:?}");
        *asked.entry(models[0].to_owned()).or_default() += models.len();
    }
    assert_eq!(asked, HashMap::from([("m".to_owned(), 6), ("n".to_owned(), 6)]));
}

#[test]
fn bad_results_lose_nothing_but_themselves() {
    let bench = Bench::new(12);
    let recorded = recorded(&bench);
    let mut export = bench.command(&["requests", "export", "--run", "offline", "--out", "round", "--"]);
    let output = export.args(bench.seeds_and_sandbox()).args(["--model", "m"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let requests = exported(&bench.path("round")).concat();
    let [first, refused, expired, repeated, rest @ ..] = requests.as_slice() else { panic!("too few") };
    let good = |request: &Value| result(request, &recorded).to_string();
    let mut other = result(repeated, &recorded);
    other["response"]["body"]["choices"][0]["message"]["content"] = json!("another answer");
    let mut file = vec![
        good(first),
        "{\"custom_id\": \"torn".to_owned(),
        json!({"custom_id": refused["custom_id"], "response": {"status_code": 400, "body": {"error": {"message": "too long"}}}})
            .to_string(),
        json!({"custom_id": expired["custom_id"], "response": null, "error": {"code": "batch_expired", "message": "late"}})
            .to_string(),
        good(repeated),
        other.to_string(),
        json!({"custom_id": "somebody else's", "response": {"status_code": 200, "body": {}}}).to_string(),
        "\u{1b}[2J".to_owned(),
    ];
    file.extend(rest.iter().map(good));
    fs::write(bench.path("results.jsonl"), file.join("\n")).unwrap();
    let import =
        || bench.command(&["requests", "import", "--run", "offline", "results.jsonl"]).output().unwrap();
    let output = import();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stdout(&output);
    for part in [
        &format!("imported {} answers: solution.reply {0}\n", rest.len() + 2),
        "repeated: 1 lines",
        "no answer: 1 (bad_request); the first: results.jsonl:3: the endpoint answered 400 Bad Request: too long",
        "no answer: 1 (batch_expired); the first: results.jsonl:4: ",
        "unknown: 1 lines; the first: results.jsonl:7: custom_id \"somebody else's\" was never asked",
        "malformed: 2 lines; the first: results.jsonl:2: ",
        &format!("still open: 2 of {} exported requests", requests.len()),
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains('\u{1b}'));
    let again = stdout(&import());
    assert!(again.contains("imported 0 answers") && again.contains("still open: 2 of"), "{again}");

    // Nothing is asked; what is open says how it goes on.
    let mut run = bench.command(&["run", "--out", "offline", "--model", "m", "--no-ask"]);
    let output = run.args(bench.seeds_and_sandbox()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("waiting at solution.reply (not_asked)"), "{}", stderr(&output));
    assert!(stderr(&output).contains("requests export"), "{}", stderr(&output));

    // The next export has what was refused and what follows from the answers.
    let output =
        bench.command(&["requests", "export", "--run", "offline", "--out", "next"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let next = exported(&bench.path("next")).concat();
    let ids: Vec<&Value> = next.iter().map(|request| &request["custom_id"]).collect();
    assert!(ids.contains(&&refused["custom_id"]) && ids.contains(&&expired["custom_id"]));
    assert!(!ids.contains(&&first["custom_id"]) && next.len() > 2);

    // What is left may as well be asked call by call; the first of two answers has counted.
    let output = bench.run("offline", "m", &bench.services.model_url).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    bench.assert_same("offline");
}

#[test]
fn usage_errors_say_what_to_do() {
    let bench = Bench::new(8);
    for (arguments, says) in [
        (&["requests", "import", "--run", "online", "seeds.jsonl"][..], "nothing was ever exported"),
        (&["requests", "import", "--run", "nowhere", "seeds.jsonl"], "not a run directory"),
        (&["requests", "export", "--run", "nowhere", "--out", "f"], "after --"),
        (&["run", "--batch", "--out", "x"], "--model NAME"),
        (&["run", "--no-ask", "--seeds", "seeds.jsonl", "--out", "x"], "--model NAME"),
        (&["run", "--no-ask", "--batch", "--out", "x"], "cannot be used with"),
    ] {
        let output = bench.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn batches_that_fail_and_expire_give_the_same_dataset() {
    let bench = Bench::new(16);
    let trouble =
        ["--error-rate", "0.2", "--batch-expire", "0.2", "--batch-fail", "0.2", "--fault", "reset=0.02"];
    let server = bench
        .serve("log", &[&["--journal", "online", "--batch-ms", "100", "--seed", "5"][..], &trouble].concat());
    let output = batch_run(&bench, &server, "batched", &["--tries", "30"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    bench.assert_same("batched");
    let log = server.log();
    assert!(log.iter().all(|entry| entry["batch"].is_string()), "something was asked call by call");
    for fault in ["500", "expired"] {
        assert!(log.iter().any(|entry| entry["fault"] == fault), "no {fault} was met");
    }
    let said = stderr(&output);
    for part in
        ["requests sent", "completed", "expired", "failed", "batch_expired", "answers are in the journal"]
    {
        assert!(said.contains(part), "no {part} in {said}");
    }
    // Every request was answered once, however often it was sent.
    let answered = server.answered();
    assert_eq!(answered.len(), recorded(&bench).len());
    assert!(answered.values().all(|count| *count == 1), "answered again: {answered:?}");
    // What is done leaves only its record.
    let left = fs::read_dir(bench.path("batched/batches")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("requests-")));

    // Again: nothing is asked.
    let before = server.log().len();
    let output = batch_run(&bench, &server, "batched", &[]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(server.log().len(), before);
}

#[test]
fn killed_anywhere_batches_are_neither_lost_nor_made_twice() {
    let bench = Bench::new(16);
    // A batch exists 80 ms before its client learns of it.
    let arguments = ["--journal", "online", "--batch-ms", "100", "--latency-ms", "80", "--error-rate", "0.1"];
    let server = bench.serve("log", &arguments);
    let mut kills = 0;
    let status = loop {
        let mut run = batch_run(&bench, &server, "killed", &["--tries", "30"]);
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Each change is a step forward that outlives the kill: further along every time.
        match killed_after(&mut child, 1 + kills % 5, || trace(&bench.path("killed/batches"), &server)) {
            Some(status) => break status,
            None => kills += 1,
        }
        assert!(kills < 300, "the run gets nowhere");
    };
    assert!(status.success(), "{status}");
    assert!(kills >= 5, "only {kills} kills");
    bench.assert_same("killed");
    let answered = server.answered();
    assert_eq!(answered.len(), recorded(&bench).len());
    assert!(answered.values().all(|count| *count == 1), "answered again: {answered:?}");
}

#[test]
fn a_cap_leaves_batches_unasked_and_is_no_end() {
    let bench = Bench::new(30);
    let tokens = |run: &str| {
        let run: Value =
            serde_json::from_str(&fs::read_to_string(bench.path(run).join("run.json")).unwrap()).unwrap();
        let stages = run["cost"]["stages"].as_object().unwrap().values();
        let paid = stages.flat_map(|languages| languages.as_object().unwrap().values());
        let count = |paid: &Value, kind: &str| paid[kind].as_u64().unwrap();
        paid.map(|paid| count(paid, "prompt_tokens") + count(paid, "completion_tokens")).sum::<u64>()
    };
    let all = tokens("online");
    let server = bench.serve("log", &["--journal", "online", "--batch-ms", "20"]);
    let cap = (all / 2).to_string();
    let output = batch_run(&bench, &server, "capped", &["--max-total-tokens", &cap]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("the budget is spent"), "{}", stderr(&output));
    let spent = tokens("capped");
    assert!(spent > 0 && spent <= all / 2 + all / 10, "{spent} of {cap}");
    let output = batch_run(&bench, &server, "capped", &[]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    bench.assert_same("capped");
    assert!(server.answered().values().all(|times| *times == 1));
}

/// How far batches are: the files about them, and how much the service was asked.
fn trace(batches: &Path, server: &ReplayServer) -> (Vec<(OsString, Vec<u8>)>, usize) {
    let entries = fs::read_dir(batches).into_iter().flatten().flatten();
    let files = entries.filter(|entry| !entry.file_name().to_string_lossy().contains("asked"));
    let read = |path: PathBuf| {
        if path.extension() == Some("json".as_ref()) { fs::read(path) } else { Ok(Vec::new()) }
    };
    let mut files: Vec<_> =
        files.map(|entry| (entry.file_name(), read(entry.path()).unwrap_or_default())).collect();
    files.sort();
    (files, server.log().len())
}

/// Kills the child at the `nth` change of what `trace` shows; how it ended where it ended before.
fn killed_after<T: PartialEq>(child: &mut Child, nth: usize, trace: impl Fn() -> T) -> Option<ExitStatus> {
    let (started, mut last, mut changes) = (Instant::now(), trace(), 0);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        let now = trace();
        changes += usize::from(now != last);
        last = now;
        if changes >= nth || started.elapsed() > PATIENCE {
            child.kill().unwrap();
            return child.wait().map(|_| None).unwrap();
        }
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_interrupt_leaves_batches_at_the_service() {
    let bench = Bench::new(12);
    let server = bench.serve("log", &["--journal", "online", "--batch-ms", "1500"]);
    let run = || batch_run(&bench, &server, "interrupted", &[]);
    let child = run().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while server.log().is_empty() {
        assert!(started.elapsed() < PATIENCE, "no batch was made");
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(300));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = stderr(&output);
    let cancel = format!("curl -X POST {}/batches/batch_1/cancel", server.base_url);
    assert!(said.contains("go on at the service") && said.contains(&cancel), "{said}");

    // Without --batch there is a warning.
    let mut no_ask = bench.run("interrupted", "m", &server.base_url);
    let output = no_ask.arg("--no-ask").output().unwrap();
    assert!(stderr(&output).contains("are in batches"), "{}", stderr(&output));

    let output = run().output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    bench.assert_same("interrupted");
    assert!(server.answered().values().all(|count| *count == 1));
}

#[test]
fn an_endpoint_without_batches_is_told_so() {
    let bench = Bench::new(8);
    let mut run = bench.run("none", "m", &bench.services.model_url);
    let output = run.args(["--batch", "--tries", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("run without --batch"), "{}", stderr(&output));
}
