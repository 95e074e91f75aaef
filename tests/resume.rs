//! Runs that are killed, interrupted and changed: what is asked again, and that the dataset stays the same.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod services;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use autocodegen::frame::journal::Journal;
use autocodegen::frame::key::Key;
use autocodegen::frame::recorded::Recorded;
use autocodegen::llm::chat::Reply;
use autocodegen::sandbox::job::Verdict;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use services::{Arrival, Asked, Log, Services};

const MODEL_STAGES: [&str; 3] = ["solution.reply", "tests.reply", "question.reply"];
const SANDBOX_STAGES: [&str; 2] = ["probe", "verify"];
const SANDBOX_JOBS: usize = 4;
/// Longest that any of these runs may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seeds and a folder for run directories.
struct Bench {
    folder: tempfile::TempDir,
}

/// What two runs of the same seeds have in common, byte for byte: dataset and rejects, and the counts without times.
#[derive(PartialEq)]
struct Outcome {
    tables: BTreeMap<PathBuf, Vec<u8>>,
    counts: Value,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = |n: u32| {
            let language = if n.is_multiple_of(3) { "shell" } else { "python" };
            let seed = serde_json::json!({
                "text": format!("print({n})"), "language": language, "topic": format!("number {n}"),
            });
            seed.to_string() + "\n"
        };
        let seeds: String = (0..60).map(line).collect();
        fs::write(folder.path().join("seeds.jsonl"), seeds).unwrap();
        Self { folder }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, services: &Services, out: &Path, in_flight: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
        command
            .args(["run", "--model", "m", "--base-url", &services.model_url])
            .args(["--sandbox", &services.sandbox_url, "--sandbox-jobs", &SANDBOX_JOBS.to_string()])
            .args(["--in-flight", &in_flight.to_string()])
            .arg("--seeds")
            .arg(self.folder.path().join("seeds.jsonl"))
            .arg("--out")
            .arg(out)
            .env_remove("OPENAI_API_KEY")
            .env("AUTOCODEGEN_CACHE", "off")
            .stdin(Stdio::null());
        command
    }

    /// Runs to the end and must succeed. What was said and asked.
    ///
    /// Every invocation has services of its own: a question that a killed process has sent may arrive late, and must
    /// not be taken for one of the next process.
    fn complete<A: AsRef<OsStr>>(&self, out: &Path, in_flight: usize, more: &[A]) -> (Output, Log) {
        let services = Services::start();
        let output = self.command(&services, out, in_flight).args(more).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        (output, services.take_log())
    }

    /// Runs without more arguments to the end. What was asked.
    fn run(&self, out: &Path, in_flight: usize) -> Log {
        self.complete::<&str>(out, in_flight, &[]).1
    }

    /// Starts a run and sends it `signal` a while after its `nth` question arrived, unless it ends before.
    fn signalled(
        &self,
        out: &Path,
        in_flight: usize,
        nth: usize,
        wait: Duration,
        signal: Signal,
    ) -> (ExitStatus, Log) {
        let services = Services::start();
        let alarm = services.alarm_at(nth);
        let mut command = self.command(&services, out, in_flight);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if rings(&alarm, &mut child) {
            std::thread::sleep(wait);
            // The child is not reaped yet, so its number is nobody else's.
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        }
        let status = child.wait().unwrap();
        (status, services.take_log())
    }
}

/// Waits for the alarm; false when the child ends without it.
fn rings(alarm: &Receiver<()>, child: &mut Child) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match alarm.recv_timeout(Duration::from_millis(20)) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) if child.try_wait().unwrap().is_some() => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    child.kill().unwrap();
    panic!("the run asked too little in {PATIENCE:?}");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn outcome(run: &Path) -> Outcome {
    let mut tables = BTreeMap::new();
    for name in ["dataset", "rejected"] {
        for entry in fs::read_dir(run.join(name)).unwrap() {
            let entry = entry.unwrap();
            tables.insert(PathBuf::from(name).join(entry.file_name()), fs::read(entry.path()).unwrap());
        }
    }
    let mut counts = run_json(run)["counts"].take();
    for tally in
        counts.as_object_mut().unwrap().values_mut().flat_map(|l| l.as_object_mut().unwrap().values_mut())
    {
        tally["busy_ms"].take();
    }
    Outcome { tables, counts }
}

fn run_json(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap()
}

