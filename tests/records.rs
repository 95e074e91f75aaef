//! Record files of the `stage` command: round trips, compression, Parquet, bad lines.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::Path;

use arrow_array::RecordBatch;
use autocodegen::error::Kind;
use autocodegen::frame::records::{RecordWriter, read_records};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn copy(from: &Path, to: &Path) -> u64 {
    let mut writer = RecordWriter::create(to).unwrap();
    for batch in read_records(from, 3).unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    assert!(!to.exists(), "nothing appears before it is finished");
    writer.finish().unwrap()
}

fn values(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write(path: &Path, records: &[Map<String, Value>]) {
    let lines: String = records.iter().map(|record| format!("{}\n", Value::from(record.clone()))).collect();
    fs::write(path, lines).unwrap();
}

/// What a record looks like after a round trip: `null` members gone.
fn without_nulls(record: &Map<String, Value>) -> Map<String, Value> {
    record
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// JSON equality where 1 and 1.0 are the same number.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => one == two || one.as_f64() == two.as_f64(),
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(name, value)| two.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
        }
        _ => one == two,
    }
}

#[test]
fn nested_values_survive_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let records: Vec<Map<String, Value>> = (0..10)
        .map(|n| {
            let record = json!({
                "index": n,
                "messages": [{"role": "system", "content": ""}, {"role": "user", "content": "a\n\"b\" \u{1F600}"}],
                "full_test_result": {"success": true, "response": {"exec_cout": "x", "n": null}, "status_code": 200},
                "odd": if n % 2 == 0 { json!(n) } else { json!("n") },
            });
            record.as_object().unwrap().clone()
        })
        .collect();
    write(&at("a.jsonl"), &records);
    for (from, to) in [
        ("a.jsonl", "b.parquet"),
        ("b.parquet", "c.jsonl.zst"),
        ("c.jsonl.zst", "d.jsonl.gz"),
        ("d.jsonl.gz", "e.parquet"),
        ("e.parquet", "f.jsonl"),
    ] {
        assert_eq!(copy(&at(from), &at(to)), 10, "{from} to {to}");
    }
    assert_eq!(values(&at("f.jsonl")), values(&at("a.jsonl")));
    let first = fs::read_to_string(at("f.jsonl")).unwrap().lines().next().unwrap().to_owned();
    assert!(first.starts_with("{\"index\":0,\"messages\":["), "column order stays: {first}");
}

#[test]
fn an_empty_file_gives_one_empty_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    fs::write(&from, "\n\n").unwrap();
    let batches: Vec<RecordBatch> = read_records(&from, 3).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [0]);
    assert_eq!(copy(&from, &to), 0);
    assert_eq!(fs::read_to_string(&to).unwrap(), "");
}

#[test]
fn a_bad_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    for bad in ["{\"a\": ", "[1]", "{\"a\": \"\\ud800\"}"] {
        fs::write(&path, format!("{{\"a\": 1}}\n\n{bad}\n")).unwrap();
        let error = read_records(&path, 3).err().expect(bad);
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("a.jsonl:3: "), "{error}");
    }
    assert_eq!(read_records(&folder.path().join("none.jsonl"), 3).err().unwrap().kind(), Kind::Usage);
}

#[test]
fn an_unfinished_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(RecordWriter::create(&folder.path().join("a.jsonl")).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Few digits: serde_json, which reads the files back here, rounds long ones.
        any::<i32>().prop_map(|number| json!(f64::from(number) / 8.0)),
        "\\PC{0,8}|[\\x00-\\x20\"\\\\]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn jsonl_comes_back_as_it_was(
        records in prop::collection::vec(prop::collection::btree_map("[abc]|.{0,3}", value(), 0..5), 0..8),
        through in prop_oneof![Just(None), Just(Some("t.parquet"))],
    ) {
        let records: Vec<Map<String, Value>> = records.into_iter().map(|record| record.into_iter().collect()).collect();
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
        write(&from, &records);
        let columns = records.iter().any(|record| !record.is_empty());
        // A Parquet file without columns has no rows.
        match through.filter(|_| columns) {
            Some(name) => {
                copy(&from, &folder.path().join(name));
                copy(&folder.path().join(name), &to);
            }
            None => { copy(&from, &to); }
        }
        let read = values(&to);
        prop_assert_eq!(read.len(), records.len());
        for (read, written) in read.iter().zip(&records) {
            let written = Value::from(without_nulls(written));
            prop_assert!(same(read, &written), "{read} was {written}");
        }
    }
}
