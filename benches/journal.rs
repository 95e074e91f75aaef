//! The journal's speed and memory: `cargo bench --bench journal`.
//!
//! Measured against what a run needs: the model and the sandbox together finish at most a few thousand calls a
//! second, and seven million records must not be felt in memory. The files go to the system's temporary directory.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use autocodegen::frame::journal::Journal;
use autocodegen::frame::key::Key;

const APPENDS: u64 = 200_000;
const PAYLOAD: usize = 2048;
const MANY: u64 = 2_000_000;
const REOPEN: &str = "AUTOCODEGEN_BENCH_JOURNAL";

fn main() {
    if let Some(dir) = std::env::var_os(REOPEN) {
        return reopen(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let key = |n: u64| Key::of(&[n.to_le_bytes()]);

    let journal = Journal::open(&dir.path().join("speed")).unwrap();
    let payload: Vec<u8> = (0..PAYLOAD).map(|n| (n % 251) as u8).collect();
    let start = Instant::now();
    for n in 0..APPENDS {
        journal.append(key(n), &payload).unwrap();
    }
    journal.sync().unwrap();
    report("appends of 2 KiB, synced in groups", APPENDS, start);

    let start = Instant::now();
    for n in 0..APPENDS / 10 {
        assert!(journal.get(&key(n * 10)).unwrap().is_some());
    }
    report("look-ups of keys that are there", APPENDS / 10, start);
    let start = Instant::now();
    for n in APPENDS..2 * APPENDS {
        assert!(!journal.contains(&key(n)).unwrap());
    }
    report("look-ups of keys that are not", APPENDS, start);

    let many = dir.path().join("many");
    let journal = Journal::open(&many).unwrap();
    for n in 0..MANY {
        journal.append(key(n), b"").unwrap();
    }
    drop(journal);
    // A process of its own: what was allocated here before would hide what opening takes.
    let status = Command::new(std::env::current_exe().unwrap()).env(REOPEN, &many).status().unwrap();
    assert!(status.success());
}

fn report(what: &str, count: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {:.0}/s ({count} in {seconds:.2} s)", count as f64 / seconds);
}

fn reopen(dir: &Path) {
    let (before, start) = (resident_bytes(), Instant::now());
    let journal = Journal::open(dir).unwrap();
    assert_eq!(journal.len(), MANY);
    report("records opened", MANY, start);
    let grown = resident_bytes().saturating_sub(before);
    println!("memory of an open journal: {:.1} bytes/record ({MANY} records)", grown as f64 / MANY as f64);
}

/// The process's resident memory, from /proc.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
