//! Ingest over real files: formats, columns, repeats, rejected rows, damaged inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray,
    RecordBatch, StringArray, types::Int32Type,
};
use arrow_schema::{DataType, Schema};
use autocodegen::error::Kind;
use autocodegen::frame::ingest::{Ingested, Languages, SeedOptions, SeedStore, ingest, manifest};
use autocodegen::frame::records::{json_lines, read_records};
use autocodegen::frame::{key, schema};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Few;

impl Languages for Few {
    fn resolve(&self, name: &str) -> Option<String> {
        Some(
            match name.to_lowercase().as_str() {
                "python" | "py" | "python3" => "python",
                "cpp" | "c++" => "cpp",
                "go" => "go",
                _ => return None,
            }
            .to_owned(),
        )
    }

    fn of_extension(&self, extension: &str) -> Option<String> {
        Some(
            match extension {
                "py" => "python",
                "cpp" | "cc" => "cpp",
                "go" => "go",
                _ => return None,
            }
            .to_owned(),
        )
    }
}

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn options(&self, paths: &[&str]) -> SeedOptions {
        let paths = paths.iter().map(|path| self.path(path).to_string_lossy().into_owned()).collect();
        SeedOptions { paths, ..SeedOptions::default() }
    }

    fn ingest(&self, options: &SeedOptions) -> autocodegen::error::Result<Ingested> {
        ingest(
            options,
            &Few,
            &self.path("run/seeds"),
            &self.path("run/rejected/seed.parquet"),
            &mut |_, _| {},
        )
    }

    fn seeds(&self) -> RecordBatch {
        let store = SeedStore::open(&self.path("run/seeds")).unwrap();
        let all = store.read(0, usize::MAX).unwrap();
        assert_eq!(all.num_rows() as u64, store.rows());
        assert_eq!(all.schema(), store.schema());
        all
    }

    fn seed_values(&self) -> Vec<Value> {
        values(&self.seeds())
    }

    /// (source relative to the folder, reason) of the rejected rows.
    fn rejected(&self) -> Vec<(String, String)> {
        let frame = self.rejected_frame();
        let source = schema::strings(&frame, "source").unwrap();
        let reason = schema::strings(&frame, "reason").unwrap();
        let root = format!("{}/", self.folder.path().display());
        (0..frame.num_rows())
            .map(|row| (source.value(row).replace(&root, ""), reason.value(row).to_owned()))
            .collect()
    }

    fn rejected_frame(&self) -> RecordBatch {
        let mut batches = read_records(&self.path("run/rejected/seed.parquet"), 100_000).unwrap();
        let frame = batches.next().unwrap().unwrap();
        assert!(batches.next().is_none());
        assert_eq!(frame.schema().fields(), schema::rejected_schema().fields());
        frame
    }
}

