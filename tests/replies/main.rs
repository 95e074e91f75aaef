//! What becomes of replies: samples, reasoning, policies for how they end, JSON; with the real binary and a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod json;
mod policies;
mod samples;

#[path = "../chat_server/mod.rs"]
mod chat_server;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use autocodegen::frame::key::row_id;
use autocodegen::frame::records::{json_lines, read_records};
use chat_server::{ChatServer, Said, prompt_of};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A fresh directory to run the binary in, with seeds whose prompts are their texts.
struct Place(TempDir);

impl Place {
    /// With a seed for each of `texts`, and a pipeline whose model stage has `keys`, followed by the stages `more`.
    fn new(texts: &[&str], keys: &str, more: &str) -> Self {
        let place = Self(TempDir::new().unwrap());
        let seeds: String =
            texts.iter().map(|text| json!({"text": text, "language": "python"}).to_string() + "\n").collect();
        place.write("seeds.jsonl", &seeds);
        fs::create_dir_all(place.path("templates/ask")).unwrap();
        place.write("templates/ask/python.txt", "{{ text }}");
        place.pipeline(keys, more);
        place
    }

    fn pipeline(&self, keys: &str, more: &str) {
        let text = format!(
            "name = \"ask\"\n[model]\ntemperature = 0.5\nmax_tokens = 100\n\
             [[stage]]\nname = \"ask.prompt\"\nop = \"prompt\"\ntemplate = \"ask\"\n\
             [[stage]]\nname = \"ask.reply\"\nop = \"model\"\n{keys}\n{more}"
        );
        self.write("ask.toml", &text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(cargo_bin!("autocodegen"));
        command.current_dir(self.0.path()).args(args.split_whitespace()).stdin(Stdio::null());
        command.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL");
        command
    }

    /// `run ask.toml` into `out` with the model at `server`.
    fn ask(&self, server: &ChatServer, out: &str, more: &str) -> Command {
        let url = &server.base_url;
        self.command(&format!(
            "run ask.toml --templates templates --seeds seeds.jsonl --out {out} --model m --base-url {url} {more}"
        ))
    }

    /// The same, which must end with `code`. What it said on both.
    #[track_caller]
    fn run(&self, server: &ChatServer, out: &str, code: i32) -> String {
        said(&self.ask(server, out, "--tries 1").output().unwrap(), code)
    }

    /// Rows of the table `name` of the run `out`.
    fn table(&self, out: &str, name: &str) -> Vec<Value> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.path(out).join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().flat_map(|file| records(file)).collect()
    }

    /// The bytes of the dataset of `out`.
    fn dataset(&self, out: &str) -> Vec<u8> {
        fs::read(self.path(out).join("dataset/part-00000.parquet")).unwrap()
    }

    /// in, spawned, kept, rejected, pending of a stage; they must add up.
    #[track_caller]
    fn counts(&self, out: &str, stage: &str) -> [u64; 5] {
        let file: Value =
            serde_json::from_slice(&fs::read(self.path(out).join("run.json")).unwrap()).unwrap();
        let tally = &file["counts"][stage]["python"];
        let number = |name: &str| tally[name].as_u64().unwrap();
        let rejected =
            tally["rejected"].as_object().unwrap().values().map(|rows| rows.as_u64().unwrap()).sum();
        let counts = [number("rows_in"), number("spawned"), number("kept"), rejected, number("pending")];
        assert_eq!(counts[0] + counts[1], counts[2] + counts[3] + counts[4], "{stage}: {counts:?}");
        counts
    }

    /// Reason and detail of every rejected row, by the row's text.
    fn rejected(&self, out: &str) -> Vec<[String; 3]> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let row = |row: Value| {
            let record: Value = serde_json::from_str(row["record"].as_str().unwrap()).unwrap();
            [text(&record["text"]), text(&row["reason"]), text(&row["detail"])]
        };
        self.table(out, "rejected").into_iter().map(row).collect()
    }
}

fn records(file: &std::path::Path) -> Vec<Value> {
    let mut rows = Vec::new();
    for batch in read_records(file, 1000).unwrap() {
        let lines = String::from_utf8(json_lines(&batch.unwrap()).unwrap()).unwrap();
        rows.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    rows
}

/// Stdout and stderr of a command that must have ended with `code`.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// A complete response with a choice of each of `messages`, which all ended with `finish_reason`.
fn choices(messages: &[Value], finish_reason: &str) -> Said {
    let choices: Vec<Value> =
        messages.iter().map(|message| json!({"message": message, "finish_reason": finish_reason})).collect();
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 6 * messages.len()});
    (200, json!({"model": "loopback", "choices": choices, "usage": usage}).to_string())
}

fn content(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

fn of<'a>(rows: &'a [Value], column: &str) -> Vec<&'a Value> {
    rows.iter().map(|row| &row[column]).collect()
}
