//! Extracting three fenced blocks from 100,000 model replies of 5 KB: how fast, in how much memory.
//!
//! Writes the replies as JSONL and as Parquet into a temporary directory, then measures, each in a process of
//! its own so that peak memory is its own: the library from JSONL, the library from Parquet, and the way the
//! reference system works (Python: `json.loads` per line, a regular expression over the fences, all records held
//! and dumped as JSONL). The library hands its columns on in memory, as a fused stage does, and here drops them
//! after taking a checksum, which must be that of the reference's file. `cargo bench --bench extract`; needs
//! python3.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::builder::StringBuilder;
use arrow_array::{RecordBatch, StringArray};
use autocodegen::frame::schema;
use autocodegen::text::extract::{Extracted, Part, block_columns};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

const REPLIES: usize = 100_000;
const REPLY_BYTES: usize = 4_860; // 5,050 once newlines and quotes are escaped
const ROW_GROUP: usize = 1_000;
const BATCH: usize = 64; // 320 KB of replies: they stay in the cache
const CHUNK_BYTES: usize = 1 << 20;

const REFERENCE: &str = r#"
import json, re, sys
rows = []
with open(sys.argv[2], encoding="utf-8") as lines:
    for line in lines:
        record = json.loads(line)
        found = re.findall(r"```\w*\n(.*?)```", record["output"], re.DOTALL)
        if len(found) == 3:
            solution, demo, full = (block.strip() for block in found)
            rows.append({"canonical_solution": solution, "demo_test_func": demo, "full_test_func": full})
with open(sys.argv[1], "w", encoding="utf-8") as out:
    for row in rows:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]
print(peak)
"#;

/// One input line.
#[derive(Serialize, Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    output: Cow<'a, str>,
}

/// Columns the reference writes, in the order of the blocks.
const COLUMNS: [&str; 3] = ["canonical_solution", "demo_test_func", "full_test_func"];

/// How many replies had three blocks, and a sum over those blocks that does not depend on their order.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Count {
    replies: usize,
    checksum: u64,
}

impl Count {
    fn of<'a>(blocks: impl IntoIterator<Item = &'a str>) -> Self {
        let weighted = blocks.into_iter().zip(1..).map(|(block, weight)| weight * u64::from(crc(block)));
        Self { replies: 1, checksum: weighted.fold(0, u64::wrapping_add) }
    }
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, count| Self {
            replies: sum.replies + count.replies,
            checksum: sum.checksum.wrapping_add(count.checksum),
        })
    }
}

fn crc(block: &str) -> u32 {
    crc32fast::hash(block.as_bytes())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("from-jsonl") => report(from_jsonl(Path::new(&arguments[2]))),
        Some("from-parquet") => report(from_parquet(Path::new(&arguments[2]))),
        _ => compare(),
    }
}

/// What a measured process prints: its peak resident memory in KiB, and what it counted.
fn report(count: Count) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{} {} {}", peak.split_whitespace().nth(1).unwrap(), count.replies, count.checksum);
}

fn compare() {
    let dir = tempfile::tempdir().unwrap();
    let (jsonl, parquet) = (dir.path().join("replies.jsonl"), dir.path().join("replies.parquet"));
    make(&jsonl, &parquet);
    let megabytes = std::fs::metadata(&jsonl).unwrap().len() as f64 / 1e6;
    println!("{REPLIES} replies, {megabytes:.0} MB of JSONL, {} cores", rayon::current_num_threads());

    let measure = |name: &str, command: &mut Command, input: &Path| {
        let start = Instant::now();
        let output = command.arg(input).output().unwrap();
        let seconds = start.elapsed().as_secs_f64();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let mut numbers = printed.split_whitespace();
        let peak = numbers.next().unwrap().parse::<f64>().unwrap() / 1024.0;
        println!("{name:<24} {seconds:6.2} s {:7.0} MB/s {peak:6.0} MiB peak", megabytes / seconds);
        let rest: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        (seconds, rest)
    };
    let own = std::env::current_exe().unwrap();
    let written = dir.path().join("reference.jsonl");
    let mut python = Command::new("python3");
    let (reference, _) = measure("python, from JSONL", python.args(["-c", REFERENCE]).arg(&written), &jsonl);
    let (lines, of_lines) = measure("library, from JSONL", Command::new(&own).arg("from-jsonl"), &jsonl);
    let (frame, of_frame) =
        measure("library, from Parquet", Command::new(&own).arg("from-parquet"), &parquet);
    println!("from JSONL {:.1}x, from Parquet {:.1}x as fast", reference / lines, reference / frame);

    let expected = read_back(&written);
    assert_eq!(expected.replies, REPLIES, "the reference missed some");
    assert_eq!(of_lines, [expected.replies as u64, expected.checksum], "from JSONL: other blocks");
    assert_eq!(of_frame, [expected.replies as u64, expected.checksum], "from Parquet: other blocks");
}

