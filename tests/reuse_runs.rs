//! `--reuse`: answers to equal requests taken over from other runs, finished, killed or under way.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod services;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use autocodegen::frame::journal::Journal;
use autocodegen::frame::key::Key;
use services::{Asked, Log, Services};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = |n: u32| {
            serde_json::json!({"text": format!("print({n})"), "language": "python"}).to_string() + "\n"
        };
        fs::write(folder.path().join("seeds.jsonl"), (0..40).map(line).collect::<String>()).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, services: &Services, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
        command
            .args(["run", "--model", "m", "--base-url", &services.model_url, "--in-flight", "8"])
            .args(["--sandbox", &services.sandbox_url, "--sandbox-jobs", "4"])
            .arg("--seeds")
            .arg(self.path("seeds.jsonl"))
            .arg("--out")
            .arg(self.path(out))
            .env("AUTOCODEGEN_CACHE", "off")
            .env_remove("OPENAI_API_KEY")
            .stdin(Stdio::null());
        command
    }

    /// Runs to the end; what was said and asked.
    fn run(&self, out: &str, reuse: &[&str]) -> (Output, Log) {
        let services = Services::start();
        let mut command = self.command(&services, out);
        if !reuse.is_empty() {
            command.arg("--reuse").args(reuse.iter().map(|name| self.path(name)));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (output, services.take_log())
    }

    fn dataset(&self, run: &str) -> Vec<u8> {
        fs::read(self.path(run).join("dataset/part-00000.parquet")).unwrap()
    }

    fn query(&self, run: &str, sql: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
        command.args(["query", "--format", "csv", "--sql", sql, "--run"]).arg(self.path(run));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().to_owned()
    }
}

fn keys(log: &Log) -> HashSet<Key> {
    log.arrived.iter().map(|arrival| arrival.key).collect()
}

fn journaled(run: &Path) -> HashSet<Key> {
    let mut keys = HashSet::new();
    for stage in fs::read_dir(run.join("journal")).into_iter().flatten() {
        let journal = Journal::open_read_only(&stage.unwrap().path()).unwrap();
        journal
            .for_each(&mut |key, _| {
                keys.insert(key);
                Ok(())
            })
            .unwrap();
    }
    keys
}

fn segments(run: &Path) -> usize {
    let journals = fs::read_dir(run.join("journal")).unwrap();
    let files = journals.flat_map(|journal| fs::read_dir(journal.unwrap().path()).unwrap());
    let logs =
        files.map(|file| file.unwrap()).filter(|file| file.path().extension().is_some_and(|e| e == "log"));
    logs.filter(|log| log.metadata().unwrap().len() > 8).count()
}

#[test]
fn a_finished_run_answers_another_which_then_stands_alone() {
    let folder = Folder::new();
    let (_, first) = folder.run("first", &[]);
    let asked = keys(&first);
    assert_eq!(segments(&folder.path("first")), 0, "a finished run is compacted");
    assert_eq!(journaled(&folder.path("first")), asked);
    let programs = first.arrived.iter().filter(|arrival| arrival.asked == Asked::Program).count();
    let replies = asked.len() - programs;

    let (output, log) = folder.run("second", &["first"]);
    assert!(log.arrived.is_empty(), "{:?}", log.arrived);
    assert_eq!(folder.dataset("second"), folder.dataset("first"));
    let said = String::from_utf8(output.stdout).unwrap();
    let told = format!("reused   {replies} replies and {programs} verdicts of equal requests");
    assert!(said.contains(&told), "{said}");
    let count = |run, sql| folder.query(run, sql).parse::<usize>().unwrap();
    for (run, reused) in [("first", 0), ("second", replies)] {
        assert_eq!(count(run, "select count(*) as n from replies"), replies);
        assert_eq!(count(run, "select count(*) as n from replies where reused"), reused);
        assert_eq!(count(run, "select count(*) as n from verdicts"), programs);
        let longest =
            "select count(*) as n from replies where output like '%solution%' or output like '%rather not%'";
        assert!(count(run, longest) >= 40);
    }
    // Nothing of it is needed any more: the stages are made again from the run's own answers.
    fs::remove_dir_all(folder.path("first")).unwrap();
    let before = folder.dataset("second");
    fs::remove_dir_all(folder.path("second/stages")).unwrap();
    fs::remove_dir_all(folder.path("second/dataset")).unwrap();
    let (output, log) = folder.run("second", &[]);
    assert!(log.arrived.is_empty());
    assert!(!String::from_utf8(output.stdout).unwrap().contains("reused"));
    assert_eq!(folder.dataset("second"), before);

    let exported = folder.path("exported.jsonl");
    let mut export = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    export.args(["export", "--with-prompts", "--format", "jsonl", "--out"]).arg(&exported);
    assert!(export.arg("--run").arg(folder.path("second")).status().unwrap().success());
    let rows = fs::read_to_string(&exported).unwrap().lines().count();
    assert_eq!(rows, count("second", "select count(*) as n from dataset"));
}

