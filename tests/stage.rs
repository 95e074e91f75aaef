//! `autocodegen stage`: one record of our own through every stage, file by file, as the reference's scripts pass it on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod chat_server;
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};
use autocodegen::frame::records::RecordWriter;
use chat_server::{ChatServer, prompt_of, reply};
use common::records;
use serde_json::{Value, json};
use tempfile::TempDir;

const SNIPPET: &str = "def twice(x):\n    return x + x";

const SOLUTION: &str = "Here they are.\n\n```python\ndef repeat(text, times):\n    if times < 0:\n        raise ValueError('times')\n    return text * times\n```\n\n\
    The small test:\n\n```python\nprint('é', repeat('ab', 2))\n```\n\nThe large one:\n\n\
    ```python\nfor times in range(3):\n    print(repr(repeat('ab', times)))\n```\n";
const TESTS: &str = "```python\nassert repeat('ab', 2) == 'abab'\n```\n\n\
    ```python\nassert [repeat('ab', n) for n in range(3)] == ['', 'ab', 'abab']\n```";
const QUESTION: &str = "<question>\nWrite the Python function `repeat(text, times)`.\n</question>";

/// What the model says at each step, told by what it is asked.
fn answer(prompt: &str) -> &'static str {
    match (prompt.contains("assert "), prompt.contains("é abab"), prompt.contains("return x + x")) {
        (false, false, true) => SOLUTION,
        (_, true, _) => TESTS,
        (true, false, _) => QUESTION,
        _ => panic!("an unexpected prompt: {prompt}"),
    }
}

/// Runs `stage`, which must succeed.
fn stage(dir: &Path, args: &str) -> Output {
    let output = command(dir, args).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty(), "stdout is for data: {output:?}");
    output
}

fn command(dir: &Path, args: &str) -> Command {
    common::command(dir, &format!("stage {args}"))
}

/// The only record of a file.
fn record(file: PathBuf) -> Value {
    let mut rows = records(&file);
    assert_eq!(rows.len(), 1, "{}", file.display());
    rows.remove(0)
}

fn names(record: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn can_run_programs(test: &str) -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|python| python.status.success());
    if !there {
        common::skip(test, "python3 is not installed");
    }
    there
}

/// Takes a seed through all stages in files of `extension`, the model stages with `model`; gives back the last record.
fn walk(dir: &Path, extension: &str, model: &str) -> Value {
    let file = |name: &str| dir.join(format!("{name}.{extension}"));
    let run = |stages: &str, from: &str, to: &str, more: &str| {
        let from = if from == "seeds" { "seeds.jsonl".into() } else { format!("{from}.{extension}") };
        stage(dir, &format!("{stages} --in {from} --out {to}.{extension} {more}"));
        record(file(to))
    };
    let own =
        json!({"text": SNIPPET, "language": "py", "stars": 7, "origin": {"site": "é", "tags": ["a", 1]}});
    fs::write(dir.join("seeds.jsonl"), own.to_string()).unwrap();

    let asked = run("solution.prompt", "seeds", "messages", "");
    assert_eq!(names(&asked), ["id", "index", "lang", "messages", "origin", "seed", "stars"]);
    assert_eq!(
        (&asked["lang"], &asked["seed"], &asked["index"]),
        (&json!("python"), &json!(SNIPPET), &json!(0))
    );
    assert!(asked["messages"][0]["content"].as_str().unwrap().contains(SNIPPET));
    let said = run("solution.reply", "messages", "output", model);
    assert_eq!(names(&said), ["id", "index", "lang", "messages", "origin", "output", "seed", "stars"]);
    assert_eq!(said["output"], SOLUTION);
    assert_eq!(said["messages"], asked["messages"]);

    let solution = run("solution.extract", "output", "solution", "");
    let fields = [
        "canonical_solution",
        "demo_test_func",
        "full_test_func",
        "id",
        "index",
        "language",
        "origin",
        "seed",
        "stars",
    ];
    assert_eq!(names(&solution), fields);
    let fenced = solution["canonical_solution"].as_str().unwrap();
    assert!(fenced.starts_with("```python\ndef repeat") && fenced.ends_with("```"), "{fenced}");
    assert_eq!(solution["demo_test_func"], "print('é', repeat('ab', 2))");

    let printed = run("probe", "solution", "test_output", "");
    let shape =
        ["demo_test_result", "full_test_result", "id", "index", "language", "original_data", "success"];
    assert_eq!(names(&printed), shape);
    assert_eq!((&printed["index"], &printed["success"]), (&json!(1), &json!(true)));
    assert_eq!(printed["original_data"], solution, "what went in comes out inside");
    for (result, stdout) in [("demo_test_result", "é abab\n"), ("full_test_result", "''\n'ab'\n'abab'\n")] {
        let result = &printed[result];
        assert_eq!((&result["success"], &result["status_code"]), (&json!(true), &json!(200)));
        let response = &result["response"];
        assert_eq!((&response["exec_outcome"], &response["exec_cout"]), (&json!("PASSED"), &json!(stdout)));
        assert_eq!(response["response_extensions"]["stdout"], stdout);
        assert_eq!(response["response_extensions"]["exit_code"], 0);
    }

    let asked = run("probe.capture,tests.prompt", "test_output", "tests_messages", "");
    assert_eq!(asked["demo_test_input"], solution["demo_test_func"]);
    assert_eq!(asked["demo_test_output"], "é abab\n");
    assert_eq!(asked["full_test_output"], "''\n'ab'\n'abab'\n");
    assert_eq!((&asked["index"], &asked["stars"], &asked["origin"]), (&json!(0), &json!(7), &own["origin"]));
    assert!(asked.get("success").is_none() && asked.get("original_data").is_none());
    run("tests.reply", "tests_messages", "tests_output", model);
    let tests = run("tests.extract", "tests_output", "tests", "");
    // What printed and what it printed stay: translations are held against it.
    let mut others = tests.clone();
    for name in ["full_test_input", "full_test_output"] {
        assert_eq!(others.as_object_mut().unwrap().remove(name).as_ref(), asked.get(name));
    }
    assert_eq!(names(&others), fields);
    assert_eq!(tests["demo_test_func"], "assert repeat('ab', 2) == 'abab'");

    run("verify", "tests", "test_exec", "");
    let verified = run("verify.keep", "test_exec", "verified", "");
    assert_eq!(verified, tests, "keep gives back what verify was given");
    run("question.prompt", "verified", "question_messages", "");
    run("question.reply", "question_messages", "question_output", model);
    let question = run("question.extract", "question_output", "question", "");
    assert_eq!(question["question"], "Write the Python function `repeat(text, times)`.");
    let problem = run("dataset", "question", "problem", "");
    assert_eq!(
        (&problem["seed"], &problem["stars"], &problem["origin"]),
        (&own["text"], &json!(7), &own["origin"])
    );
    let left: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let expected = [&format!(".{extension}"), "seeds.jsonl", "recording"];
    assert!(left.iter().all(|name| expected.iter().any(|end| name.ends_with(*end))), "left behind: {left:?}");
    problem
}