fn values(batch: &RecordBatch) -> Vec<Value> {
    let lines = json_lines(batch).unwrap();
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn strings(batch: &RecordBatch, name: &str) -> Vec<String> {
    schema::strings(batch, name).unwrap().iter().map(|value| value.unwrap().to_owned()).collect()
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn plain_gzip_and_zstd_jsonl_give_the_same_seeds() {
    let content = lines(&[
        json!({"text": "print(1)", "language": "py", "stars": 3}),
        json!({"text": "int main(){}\n\"\\", "language": "C++", "stars": null}),
    ]);
    let mut frames = Vec::new();
    for (name, bytes) in [
        ("a.jsonl", content.clone().into_bytes()),
        ("b.jsonl.gz", gzip(content.as_bytes())),
        ("c.jsonl.zst", zstd::encode_all(content.as_bytes(), 3).unwrap()),
        // The first bytes say what it is, not the name.
        ("d.jsonl", gzip(content.as_bytes())),
        ("e.seeds", zstd::encode_all(content.as_bytes(), 3).unwrap()),
        // Concatenated members, as parallel compressors write them.
        ("f.gz", {
            let (one, two) = content.split_at(20);
            [gzip(one.as_bytes()), gzip(two.as_bytes())].concat()
        }),
        ("g.jsonl", [b"\xef\xbb\xbf", content.as_bytes()].concat()),
        ("h.jsonl", content.replace('\n', "\r\n").into_bytes()),
    ] {
        let bench = Bench::new();
        bench.write(name, bytes);
        let done = bench.ingest(&bench.options(&[name])).unwrap();
        assert_eq!((done.rows, done.duplicates, done.rejected, done.files), (2, 0, 0, 1), "{name}");
        assert_eq!(done.bytes, fs::metadata(bench.path(name)).unwrap().len());
        assert_eq!(bench.rejected_frame().num_rows(), 0);
        frames.push(bench.seeds());
    }
    let first = &frames[0];
    assert_eq!(
        first.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["id", "language", "text", "stars"]
    );
    assert_eq!(strings(first, "language"), ["python", "cpp"]);
    assert_eq!(strings(first, "text"), ["print(1)", "int main(){}\n\"\\"]);
    assert_eq!(strings(first, "id")[0], key::row_id("python", "print(1)", 0));
    assert!(frames.iter().all(|frame| frame == first));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_folder_gives_its_source_files_without_ignored_and_hidden_ones() {
    let bench = Bench::new();
    for (name, content) in [
        ("code/.gitignore", "build/\n*.gen.py\n"),
        ("code/a.py", "a = 1"),
        ("code/sub/b.go", "package b"),
        ("code/sub/c.gen.py", "ignored"),
        ("code/build/d.py", "ignored"),
        ("code/.hidden/e.py", "hidden"),
        ("code/.f.py", "hidden"),
        ("code/README.md", "not code"),
        ("code/rows.jsonl", "{\"no\": \"seed\"}"),
        ("code/empty/__init__.py", " \n"),
        ("code/long.py", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ] {
        bench.write(name, content);
    }
    bench.write("code/latin.py", b"s = '\xe9'");
    let options = SeedOptions { max_seed_bytes: 32, ..bench.options(&["code"]) };
    let done = bench.ingest(&options).unwrap();
    assert_eq!(strings(&bench.seeds(), "path"), ["a.py", "sub/b.go"]);
    assert_eq!(strings(&bench.seeds(), "language"), ["python", "go"]);
    assert_eq!(done.by_language.get("go"), Some(&1));
    let rejected = [
        ("code/empty/__init__.py", "text_empty"),
        ("code/latin.py", "not_utf8"),
        ("code/long.py", "too_long"),
    ];
    assert_eq!(bench.rejected(), rejected.map(|(source, reason)| (source.to_owned(), reason.to_owned())));
    let entries = manifest(&options, &Few).unwrap();
    assert_eq!(entries.len(), 5);
    assert!(entries.is_sorted_by(|one, two| one.path < two.path));
    assert!(entries.iter().all(|entry| entry.size > 0 && entry.mtime_ns > 0));
}

#[test]
fn a_folder_without_source_files_gives_its_data_files() {
    let bench = Bench::new();
    bench.write("data/b.jsonl", lines(&[json!({"code": "2", "lang": "go"})]));
    bench.write("data/a.jsonl.gz", gzip(lines(&[json!({"content": "1", "language": "go"})]).as_bytes()));
    bench.write("data/notes.txt", "no seeds");
    assert_eq!(bench.ingest(&bench.options(&["data"])).unwrap().rows, 2);
    assert_eq!(strings(&bench.seeds(), "text"), ["1", "2"]);
}

#[test]
fn every_kind_of_bad_row_is_rejected_with_file_and_line() {
    let bench = Bench::new();
    let mut content: Vec<u8> = Vec::new();
    let huge = format!("{{\"text\": \"{}\"}}", "x".repeat(17 << 20));
    let bad: Vec<(&[u8], &str)> = vec![
        (b"{\"text\": \"ok\", \"language\": \"go\"}", ""),
        (b"{\"text\": \"cut", "malformed_json"),
        (b"{\"text\": \"ok\", \"language\": \"go\"} x", "malformed_json"),
        (b"{\"text\": \"\\ud800\", \"language\": \"go\"}", "malformed_json"),
        (b"{\"text\": \"y\", \"language\": \"go\", \"own\": \"\\ud800\"}", "malformed_json"),
        (b"[1, 2]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"", "blank"),
        (b"{\"text\": \"\xff\", \"language\": \"go\"}", "not_utf8"),
        (b"{\"language\": \"go\"}", "text_missing"),
        (b"{\"text\": null, \"language\": \"go\"}", "text_missing"),
        (b"{\"text\": 12, \"language\": \"go\"}", "text_missing"),
        (b"{\"text\": \" \\n\", \"language\": \"go\"}", "text_empty"),
        (b"{\"text\": \"z\"}", "language_missing"),
        (b"{\"text\": \"z\", \"language\": 3}", "language_missing"),
        (b"{\"text\": \"z\", \"language\": \"klingon\"}", "language_unknown"),
        (b"{\"text\": \"0123456789\", \"language\": \"go\"}", "too_long"),
        (huge.as_bytes(), "line_too_long"),
        (b"{\"text\": \"last\", \"language\": \"go\"}", ""),
    ];
    for (line, _) in &bad {
        content.extend_from_slice(line);
        content.push(b'\n');
    }
    bench.write("bad.jsonl", content);
    let done = bench.ingest(&SeedOptions { max_seed_bytes: 9, ..bench.options(&["bad.jsonl"]) }).unwrap();
    let expected: Vec<(String, String)> = bad
        .iter()
        .enumerate()
        .filter(|(_, (_, reason))| !matches!(*reason, "" | "blank"))
        .map(|(at, (_, reason))| (format!("bad.jsonl:{}", at + 1), (*reason).to_owned()))
        .collect();
    assert_eq!(bench.rejected(), expected);
    assert_eq!((done.rows, done.rejected), (2, expected.len() as u64));
    assert_eq!(done.rejected_by_reason["malformed_json"], 4);
    assert_eq!(done.rejected_by_reason.values().sum::<u64>(), done.rejected);
    assert_eq!(strings(&bench.seeds(), "text"), ["ok", "last"]);
    let frame = bench.rejected_frame();
    for (record, (stage, detail)) in
        strings(&frame, "record").iter().zip(strings(&frame, "stage").iter().zip(strings(&frame, "detail")))
    {
        serde_json::from_str::<Value>(record).expect("the record is JSON text");
        assert!(record.len() < 5000 && stage == "seed" && !detail.is_empty());
    }
}

#[test]
fn more_own_columns_than_can_be_meant_reject_the_row_that_brings_them() {
    let bench = Bench::new();
    let wide = |text: &str, columns: std::ops::Range<usize>| {
        let mut record = json!({"text": text, "language": "go"});
        for column in columns {
            record[format!("c{column}")] = json!(column);
        }
        record
    };
    bench.write(
        "wide.jsonl",
        lines(&[wide("a", 0..255), wide("b", 254..258), wide("c", 0..256), wide("d", 256..257)]),
    );
    assert_eq!(bench.ingest(&bench.options(&["wide.jsonl"])).unwrap().rows, 2);
    assert_eq!(bench.seeds().num_columns(), 3 + 256);
    let expected = [("wide.jsonl:2", "too_many_columns"), ("wide.jsonl:4", "too_many_columns")];
    assert_eq!(bench.rejected(), expected.map(|(source, reason)| (source.to_owned(), reason.to_owned())));
}

#[test]
fn exact_repeats_are_dropped_and_counted_across_files_and_aliases() {
    let bench = Bench::new();
    bench.write(
        "a.jsonl",
        lines(&[json!({"text": "x", "language": "py", "n": 1}), json!({"text": "x", "language": "go"})]),
    );
    bench.write(
        "b.jsonl",
        lines(&[json!({"text": "x", "language": "Python3", "n": 2}), json!({"text": "y", "language": "py"})]),
    );
    let done = bench.ingest(&bench.options(&["b.jsonl", "a.jsonl", "*.jsonl"])).unwrap();
    assert_eq!((done.rows, done.duplicates, done.files), (3, 1, 2));
    assert_eq!(bench.seed_values()[0]["n"], 1, "the first one stays");
}

#[test]
fn columns_are_found_overridden_defaulted_and_renamed() {
    let bench = Bench::new();
    bench.write(
        "a.jsonl",
        lines(&[json!({"code": "b", "content": "a", "lang": "go", "id": 7, "question": "q", "seed_id": 8})]),
    );
    bench.ingest(&SeedOptions { reserved: vec!["question".into()], ..bench.options(&["a.jsonl"]) }).unwrap();
    let seed = &bench.seed_values()[0];
    assert_eq!((&seed["text"], &seed["code"], &seed["language"]), (&json!("a"), &json!("b"), &json!("go")));
    assert_eq!(
        (&seed["seed_id"], &seed["seed_question"], &seed["seed_seed_id"]),
        (&json!(7), &json!("q"), &json!(8))
    );

    bench.write("b.jsonl", lines(&[json!({"text": "no", "src": "s", "l": "cpp"}), json!({"src": "t"})]));
    let options = SeedOptions {
        text_column: Some("src".into()),
        language_column: Some("l".into()),
        language: Some("PY".into()),
        ..bench.options(&["b.jsonl"])
    };
    bench.ingest(&options).unwrap();
    assert_eq!(strings(&bench.seeds(), "text"), ["s", "t"]);
    assert_eq!(strings(&bench.seeds(), "language"), ["cpp", "python"]);
    assert_eq!(bench.seed_values()[0]["seed_text"], "no");
}

#[test]
fn types_widen_when_a_later_value_does_not_fit() {
    let bench = Bench::new();
    // Enough text between the first and the last records that rows are written before the misfits come.
    let mut records = vec![
        json!({"int": 1, "num": 1, "big": 1, "mixed": 1, "flag": true, "word": "a", "list": [1], "none": null}),
    ];
    records.extend((0..12_000).map(|n| json!({"pad": "p".repeat(1000), "n": n})));
    records.push(json!({"int": 2, "num": 2.5, "big": u64::MAX, "mixed": "two", "flag": false, "word": "1", "list": {"a": null}, "late": -0.0}));
    for (n, record) in records.iter_mut().enumerate() {
        record["text"] = json!(format!("t{n}"));
        record["language"] = json!("go");
    }
    bench.write("a.jsonl", lines(&records));
    let mut rows = Vec::new();
    let done = ingest(
        &bench.options(&["a.jsonl"]),
        &Few,
        &bench.path("run/seeds"),
        &bench.path("run/rejected/seed.parquet"),
        &mut |kept, _| rows.push(kept),
    )
    .unwrap();
    assert_eq!(done.rows, 12_002);
    assert_eq!(rows.iter().filter(|kept| **kept == 12_002).count(), 2, "two passes: {rows:?}");
    let seeds = bench.seeds();
    let of = |name: &str| seeds.column_by_name(name).unwrap().data_type().clone();
    assert_eq!(
        ["int", "num", "flag", "n"].map(of),
        [DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Int64]
    );
    assert_eq!(["big", "mixed", "word", "list", "none"].map(of), [const { DataType::Utf8 }; 5]);
    assert_eq!(of("late"), DataType::Float64);
    assert_eq!(schema::strings(&seeds, "mixed").unwrap().value(12_001), "\"two\"");
    assert_eq!(schema::strings(&seeds, "word").unwrap().value(12_001), "1");
    let read = bench.seed_values();
    for (read, written) in [(&read[0], &records[0]), (&read[12_001], &records[12_001])] {
        for (name, value) in written.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
            assert!(same(&read[name], value), "{name}: {} was {value}", read[name]);
        }
    }
}

/// JSON equality where 1 and 1.0 are the same number.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => one == two || one.as_f64() == two.as_f64(),
        _ => one == two,
    }
}

#[test]
fn parquet_columns_keep_their_types_and_mix_with_others() {
    let bench = Bench::new();
    let list =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    parquet(
        &bench.path("a.parquet"),
        vec![
            ("content", Arc::new(LargeStringArray::from(vec![Some("p1"), None, Some("p3")]))),
            ("lang", Arc::new(StringArray::from(vec!["go", "go", "cpp"]))),
            ("small", Arc::new(Int32Array::from(vec![1, 2, 3]))),
            ("list", Arc::new(list)),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, None]))),
            ("score", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]))),
        ],
    );
    let done = bench.ingest(&bench.options(&["a.parquet"])).unwrap();
    assert_eq!((done.rows, done.rejected), (2, 1));
    assert_eq!(bench.rejected(), [("a.parquet:2".to_owned(), "text_missing".to_owned())]);
    let alone = bench.seeds();
    let of = |frame: &RecordBatch, name: &str| frame.column_by_name(name).unwrap().data_type().clone();
    assert_eq!(of(&alone, "small"), DataType::Int32);
    assert!(matches!(of(&alone, "list"), DataType::List(_)));

    bench.write(
        "b.jsonl",
        lines(&[json!({"text": "j", "language": "py", "small": 5, "list": "none", "score": null, "own": 1})]),
    );
    bench.write("c/d.go", "package d");
    parquet(
        &bench.path("d.parquet"),
        vec![
            ("text", Arc::new(StringArray::from(vec!["q"]))),
            ("language", Arc::new(StringArray::from(vec!["py"]))),
            ("score", Arc::new(Int64Array::from(vec![4]))),
        ],
    );
    bench.ingest(&bench.options(&["a.parquet", "b.jsonl", "c", "d.parquet"])).unwrap();
    let mixed = bench.seeds();
    assert_eq!(of(&mixed, "small"), DataType::Int64);
    assert_eq!(of(&mixed, "flag"), DataType::Boolean);
    let read = values(&mixed);
    assert_eq!(strings(&mixed, "text"), ["p1", "p3", "j", "package d", "q"]);
    assert_eq!(
        (&read[0]["list"], &read[1]["list"], &read[2]["list"]),
        (&json!([1, null]), &json!([]), &json!("none"))
    );
    assert_eq!((&read[0]["score"], &read[4]["score"], &read[2]["own"]), (&json!(0.5), &json!(4), &json!(1)));
    assert_eq!((&read[3]["path"], &read[2]["small"]), (&json!("d.go"), &json!(5)));
}