#[test]
fn a_killed_run_answers_what_it_had() {
    let folder = Folder::new();
    let services = Services::start();
    let alarm = services.alarm_at(60);
    let mut child =
        folder.command(&services, "killed").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    alarm.recv_timeout(Duration::from_secs(60)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let had = journaled(&folder.path("killed"));
    assert!(segments(&folder.path("killed")) > 0 && had.len() > 20, "{} answers", had.len());

    let (_, straight) = folder.run("straight", &[]);
    let (_, log) = folder.run("second", &["killed"]);
    assert_eq!(keys(&log), &keys(&straight) - &had);
    assert_eq!(folder.dataset("second"), folder.dataset("straight"));
    // Nothing was done to the run that was read: it goes on.
    let (_, log) = folder.run("killed", &["second"]);
    assert!(log.arrived.is_empty());
    assert_eq!(folder.dataset("killed"), folder.dataset("straight"));
}

#[test]
fn a_run_under_way_answers_while_it_goes_on_and_ends() {
    let folder = Folder::new();
    let (_, straight) = folder.run("straight", &[]);
    let slow = Services::start();
    slow.delay(Duration::from_millis(40));
    let alarm = slow.alarm_at(80);
    let mut first =
        folder.command(&slow, "first").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    alarm.recv_timeout(Duration::from_secs(60)).unwrap();
    let had = journaled(&folder.path("first"));
    // Slower, so that the first run ends and is compacted in between.
    let services = Services::start();
    services.delay(Duration::from_millis(60));
    let mut second = folder.command(&services, "second");
    let mut second = second.arg("--reuse").arg(folder.path("first")).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let status = first.wait().unwrap();
    assert!(status.success());
    assert!(second.wait().unwrap().success(), "{:?} after the start", started.elapsed());
    let log = services.take_log();
    assert!(had.len() > 40 && keys(&log).is_disjoint(&had), "{} answers were there", had.len());
    assert!(log.arrived.len() < straight.arrived.len());
    for run in ["first", "second"] {
        assert_eq!(folder.dataset(run), folder.dataset("straight"));
    }
}

#[test]
fn a_stage_takes_answers_of_runs_too() {
    let folder = Folder::new();
    folder.run("first", &[]);
    let services = Services::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command
        .args(["stage", "solution.prompt,solution.reply", "--model", "m", "--base-url", &services.model_url])
        .arg("--in")
        .arg(folder.path("seeds.jsonl"))
        .arg("--out")
        .arg(folder.path("replies.jsonl"))
        .arg("--reuse")
        .arg(folder.path("first"))
        .env("AUTOCODEGEN_CACHE", "off");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(services.take_log().arrived.is_empty());
    assert!(said.contains("reused 40 replies and 0 verdicts"), "{said}");
}

#[test]
fn what_is_no_other_run_is_refused() {
    let folder = Folder::new();
    folder.run("first", &[]);
    for (reuse, why) in
        [("first", "is the run itself"), ("seeds.jsonl", "not a run"), ("nowhere", "not a run")]
    {
        let mut command = folder.command(&Services::start(), "first");
        let output = command.arg("--reuse").arg(folder.path(reuse)).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && said.contains("hint:"), "{said}");
    }
}

/// Answers that cannot be read are asked again, and the rest is taken.
#[test]
fn damage_in_another_run_costs_only_what_it_hits() {
    let folder = Folder::new();
    let (_, first) = folder.run("first", &[]);
    let table = folder.path("first/replies");
    let part = fs::read_dir(&table).unwrap().map(|entry| entry.unwrap().path());
    let part = part.filter(|path| path.to_str().unwrap().contains("tests.reply")).last().unwrap();
    let mut bytes = fs::read(&part).unwrap();
    // The first pages, where the keys and the texts are; the footer stays.
    for byte in &mut bytes[20..2000] {
        *byte ^= 0x55;
    }
    fs::write(&part, bytes).unwrap();
    let (output, log) = folder.run("second", &["first"]);
    let tests = first.arrived.iter().filter(|arrival| arrival.asked == Asked::Tests).count();
    assert_eq!(log.arrived.len(), tests);
    assert!(String::from_utf8(output.stderr).unwrap().contains("asked for again"));
    assert_eq!(folder.dataset("second"), folder.dataset("first"));
}
