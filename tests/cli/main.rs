//! The real binary in fresh directories: bad input, bad configuration, refusing endpoints, full disks, and what may be
//! printed and written.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod configuration;
mod endpoint;
mod money;
mod output;
mod seeds;
mod telemetry;

#[path = "../chat_server/mod.rs"]
mod chat_server;
#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use autocodegen::frame::records::{json_lines, read_records};
use chat_server::{ChatServer, Said, reply};
use serde_json::Value;
use tempfile::TempDir;

/// A pipeline that runs nothing: one question to the model per seed.
const ASK: &str = r#"
name = "ask"

[[stage]]
name = "ask.prompt"
op = "prompt"
template = "solution"

[[stage]]
name = "ask.reply"
op = "model"

[[stage]]
name = "finished"
op = "select"
first = ["id", "output"]
"#;

/// A fresh directory to run the binary in.
struct Place(TempDir);

/// How a command ended.
#[derive(Debug)]
struct Ended {
    /// Exit code; 128 + n for signal n.
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    /// With `ask.toml` and two good seeds in `seeds.jsonl`.
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        place.write("ask.toml", ASK);
        place.write("seeds.jsonl", &(seed("def one(): return 1") + &seed("def two(): return 2")));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The binary, here, with nothing in the environment that concerns it.
    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(cargo_bin!("autocodegen"));
        command.current_dir(self.0.path()).args(args.split_whitespace()).stdin(Stdio::null());
        command.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").env_remove("AUTOCODEGEN_LOG");
        command.env("AUTOCODEGEN_CACHE", "off");
        command
    }

    fn run(&self, args: &str) -> Ended {
        ended(self.command(args).output().unwrap())
    }

    /// Runs `args` with the model `m` at `server`.
    fn ask(&self, server: &ChatServer, args: &str) -> Ended {
        self.run(&format!("{args} --model m --base-url {}", server.base_url))
    }

    /// Rows of the table `name` of the run `run`.
    fn table(&self, run: &str, name: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.path(run).join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            rows.extend(records(&file));
        }
        rows
    }
}

fn ended(output: std::process::Output) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    let status = output.status;
    Ended {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ended {
    /// Ended with `code`, and stderr says all of `words`, a hint among them when it is an error.
    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing in {self:#?}");
        }
        if matches!(code, 2 | 3) {
            assert!(self.stderr.starts_with("error: ") || self.stderr.contains("\nerror: "), "{self:#?}");
            assert!(self.stderr.contains("\nhint: "), "no hint in {self:#?}");
            assert!(!self.stderr.contains("panicked"), "{self:#?}");
        }
    }
}

/// A python seed as a JSON line.
fn seed(text: &str) -> String {
    serde_json::json!({"text": text, "language": "python"}).to_string() + "\n"
}

/// Records of a JSONL or Parquet file.
fn records(file: &Path) -> Vec<Value> {
    let mut rows = Vec::new();
    for batch in read_records(file, 1000).unwrap() {
        let lines = String::from_utf8(json_lines(&batch.unwrap()).unwrap()).unwrap();
        rows.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    rows
}

/// A server that answers everything with a short text.
fn willing() -> ChatServer {
    ChatServer::new(Duration::ZERO, |_, _| -> Said { reply("as you wish") })
}
