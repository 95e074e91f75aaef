//! The journal's speed, memory and size on disk: `cargo bench --bench journal`.
//!
//! Measured against what a run needs: the model and the sandbox together finish at most a few thousand calls a
//! second, and millions of records must not be felt in memory. The files go to the system's temporary directory.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use autocodegen::frame::journal::{Journal, REPLIES};
use autocodegen::frame::key::Key;
use autocodegen::frame::recorded::Recorded;
use autocodegen::llm::chat::Reply;
use common::resident_bytes;

/// Records of the two runs whose memory is compared.
const SIZES: [u64; 2] = [100_000, 1_000_000];
const PAYLOAD: usize = 2048;
const CHILD: &str = "AUTOCODEGEN_BENCH_JOURNAL";

fn main() {
    if let Some(records) = std::env::var_os(CHILD) {
        return life(records.to_str().unwrap().parse().unwrap());
    }
    for records in SIZES {
        // A process of its own: what was allocated before would hide what this takes.
        let me = std::env::current_exe().unwrap();
        assert!(Command::new(me).env(CHILD, records.to_string()).status().unwrap().success());
    }
}

fn key(n: u64) -> Key {
    Key::of(&[n.to_le_bytes()])
}

/// A journal of `records` replies from the first append to the look-ups after compaction.
fn life(records: u64) {
    println!("{records} replies of {PAYLOAD} bytes:");
    let words = words();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("journal/solution.reply");
    let before = resident_bytes();
    let memory = |what: &str| {
        let grown = resident_bytes().saturating_sub(before);
        println!("  memory {what}: {:.1} MiB", grown as f64 / f64::from(1 << 20));
    };

    let journal = Journal::open(&dir).unwrap();
    let start = Instant::now();
    for n in 0..records {
        journal.append(key(n), &reply(n, &words)).unwrap();
    }
    journal.sync().unwrap();
    report("appends, synced in groups", records, start);
    memory("after them");
    let start = Instant::now();
    for n in 0..records / 10 {
        assert!(journal.get(&key(n * 10)).unwrap().is_some());
    }
    report("look-ups of keys that are there", records / 10, start);
    let start = Instant::now();
    for n in records..2 * records {
        assert!(!journal.contains(&key(n)).unwrap());
    }
    report("look-ups of keys that are not", records, start);

    let segments = size(&dir);
    let start = Instant::now();
    journal.compact(&REPLIES).unwrap();
    report("records compacted", records, start);
    let (table, left) = (size(&folder.path().join("replies")), size(&dir));
    println!(
        "  on disk: segments {} MiB, compacted {} MiB with {} MiB of indexes: {:.2} of the size",
        segments >> 20,
        table >> 20,
        left >> 20,
        (table + left) as f64 / segments as f64
    );
    memory("after compaction");
    drop(journal);

    let start = Instant::now();
    let journal = Journal::open(&dir).unwrap();
    assert_eq!(journal.len(), records);
    report("records opened", records, start);
    let some = (records / 2).min(50_000);
    let start = Instant::now();
    for n in 0..some {
        assert!(journal.get(&key(n)).unwrap().is_some());
    }
    report("look-ups of compacted records, in their order", some, start);
    // As 64 calls at once ask: near each other, in no order.
    let start = Instant::now();
    for n in 0..some {
        assert!(journal.get(&key(n / 4096 * 4096 + n * 2655 % 4096)).unwrap().is_some());
    }
    report("look-ups of compacted records, 4,096 of them mixed", some, start);
    let start = Instant::now();
    for n in 0..500 {
        assert!(journal.get(&key(n * 7919 % records)).unwrap().is_some());
    }
    report("look-ups of compacted records anywhere", 500, start);
    memory("at the end");
}

/// A reply of program text: words of our own templates by chance, so that it packs as such text does, not better.
fn reply(n: u64, words: &[String]) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut output = String::with_capacity(PAYLOAD);
    while output.len() < PAYLOAD - 300 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Some words are frequent.
        let at = (state >> 8) % words.len() as u64;
        output.push_str(&words[(if state & 1 == 0 { at / 16 } else { at }) as usize]);
        output.push(if state & 30 == 0 { '\n' } else { ' ' });
    }
    let record = Recorded {
        key: Some(key(n)),
        stage: "solution.reply".into(),
        row: key(n + 1).to_string(),
        language: "python".into(),
        sample: 0,
        attempts: 1,
        reused: false,
        answer: Reply {
            output,
            finish_reason: "stop".into(),
            model: "m".into(),
            prompt_tokens: 900 + n % 100,
            completion_tokens: state % 1000,
            latency_ms: state % 20_000,
            ..Reply::default()
        },
    };
    serde_json::to_vec(&record).unwrap()
}

fn words() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/quickstart");
    let mut words = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        words.extend(text.split_whitespace().map(str::to_owned));
    }
    words.sort();
    words.dedup();
    assert!(words.len() > 1000, "{} words", words.len());
    words
}

fn report(what: &str, count: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("  {what}: {:.0}/s ({count} in {seconds:.2} s)", count as f64 / seconds);
}

/// Bytes of the files in `dir`.
fn size(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
