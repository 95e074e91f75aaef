//! Compaction of journals: what is found afterwards, what a kill in the middle leaves, what damage does.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use autocodegen::frame::journal::{Journal, REPLIES, SegmentLimits, VERDICTS, table_files, tidy_table};
use autocodegen::frame::key::Key;
use autocodegen::frame::recorded::Recorded;
use autocodegen::llm::chat::Reply;
use autocodegen::sandbox::job::{Limits, Outcome, Usage, Verdict};
use proptest::prelude::*;
use serde_json::Value;

const CHILD_DIR: &str = "AUTOCODEGEN_TEST_COMPACTION_DIR";

fn key(n: u64) -> Key {
    Key::of(&[n.to_le_bytes()])
}

fn record(n: u64) -> Recorded<Reply> {
    Recorded {
        key: Some(key(n)),
        stage: "solution.reply".into(),
        row: format!("row-{n}"),
        language: "python".into(),
        sample: (n % 3) as u32,
        attempts: 1 + (n % 2) as u32,
        reused: n.is_multiple_of(5),
        answer: Reply {
            output: format!("answer {n}\n").repeat(1 + (n % 40) as usize),
            reasoning: if n.is_multiple_of(4) { format!("because of {n}") } else { String::new() },
            finish_reason: "stop".into(),
            model: "m".into(),
            prompt_tokens: n,
            cached_tokens: 0,
            completion_tokens: 2 * n,
            latency_ms: 3,
        },
    }
}

/// A run directory with the journal of one stage.
struct Run(tempfile::TempDir);

impl Run {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("journal/solution.reply")
    }

    fn table(&self) -> PathBuf {
        self.0.path().join("replies")
    }

    fn open(&self) -> Journal {
        open(&self.dir())
    }

    fn parts(&self) -> Vec<String> {
        let files = table_files(&self.table()).unwrap();
        files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// Segments that are not empty.
    fn segments(&self) -> usize {
        let logs = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap());
        logs.filter(|entry| entry.file_name().to_str().unwrap().ends_with(".log"))
            .filter(|entry| entry.metadata().unwrap().len() > 8)
            .count()
    }
}

fn open(dir: &Path) -> Journal {
    Journal::open_with(dir, SegmentLimits { records: 100, part_records: 5000, ..SegmentLimits::default() })
        .unwrap()
}

fn append(journal: &Journal, numbers: std::ops::Range<u64>) {
    for n in numbers {
        journal.append(key(n), &serde_json::to_vec(&record(n)).unwrap()).unwrap();
    }
}

fn decode(payload: &[u8]) -> Recorded<Reply> {
    serde_json::from_slice(payload).unwrap()
}