#[test]
fn every_stage_hands_the_record_on_in_files_of_either_kind() {
    if !can_run_programs("every_stage_hands_the_record_on_in_files_of_either_kind") {
        return;
    }
    let server = ChatServer::new(Duration::ZERO, |asked, _| reply(answer(prompt_of(asked))));
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
    let asking = format!("--model m --base-url {} --record all.recording", server.base_url);
    let first = walk(dirs[0].path(), "jsonl", &asking);
    assert_eq!(server.asked(), 3);
    let recording = dirs[0].path().join("all.recording");
    let replaying = format!("--model m --replay {}", recording.display());
    assert_eq!(walk(dirs[1].path(), "parquet", &replaying), first);
    assert_eq!(walk(dirs[2].path(), "jsonl.zst", &replaying), first);
    assert_eq!(server.asked(), 3, "a replayed stage asked the endpoint");
}

#[test]
fn rows_that_fail_are_written_beside_the_output_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let row =
        |language: &str, output: &str| json!({"language": language, "output": output}).to_string() + "\n";
    let rows = row("python", SOLUTION)
        + &row("python", "no code")
        + &row("klingon", SOLUTION)
        + &row("c++", SOLUTION);
    fs::write(dir.path().join("in.jsonl"), rows).unwrap();
    let output = stage(dir.path(), "solution.extract --in in.jsonl --out out.jsonl");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("solution.extract: 3 in, 2 kept, 1 rejected"), "{told}");
    assert!(told.contains("are in out.jsonl.rejected.jsonl"), "{told}");
    let kept = records(&dir.path().join("out.jsonl"));
    assert_eq!(kept.iter().map(|row| &row["index"]).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(kept[1]["language"], "cpp");
    let rejected = records(&dir.path().join("out.jsonl.rejected.jsonl"));
    let why: Vec<(&str, &str)> = rejected
        .iter()
        .map(|row| (row["stage"].as_str().unwrap(), row["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(why, [("records", "language_unknown"), ("solution.extract", "block_count")]);
    assert_eq!(rejected[0]["source"], "in.jsonl: record 3");
    // A later run without rejects takes the file away.
    fs::write(dir.path().join("in.jsonl"), row("python", SOLUTION)).unwrap();
    stage(dir.path(), "solution.extract --in in.jsonl --out out.jsonl");
    assert!(!dir.path().join("out.jsonl.rejected.jsonl").exists());
}

/// Rows of the reference hold a conversation that stages after the model do not need, whatever it is.
#[test]
fn a_conversation_that_is_none_is_ignored_and_dropped() {
    let dir = TempDir::new().unwrap();
    let row =
        json!({"messages": "(left out)", "index": 4, "lang": "python", "seed": SNIPPET, "output": SOLUTION});
    fs::write(dir.path().join("in.jsonl"), row.to_string()).unwrap();
    stage(dir.path(), "solution.extract --in in.jsonl --out out.jsonl");
    let solution = record(dir.path().join("out.jsonl"));
    assert_eq!((&solution["index"], &solution["language"]), (&json!(4), &json!("python")));
    assert!(
        solution.get("messages").is_none()
            && solution.get("output").is_none()
            && solution.get("lang").is_none()
    );
    let refused =
        command(dir.path(), "solution.reply --in in.jsonl --out o.jsonl --model m --replay in.jsonl");
    let refused = { refused }.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

/// Other tools write objects to Parquet as structs and lists.
#[test]
fn parquet_with_structs_and_lists_reads_like_json() {
    let dir = TempDir::new().unwrap();
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let tags =
        ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>([Some([Some(1), Some(2)])]);
    let tags = Arc::new(tags) as ArrayRef;
    let field = |name: &str, of: &DataType| Arc::new(Field::new(name, of.clone(), true));
    let inside: Vec<(Arc<Field>, ArrayRef)> = vec![
        (field("index", &DataType::Int64), Arc::new(Int64Array::from(vec![9])) as ArrayRef),
        (field("language", &DataType::Utf8), text("python")),
        (field("seed", &DataType::Utf8), text(SNIPPET)),
        (field("canonical_solution", &DataType::Utf8), text("def f(): pass")),
        (field("demo_test_func", &DataType::Utf8), text("print(1)")),
        (field("full_test_func", &DataType::Utf8), text("print(2)")),
        (field("tags", tags.data_type()), tags),
    ];
    let result = |stdout: &str| {
        let passed = json!({"success": true, "status_code": 200, "response": {"exec_outcome": "PASSED", "exec_cout": stdout}});
        Arc::new(StringArray::from(vec![passed.to_string()])) as ArrayRef
    };
    let batch = RecordBatch::try_from_iter(vec![
        ("index", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("success", Arc::new(arrow_array::BooleanArray::from(vec![true])) as ArrayRef),
        ("demo_test_result", result("1\n")),
        ("full_test_result", result("2\n")),
        ("original_data", Arc::new(StructArray::from(inside)) as ArrayRef),
    ])
    .unwrap();
    let mut writer = RecordWriter::create(&dir.path().join("in.parquet")).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    stage(dir.path(), "probe.capture --in in.parquet --out out.jsonl");
    let captured = record(dir.path().join("out.jsonl"));
    assert_eq!((&captured["index"], &captured["tags"]), (&json!(9), &json!([1, 2])));
    assert_eq!(
        (&captured["demo_test_output"], &captured["full_test_output"]),
        (&json!("1\n"), &json!("2\n"))
    );
}

#[test]
fn a_killed_model_stage_asks_only_for_what_is_missing() {
    let dir = TempDir::new().unwrap();
    let seeds: String = (0..40)
        .map(|n| json!({"text": format!("x = {n}"), "language": "python"}).to_string() + "\n")
        .collect();
    fs::write(dir.path().join("seeds.jsonl"), seeds).unwrap();
    stage(dir.path(), "solution.prompt --in seeds.jsonl --out messages.jsonl");
    let server = ChatServer::new(Duration::from_millis(100), |asked, _| {
        let prompt = prompt_of(asked);
        let seed = prompt.lines().find(|line| line.starts_with("x = ")).unwrap();
        reply(&format!("about {seed}"))
    });
    let args = format!(
        "solution.reply --in messages.jsonl --out output.jsonl --in-flight 4 --model m --base-url {}",
        server.base_url
    );
    for round in 1..=2 {
        let mut child = command(dir.path(), &args).stderr(Stdio::null()).spawn().unwrap();
        while server.asked() < round * 14 {
            assert!(child.try_wait().unwrap().is_none(), "the stage ended before it was killed");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!dir.path().join("output.jsonl").exists(), "half an output");
        assert!(dir.path().join("output.jsonl.journal").is_dir());
    }
    stage(dir.path(), &args);
    assert!(server.asked() <= 40 + 2 * 4, "{} requests for 40 rows and two kills", server.asked());
    let outputs = records(&dir.path().join("output.jsonl"));
    let said: Vec<String> = outputs.iter().map(|row| row["output"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said, (0..40).map(|n| format!("about x = {n}")).collect::<Vec<_>>());
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "journal or partial files are left: {left:?}");
}