/// What the file that the reference wrote holds.
fn read_back(written: &Path) -> Count {
    let lines = BufReader::new(File::open(written).unwrap()).lines();
    let count = |line: std::io::Result<String>| {
        let record: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        Count::of(COLUMNS.map(|column| record[column].as_str().unwrap()))
    };
    lines.map(count).sum()
}

/// Writes the same replies to both files.
fn make(jsonl: &Path, parquet: &Path) {
    let mut lines = BufWriter::new(File::create(jsonl).unwrap());
    let schema = Arc::new(arrow_schema::Schema::new(vec![arrow_schema::Field::new(
        "output",
        arrow_schema::DataType::Utf8,
        false,
    )]));
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build();
    let mut frame =
        ArrowWriter::try_new(File::create(parquet).unwrap(), schema.clone(), Some(properties)).unwrap();
    for first in (0..REPLIES).step_by(ROW_GROUP) {
        let replies: Vec<String> = (first..first + ROW_GROUP).into_par_iter().map(reply).collect();
        for output in &replies {
            serde_json::to_writer(&mut lines, &Reply { output: output.into() }).unwrap();
            lines.write_all(b"\n").unwrap();
        }
        let column = Arc::new(StringArray::from(replies));
        frame.write(&RecordBatch::try_new(schema.clone(), vec![column]).unwrap()).unwrap();
    }
    frame.close().unwrap();
    lines.flush().unwrap();
}

/// A reply with a solution, a demo test and a full test, different for every `n`.
fn reply(n: usize) -> String {
    let mut state = n as u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    let mut text = format!("Here is solution {n}, with \"quotes\" and naïve ünicode.\n\n");
    for (part, share) in [("solution", 50), ("demo_testing", 15), ("full_testing", 35)] {
        text += &format!("The {part}:\n```python\ndef {part}(values):");
        let end = text.len() + REPLY_BYTES * share / 100 - 60;
        while text.len() < end {
            let (a, b) = (number(), number());
            text += &format!("\n    if values[{}] > {a}: total += {b}  # step {}", a % 10, b % 100);
        }
        text += "\n    return total\n```\n\n";
    }
    text
}

fn from_jsonl(input: &Path) -> Count {
    let input = File::open(input).unwrap();
    let mut torn = Vec::new();
    // Chunks of whole lines; what follows the last newline is the beginning of the next chunk.
    let chunks = std::iter::from_fn(move || {
        let mut chunk = std::mem::take(&mut torn);
        (&input).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).unwrap();
        let whole = memchr::memrchr(b'\n', &chunk)? + 1;
        torn = chunk.split_off(whole);
        Some(chunk)
    });
    let counts = chunks.par_bridge().map(|chunk| {
        let mut replies = StringBuilder::with_capacity(1024, chunk.len());
        for line in chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            replies.append_value(serde_json::from_slice::<Reply>(line).unwrap().output);
        }
        drop(chunk);
        count(&block_columns(&replies.finish(), &[Part::Body; 3]).unwrap())
    });
    counts.sum()
}

fn from_parquet(input: &Path) -> Count {
    let file = File::open(input).unwrap();
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).unwrap();
    let groups = metadata.metadata().num_row_groups();
    let counts = (0..groups).into_par_iter().with_max_len(1).map(|group| {
        let file = File::open(input).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size(BATCH)
            .build()
            .unwrap();
        let batches = reader.map(|batch| {
            let batch = batch.unwrap();
            count(&block_columns(schema::strings(&batch, "output").unwrap(), &[Part::Body; 3]).unwrap())
        });
        batches.sum::<Count>()
    });
    counts.sum()
}

/// The rows that have all three blocks.
fn count(extracted: &Extracted) -> Count {
    let rows = (0..extracted.misfits.len()).filter(|row| extracted.misfits[*row].is_none());
    rows.map(|row| Count::of(extracted.columns.iter().map(|column| column.value(row)))).sum()
}