#[test]
fn unusable_inputs_are_usage_errors_that_leave_nothing() {
    let bench = Bench::new();
    bench.write("good.jsonl", lines(&[json!({"text": "x", "language": "go"})]));
    bench.write("noname.jsonl", lines(&[json!({"snippet": "x", "stars": 1})]));
    bench.write("array.json", "[{\"text\": 1}]");
    bench.write("all_bad.jsonl", "{]\n\n[]\n");
    bench.write("empty.jsonl", "");
    bench.write("what.bin", [0, 1, 2]);
    bench.write("fake.parquet", "PAR1 no");
    bench.write(
        "cut.jsonl.gz",
        &gzip(&lines(&[json!({"text": "x".repeat(9000), "language": "go"})]).into_bytes())[..40],
    );
    fs::create_dir(bench.path("nothing")).unwrap();
    parquet(&bench.path("whole.parquet"), vec![("text", Arc::new(StringArray::from(vec!["x"; 5000])))]);
    let whole = fs::read(bench.path("whole.parquet")).unwrap();
    bench.write("cut.parquet", &whole[..whole.len() / 2]);
    parquet(&bench.path("numbers.parquet"), vec![("text", Arc::new(Int32Array::from(vec![1])))]);
    for (path, says) in [
        ("missing.jsonl", "missing.jsonl"),
        ("*.rs", "no file matches"),
        ("noname.jsonl", "its columns are snippet, stars"),
        ("array.json", "one JSON array"),
        ("all_bad.jsonl", "all_bad.jsonl:1: malformed JSON"),
        ("empty.jsonl", "no usable seed"),
        ("what.bin", "neither JSONL"),
        ("fake.parquet", "as Parquet"),
        ("cut.parquet", "as Parquet"),
        ("cut.jsonl.gz", "cut.jsonl.gz"),
        ("nothing", "no seeds in the folder"),
        ("numbers.parquet", "not text"),
    ] {
        let paths: &[&str] =
            if path == "all_bad.jsonl" || path == "empty.jsonl" { &[path] } else { &["good.jsonl", path] };
        let error = bench.ingest(&bench.options(paths)).expect_err(path);
        assert_eq!(error.kind(), Kind::Usage, "{path}: {error}");
        assert!(error.to_string().contains(says), "{path}: {error}");
        assert!(error.hint_text().is_some(), "{path}: {error}");
        let left: Vec<_> = walk(&bench.path("run"));
        assert!(left.is_empty(), "{path} left {left:?}");
    }
    let options = SeedOptions { language: Some("klingon".into()), ..bench.options(&["good.jsonl"]) };
    assert!(bench.ingest(&options).unwrap_err().to_string().contains("klingon"));
    let options = SeedOptions { text_column: Some("body".into()), ..bench.options(&["good.jsonl"]) };
    assert!(bench.ingest(&options).unwrap_err().to_string().contains("`body`"));
}

