//! The user's cache of replies: shared by runs and processes, capped, pruned, never in the way.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod services;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use autocodegen::engine::calls::{Asker, Calls, Resources, Reuse};
use autocodegen::engine::events::Silent;
use autocodegen::engine::stop::Stop;
use autocodegen::error::Fault;
use autocodegen::frame::cache::{Cache, groups, prune};
use autocodegen::frame::journal::Journal;
use autocodegen::frame::key::Key;
use autocodegen::llm::Model;
use autocodegen::llm::chat::{ChatRequest, Message, Reply, Sampling};
use autocodegen::retry::RetryPolicy;
use autocodegen::stages::{Answer, Request};
use futures::future::BoxFuture;
use services::{Asked, Log, Services};

struct Folder {
    folder: tempfile::TempDir,
    services: Services,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = |n: u32| {
            serde_json::json!({"text": format!("print({n})"), "language": "python"}).to_string() + "\n"
        };
        let seeds = |name: &str, numbers: std::ops::Range<u32>| {
            fs::write(folder.path().join(name), numbers.map(line).collect::<String>()).unwrap();
        };
        seeds("all.jsonl", 0..40);
        seeds("first.jsonl", 0..25);
        seeds("last.jsonl", 15..40);
        Self { folder, services: Services::start() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    fn command(&self, seeds: &str, out: &str) -> Command {
        let mut command = autocodegen();
        command
            .args(["run", "--model", "m", "--base-url", &self.services.model_url, "--in-flight", "8"])
            .args(["--sandbox", &self.services.sandbox_url, "--sandbox-jobs", "4"])
            .arg("--seeds")
            .arg(self.path(seeds))
            .arg("--out")
            .arg(self.path(out))
            .env("HOME", self.path("home"))
            .stdin(Stdio::null());
        command
    }

    /// Runs to the end with `cache` in the environment; what was said and which questions the model was asked.
    fn run(&self, seeds: &str, out: &str, cache: &Path) -> (Output, Vec<Key>) {
        let output = self.command(seeds, out).env("AUTOCODEGEN_CACHE", cache).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (output, replies(&self.services.take_log()))
    }
}

fn autocodegen() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    for name in ["OPENAI_API_KEY", "AUTOCODEGEN_CACHE", "AUTOCODEGEN_CACHE_MAX_BYTES", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The questions that the model, not the sandbox, was asked.
fn replies(log: &Log) -> Vec<Key> {
    let asked = log.arrived.iter().filter(|arrival| arrival.asked != Asked::Program);
    asked.map(|arrival| arrival.key).collect()
}

/// Bytes of all segments and their indexes.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) if entry.path().extension().is_some_and(|e| e == "log" || e == "idx") => {
                metadata.len()
            }
            _ => 0,
        })
        .sum()
}

#[test]
fn a_second_run_pays_for_no_reply_and_asks_for_every_verdict() {
    let folder = Folder::new();
    let (_, asked) = folder.run("all.jsonl", "first", &folder.cache());
    let (output, again) = folder.run("all.jsonl", "second", &folder.cache());
    assert!(again.is_empty(), "{again:?}");
    let said = text(&output.stdout);
    assert!(said.contains(&format!("reused   {} replies and 0 verdicts", asked.len())), "{said}");
    let dataset = |run: &str| fs::read(folder.path(run).join("dataset/part-00000.parquet")).unwrap();
    assert_eq!(dataset("first"), dataset("second"));

    let ls = |args: &[&str]| text(&autocodegen().args(["cache"]).args(args).output().unwrap().stdout);
    let cache = folder.cache();
    let cache = cache.to_str().unwrap();
    let listed = ls(&["ls", "--cache", cache]);
    let row = listed.lines().find(|line| line.trim_start().starts_with("m ")).unwrap();
    assert!(row.contains(&folder.services.model_url) && row.contains(&asked.len().to_string()), "{listed}");
    assert!(ls(&["prune", "--max-bytes", "0", "--cache", cache]).starts_with("deleted "));
    assert_eq!(size(&folder.cache()), 0);
    assert!(!ls(&["ls", "--cache", cache]).contains(&folder.services.model_url));
    // Pruned: asked, and kept again.
    assert_eq!(folder.run("all.jsonl", "third", &folder.cache()).1.len(), asked.len());
    assert!(folder.run("all.jsonl", "fourth", &folder.cache()).1.is_empty());

    // Off means off, and other settings are other requests.
    assert_eq!(folder.run("all.jsonl", "fifth", Path::new("off")).1.len(), asked.len());
    let mut warmer = folder.command("all.jsonl", "sixth");
    let warmer = warmer.args(["--temperature", "0.7", "--cache", cache]).output().unwrap();
    assert!(warmer.status.success() && !text(&warmer.stdout).contains("reused"));
    let asked_warmer: HashSet<Key> = replies(&folder.services.take_log()).into_iter().collect();
    assert!(asked_warmer.len() > 80 && asked_warmer.is_disjoint(&asked.into_iter().collect()));
}

