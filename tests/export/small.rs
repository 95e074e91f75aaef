//! A small run that needs no sandbox: snippets, solutions, questions, all from a recording.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use autocodegen::frame::key::row_id;
use serde_json::{Value, json};

const SEEDS: usize = 60;

const PIPELINE: &str = r#"
name = "small"
[[stage]]
name = "solution.prompt"
op = "prompt"
template = "ask"
[[stage]]
name = "solution.reply"
op = "model"
[[stage]]
name = "solution.extract"
op = "extract_blocks"
into = ["canonical_solution"]
[[stage]]
name = "question.prompt"
op = "prompt"
template = "state"
[[stage]]
name = "question.reply"
op = "model"
[[stage]]
name = "question.extract"
op = "extract_section"
tag = "question"
into = "question"
[[stage]]
name = "dataset"
op = "select"
first = ["id", "language", "question", "canonical_solution", "seed"]
rename = { text = "seed" }
"#;

pub fn text(n: usize) -> String {
    format!("print({n})  # {{{{ text }}}}")
}

/// Seeds whose rows get to the dataset: the others have no block in one reply or no question in the other.
pub fn kept() -> Vec<usize> {
    (0..SEEDS).filter(|n| n % 5 != 0 && n % 7 != 0).collect()
}

pub fn autocodegen(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_autocodegen")).args(args).output().unwrap()
}

pub fn succeed(args: &[&str]) -> String {
    let output = autocodegen(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {stderr}");
    stderr
}

/// A finished run of [`PIPELINE`] in partitions of eight rows. The templates it was given are gone.
pub fn small_run() -> tempfile::TempDir {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| root.path().join(name);
    let write = |name: &str, text: String| {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), text).unwrap();
    };
    write("small.toml", PIPELINE.to_owned());
    write(
        "templates/ask/python.txt",
        "You write {{ language }}.\n--- user ---\nSolve:\n{{ text }}".to_owned(),
    );
    write("templates/state/python.txt", "State {{ canonical_solution }} of {{ text }}".to_owned());
    let mut seeds = String::new();
    let mut replies = String::new();
    for n in 0..SEEDS {
        let text = text(n);
        seeds +=
            &format!("{}\n", json!({"text": text, "language": "python", "n": n, "tags": ["a", {"b": n}]}));
        let solution = if n % 5 == 0 { "sorry".to_owned() } else { format!("```python\ncode({n})\n```") };
        let question = if n % 7 == 0 { "sorry".to_owned() } else { format!("<question>Q{n}</question>") };
        for (stage, output) in [("solution.reply", solution), ("question.reply", question)] {
            let answer = json!({"output": output, "finish_reason": "stop"});
            replies += &format!(
                "{}\n",
                json!({"stage": stage, "row": row_id("python", &text, 0), "answer": answer})
            );
        }
    }
    write("seeds.jsonl", seeds);
    write("replies.jsonl", replies);
    let arg = |name: &str| path(name).to_str().unwrap().to_owned();
    let args = [
        "run",
        &arg("small.toml"),
        "--templates",
        &arg("templates"),
        "--seeds",
        &arg("seeds.jsonl"),
        "--replay",
        &arg("replies.jsonl"),
        "--partition-size",
        "8",
        "--out",
        &arg("run"),
    ];
    succeed(&args);
    std::fs::remove_dir_all(path("templates")).unwrap();
    std::fs::remove_file(path("small.toml")).unwrap();
    root
}

/// One run for all tests that only read it.
pub static RUN: LazyLock<tempfile::TempDir> = LazyLock::new(small_run);

/// The objects of a JSONL file.
pub fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
