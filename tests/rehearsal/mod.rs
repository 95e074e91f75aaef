//! A run that was answered online and recorded, and `replay serve` to rehearse it with.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;

use crate::services::Services;

/// Seeds, a service that runs programs, and a run that was answered call by call.
pub struct Bench {
    pub services: Services,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Runs `rows` seeds online, into `online`, and records the replies in `recording.jsonl`.
    pub fn new(rows: u32) -> Self {
        let bench = Self { services: Services::start(), folder: tempfile::tempdir().unwrap() };
        let line = |n: u32| {
            let language = if n.is_multiple_of(3) { "shell" } else { "python" };
            serde_json::json!({"text": format!("print({n})"), "language": language}).to_string() + "\n"
        };
        fs::write(bench.path("seeds.jsonl"), (0..rows).map(line).collect::<String>()).unwrap();
        let mut run = bench.run("online", "m", &bench.services.model_url);
        let output = run.arg("--record").arg(bench.path("recording.jsonl")).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `autocodegen` with these arguments, in the bench's folder.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        command_in(self.folder.path(), arguments)
    }

    /// Arguments of `run` besides those about the model.
    pub fn seeds_and_sandbox(&self) -> [&str; 6] {
        ["--seeds", "seeds.jsonl", "--sandbox", &self.services.sandbox_url, "--sandbox-jobs", "4"]
    }

    /// `autocodegen run` of the seeds into `out`.
    pub fn run(&self, out: &str, model: &str, base_url: &str) -> Command {
        let mut command = self.command(&["run", "--out", out, "--model", model, "--base-url", base_url]);
        command.args(self.seeds_and_sandbox());
        command
    }

    /// Dataset and rejects of a run, byte for byte.
    pub fn result(&self, run: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for table in ["dataset", "rejected"] {
            for entry in fs::read_dir(self.path(run).join(table)).unwrap() {
                let entry = entry.unwrap();
                files.insert(Path::new(table).join(entry.file_name()), fs::read(entry.path()).unwrap());
            }
        }
        files
    }

    /// Asserts that a run ended like the online one.
    pub fn assert_same(&self, run: &str) {
        assert!(self.result(run) == self.result("online"), "{run} ended otherwise than the online run");
    }

    /// Starts `replay serve`, see [`serve_in`].
    pub fn serve(&self, log: &str, arguments: &[&str]) -> ReplayServer {
        serve_in(self.folder.path(), log, arguments)
    }
}

fn command_in<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command.args(arguments).current_dir(folder);
    command.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").stdin(Stdio::null());
    command
}

/// Starts `replay serve` in `folder`, on a free port; its log is `log` there.
pub fn serve_in(folder: &Path, log: &str, arguments: &[&str]) -> ReplayServer {
    let mut command = command_in(folder, &["replay", "serve", "--listen", "127.0.0.1:0", "--log", log]);
    let mut process = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let base_url = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(base_url.starts_with("http://127.0.0.1:"), "{line}");
    ReplayServer { base_url, log: folder.join(log), process, _said: said }
}

/// A running `replay serve`, until dropped.
pub struct ReplayServer {
    pub base_url: String,
    log: PathBuf,
    process: Child,
    /// Closed, it would end the server at its next message.
    _said: BufReader<ChildStderr>,
}

impl ReplayServer {
    /// What was asked so far.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How often each request was answered well, by key.
    pub fn answered(&self) -> BTreeMap<String, usize> {
        let mut answered = BTreeMap::new();
        for entry in self.log() {
            if entry["status"] == 200 && entry.get("fault").is_none() {
                *answered.entry(entry["key"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        answered
    }
}

impl Drop for ReplayServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
