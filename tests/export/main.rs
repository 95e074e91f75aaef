//! `autocodegen export`: a real run exported, with its prompts as they were sent, every format, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod formats;
mod hub;
mod problems;
mod readers;
mod small;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, Int8Array, ListArray, RecordBatch, StringArray,
    StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, types::Int32Type,
};
use autocodegen::frame::dataset::DatasetWriter;
use autocodegen::frame::part;
use autocodegen::frame::run_dir::RunDir;
use serde_json::{Value, json};

use small::{RUN, autocodegen, kept, lines, small_run, succeed, text};

/// Exports the run into `dir` and gives what was said on stderr.
fn export(dir: &Path, name: &str, args: &[&str]) -> String {
    let (run, out) = (RUN.path().join("run"), dir.join(name));
    let fixed = ["export", "--run", run.to_str().unwrap(), "--out", out.to_str().unwrap()];
    succeed(&[&fixed[..], args].concat())
}

#[test]
fn parquet_is_the_dataset_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let said = export(dir.path(), "all.parquet", &["--format", "parquet"]);
    let file = dir.path().join("all.parquet");
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(said.contains(&format!("{} rows, {bytes} bytes", kept().len())), "{said}");
    let (original, exported) = (RUN.path().join("run/dataset/part-00000.parquet"), file);
    assert_eq!(part::schema(&original).unwrap(), part::schema(&exported).unwrap(), "field metadata included");
    assert_eq!(part::read(&original).unwrap().0, part::read(&exported).unwrap().0);
}

#[test]
fn prompts_are_what_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    export(dir.path(), "all.jsonl", &["--format", "jsonl", "--with-prompts"]);
    let rows = lines(&dir.path().join("all.jsonl"));
    assert_eq!(rows.len(), kept().len());
    for (row, n) in rows.iter().zip(kept()) {
        let user = |content: String| json!({"role": "user", "content": content});
        assert_eq!(row["n"], n);
        assert_eq!(row["tags"], json!(["a", {"b": n}]));
        let system = json!({"role": "system", "content": "You write python."});
        assert_eq!(row["solution_messages"], json!([system, user(format!("Solve:\n{}", text(n)))]));
        assert_eq!(row["question_messages"], json!([user(format!("State code({n}) of {}", text(n)))]));
        assert!(row.get("messages").is_none());
    }
}

#[test]
fn prompts_of_a_run_under_way_are_refused() {
    let root = small_run();
    let file = root.path().join("run/run.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"state\": \"done\""), "{text}");
    std::fs::write(&file, text.replace("\"state\": \"done\"", "\"state\": \"running\"")).unwrap();
    let (run, out) = (root.path().join("run"), root.path().join("x.jsonl"));
    let args =
        ["export", "--run", run.to_str().unwrap(), "--format", "jsonl", "--out", out.to_str().unwrap()];
    let output = autocodegen(&[&args[..], &["--with-prompts"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not at its end") && !out.exists());
    succeed(&args);
}

#[test]
fn a_condition_and_shards_keep_rows_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--format", "jsonl", "--with-prompts", "--shards", "3", "--where", "n >= 10 AND \"n\" < 40"];
    let said = export(dir.path(), "some.jsonl", &args);
    let expected: Vec<usize> = kept().into_iter().filter(|n| (10..40).contains(n)).collect();
    let shards: Vec<Vec<Value>> =
        (0..3).map(|n| lines(&dir.path().join(format!("some-{n:05}-of-00003.jsonl")))).collect();
    let sizes: Vec<usize> = shards.iter().map(Vec::len).collect();
    assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
    let rows: Vec<&Value> = shards.iter().flatten().collect();
    assert_eq!(rows.iter().map(|row| row["n"].as_u64().unwrap() as usize).collect::<Vec<_>>(), expected);
    for (row, n) in rows.iter().zip(&expected) {
        assert!(
            row["question_messages"][0]["content"].as_str().unwrap().contains(&format!("code({n})")),
            "{row}"
        );
    }
    assert!(said.contains(&format!("3 files: {} rows", expected.len())), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left behind");
}

#[test]
fn more_shards_than_rows_and_no_rows_at_all() {
    let dir = tempfile::tempdir().unwrap();
    export(dir.path(), "few.parquet", &["--format", "parquet", "--shards", "4", "--where", "n < 3"]);
    let shard = |n: usize| dir.path().join(format!("few-{n:05}-of-00004.parquet"));
    let rows: Vec<u64> = (0..4).map(|n| part::num_rows(&shard(n)).unwrap()).collect();
    assert_eq!(rows.iter().sum::<u64>(), 2);
    export(dir.path(), "none.parquet", &["--format", "parquet", "--where", "FALSE", "--with-prompts"]);
    let schema = part::schema(&dir.path().join("none.parquet")).unwrap();
    assert_eq!(schema.fields().last().unwrap().name(), "question_messages");
}

#[test]
fn a_file_is_replaced_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("x-00001-of-00002.jsonl");
    std::fs::write(&out, "mine").unwrap();
    let (run, path) = (RUN.path().join("run"), dir.path().join("x.jsonl"));
    let args = [
        "export",
        "--run",
        run.to_str().unwrap(),
        "--format",
        "jsonl",
        "--shards",
        "2",
        "--out",
        path.to_str().unwrap(),
    ];
    let output = autocodegen(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--overwrite"));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is written before everything is checked"
    );
    succeed(&[&args[..], &["--overwrite"]].concat());
    assert_eq!(lines(&out).len(), kept().len() - kept().len() / 2);
}

