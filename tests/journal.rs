//! The journal: what survives torn tails, kills, full disks and lost index files.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use autocodegen::error::Kind;
use autocodegen::frame::journal::{Journal, SegmentLimits};
use autocodegen::frame::key::Key;
use proptest::prelude::*;

const CHILD_DIR: &str = "AUTOCODEGEN_TEST_JOURNAL_DIR";

fn key(n: u64) -> Key {
    Key::of(&[n.to_le_bytes()])
}

/// A payload that is recognisably of record `n`, and long or short.
fn payload(n: u64) -> Vec<u8> {
    format!("record {n} ").repeat(1 + (n % 50) as usize).into_bytes()
}

fn records(journal: &Journal) -> Vec<(Key, Vec<u8>)> {
    let mut records = Vec::new();
    journal
        .for_each(&mut |key, payload| {
            records.push((key, payload.to_vec()));
            Ok(())
        })
        .unwrap();
    records
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

fn small() -> SegmentLimits {
    SegmentLimits { records: 10, bytes: 2000, ..SegmentLimits::default() }
}

/// Appends records 0..n into segments of at most 10 records or 2,000 bytes.
fn filled(dir: &Path, n: u64) -> Journal {
    let journal = Journal::open_with(dir, small()).unwrap();
    for n in 0..n {
        journal.append(key(n), &payload(n)).unwrap();
    }
    journal
}

fn assert_holds(journal: &Journal, n: u64) {
    assert_eq!(journal.len(), n);
    for n in 0..n {
        assert!(journal.contains(&key(n)).unwrap(), "record {n}");
        assert_eq!(journal.get(&key(n)).unwrap(), Some(payload(n)), "record {n}");
    }
    assert_eq!(journal.get(&key(n)).unwrap(), None);
    assert!(!journal.contains(&key(n)).unwrap());
    assert_eq!(records(journal), (0..n).map(|n| (key(n), payload(n))).collect::<Vec<_>>());
}

#[test]
fn records_are_found_across_segments_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let journal = filled(dir.path(), 500);
    assert_holds(&journal, 500);
    drop(journal);
    let segments = files(dir.path(), "log").len();
    assert!(segments >= 50, "{segments} segments");
    assert_eq!(files(dir.path(), "idx").len(), segments - 1, "one index per closed segment");

    let journal = Journal::open_with(dir.path(), small()).unwrap();
    assert_holds(&journal, 500);
    journal.append(key(500), &payload(500)).unwrap();
    assert_holds(&journal, 501);
    assert_holds(&Journal::open_read_only(dir.path()).unwrap(), 501);
}

#[test]
fn default_segments_close_at_65536_records() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for n in 0..70_000 {
        journal.append(key(n), b"x").unwrap();
    }
    assert_eq!(files(dir.path(), "log").len(), 2);
    assert_eq!(journal.len(), 70_000);
    for n in [0, 65_535, 65_536, 69_999] {
        assert_eq!(journal.get(&key(n)).unwrap().as_deref(), Some(&b"x"[..]), "record {n}");
    }
    assert!((70_000..80_000).all(|n| !journal.contains(&key(n)).unwrap()));
}

#[test]
fn the_newest_record_of_a_key_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open_with(dir.path(), small()).unwrap();
    for round in 0..45_u64 {
        journal.append(key(round % 3), &payload(round)).unwrap();
    }
    for journal in [journal, Journal::open_read_only(dir.path()).unwrap()] {
        assert_eq!(journal.len(), 45);
        for last in 42..45 {
            assert_eq!(journal.get(&key(last % 3)).unwrap(), Some(payload(last)));
        }
    }
}

#[test]
fn lost_and_damaged_index_files_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 200));
    let intact: BTreeMap<PathBuf, Vec<u8>> =
        files(dir.path(), "idx").into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    for (n, (path, bytes)) in intact.iter().enumerate() {
        match n % 4 {
            0 => fs::remove_file(path).unwrap(),
            1 => fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
            2 => fs::write(path, []).unwrap(),
            _ => {
                let mut bytes = bytes.clone();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(path, bytes).unwrap();
            }
        }
    }
    assert_holds(&Journal::open_with(dir.path(), small()).unwrap(), 200);
    for (path, bytes) in &intact {
        assert_eq!(&fs::read(path).unwrap(), bytes, "{}", path.display());
    }
}