/// What an endpoint on this machine calls a model may be another one tomorrow.
#[test]
fn an_endpoint_on_this_machine_is_cached_only_where_a_folder_is_named() {
    let folder = Folder::new();
    for out in ["first", "second"] {
        let output = folder.command("first.jsonl", out).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(!replies(&folder.services.take_log()).is_empty());
    }
    assert!(!folder.path("home").exists());
    // A recording is no endpoint.
    let recording = folder.path("recording.jsonl");
    let record = folder.command("first.jsonl", "recorded").arg("--record").arg(&recording).output().unwrap();
    assert!(record.status.success());
    let mut replay = folder.command("first.jsonl", "replayed");
    let replay = replay.arg("--replay").arg(&recording).arg("--cache").arg(folder.cache()).output().unwrap();
    assert!(replay.status.success(), "{}", text(&replay.stderr));
    assert!(!folder.cache().exists());
}

#[test]
fn two_processes_share_a_cache() {
    let folder = Folder::new();
    folder.services.delay(Duration::from_millis(5));
    let start = |seeds, out| {
        let mut command = folder.command(seeds, out);
        command.env("AUTOCODEGEN_CACHE", folder.cache()).stdout(Stdio::null()).spawn().unwrap()
    };
    let mut both = [start("first.jsonl", "first"), start("last.jsonl", "last")];
    assert!(both.iter_mut().all(|child| child.wait().unwrap().success()));
    folder.services.take_log();
    assert!(folder.run("all.jsonl", "all", &folder.cache()).1.is_empty());
    assert_eq!(groups(&folder.cache()).unwrap().len(), 1);
}

#[test]
fn a_damaged_or_unusable_cache_only_costs_its_replies() {
    let folder = Folder::new();
    let asked = folder.run("all.jsonl", "first", &folder.cache()).1.len();
    let group = fs::read_dir(folder.cache().join("replies")).unwrap().next().unwrap().unwrap().path();
    let segment = group.join("0/segment-00000.log");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (output, again) = folder.run("all.jsonl", "second", &folder.cache());
    assert!(text(&output.stderr).contains("left out"), "{}", text(&output.stderr));
    assert_eq!(again.len(), asked);
    // They are kept elsewhere in the cache now.
    assert!(folder.run("all.jsonl", "third", &folder.cache()).1.is_empty());

    let (output, again) = folder.run("all.jsonl", "fourth", Path::new("/dev/null/cache"));
    assert!(text(&output.stderr).contains("the cache of replies is not used"), "{}", text(&output.stderr));
    assert_eq!(again.len(), asked);
}

fn key(n: u64) -> Key {
    Key::of(&[n.to_le_bytes()])
}

#[test]
fn the_cap_is_kept_and_what_was_used_longest_ago_goes_first() {
    const CAP: u64 = 640_000;
    let dir = tempfile::tempdir().unwrap();
    let open = |model| Cache::open(dir.path(), "https://example.com/v1", model, CAP).unwrap();
    let (one, other) = (open("one"), open("other"));
    let payload = |n: u64| format!("{{\"n\": {n}}}{}", " ".repeat(1500)).into_bytes();
    let mut peak = 0;
    for n in 0..1000 {
        one.keep(key(n), &payload(n));
        other.keep(key(n), &payload(n + 1));
        // A reply that is asked for all the time; its use is written down once a minute.
        if n == 10 {
            assert!(one.find(&key(0)).is_some());
        }
        if n % 50 == 0 {
            peak = peak.max(size(dir.path()));
        }
    }
    assert!(peak > CAP / 2 && peak <= CAP, "{peak} bytes");
    assert_eq!(one.find(&key(999)), Some(payload(999)));
    assert_eq!(other.find(&key(999)), Some(payload(1000)), "models do not mix");
    assert_eq!(one.find(&key(400)), None, "the oldest are gone");
    // Too large to be worth it.
    one.keep(key(5000), &vec![b' '; CAP as usize / 32]);
    assert_eq!(one.find(&key(5000)), None);
    drop((one, other));

    // Used the longest ago is not the same as the oldest.
    let group = fs::read_dir(dir.path().join("replies")).unwrap().next().unwrap().unwrap().path();
    let journal = Journal::open_read_only(&group.join("0")).unwrap();
    let mut kept = Vec::new();
    journal
        .for_each(&mut |key, _| {
            kept.push(key);
            Ok(())
        })
        .unwrap();
    let segment = |key: &Key| journal.locate(key).unwrap().unwrap().1;
    let (old, new) = (segment(&kept[0]), segment(kept.last().unwrap()));
    let age = |path: &Path, days: u64| {
        let then = SystemTime::now() - Duration::from_secs(days * 86_400);
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
    };
    age(&new, 40);
    age(&old, 20);
    let before = size(dir.path());
    let pruned = prune(dir.path(), u64::MAX, Some(Duration::from_secs(30 * 86_400))).unwrap();
    assert!(!new.exists() && old.exists());
    assert_eq!((pruned.left, pruned.left + pruned.freed), (size(dir.path()), before));
    prune(dir.path(), before / 2, None).unwrap();
    assert!(!old.exists() && size(dir.path()) <= before / 2);
}

