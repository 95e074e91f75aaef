//! Global stages in runs: kills, other concurrency, rows that are pending before them, seeds that change.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod services;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use autocodegen::frame::key::row_id;
use autocodegen::frame::records::{json_lines, read_records};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use services::{Log, Services};

/// Everything there is: effects before, between and after two global stages, a pure stage after each.
const LONG: &str = r#"
name = "long"
[[stage]]
name = "solution.prompt"
op = "prompt"
template = "solution"
[[stage]]
name = "solution.reply"
op = "model"
[[stage]]
name = "solution.extract"
op = "extract_blocks"
into = ["canonical_solution", "demo_test_func", "full_test_func"]
[[stage]]
name = "new"
op = "novelty"
columns = ["canonical_solution"]
[[stage]]
name = "probe"
op = "run"
solution = "canonical_solution"
tests = ["full_test_func", "demo_test_func"]
[[stage]]
name = "probe.capture"
op = "capture"
tests = ["demo_test_func", "full_test_func"]
[[stage]]
name = "pick"
op = "balance"
category = "topic"
per_language = 12
[[stage]]
name = "order"
op = "select"
first = ["canonical_solution"]
[[stage]]
name = "tests.prompt"
op = "prompt"
template = "test"
[[stage]]
name = "tests.reply"
op = "model"
[[stage]]
name = "tests.extract"
op = "extract_blocks"
into = ["demo_test_func", "full_test_func"]
"#;

/// Asks, takes duplicates of the answers away, and asks again.
const SHORT: &str = r#"
name = "short"
[[stage]]
name = "ask.prompt"
op = "prompt"
template = "solution"
[[stage]]
name = "ask"
op = "model"
[[stage]]
name = "answer"
op = "extract_section"
tag = "a"
into = "answer"
[[stage]]
name = "new"
op = "novelty"
columns = ["answer"]
threshold = 0.8
shingle = 1
[[stage]]
name = "again.prompt"
op = "prompt"
template = "solution"
[[stage]]
name = "again"
op = "model"
[[stage]]
name = "second"
op = "extract_section"
tag = "a"
into = "second"
"#;