#[test]
fn damage_in_the_middle_is_an_error_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 15));
    let logs = files(dir.path(), "log");
    // The second byte of the first payload: magic 8, record header 24.
    for path in [&logs[0], logs.last().unwrap()] {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 33).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 33).unwrap();
        let result = Journal::open_with(dir.path(), small()).and_then(|journal| journal.get(&key(0)));
        let error = result.unwrap_err();
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()) && message.contains("byte 8 "), "{message}");
        assert!(error.hint_text().unwrap().contains("truncate -s 8"), "{:?}", error.hint_text());
        file.write_all_at(&byte, 33).unwrap();
    }
    // A damaged length hides where the next record starts; it is found all the same.
    let last = OpenOptions::new().write(true).open(logs.last().unwrap()).unwrap();
    last.write_all_at(&[0xff; 4], 12).unwrap();
    let length = last.metadata().unwrap().len();
    assert!(Journal::open_with(dir.path(), small()).is_err());
    assert_eq!(last.metadata().unwrap().len(), length, "nothing is cut off");
}

#[test]
fn reading_only_neither_cuts_nor_appends() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 15));
    let last = files(dir.path(), "log").pop().unwrap();
    OpenOptions::new().append(true).open(&last).unwrap().write_all(b"torn").unwrap();
    let length = fs::metadata(&last).unwrap().len();
    let journal = Journal::open_read_only(dir.path()).unwrap();
    assert_holds(&journal, 15);
    assert_eq!(journal.append(key(1), b"").unwrap_err().kind(), Kind::Usage);
    drop(journal);
    assert_eq!(fs::metadata(&last).unwrap().len(), length);
    assert!(Journal::open_read_only(&dir.path().join("missing")).unwrap().is_empty());
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("segment-00000.log"), "something else entirely").unwrap();
    let error = Journal::open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("not a journal"), "{error}");
}

#[test]
fn threads_append_and_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open_with(
        dir.path(),
        SegmentLimits { records: 64, bytes: 1 << 20, ..SegmentLimits::default() },
    )
    .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for n in (thread..2000).step_by(4) {
                    journal.append(key(n), &payload(n)).unwrap();
                    assert_eq!(journal.get(&key(n)).unwrap(), Some(payload(n)), "record {n}");
                }
            });
        }
    });
    journal.sync().unwrap();
    assert_eq!(journal.len(), 2000);
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert!((0..2000).all(|n| journal.get(&key(n)).unwrap() == Some(payload(n))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever was appended and wherever the last segment is cut: every record before the cut is there, in
    /// order, nothing else is, and the journal goes on.
    #[test]
    fn a_cut_anywhere_drops_only_what_it_cuts(
        appended in prop::collection::vec((0..20_u64, prop::collection::vec(any::<u8>(), 0..300)), 0..40),
        records_per_segment in 1..12_u64,
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let limits = SegmentLimits { records: records_per_segment, bytes: 1500, ..SegmentLimits::default() };
        let journal = Journal::open_with(dir.path(), limits).unwrap();
        // Where each record ends: (segment, offset).
        let mut ends = Vec::new();
        for (n, payload) in &appended {
            journal.append(key(*n), payload).unwrap();
            let segments = files(dir.path(), "log");
            ends.push((segments.len(), fs::metadata(segments.last().unwrap()).unwrap().len()));
        }
        drop(journal);
        let segments = files(dir.path(), "log");
        let last = segments.last().unwrap();
        let length = fs::metadata(last).unwrap().len();
        let cut = cut.index(length as usize + 1) as u64;
        OpenOptions::new().write(true).open(last).unwrap().set_len(cut).unwrap();

        let whole = ends.iter().filter(|(segment, end)| *segment < segments.len() || *end <= cut).count();
        let mut expected: Vec<(Key, Vec<u8>)> =
            appended[..whole].iter().map(|(n, payload)| (key(*n), payload.clone())).collect();
        for journal in [Journal::open_read_only(dir.path()).unwrap(), Journal::open_with(dir.path(), limits).unwrap()] {
            prop_assert_eq!(records(&journal), expected.clone());
            for n in 0..20 {
                let newest = expected.iter().rev().find(|(found, _)| *found == key(n));
                prop_assert_eq!(journal.get(&key(n)).unwrap(), newest.map(|(_, payload)| payload.clone()));
            }
        }
        let journal = Journal::open_with(dir.path(), limits).unwrap();
        journal.append(key(99), b"after").unwrap();
        drop(journal);
        expected.push((key(99), b"after".to_vec()));
        prop_assert_eq!(records(&Journal::open_with(dir.path(), limits).unwrap()), expected);
    }

    /// No file makes opening panic, and what it opens can be read through.
    #[test]
    fn arbitrary_segments_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
        let dir = tempfile::tempdir().unwrap();
        if magic {
            bytes.splice(0..0, *b"acgjrnl1");
        }
        fs::write(dir.path().join("segment-00000.log"), &bytes).unwrap();
        if let Ok(journal) = Journal::open(dir.path()) {
            prop_assert_eq!(records(&journal).len() as u64, journal.len());
        }
    }
}

