//! What several test files share.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use autocodegen::frame::records::{json_lines, read_records};
use autocodegen::sandbox::local::{LocalSandbox, Options};
use serde_json::Value;
use tokio::net::TcpSocket;

/// Says on stderr that a test did not run, and why. With `AUTOCODEGEN_REQUIRE=1` that is a failure.
pub fn skip(test: &str, why: &str) {
    assert!(
        std::env::var_os("AUTOCODEGEN_REQUIRE").is_none_or(|value| value != "1"),
        "SKIPPED: {test}: {why}"
    );
    eprintln!("SKIPPED: {test}: {why}");
}

/// Jails with the usual options; `None`, and `test` is skipped, where this machine has none.
pub fn sandbox(test: &str) -> Option<LocalSandbox> {
    let options = Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() };
    LocalSandbox::start(options).map_err(|error| skip(test, &error.to_string())).ok()
}

/// Copies a file that is to be executed. Another process does it: a child that some other test starts has a copy of
/// every open file until its exec, and what is open for writing anywhere cannot be executed ("text file busy").
pub fn copy_executable(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let copied = Command::new("cp").arg(from.as_ref()).arg(to.as_ref()).status();
    assert!(copied.as_ref().is_ok_and(|status| status.success()), "{copied:?}");
}

/// An address on which nobody listens: it belongs to this socket, which does not either. The address of a listener
/// that is gone may be the next one's.
pub fn closed_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A small disk: a tmpfs of 1 MiB at a directory, unmounted on drop.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `dir`; `None` where mounting is not allowed.
    pub fn mount(dir: &Path) -> Option<Self> {
        Self::mount_with(dir, "size=1m")
    }

    /// The same with other options of tmpfs.
    pub fn mount_with(dir: &Path, options: &str) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir);
        command.output().is_ok_and(|output| output.status.success()).then(|| Self(dir.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.0.display());
        }
    }
}

/// The binary, to run in `dir`, with nothing in the environment that concerns it.
pub fn command(dir: &Path, args: &str) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("autocodegen"));
    command.current_dir(dir).args(args.split_whitespace()).stdin(Stdio::null());
    command.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").env_remove("AUTOCODEGEN_LOG");
    command.env("AUTOCODEGEN_CACHE", "off");
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; 128 + n for signal n.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// How the command that gave `output` ended.
pub fn ended(output: std::process::Output) -> Ended {
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
    pub fn says(&self, code: i32, words: &[&str]) {
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

/// Records of a JSONL or Parquet file.
pub fn records(file: &Path) -> Vec<Value> {
    let mut rows = Vec::new();
    for batch in read_records(file, 1000).unwrap() {
        let lines = String::from_utf8(json_lines(&batch.unwrap()).unwrap()).unwrap();
        rows.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    rows
}

/// Rows of the table `dir`.
pub fn table(dir: &Path) -> Vec<Value> {
    let listed = std::fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| records(file)).collect()
}
