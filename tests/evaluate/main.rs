//! `evaluate`, `compare` and `benchmark`: the real binary on small benchmarks, in real jails, against loopback models and services.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod asking;
mod comparing;
mod faults;
mod scoring;

#[path = "../chat_server/mod.rs"]
mod chat_server;
#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::path::PathBuf;

use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::toolchain;
use common::{Ended, ended, records};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A fresh directory to run the binary in.
struct Place(TempDir);

impl Place {
    /// With `bench.jsonl`: four sound problems in three languages, of two difficulties.
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        place.lines("bench.jsonl", &problems());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `rows` as JSON lines.
    fn lines(&self, name: &str, rows: &[Value]) {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, args: &str) -> Ended {
        ended(common::command(self.0.path(), args).output().unwrap())
    }

    /// Runs `args`, which are to end with `code`, and gives what they print as one JSON object.
    #[track_caller]
    fn json(&self, code: i32, args: &str) -> Value {
        let ended = self.run(&format!("{args} --format json"));
        assert_eq!(ended.code, code, "{ended:#?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"))
    }

    /// Rows of the table `name` of the evaluation `run`.
    fn table(&self, run: &str, name: &str) -> Vec<Value> {
        common::table(&self.path(run).join(name))
    }
}

/// Whether the toolchains of the problems are there; says so where not.
fn ready(test: &str) -> bool {
    let languages = Languages::embedded().unwrap();
    for name in ["python", "shell", "perl"] {
        if let Err(missing) = toolchain::find(languages.get(name).unwrap()) {
            common::skip(test, &missing.to_string());
            return false;
        }
    }
    true
}

/// A Python function `twice` or the like, and its tests: one public, two in all.
fn python(id: &str, name: &str, difficulty: &str) -> Value {
    json!({
        "task_id": id,
        "question": format!("Write a Python function {name}(n) that gives 2 * n."),
        "canonical_solution": format!("```python\ndef {name}(n):\n    return 2 * n\n```"),
        "demo_test_func": format!("def test():\n    assert {name}(2) == 4\n\ntest()"),
        "full_test_func": format!("def test():\n    assert {name}(2) == 4\n    assert {name}(5) == 10\n\ntest()"),
        "language": "Python",
        "difficulty": difficulty,
        "category": "Functions & Modules",
        "origin": {"unknown": ["columns", "are", "tolerated"]},
    })
}

/// Four sound problems: `p/0` and `p/1` in Python, `s/0` in shell, `l/0` in Perl.
fn problems() -> Vec<Value> {
    let shell = |n: u32, m: u32| {
        format!("test() {{ [ \"$(twice {n})\" = {m} ] || {{ echo failed; exit 1; }}; }}\ntest")
    };
    let perl = |n: u32, m: u32| format!("die \"failed\" unless twice({n}) == {m};");
    vec![
        python("p/0", "twice", "easy"),
        python("p/1", "doubled", "hard"),
        json!({
            "task_id": "s/0",
            "question": "Write a shell function twice that prints two times its argument.",
            "canonical_solution": "twice() { echo $(( 2 * $1 )); }",
            "demo_test_func": shell(2, 4), "full_test_func": shell(5, 10),
            "language": "bash", "difficulty": "hard", "category": "Functions & Modules",
        }),
        json!({
            "task_id": "l/0",
            "question": "Write a Perl function twice that returns two times its argument.",
            "canonical_solution": "sub twice { return 2 * $_[0]; }",
            "demo_test_func": perl(2, 4), "full_test_func": perl(5, 10),
            "language": "perl", "difficulty": "easy", "category": "String & Text Processing",
        }),
    ]
}

/// A reply with `code` in a fenced block.
fn fenced(code: &str) -> String {
    format!("Here you are:\n\n```\n{code}\n```\n\nThat is all.")
}