fn assert_holds(journal: &Journal, n: u64) {
    assert_eq!(journal.len(), n);
    for n in 0..n {
        assert!(journal.contains(&key(n)).unwrap(), "record {n}");
        assert_eq!(decode(&journal.get(&key(n)).unwrap().unwrap()), record(n));
    }
    assert_eq!(journal.get(&key(n)).unwrap(), None);
    let mut next = 0;
    journal
        .for_each(&mut |found, payload| {
            assert_eq!((found, decode(payload)), (key(next), record(next)));
            next += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(next, n);
}

#[test]
fn compacted_records_are_found_and_the_journal_goes_on() {
    let run = Run::new();
    let journal = run.open();
    append(&journal, 0..1000);
    let reader = Journal::open_read_only(&run.dir()).unwrap();
    journal.compact(&REPLIES).unwrap();
    assert_eq!((run.segments(), run.parts()), (0, vec!["solution.reply.00000-00009.parquet".to_owned()]));
    assert_holds(&journal, 1000);
    // The files that it has opened are gone.
    assert_holds(&reader, 1000);

    // Nothing new: nothing is written.
    let before = fs::metadata(run.table().join(&run.parts()[0])).unwrap().modified().unwrap();
    journal.compact(&REPLIES).unwrap();
    assert_eq!(fs::metadata(run.table().join(&run.parts()[0])).unwrap().modified().unwrap(), before);

    append(&journal, 1000..1150);
    assert_holds(&journal, 1150);
    drop(journal);
    let journal = run.open();
    assert_holds(&journal, 1150);
    assert_holds(&Journal::open_read_only(&run.dir()).unwrap(), 1150);
    journal.compact(&REPLIES).unwrap();
    // The part was small: there is still one.
    assert_eq!((run.segments(), run.parts()), (0, vec!["solution.reply.00000-00011.parquet".to_owned()]));
    assert_holds(&journal, 1150);
    drop(journal);

    // The index is made again when it is lost or torn, by whoever may write.
    let index = run.dir().join("part-00000-00011.idx");
    let bytes = fs::read(&index).unwrap();
    fs::write(&index, &bytes[..100]).unwrap();
    assert_holds(&Journal::open_read_only(&run.dir()).unwrap(), 1150);
    assert_eq!(fs::read(&index).unwrap().len(), 100);
    assert_holds(&run.open(), 1150);
    assert_eq!(fs::read(&index).unwrap(), bytes);
}

#[test]
fn the_newest_record_of_a_key_is_found_across_parts_and_segments() {
    let run = Run::new();
    let journal = run.open();
    let write = |n: u64, says: &str| {
        let mut record = record(n);
        record.answer.output = says.to_owned();
        journal.append(key(n), &serde_json::to_vec(&record).unwrap()).unwrap();
    };
    let says = |n: u64| decode(&journal.get(&key(n)).unwrap().unwrap()).answer.output;
    write(1, "first");
    write(2, "first");
    journal.compact(&REPLIES).unwrap();
    write(1, "second");
    assert_eq!((says(1), says(2)), ("second".into(), "first".into()));
    journal.compact(&REPLIES).unwrap();
    assert_eq!((says(1), says(2)), ("second".into(), "first".into()));
    assert_eq!(journal.len(), 3);
}

#[test]
fn large_journals_become_several_parts() {
    let run = Run::new();
    let limits = SegmentLimits { records: 2000, part_records: 9000, ..SegmentLimits::default() };
    let journal = Journal::open_with(&run.dir(), limits).unwrap();
    let append = |numbers: std::ops::Range<u64>| {
        for n in numbers {
            journal.append(key(n), format!(r#"{{"answer":{{"output":"{n}"}}}}"#).as_bytes()).unwrap();
        }
    };
    let says = |n: u64| decode_value(&journal.get(&key(n)).unwrap().unwrap())["answer"]["output"].clone();
    append(0..11_000);
    journal.compact(&REPLIES).unwrap();
    let full = "solution.reply.00000-00004.parquet";
    assert_eq!(run.parts(), [full, "solution.reply.00005-00005.parquet"]);
    append(11_000..13_000);
    journal.compact(&REPLIES).unwrap();
    assert_eq!(run.parts(), [full, "solution.reply.00005-00006.parquet"]);
    // No longer small: it stays as it is.
    append(13_000..13_010);
    journal.compact(&REPLIES).unwrap();
    assert_eq!(
        run.parts(),
        [full, "solution.reply.00005-00006.parquet", "solution.reply.00007-00007.parquet"]
    );
    // Rows of the first and last page and row group of each part, and some in between.
    for n in [0, 255, 256, 8191, 8192, 9999, 10_000, 10_999, 11_000, 12_999, 13_000, 13_009] {
        assert_eq!(says(n), n.to_string());
    }
    assert!((13_010..14_000).all(|n| !journal.contains(&key(n)).unwrap()));
    assert_eq!(journal.len(), 13_010);
}

fn decode_value(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap()
}

#[test]
fn what_a_killed_process_did_not_come_to_delete_counts_once() {
    let run = Run::new();
    let journal = run.open();
    append(&journal, 0..250);
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let (saved, saved_table) = (run.0.path().join("saved"), run.0.path().join("saved-table"));
    copy(&run.dir(), &saved);
    journal.compact(&REPLIES).unwrap();
    append(&journal, 250..400);
    // As if killed right after the part had its name, later when the next part had.
    for compact_again in [false, true] {
        if compact_again {
            copy(&run.table(), &saved_table);
            journal.compact(&REPLIES).unwrap();
            copy(&saved_table, &run.table());
        }
        for name in ["segment-00000.log", "segment-00001.log", "segment-00001.idx", "segment-00002.log"] {
            fs::copy(saved.join(name), run.dir().join(name)).unwrap();
        }
        assert_holds(&Journal::open_read_only(&run.dir()).unwrap(), 400);
        assert_eq!(run.parts().len(), 1, "queries see each answer once");
        assert!(run.dir().join("segment-00000.log").exists(), "a reader deletes nothing");
    }
    drop(journal);
    let journal = run.open();
    assert_holds(&journal, 400);
    assert_eq!(run.segments(), 0);
    assert_eq!(fs::read_dir(run.table()).unwrap().count(), 1);
}

#[test]
fn a_table_has_columns_even_without_rows() {
    let run = Run::new();
    let table = run.table();
    tidy_table(&table, &REPLIES).unwrap();
    assert_eq!(run.parts(), ["empty.parquet"]);
    assert_eq!(autocodegen::frame::part::schema(&table.join("empty.parquet")).unwrap(), REPLIES.schema());
    let journal = run.open();
    append(&journal, 0..10);
    journal.compact(&REPLIES).unwrap();
    // Of a version that wrote the table anew for every run, from segments that are there still.
    fs::write(table.join("part-00000.parquet"), "old").unwrap();
    tidy_table(&table, &REPLIES).unwrap();
    assert_eq!(run.parts(), ["solution.reply.00000-00000.parquet"]);
}

/// Whatever bit of a part is flipped: every answer that is given is the right one.
#[test]
fn no_flipped_bit_changes_an_answer() {
    let run = Run::new();
    let journal = run.open();
    append(&journal, 0..600);
    journal.compact(&REPLIES).unwrap();
    drop(journal);
    let part = run.table().join(&run.parts()[0]);
    let intact = fs::read(&part).unwrap();
    let (mut refused, mut harmless) = (0, 0);
    for at in (0..intact.len()).step_by(intact.len() / 400) {
        let mut bytes = intact.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&part, &bytes).unwrap();
        let Ok(journal) = Journal::open_read_only(&run.dir()) else {
            refused += 1;
            continue;
        };
        let mut errors = 0;
        for n in (0..600).step_by(37) {
            match journal.get(&key(n)) {
                Ok(found) => assert_eq!(decode(&found.unwrap()), record(n), "byte {at}"),
                Err(error) => {
                    assert!(error.hint_text().unwrap().contains("asked again"), "{error}");
                    errors += 1;
                }
            }
        }
        if errors > 0 { refused += 1 } else { harmless += 1 }
    }
    assert!(refused > 100, "{refused} refused, {harmless} harmless: the damage was never seen");
}

/// Not a test of its own: the process that [`a_kill_while_compacting_loses_nothing`] kills.
#[test]
fn child_that_appends_and_compacts_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let journal = open(Path::new(&dir));
    let mut stdout = std::io::stdout();
    let mut n = journal.len();
    loop {
        append(&journal, n..n + 120);
        n += 120;
        stdout.write_all(format!("appended {n}\n").as_bytes()).unwrap();
        stdout.flush().unwrap();
        journal.compact(&REPLIES).unwrap();
    }
}

#[test]
fn a_kill_while_compacting_loses_nothing() {
    let run = Run::new();
    let mut unfinished = 0;
    for round in 0..15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_and_compacts_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, run.dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let (mut line, mut last, start) = (String::new(), 0, Instant::now());
        let number = |line: &str| line.trim_end().strip_prefix("appended ")?.parse::<u64>().ok();
        while start.elapsed() < Duration::from_millis(20 + 7 * round) || last == 0 {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the child ended by itself");
            last = number(&line).unwrap_or(last);
        }
        // It compacts now: from here the segments are read, the part is written, named, and the segments deleted.
        std::thread::sleep(Duration::from_micros(1500 * (round % 10)));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        last = rest.split_inclusive('\n').filter_map(number).next_back().unwrap_or(last);

        unfinished += usize::from(run.segments() > 0);
        let reader = Journal::open_read_only(&run.dir()).unwrap();
        assert!(reader.len() >= last, "{last} records were told, {} are there", reader.len());
        assert_holds(&reader, reader.len());
    }
    assert_holds(&run.open(), Journal::open_read_only(&run.dir()).unwrap().len());
    assert!(unfinished > 2, "only {unfinished} kills met a compaction");
}

fn usage() -> impl Strategy<Value = Usage> {
    (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(wall_ms, cpu_ms, peak_rss_bytes)| Usage {
        wall_ms,
        cpu_ms,
        peak_rss_bytes,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let limits = any::<[u64; 6]>().prop_map(|n| Limits {
        cpu_ms: n[0],
        wall_ms: n[1],
        memory_bytes: n[2],
        pids: n[3],
        output_bytes: n[4],
        file_bytes: n[5],
    });
    let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    let ends = (any::<Option<i32>>(), any::<Option<i32>>(), any::<bool>(), any::<bool>(), any::<bool>());
    let outcome = prop::sample::select(vec![Outcome::Passed, Outcome::OutputLimitExceeded]);
    (outcome, texts, ends, prop::option::of(limits), usage(), prop::option::of(usage())).prop_map(
        |(outcome, texts, ends, limits, usage, compile_usage)| Verdict {
            outcome,
            stdout: texts.0,
            stderr: texts.1,
            compile_message: texts.2,
            reason: texts.3,
            exit_code: ends.0,
            signal: ends.1,
            truncated: ends.2,
            invalid_utf8: ends.3,
            limits,
            usage,
            compile_usage,
            compile_reused: ends.4,
            toolchain: "t".into(),
            isolation: "i".into(),
        },
    )
}

/// JSON objects in which the names that columns take turn up with every kind of value.
fn any_record() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let name = "(key|stage|row|sample|attempts|reused|answer|output|usage|wall_ms|exit_code|more|crc|new)";
    let object = move |inner| {
        prop::collection::btree_map(name, inner, 0..8)
            .prop_map(|fields| fields.into_iter().collect::<Value>())
    };
    let nested = leaf.prop_recursive(3, 32, 8, move |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from), object(inner)]
    });
    object(nested.boxed())
}