/// The files under a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

#[test]
fn files_and_row_groups_have_fixed_sizes_and_rows_are_read_by_position() {
    let bench = Bench::new();
    let rows = 70_000_u64;
    let records: Vec<Value> =
        (0..rows).map(|n| json!({"text": format!("t{n}"), "language": "go", "n": n})).collect();
    bench.write("a.jsonl", lines(&records));
    let done = bench.ingest(&bench.options(&["a.jsonl"])).unwrap();
    assert_eq!(done.rows, rows);
    let names: Vec<String> = {
        let mut files = walk(&bench.path("run/seeds"));
        files.sort();
        files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names, ["seeds-00000.parquet", "seeds-00001.parquet"]);
    let metadata = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        File::open(bench.path("run/seeds/seeds-00000.parquet")).unwrap(),
    )
    .unwrap();
    assert_eq!(metadata.metadata().num_row_groups(), 64);
    assert!(metadata.metadata().row_groups().iter().all(|group| group.num_rows() == 1024));
    let store = SeedStore::open(&bench.path("run/seeds")).unwrap();
    assert_eq!(store.rows(), rows);
    for (start, len, expected) in [
        (0, 1, 0..1),
        (1023, 2, 1023..1025),
        (65_000, 1000, 65_000..66_000),
        (69_999, 10, 69_999..70_000),
        (70_000, 5, 0..0),
        (u64::MAX, 5, 0..0),
    ] {
        let read = store.read(start, len).unwrap();
        let numbers = read
            .column_by_name("n")
            .unwrap()
            .as_any()
            .downcast_ref::<Int64Array>()
            .unwrap()
            .values()
            .to_vec();
        assert_eq!(numbers, expected.collect::<Vec<i64>>(), "{start} {len}");
    }
    let limited = SeedOptions { limit: Some(10), ..bench.options(&["a.jsonl"]) };
    assert_eq!(bench.ingest(&limited).unwrap().rows, 10, "ingest replaces the frame");
    assert_eq!(bench.seeds().num_rows(), 10);
}