/// The keys in the journals of `stages`; every record must decode and know its own key.
fn journaled(run: &Path, stages: &[&str]) -> HashSet<Key> {
    let mut keys = HashSet::new();
    for stage in stages {
        let journal = Journal::open_read_only(&run.join("journal").join(stage)).unwrap();
        journal
            .for_each(&mut |key, payload| {
                let known = if MODEL_STAGES.contains(stage) {
                    serde_json::from_slice::<Recorded<Reply>>(payload).unwrap().key
                } else {
                    serde_json::from_slice::<Recorded<Verdict>>(payload).unwrap().key
                };
                assert_eq!(known, Some(key));
                assert!(keys.insert(key), "{stage}: {key} was answered twice");
                Ok(())
            })
            .unwrap();
    }
    keys
}

fn all_journaled(run: &Path) -> HashSet<Key> {
    &journaled(run, &MODEL_STAGES) | &journaled(run, &SANDBOX_STAGES)
}

fn keys(log: &Log) -> HashSet<Key> {
    log.arrived.iter().map(|arrival| arrival.key).collect()
}

/// A number that depends on `point` and `what` alone.
fn seeded(point: usize, what: &str) -> usize {
    let key = Key::of(&[what.to_owned(), point.to_string()]);
    u32::from_le_bytes(key.as_bytes()[..4].try_into().unwrap()) as usize
}

#[test]
fn killed_anywhere_a_run_ends_with_the_same_bytes_and_asks_nothing_twice() {
    const POINTS: usize = 30;
    let bench = Bench::new();
    let log = bench.run(&bench.out("straight"), 16);
    let expected = outcome(&bench.out("straight"));
    let total = log.arrived.len();
    // Rows with the same solution share their calls: none is made twice.
    assert_eq!(keys(&log).len(), total);
    assert_eq!(keys(&log), all_journaled(&bench.out("straight")));

    let mut killed = 0;
    for point in 0..POINTS {
        let out = bench.out(&format!("killed-{point}"));
        let mut known = HashSet::new();
        // Every third run is killed again while it resumes.
        for attempt in 0..if point % 3 == 0 { 2 } else { 1 } {
            let in_flight = [1, 4, 16, 64][seeded(point + attempt, "in flight") % 4];
            // One point in each thirtieth of what is left; the last ones hit the writing of the tables.
            let left = total - known.len();
            let nth = (1 + point * left / (POINTS - 1)).min(left);
            let wait = Duration::from_millis((seeded(point + attempt, "wait") % 40) as u64);
            let (status, log) = bench.signalled(&out, in_flight, nth, wait, Signal::SIGKILL);
            killed += usize::from(status.signal() == Some(9));
            assert!(status.success() || status.signal() == Some(9), "point {point}: {status}");

            assert!(keys(&log).is_disjoint(&known), "point {point}: asked again after a kill");
            for (stages, at_once) in [(&MODEL_STAGES[..], in_flight), (&SANDBOX_STAGES[..], SANDBOX_JOBS)] {
                let kept = journaled(&out, stages);
                let program = stages == SANDBOX_STAGES;
                let answered = log.answered.iter().filter(|(asked, _)| (*asked == Asked::Program) == program);
                let lost = answered.filter(|(_, key)| !kept.contains(key)).count();
                assert!(lost <= at_once, "point {point}: {lost} answers lost with {at_once} in flight");
            }
            known = all_journaled(&out);
        }
        let in_flight = [64, 16, 4, 1][seeded(point, "in flight") % 4];
        let log = bench.run(&out, in_flight);
        assert!(keys(&log).is_disjoint(&known), "point {point}: asked again what was in the journal");
        assert_eq!(log.arrived.len() + known.len(), total, "point {point}");
        assert!(outcome(&out) == expected, "point {point}: another result");
    }
    assert!(killed >= POINTS, "only {killed} kills met a running process");
}

#[test]
fn an_interrupt_drains_what_is_in_flight() {
    let bench = Bench::new();
    let log = bench.run(&bench.out("straight"), 16);
    let expected = outcome(&bench.out("straight"));

    let out = bench.out("interrupted");
    let nth = log.arrived.len() / 3;
    let (status, log) = bench.signalled(&out, 8, nth, Duration::ZERO, Signal::SIGINT);
    assert_eq!(status.code(), Some(130));
    let known = all_journaled(&out);
    assert_eq!(known, keys(&log), "everything that was asked is in the journal");
    let state = run_json(&out);
    assert_eq!(state["state"], "pending");
    assert_adds_up(&state);
    assert!(outcome(&out) != expected);

    let log = bench.run(&out, 64);
    assert!(keys(&log).is_disjoint(&known));
    assert!(outcome(&out) == expected);
    assert_eq!(run_json(&out)["state"], "done");

    // Nothing is left to ask.
    assert!(bench.run(&out, 3).arrived.is_empty());
    assert!(outcome(&out) == expected);
}