/// Not a test of its own: the process that [`nothing_printed_is_lost_by_a_kill`] kills.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = PathBuf::from(dir);
    let journal =
        Journal::open_with(&dir, SegmentLimits { records: 500, bytes: 1 << 20, ..SegmentLimits::default() })
            .unwrap();
    let mut stdout = std::io::stdout();
    for n in journal.len().. {
        journal.append(key(n), &payload(n)).unwrap();
        // One write per line: the line is whole or not there.
        stdout.write_all(format!("appended {n}\n").as_bytes()).unwrap();
        stdout.flush().unwrap();
    }
}

#[test]
fn nothing_printed_is_lost_by_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines_of_all_rounds = 0;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut last = None;
        let mut take = |line: &str| {
            if let Some(n) = line.trim_end().strip_prefix("appended ") {
                last = Some(n.parse::<u64>().unwrap());
            }
        };
        let start = Instant::now();
        let mut line = String::new();
        while start.elapsed() < Duration::from_millis(40 + 23 * round) {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the child ended by itself");
            take(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        rest.split_inclusive('\n').filter(|line| line.ends_with('\n')).for_each(&mut take);

        let Some(last) = last else { continue };
        lines_of_all_rounds += 1;
        let journal = Journal::open(dir.path()).unwrap();
        assert!(journal.len() > last, "record {last} was printed, {} are there", journal.len());
        assert_holds(&journal, journal.len());
    }
    assert!(lines_of_all_rounds > 0, "the child never got as far as appending");
}

#[test]
fn a_full_disk_stops_the_append_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = common::SmallDisk::mount(dir.path()) else {
        common::skip("a_full_disk_stops_the_append_and_loses_nothing", "a tmpfs cannot be mounted here");
        return;
    };
    let path = dir.path().join("journal");
    let filler = dir.path().join("filler");
    fs::write(&filler, vec![0; 100_000]).unwrap();
    let limits = SegmentLimits { records: 40, bytes: 1 << 20, ..SegmentLimits::default() };
    let journal = Journal::open_with(&path, limits).unwrap();
    let long = |n: u64| payload(n).repeat(20);
    let mut kept = 0;
    let error = loop {
        match journal.append(key(kept), &long(kept)) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10_000, "1 MiB never filled up");
    };
    assert_eq!((error.kind(), error.exit_code()), (Kind::Environment, 3), "{error}");
    assert!(error.hint_text().unwrap().contains("resumes"), "{:?}", error.hint_text());
    assert!(!journal.contains(&key(kept)).unwrap(), "the record that did not fit");

    let expected = |n: u64| (0..n).map(|n| (key(n), long(n))).collect::<Vec<_>>();
    assert_eq!(records(&journal), expected(kept));
    fs::remove_file(&filler).unwrap();
    journal.append(key(kept), &long(kept)).unwrap();
    drop(journal);
    assert_eq!(records(&Journal::open_with(&path, limits).unwrap()), expected(kept + 1));
}
