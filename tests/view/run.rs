//! A run whose rows end in every way there is, with hostile text in all of them: real programs, in the real sandbox.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use autocodegen::frame::key::row_id;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use serde_json::json;
use tempfile::TempDir;

use crate::common;

/// Seeds of the run. Each is asked for two samples.
pub const SEEDS: usize = 12;
/// What would set the title, clear the screen, ring, and turn the direction of writing.
pub const HOSTILE: &str = "\u{1b}]2;owned\u{7}\u{1b}[2J\u{1b}[41m\u{9b}5m\u{202e}dlrow\u{2066}\u{8}\r";

const PIPELINE: &str = r#"
name = "small"

[[stage]]
name = "solution.prompt"
op = "prompt"
template = "ask"

[[stage]]
name = "solution.reply"
op = "model"
samples = 2

[[stage]]
name = "solution.extract"
op = "extract_blocks"
into = ["canonical_solution", "full_test_func"]

[[stage]]
name = "verify"
op = "run"
solution = "canonical_solution"
tests = ["full_test_func"]

[[stage]]
name = "verify.keep"
op = "keep"
tests = ["full_test_func"]

[[stage]]
name = "question.prompt"
op = "prompt"
template = "state"

[[stage]]
name = "question.reply"
op = "model"

[[stage]]
name = "dataset"
op = "select"
first = ["id", "language", "question", "canonical_solution", "full_test_func", "seed"]
rename = { text = "seed", output = "question" }
"#;

/// The snippet of a seed.
pub fn snippet(n: usize) -> String {
    format!("echo snippet-{n} # {HOSTILE}")
}

/// The id of a seed's row.
pub fn id(n: usize) -> String {
    row_id("shell", &snippet(n), 0)
}

/// What the model says: no program for every fifth seed, a wrong one for the last sample of every fourth.
fn reply(n: usize, sample: usize) -> String {
    if n % 5 == 4 {
        return format!("sorry {HOSTILE}");
    }
    let says = if n % 4 == 3 && sample == 1 { "wrong" } else { "right" };
    format!(
        "Sample {sample}.\n```bash\nsay() {{\n  printf '%s\\n' '{says} {n}.{sample} {HOSTILE}'\n}}\n```\n\
         ```bash\nsay\nsay >&2\nsay | grep -q right || exit 1\n```\n"
    )
}

/// A finished run in partitions of eight rows; `None` where no jail can be made, which it says.
pub static RUN: LazyLock<Option<TempDir>> = LazyLock::new(|| {
    let options = Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Err(error) = runtime.block_on(async { LocalSandbox::start(options).map(drop) }) {
        common::skip("view", &error.to_string());
        return None;
    }
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let write = |name: &str, text: String| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("small.toml", PIPELINE.to_owned());
    write(
        "templates/ask/shell.txt",
        "You write {{ language }}.\n--- user ---\nDevelop:\n{{ text }}".to_owned(),
    );
    write("templates/state/shell.txt", "State {{ canonical_solution }}".to_owned());
    let (mut seeds, mut replies) = (String::new(), String::new());
    for n in 0..SEEDS {
        seeds += &format!("{}\n", json!({"text": snippet(n), "language": "shell", "origin": HOSTILE}));
        let mut say = |stage: &str, row: &str, sample: usize, output: String| {
            let answer = json!({"output": output, "finish_reason": "stop", "model": "recorded"});
            replies +=
                &format!("{}\n", json!({"stage": stage, "row": row, "sample": sample, "answer": answer}));
        };
        for sample in 0..2 {
            say("solution.reply", &id(n), sample, reply(n, sample));
            say("question.reply", &format!("{}.{sample}", id(n)), 0, format!("Say {n}.{sample} {HOSTILE}"));
        }
    }
    seeds += &format!("{}\n", json!({"text": "klingon", "language": format!("tlh{HOSTILE}")}));
    write("seeds.jsonl", seeds);
    write("replies.jsonl", replies);
    let arguments = "run small.toml --templates templates --seeds seeds.jsonl --replay replies.jsonl \
                     --partition-size 8 --out run";
    let ended = common::ended(common::command(root.path(), arguments).output().unwrap());
    ended.says(0, &[]);
    Some(root)
});

/// Where the run is.
pub fn dir() -> Option<PathBuf> {
    RUN.as_ref().map(|root| root.path().join("run"))
}

/// A copy of the run to change.
pub fn copy() -> Option<TempDir> {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copied = Command::new("cp").arg("-r").arg(dir()?).arg(root.path()).status().unwrap();
    assert!(copied.success());
    Some(root)
}

/// Has `run.json` say that the run has come as far as `state`.
pub fn set_state(run: &Path, state: &str) {
    let path = run.join("run.json");
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file["state"] = state.into();
    std::fs::write(&path, file.to_string()).unwrap();
}
