//! Extracting three fenced blocks from 100,000 model replies of 5 KB: how fast, in how much memory.
//!
//! Writes the replies as JSONL and as Parquet into a temporary directory, then measures, each in a process of
//! its own so that peak memory is its own: the library from JSONL, the library from Parquet, and the way the
//! reference system works (Python: `json.loads` per line, a regular expression over the fences, all records held
//! and dumped). All write the same records to a JSONL file. `cargo bench --bench extract`; needs python3.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, RecordBatch, StringArray};
use autocodegen::frame::schema;
use autocodegen::text::extract::{Extracted, Part, block_columns};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

const REPLIES: usize = 100_000;
const REPLY_BYTES: usize = 4_860; // 5,050 once newlines and quotes are escaped
const ROW_GROUP: usize = 2_000;
const CHUNK_BYTES: usize = 4 << 20;

const REFERENCE: &str = r#"
import json, re, sys
rows = []
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        record = json.loads(line)
        found = re.findall(r"```\w*\n(.*?)```", record["output"], re.DOTALL)
        if len(found) == 3:
            solution, demo, full = (block.strip() for block in found)
            rows.append({"canonical_solution": solution, "demo_test_func": demo, "full_test_func": full})
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for row in rows:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]
print(len(rows), peak)
"#;

/// One input line.
#[derive(Serialize, Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    output: Cow<'a, str>,
}

/// One output line.
#[derive(Serialize)]
struct Record<'a> {
    canonical_solution: &'a str,
    demo_test_func: &'a str,
    full_test_func: &'a str,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("from-jsonl") => report(from_jsonl(Path::new(&arguments[2]), Path::new(&arguments[3]))),
        Some("from-parquet") => report(from_parquet(Path::new(&arguments[2]), Path::new(&arguments[3]))),
        _ => compare(),
    }
}

/// What a measured process prints: the records it wrote and its peak resident memory in KiB.
fn report(records: usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{records} {}", peak.split_whitespace().nth(1).unwrap());
}

fn compare() {
    let dir = tempfile::tempdir().unwrap();
    let (jsonl, parquet) = (dir.path().join("replies.jsonl"), dir.path().join("replies.parquet"));
    make(&jsonl, &parquet);
    let megabytes = std::fs::metadata(&jsonl).unwrap().len() as f64 / 1e6;
    println!("{REPLIES} replies, {megabytes:.0} MB of JSONL, {} cores", rayon::current_num_threads());

    let own = std::env::current_exe().unwrap();
    let measure = |name: &str, command: &mut Command, input: &Path, out: &str| {
        let start = Instant::now();
        let output = command.arg(input).arg(dir.path().join(out)).output().unwrap();
        let seconds = start.elapsed().as_secs_f64();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let (records, peak) = printed.trim().split_once(' ').unwrap();
        assert_eq!(records, REPLIES.to_string(), "{name} missed some");
        let peak = peak.parse::<f64>().unwrap() / 1024.0;
        println!("{name:<24} {seconds:6.2} s {:7.0} MB/s {peak:6.0} MiB peak", megabytes / seconds);
        seconds
    };
    let reference =
        measure("python, from JSONL", Command::new("python3").args(["-c", REFERENCE]), &jsonl, "reference");
    let lines = measure("library, from JSONL", Command::new(&own).arg("from-jsonl"), &jsonl, "lines");
    let frame = measure("library, from Parquet", Command::new(&own).arg("from-parquet"), &parquet, "frame");
    println!("from JSONL {:.1}x, from Parquet {:.1}x as fast", reference / lines, reference / frame);

    let sorted = |name: &str| {
        let mut keys: Vec<_> =
            BufReader::new(File::open(dir.path().join(name)).unwrap()).lines().map(content_key).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(sorted("lines"), sorted("reference"), "the library and the reference disagree");
    assert_eq!(sorted("frame"), sorted("reference"), "the library and the reference disagree");
}

/// What a record says, however its line is spaced.
fn content_key(line: std::io::Result<String>) -> autocodegen::frame::key::Key {
    let record: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
    autocodegen::frame::key::Key::of(&[record.to_string()])
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

fn from_jsonl(input: &Path, output: &Path) -> usize {
    let out = Mutex::new(File::create(output).unwrap());
    let mut input = File::open(input).unwrap();
    let mut torn = Vec::new();
    // Chunks of whole lines; what follows the last newline is the beginning of the next chunk.
    let chunks = std::iter::from_fn(move || {
        let mut chunk = std::mem::take(&mut torn);
        Read::by_ref(&mut input).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).unwrap();
        let whole = memchr::memrchr(b'\n', &chunk)? + 1;
        torn = chunk.split_off(whole);
        Some(chunk)
    });
    let records = chunks.par_bridge().map(|chunk| {
        let mut replies = StringBuilder::with_capacity(1024, chunk.len());
        for line in chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            replies.append_value(serde_json::from_slice::<Reply>(line).unwrap().output);
        }
        drop(chunk);
        write(&block_columns(&replies.finish(), &[Part::Body; 3]).unwrap(), &out)
    });
    records.sum()
}

fn from_parquet(input: &Path, output: &Path) -> usize {
    let out = Mutex::new(File::create(output).unwrap());
    let file = File::open(input).unwrap();
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).unwrap();
    let groups = metadata.metadata().num_row_groups();
    let records = (0..groups).into_par_iter().with_max_len(1).map(|group| {
        let file = File::open(input).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_row_groups(vec![group])
            .build()
            .unwrap();
        let write = |batch: RecordBatch| {
            write(&block_columns(schema::strings(&batch, "output").unwrap(), &[Part::Body; 3]).unwrap(), &out)
        };
        reader.map(|batch| write(batch.unwrap())).sum::<usize>()
    });
    records.sum()
}

/// Writes the rows that have all three blocks and gives their number.
fn write(extracted: &Extracted, out: &Mutex<File>) -> usize {
    let [solution, demo, full] = extracted.columns.as_slice() else { unreachable!("three were asked for") };
    let rows: Vec<usize> = (0..solution.len()).filter(|row| extracted.misfits[*row].is_none()).collect();
    let mut lines = Vec::with_capacity(solution.values().len() * 2);
    for row in &rows {
        let record = Record {
            canonical_solution: solution.value(*row),
            demo_test_func: demo.value(*row),
            full_test_func: full.value(*row),
        };
        serde_json::to_writer(&mut lines, &record).unwrap();
        lines.push(b'\n');
    }
    out.lock().unwrap().write_all(&lines).unwrap();
    rows.len()
}