fn command(dir: &Path, pipeline: &str) -> Command {
    fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command.current_dir(dir).args(["run", "pipeline.toml", "--seeds", "seeds.jsonl"]);
    command.env_remove("OPENAI_API_KEY").env("AUTOCODEGEN_CACHE", "off").stdin(Stdio::null());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The rows of a table, as JSON.
fn table(run: &Path, name: &str) -> Vec<Value> {
    let mut files: Vec<_> =
        fs::read_dir(run.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let batches = files.iter().flat_map(|file| read_records(file, 1000).unwrap());
    let lines = batches.map(|batch| String::from_utf8(json_lines(&batch.unwrap()).unwrap()).unwrap());
    lines
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect()
}

/// What two runs of the same seeds have in common: the bytes of the dataset, the rejects in whatever order, the counts
/// without times.
#[derive(PartialEq)]
struct Outcome {
    dataset: BTreeMap<String, Vec<u8>>,
    rejected: Vec<String>,
    counts: Value,
}

fn outcome(run: &Path) -> Outcome {
    let files = fs::read_dir(run.join("dataset")).unwrap().map(|entry| entry.unwrap());
    let bytes =
        |file: fs::DirEntry| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap());
    let mut rejected: Vec<String> = table(run, "rejected").iter().map(Value::to_string).collect();
    rejected.sort();
    let mut counts = counts(run);
    for tally in
        counts.as_object_mut().unwrap().values_mut().flat_map(|l| l.as_object_mut().unwrap().values_mut())
    {
        tally["busy_ms"].take();
    }
    Outcome { dataset: files.map(bytes).collect(), rejected, counts }
}

/// The counts of a run, which add up.
fn counts(run: &Path) -> Value {
    let file: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    let mut last: Option<u64> = None;
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (stage, languages) in file["counts"].as_object().unwrap() {
        for (language, tally) in languages.as_object().unwrap() {
            let number = |name: &str| tally[name].as_u64().unwrap();
            let rejected: u64 =
                tally["rejected"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
            let (rows_in, out) =
                (number("rows_in") + number("spawned"), number("kept") + rejected + number("pending"));
            assert_eq!(rows_in, out, "{stage} {language}");
            let sum = sums.entry(stage).or_default();
            *sum = (sum.0 + number("rows_in"), sum.1 + number("kept"));
        }
    }
    let pipeline = fs::read_to_string(run.join("pipeline.toml")).unwrap();
    for stage in pipeline.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).skip(1)
    {
        if let Some((rows_in, kept)) = sums.get(stage) {
            assert!(last.is_none_or(|kept| kept == *rows_in), "{stage} got {rows_in} rows of {last:?}");
            last = Some(*kept);
        }
    }
    file["counts"].clone()
}

fn write_seeds(dir: &Path, rows: u32) {
    let line = |n: u32| {
        let language = if n.is_multiple_of(3) { "shell" } else { "python" };
        let seed =
            json!({"text": format!("print({n})"), "language": language, "topic": format!("topic {}", n % 5)});
        seed.to_string() + "\n"
    };
    fs::write(dir.join("seeds.jsonl"), (0..rows).map(line).collect::<String>()).unwrap();
}

fn asking(dir: &Path, services: &Services, out: &str, in_flight: usize) -> Command {
    let mut command = command(dir, LONG);
    command.args(["--model", "m", "--base-url", &services.model_url, "--sandbox", &services.sandbox_url]);
    command.args(["--sandbox-jobs", "4", "--in-flight", &in_flight.to_string(), "--out", out]);
    command
}

fn complete(dir: &Path, out: &str, in_flight: usize, more: &[&str]) -> Log {
    let services = Services::start();
    let output = asking(dir, &services, out, in_flight).args(more).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    services.take_log()
}

fn keys(log: &Log) -> HashSet<String> {
    log.arrived.iter().map(|arrival| arrival.key.to_string()).collect()
}

#[test]
fn killed_anywhere_a_run_with_barriers_ends_with_the_same_bytes_and_asks_nothing_twice() {
    const POINTS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write_seeds(dir, 60);
    let log = complete(dir, "straight", 16, &[]);
    let expected = outcome(&dir.join("straight"));
    let reason = |stage: &str, reason: &str| {
        expected.counts[stage]["python"]["rejected"][reason].as_u64().unwrap_or(0)
    };
    assert!(reason("new", "duplicate") > 3 && reason("pick", "not_sampled") > 3, "{}", expected.counts);
    assert_eq!(expected.counts["pick"]["python"]["kept"], 12);
    let total = log.arrived.len();

    let mut killed = 0;
    for point in 0..POINTS {
        let out = format!("killed-{point}");
        let in_flight = [1, 4, 16, 64][point % 4];
        let services = Services::start();
        let alarm = services.alarm_at(1 + point * (total - 1) / (POINTS - 1));
        let mut child = asking(dir, &services, &out, in_flight)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        alarm.recv_timeout(Duration::from_secs(60)).unwrap();
        std::thread::sleep(Duration::from_millis((point * 7 % 40) as u64));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
        killed += usize::from(child.wait().unwrap().signal() == Some(9));
        let answered: HashSet<String> =
            services.take_log().answered.iter().map(|(_, key)| key.to_string()).collect();
        let again = keys(&complete(dir, &out, [64, 16, 4, 1][point % 4], &[]));
        let twice = answered.intersection(&again).count();
        assert!(twice <= in_flight + 4, "point {point}: {twice} answers asked for again");
        assert!(outcome(&dir.join(&out)) == expected, "point {point}: another result");
    }
    assert!(killed > POINTS / 2, "only {killed} kills met a running process");

    // Nothing is left to do or to ask; partitions of another size are cut elsewhere and give the same.
    assert!(complete(dir, "straight", 3, &[]).arrived.is_empty());
    assert!(outcome(&dir.join("straight")) == expected);
    complete(dir, "small", 16, &["--partition-size", "3"]);
    assert!(outcome(&dir.join("small")) == expected);
    complete(dir, "large", 16, &["--partition-size", "1000"]);
    assert!(outcome(&dir.join("large")) == expected);
}

/// Seeds named by their text, answered with other texts, those of `unanswered` not.
fn short(dir: &Path, texts: &[&str], unanswered: &[&str], more: &[&str]) -> Output {
    let (mut seeds, mut replies) = (String::new(), String::new());
    for text in texts {
        seeds += &format!("{}\n", json!({"text": text, "language": "python"}));
        let answer = text.split_once(':').map_or(*text, |(_, answer)| answer);
        for stage in ["ask", "again"] {
            let reply = json!({"output": format!("<a>{answer}</a>"), "finish_reason": "stop"});
            let line = json!({"stage": stage, "row": row_id("python", text, 0), "answer": reply});
            if !unanswered.contains(text) {
                replies += &format!("{line}\n");
            }
        }
    }
    let file = dir.join("seeds.jsonl");
    // The same seeds are the same file, untouched.
    if fs::read_to_string(&file).ok().as_ref() != Some(&seeds) {
        fs::write(file, seeds).unwrap();
    }
    fs::write(dir.join("replies.jsonl"), replies).unwrap();
    let mut command = command(dir, SHORT);
    command
        .args(["--replay", "replies.jsonl", "--tries", "1", "--partition-size", "2"])
        .args(more)
        .output()
        .unwrap()
}

/// The texts of the dataset.
fn kept(run: &Path) -> Vec<String> {
    table(run, "dataset").iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_decision_waits_for_rows_that_are_pending_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let texts = ["a:1 2 3 4 5", "b:6 7 8 9 0", "c:1 2 3 4 5", "d:x y z", "e:6 7 8 9 0", "f:q"];
    let straight = short(dir, &texts, &[], &["--out", "straight"]);
    assert!(straight.status.success(), "{}", stderr(&straight));
    let expected = outcome(&dir.join("straight"));
    assert_eq!(kept(&dir.join("straight")), [texts[0], texts[1], texts[3], texts[5]]);

    // Without the first row, the third would be the first of its kind.
    for _ in 0..2 {
        let waiting = short(dir, &texts, &texts[..1], &["--out", "run"]);
        let said = stderr(&waiting);
        assert_eq!(waiting.status.code(), Some(1), "{said}");
        assert!(said.contains("5 rows are waiting at new (waits_for_pending)"), "{said}");
        assert!(said.contains("1 are pending before it") && said.contains("6 rows are pending"), "{said}");
        let counts = counts(&dir.join("run"));
        assert_eq!(counts["new"]["python"]["pending"], 5);
        assert_eq!(counts.get("again"), None);
        assert!(!dir.join("run/dataset").exists());
        assert!(!dir.join("run/stages/again").exists(), "nothing is asked on a decision that may change");
    }
    let done = short(dir, &texts, &[], &["--out", "run"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(outcome(&dir.join("run")) == expected);
}

#[test]
fn another_row_anywhere_is_another_decision_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let texts = ["d:x y z", "b:6 7 8 9 0", "f:q", "g:r", "a:1 2 3 4 5", "h:s"];
    let run = |texts: &[&str], out: &str| {
        let done = short(dir, texts, &[], &["--out", out]);
        assert!(done.status.success(), "{}", stderr(&done));
    };
    run(&texts, "run");
    let before = outcome(&dir.join("run"));
    assert_eq!(kept(&dir.join("run")), texts);
    let modified = || {
        let parts = fs::read_dir(dir.join("run/stages/new")).unwrap();
        parts.map(|part| part.unwrap().metadata().unwrap().modified().unwrap()).max().unwrap()
    };
    let made = modified();
    run(&texts, "run");
    assert_eq!(modified(), made, "the same rows are not decided about again");
    assert!(outcome(&dir.join("run")) == before);

    // The first partition's new row repeats one of the last partition.
    let mut changed = texts;
    changed[0] = "n:1 2 3 4 5";
    run(&changed, "run");
    assert_eq!(kept(&dir.join("run")), ["n:1 2 3 4 5", texts[1], texts[2], texts[3], texts[5]]);
    run(&changed, "fresh");
    assert!(outcome(&dir.join("run")) == outcome(&dir.join("fresh")));
    // And back: what was answered is in the journal.
    run(&texts, "run");
    assert!(outcome(&dir.join("run")) == before);
}

#[test]
fn seeds_can_be_decided_about_first_and_all_be_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    fs::write(
        dir.join("seeds.jsonl"),
        (0..20)
            .map(|n| json!({"text": format!("f({n})"), "language": "go", "topic": "t"}).to_string() + "\n")
            .collect::<String>(),
    )
    .unwrap();
    let first = "name = \"first\"\n[[stage]]\nname = \"pick\"\nop = \"balance\"\ncategory = \"topic\"\nper_language = 3\n\
                 [[stage]]\nname = \"again\"\nop = \"novelty\"\ncolumns = [\"text\"]\nshingle = 1\nthreshold = 0.5\n";
    for size in ["1", "7", "100"] {
        let done = command(dir, first).args(["--partition-size", size, "--out", size]).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        // Three are picked, of which two repeat the first; most partitions are left without a row.
        assert_eq!(counts(&dir.join(size))["again"]["go"]["rows_in"], 3);
        assert!(outcome(&dir.join(size)) == outcome(&dir.join("1")));
        let again = command(dir, first).args(["--out", size]).output().unwrap();
        assert!(again.status.success(), "{}", stderr(&again));
        assert_eq!(table(&dir.join(size), "dataset").len(), 1);
    }
}