/// Whether everything in `before` is in `after`, which may have more fields, where `before` has none.
fn includes(after: &Value, before: &Value, path: &str) -> bool {
    match (after, before) {
        (Value::Object(after), Value::Object(before)) => before.iter().all(|(name, value)| {
            // The key is what the record was appended with.
            path.is_empty() && name == "key"
                || after.get(name).is_some_and(|found| includes(found, value, "inner"))
                || value.as_object().is_some_and(|object| object.is_empty())
        }),
        (after, before) => after == before,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn verdicts_come_back_as_they_were(verdicts in prop::collection::vec(verdict(), 1..40)) {
        let run = tempfile::tempdir().unwrap();
        let journal = Journal::open(&run.path().join("journal/probe")).unwrap();
        let recorded = |n: usize| Recorded {
            key: Some(key(n as u64)),
            stage: "probe".into(),
            row: n.to_string(),
            language: "go".into(),
            sample: 1,
            attempts: 2,
            reused: false,
            answer: verdicts[n].clone(),
        };
        for n in 0..verdicts.len() {
            journal.append(key(n as u64), &serde_json::to_vec(&recorded(n)).unwrap()).unwrap();
        }
        journal.compact(&VERDICTS).unwrap();
        for n in 0..verdicts.len() {
            let payload = journal.get(&key(n as u64)).unwrap().unwrap();
            prop_assert_eq!(serde_json::from_slice::<Recorded<Verdict>>(&payload).unwrap(), recorded(n));
        }
    }

    /// Fields that no column takes, and values of other types than a column has, are kept.
    #[test]
    fn no_field_of_a_record_is_lost(records in prop::collection::vec(any_record(), 1..20), verdicts: bool) {
        let run = tempfile::tempdir().unwrap();
        let journal = Journal::open(&run.path().join("journal/any")).unwrap();
        for (n, record) in records.iter().enumerate() {
            journal.append(key(n as u64), record.to_string().as_bytes()).unwrap();
        }
        journal.compact(if verdicts { &VERDICTS } else { &REPLIES }).unwrap();
        for (n, record) in records.iter().enumerate() {
            let after = decode_value(&journal.get(&key(n as u64)).unwrap().unwrap());
            prop_assert!(includes(&after, record, ""), "{} became {}", record, after);
        }
    }
}