#[test]
fn same_inputs_give_same_bytes() {
    let read = || {
        let bench = Bench::new();
        let records: Vec<Value> = (0..9000)
            .map(|n| json!({"text": format!("t{}", n % 8000), "language": "go", format!("k{}", n % 7): n}))
            .collect();
        bench.write("a.jsonl", lines(&records));
        bench.ingest(&bench.options(&["a.jsonl"])).unwrap();
        fs::read(bench.path("run/seeds/seeds-00000.parquet")).unwrap()
    };
    assert!(read() == read());
}

fn record() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Few digits: serde_json, which reads the files back here, rounds long ones.
        any::<i32>().prop_map(|number| json!(f64::from(number) / 8.0)),
        ".{0,8}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|members| json!(members)),
        ]
    });
    let own = prop::collection::btree_map("[abc]|.{0,3}|id|seed_id", value.clone(), 0..4);
    let text = prop_oneof![4 => "[xy]{0,3}".prop_map(Value::from), 1 => value.clone()];
    let language = prop_oneof![4 => Just(json!("go")), 1 => value];
    (own, prop::option::weighted(0.9, text), prop::option::weighted(0.9, language)).prop_map(
        |(own, text, language)| {
            let mut record = json!(own);
            for (name, value) in [("text", text), ("language", language)] {
                if let Some(value) = value {
                    record[name] = value;
                }
            }
            record
        },
    )
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => record().prop_map(|record| record.to_string().into_bytes()),
        1 => (record(), any::<prop::sample::Index>()).prop_map(|(record, at)| {
            let line = record.to_string().into_bytes();
            line[..at.index(line.len())].to_vec()
        }),
        1 => prop::collection::vec(any::<u8>().prop_filter("a line end", |byte| *byte != b'\n'), 0..40),
        1 => "[\\[\\]{}:,\"0-9a-z\\\\ -]{0,30}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_lines_never_panic_and_add_up(mut given in prop::collection::vec(any_line(), 0..20)) {
        given.push(b"{\"text\": \"usable\", \"language\": \"go\"}".to_vec());
        let bench = Bench::new();
        bench.write("a.jsonl", given.join(&b'\n'));
        let done = bench.ingest(&bench.options(&["a.jsonl"])).unwrap();
        let count = given.iter().filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count() as u64;
        prop_assert_eq!(done.rows + done.duplicates + done.rejected, count);
        prop_assert_eq!(bench.seeds().num_rows() as u64, done.rows);
        prop_assert_eq!(bench.rejected_frame().num_rows() as u64, done.rejected);
        prop_assert_eq!(bench.seeds().schema(), Arc::new(Schema::clone(&done.schema)));
    }

    #[test]
    fn own_values_come_along_unchanged(mut records in prop::collection::vec(record(), 1..12)) {
        for (n, record) in records.iter_mut().enumerate() {
            record["text"] = json!(format!("t{n}"));
            record["language"] = json!("go");
        }
        let bench = Bench::new();
        bench.write("a.jsonl", lines(&records));
        bench.ingest(&bench.options(&["a.jsonl"])).unwrap();
        let read = bench.seed_values();
        prop_assert_eq!(read.len(), records.len());
        for (read, written) in read.iter().zip(&records) {
            for (name, value) in written.as_object().unwrap() {
                let name = match name.as_str() { "id" => "seed_id", "seed_id" => "seed_seed_id", name => name };
                prop_assert!(same(&read[name], value), "{name}: {} was {value}", read[name]);
            }
        }
    }
}