#[test]
fn a_use_makes_a_segment_young_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), "https://example.com?key=secret", "m", 1 << 20).unwrap();
    cache.keep(key(1), b"{}");
    drop(cache);
    let [group] = groups(dir.path()).unwrap().try_into().unwrap();
    assert_eq!((group.about.endpoint.as_str(), group.replies), ("https://example.com", 1));
    let segment = fs::read_dir(dir.path().join("replies")).unwrap().next().unwrap().unwrap().path();
    let segment = segment.join("0/segment-00000.log");
    let day = Duration::from_secs(86_400);
    let then = FileTimes::new().set_modified(SystemTime::now() - 9 * day);
    File::open(&segment).unwrap().set_times(then).unwrap();
    let cache = Cache::open(dir.path(), "https://example.com?key=secret", "m", 1 << 20).unwrap();
    assert!(cache.find(&key(1)).is_some());
    drop(cache);
    assert_eq!(prune(dir.path(), u64::MAX, Some(day)).unwrap().freed, 0);
    assert!(segment.exists());
}

/// A model that samples: it never says the same twice.
#[derive(Default)]
struct Sampler(AtomicUsize);

impl Model for Sampler {
    fn ask<'a>(&'a self, _request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        let reply = Reply { output: format!("reply {n}"), finish_reason: "stop".into(), ..Reply::default() };
        Box::pin(std::future::ready(Ok(reply)))
    }
}

/// Samples `samples` of one request with temperature 1, in a run of its own that has `cache`.
async fn sampled(cache: &Path, model: Arc<Sampler>, samples: std::ops::Range<u32>) -> Vec<String> {
    let run = tempfile::tempdir().unwrap();
    let resources = Resources {
        model: Some(model),
        sandbox: None,
        model_in_flight: 4,
        sandbox_in_flight: 1,
        retry: RetryPolicy::default(),
        recorder: None,
    };
    let journals = HashMap::from([("ask".into(), Journal::open(run.path()).unwrap())]);
    let cache = Cache::open(cache, "https://example.com", "m", 1 << 30).unwrap();
    let calls = Calls::new(resources, journals, Arc::new(Stop::default()), Arc::new(Silent));
    let calls = Arc::new(calls.reusing(Reuse::new(&[], Some(cache)).unwrap()));
    let sampling = Arc::new(Sampling { model: "m".into(), temperature: Some(1.0), ..Sampling::default() });
    let mut outputs = Vec::new();
    for sample in samples {
        let messages = vec![Message { role: "user".into(), content: "a number?".into() }];
        let asker = Asker { stage: "ask".into(), row: "r".into(), language: "python".into(), sample };
        let request = Request::Model { sampling: sampling.clone(), messages: messages.into() };
        let answer = calls.answer(asker, request).await.unwrap();
        let Answer::Model(reply) = &*answer else { panic!("{answer:?}") };
        outputs.push(reply.output.clone());
    }
    outputs
}

#[tokio::test]
async fn repeated_samples_never_collapse_into_one() {
    let dir = tempfile::tempdir().unwrap();
    let model = Arc::new(Sampler::default());
    let first = sampled(dir.path(), model.clone(), 0..3).await;
    assert_eq!(first, ["reply 0", "reply 1", "reply 2"]);
    // Sample by sample what it was before, and a further sample is a further question.
    let second = sampled(dir.path(), model.clone(), 0..4).await;
    assert_eq!(second, ["reply 0", "reply 1", "reply 2", "reply 3"]);
    assert_eq!(model.0.load(Ordering::SeqCst), 4);
}
