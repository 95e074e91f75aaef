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
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use chat_server::{ChatServer, Said, reply};
use common::{Ended, ended, records};
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

    /// The binary, here.
    fn command(&self, args: &str) -> Command {
        common::command(self.0.path(), args)
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
        common::table(&self.path(run).join(name))
    }
}

/// A python seed as a JSON line.
fn seed(text: &str) -> String {
    serde_json::json!({"text": text, "language": "python"}).to_string() + "\n"
}

/// A server that answers everything with a short text.
fn willing() -> ChatServer {
    ChatServer::new(Duration::ZERO, |_, _| -> Said { reply("as you wish") })
}