fn assert_adds_up(run: &Value) {
    for (stage, languages) in run["counts"].as_object().unwrap() {
        for (language, tally) in languages.as_object().unwrap() {
            let number = |name: &str| tally[name].as_u64().unwrap();
            let rejected: u64 =
                tally["rejected"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
            assert_eq!(
                number("rows_in") + number("spawned"),
                number("kept") + rejected + number("pending"),
                "{stage} {language}"
            );
        }
    }
}

#[test]
fn a_changed_template_redoes_its_step_and_what_follows() {
    let bench = Bench::new();
    let out = bench.out("run");
    bench.run(&out, 16);
    let before = outcome(&out);
    let known = all_journaled(&out);
    let probed = journaled(&out, &["solution.reply", "probe"]);

    let templates = bench.out("templates");
    fs::create_dir_all(templates.join("test")).unwrap();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/test/python.txt");
    let changed = fs::read_to_string(built_in).unwrap() + "\nWrite short tests.\n";
    fs::write(templates.join("test/python.txt"), changed).unwrap();
    let changed = [OsStr::new("--templates"), templates.as_os_str()];

    let (_, log) = bench.complete(&out, 16, &changed);
    assert!(keys(&log).is_disjoint(&known));
    let asked = |wanted: Asked| log.arrived.iter().filter(move |arrival| arrival.asked == wanted).count();
    assert_eq!(asked(Asked::Solution), 0);
    assert!(asked(Asked::Tests) > 10 && asked(Asked::Program) > 10 && asked(Asked::Question) > 10);
    assert_eq!(journaled(&out, &["solution.reply", "probe"]), probed);
    let others: Vec<&Arrival> = log.arrived.iter().filter(|arrival| arrival.language != "python").collect();
    assert!(others.is_empty(), "{others:?}");

    bench.complete(&bench.out("fresh"), 16, &changed);
    let after = outcome(&out);
    assert!(after == outcome(&bench.out("fresh")));
    assert!(after != before);

    // The old answers are still there: going back asks nothing.
    assert!(bench.run(&out, 16).arrived.is_empty());
    assert!(outcome(&out) == before);
}

#[test]
fn the_partition_size_of_a_run_stays() {
    let bench = Bench::new();
    let out = bench.out("run");
    bench.complete(&out, 16, &["--partition-size", "16"]);
    let before = outcome(&out);
    assert_eq!(run_json(&out)["partition_rows"], 16);

    let (output, log) = bench.complete(&out, 16, &["--partition-size", "7"]);
    let said = stderr(&output);
    assert!(said.contains("--partition-size 7 is ignored") && said.contains("16 rows"), "{said}");
    assert!(log.arrived.is_empty());
    assert!(outcome(&out) == before);

    // The size is no part of the dataset. Rejects are listed partition by partition.
    bench.run(&bench.out("other"), 16);
    assert_eq!(run_json(&bench.out("other"))["partition_rows"], 8);
    let other = outcome(&bench.out("other"));
    assert!(other.counts == before.counts);
    let dataset = Path::new("dataset/part-00000.parquet");
    assert!(other.tables[dataset] == before.tables[dataset]);
}

#[test]
fn a_second_process_is_refused() {
    let bench = Bench::new();
    let out = bench.out("run");
    let services = Services::start();
    services.delay(PATIENCE);
    let alarm = services.alarm_at(1);
    let mut first = bench.command(&services, &out, 16);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(rings(&alarm, &mut first));
    let second = bench.command(&services, &out, 16).output().unwrap();
    let owner = first.id();
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let said = stderr(&second);
    assert!(said.contains(&format!("process {owner}")) && said.contains("hint:"), "{said}");

    // The lock went with the process.
    bench.run(&out, 16);
}

#[test]
fn a_run_directory_belongs_to_one_pipeline() {
    let bench = Bench::new();
    let out = bench.out("run");
    bench.run(&out, 16);
    let before = outcome(&out);

    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pipelines/synthesize.toml");
    let text = fs::read_to_string(built_in).unwrap();
    let other = bench.out("other.toml");
    fs::write(&other, text.replace("name = \"synthesize\"", "name = \"other\"")).unwrap();
    let output = bench.command(&Services::start(), &out, 16).arg(&other).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("`synthesize`") && said.contains("`other`") && said.contains("--out"), "{said}");
    assert!(outcome(&out) == before);
}