#[test]
fn bad_requests_are_refused_and_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    RunDir::open_or_create(empty.path()).unwrap();
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (run, begun, nowhere) =
        (path(RUN.path().join("run")), path(empty.path().into()), path(dir.path().join("no")));
    let (jsonl, parquet) = (path(dir.path().join("x.jsonl")), path(dir.path().join("x.parquet")));
    let cases: &[(&str, &str, &[&str], &str)] = &[
        (&run, &jsonl, &["--where", "nonsense = 1"], "nonsense"),
        (&run, &jsonl, &["--where", "n = = 1"], "--where"),
        (&run, &jsonl, &["--where", "n + 1"], "--where"),
        (&run, &jsonl, &["--where", "TRUE; SELECT 1"], "--where"),
        (&run, &jsonl, &["--shards", "0"], "--shards"),
        (&run, &parquet, &[], "does not fit"),
        (&begun, &jsonl, &[], "no dataset yet"),
        (&nowhere, &jsonl, &[], "not a run directory"),
    ];
    for (run, out, args, said) in cases {
        let fixed = ["export", "--run", run, "--format", "jsonl", "--out", out];
        let output = autocodegen(&[&fixed[..], args].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said) && !stderr.contains("panicked"), "{args:?}: {stderr}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{args:?}");
    }
}

#[test]
fn columns_of_any_type_come_along() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::open_or_create(&root.path().join("run")).unwrap();
    let decimal = Decimal128Array::from(vec![150, 250]).with_precision_and_scale(10, 2).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(StringArray::from(vec!["a", "b"]))),
        ("small", Arc::new(Int8Array::from(vec![1, -2]))),
        ("day", Arc::new(Date32Array::from(vec![1, 20_000]))),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![1, 2]))),
        ("clock", Arc::new(Time64MicrosecondArray::from(vec![1, 2]))),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..], b"b"]))),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
                Some(vec![Some(1), None]),
                None,
            ])),
        ),
        (
            "pair",
            Arc::new(
                StructArray::try_from(vec![("x", Arc::new(Int8Array::from(vec![1, 2])) as ArrayRef)])
                    .unwrap(),
            ),
        ),
        ("price", Arc::new(decimal)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = DatasetWriter::create(&run.dataset(), &batch.schema(), &BTreeMap::new()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let (dir, out) = (root.path().join("run"), root.path().join("b.parquet"));
    let args =
        ["export", "--run", dir.to_str().unwrap(), "--format", "parquet", "--out", out.to_str().unwrap()];
    succeed(&[&args[..], &["--where", "id = 'b'"]].concat());
    assert_eq!(part::read(&out).unwrap().0, [batch.slice(1, 1)]);
    for format in ["table", "json", "csv", "markdown"] {
        for column in batch.schema().fields() {
            let sql = format!("SELECT {} FROM dataset", column.name());
            let output =
                autocodegen(&["query", "--sql", &sql, "--format", format, "--run", dir.to_str().unwrap()]);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{sql} as {format}: {stderr}");
        }
    }
    let sql = "SELECT day, list, pair, CAST(small AS DOUBLE) AS small FROM dataset";
    let output = autocodegen(&["query", "--sql", sql, "--format", "json", "--run", dir.to_str().unwrap()]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0], json!({"day": "1970-01-02", "list": [1, null], "pair": {"x": 1}, "small": 1.0}));
}
