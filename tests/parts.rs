//! Sealed parts, tables and rejects: same rows, same bytes; whole or not there.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    StructArray,
};
use arrow_schema::{Field, Schema, SchemaRef};
use autocodegen::error::Kind;
use autocodegen::frame::dataset::DatasetWriter;
use autocodegen::frame::part::{self, Scan};
use autocodegen::frame::rejects::{RejectedRow, rejected_batch, rows_as_json};
use autocodegen::frame::schema::rejected_schema;
use proptest::prelude::*;

/// Rows `from..to` of an endless table with a column of each kind users bring along.
fn table(from: i64, to: i64) -> RecordBatch {
    let rows = || from..to;
    let some = |n: &i64| n % 7 != 3;
    let text: StringArray =
        rows().map(|n| some(&n).then(|| format!("text {n} é\n").repeat(n as usize % 5))).collect();
    let language: DictionaryArray<Int32Type> =
        rows().map(|n| if n % 2 == 0 { "python" } else { "go" }).collect();
    let mut tags = ListBuilder::new(StringBuilder::new());
    for n in rows() {
        for tag in 0..n % 3 {
            tags.values().append_value(format!("tag {tag}"));
        }
        tags.append(n % 5 != 0);
    }
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(rows()));
    let origin =
        StructArray::from(vec![(Arc::new(Field::new("line", n.data_type().clone(), false)), n.clone())]);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("n", n, false),
        ("text", Arc::new(text), true),
        ("language", Arc::new(language), true),
        ("tags", Arc::new(tags.finish()), true),
        ("origin", Arc::new(origin), true),
        (
            "score",
            Arc::new(rows().map(|n| some(&n).then_some(n as f64 / 3.0)).collect::<Float64Array>()),
            true,
        ),
        ("flag", Arc::new(rows().map(|n| Some(n % 2 == 0)).collect::<BooleanArray>()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// `table(0, rows)` in batches of `size`, each a slice of a larger batch when `sliced`.
fn batches(rows: i64, size: i64, sliced: bool) -> Vec<RecordBatch> {
    let whole = table(0, rows);
    (0..rows)
        .step_by(size as usize)
        .map(|from| {
            let to = rows.min(from + size);
            if sliced { whole.slice(from as usize, (to - from) as usize) } else { table(from, to) }
        })
        .collect()
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("fingerprint".into(), "abc".into()), ("rows_in".into(), "17".into())])
}

fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    batches
        .iter()
        .flat_map(|batch| {
            let column = batch.column_by_name("n").unwrap();
            column.as_primitive::<arrow_array::types::Int64Type>().values().to_vec()
        })
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

#[test]
fn a_part_reads_back_as_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part-00000.parquet");
    let whole = table(0, 3000);
    part::seal(&path, &whole.schema(), std::slice::from_ref(&whole), &metadata()).unwrap();
    let (read, found) = part::read(&path).unwrap();
    assert_eq!(found, metadata());
    assert_eq!(part::metadata(&path).unwrap(), metadata());
    assert_eq!(part::schema(&path).unwrap(), whole.schema());
    assert_eq!(part::num_rows(&path).unwrap(), 3000);
    let mut from = 0;
    for batch in &read {
        assert_eq!(batch.schema(), whole.schema());
        assert_eq!(batch, &whole.slice(from, batch.num_rows()));
        from += batch.num_rows();
    }
    assert_eq!(from, 3000);
    assert_eq!(names(dir.path()), ["part-00000.parquet"], "no temporary file is left");
}

#[test]
fn a_part_without_rows_keeps_its_schema() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part.parquet");
    let schema = table(0, 0).schema();
    part::seal(&path, &schema, &[], &BTreeMap::new()).unwrap();
    assert_eq!(part::schema(&path).unwrap(), schema);
    assert_eq!(part::read(&path).unwrap(), (vec![], BTreeMap::new()));
}

#[test]
fn bytes_depend_on_rows_alone() {
    let dir = tempfile::tempdir().unwrap();
    let rows = 20_000;
    let mut sealed = Vec::new();
    for (n, (size, sliced)) in
        [(rows, false), (1000, false), (333, true), (8193, true)].into_iter().enumerate()
    {
        let path = dir.path().join(n.to_string());
        // What a reader or the user's Parquet put into the schema's metadata is not part of the rows.
        let schema = table(0, 0).schema();
        let noted =
            HashMap::from([("batch".to_owned(), n.to_string()), ("huggingface".to_owned(), "{}".to_owned())]);
        let schema: SchemaRef = Arc::new(Schema::clone(&schema).with_metadata(noted));
        part::seal(&path, &schema, &batches(rows, size, sliced), &metadata()).unwrap();
        sealed.push(fs::read(path).unwrap());
    }
    for (n, bytes) in sealed.iter().enumerate() {
        assert!(bytes == &sealed[0], "part {n} differs from part 0");
    }
}

#[test]
fn tables_are_cut_by_rows_alone() {
    let dir = tempfile::tempdir().unwrap();
    let rows = 40_000;
    let mut written = Vec::new();
    for (n, (size, sliced)) in [(rows, false), (777, false), (9001, true)].into_iter().enumerate() {
        let path = dir.path().join(format!("dataset-{n}"));
        let mut writer =
            DatasetWriter::create(&path, &table(0, 0).schema(), &metadata()).unwrap().rows_per_file(10_000);
        for batch in batches(rows, size, sliced) {
            writer.write(&batch).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), rows as u64);
        written.push(contents(&path));
    }
    let files: Vec<&str> = written[0].iter().map(|(name, _)| name.as_str()).collect();
    // 10,000 rows rounded up to whole row groups of 8,192 are 16,384.
    assert_eq!(files, ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]);
    assert!(written.iter().all(|files| files == &written[0]), "the same rows gave other bytes");
    let paths = files.iter().map(|name| dir.path().join("dataset-0").join(name));
    let scanned: Vec<RecordBatch> = Scan::new(paths, None).map(Result::unwrap).collect();
    assert_eq!(numbers(&scanned), (0..rows).collect::<Vec<_>>());
    assert!(scanned.iter().all(|batch| batch.num_rows() <= 1024));
}

#[test]
fn large_values_close_a_row_group_early() {
    let dir = tempfile::tempdir().unwrap();
    let output = "x".repeat(5 << 20);
    let one = || {
        let column: ArrayRef = Arc::new(StringArray::from(vec![output.as_str()]));
        RecordBatch::try_from_iter([("stdout", column)]).unwrap()
    };
    let mut written = Vec::new();
    for batches in [
        vec![one(); 15],
        vec![arrow_select::concat::concat_batches(&one().schema(), &vec![one(); 15]).unwrap()],
    ] {
        let path = dir.path().join(written.len().to_string());
        part::seal(&path, &one().schema(), &batches, &BTreeMap::new()).unwrap();
        let file = fs::File::open(&path).unwrap();
        let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let groups: Vec<i64> = builder.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        // 7 x 5 MiB is the first to reach 32 MiB.
        assert_eq!(groups, [7, 7, 1]);
        written.push(fs::read(&path).unwrap());
    }
    assert!(written[0] == written[1]);
}

#[test]
fn a_table_replaces_the_old_one_only_when_finished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dataset");
    let schema = table(0, 0).schema();
    assert_eq!(DatasetWriter::create(&path, &schema, &metadata()).unwrap().finish().unwrap(), 0);
    assert_eq!(names(&path), ["part-00000.parquet"], "an empty table still has its schema");
    let empty = contents(&path);

    let mut unfinished = DatasetWriter::create(&path, &schema, &metadata()).unwrap();
    unfinished.write(&table(0, 20_000)).unwrap();
    assert_eq!(contents(&path), empty);
    drop(unfinished);
    assert_eq!(contents(&path), empty);
    assert_eq!(names(dir.path()), ["dataset"], "an unfinished table is deleted");

    let mut writer = DatasetWriter::create(&path, &schema, &metadata()).unwrap().rows_per_file(1);
    writer.write(&table(0, 20_000)).unwrap();
    writer.finish().unwrap();
    assert_eq!(names(&path).len(), 3);
    let mut writer = DatasetWriter::create(&path, &schema, &metadata()).unwrap();
    writer.write(&table(0, 5)).unwrap();
    writer.finish().unwrap();
    assert_eq!(names(&path), ["part-00000.parquet"], "nothing of the old table is left");
    assert_eq!(names(dir.path()), ["dataset"]);
}

#[test]
fn a_batch_that_does_not_fit_is_refused_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part.parquet");
    let schema = table(0, 0).schema();
    let error = part::seal(&path, &schema, &[rejected_batch(&[]).unwrap()], &metadata()).unwrap_err();
    assert!(error.to_string().contains("no column `n`"), "{error}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn a_damaged_part_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.parquet");
    let bad = dir.path().join("bad.parquet");
    let whole = table(0, 5000);
    part::seal(&good, &whole.schema(), std::slice::from_ref(&whole), &metadata()).unwrap();
    let bytes = fs::read(&good).unwrap();
    for length in [0, 3, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&bad, &bytes[..length]).unwrap();
        for error in [part::read(&bad).unwrap_err(), part::metadata(&bad).unwrap_err()] {
            assert!(error.to_string().contains("bad.parquet"), "{error}");
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.hint_text().is_some());
        }
    }
    // The footer is whole, a page is not: the scan ends with one error.
    let mut torn = bytes.clone();
    torn[50..bytes.len() / 2].fill(0xff);
    fs::write(&bad, torn).unwrap();
    let results: Vec<_> = Scan::new([good.clone(), bad.clone(), good.clone()], None).collect();
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    assert!(results.last().unwrap().as_ref().unwrap_err().to_string().contains("bad.parquet"));
    let missing = part::read(&dir.path().join("missing.parquet")).unwrap_err();
    assert!(missing.to_string().contains("missing.parquet"), "{missing}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever bytes of a part are overwritten: rows or an error, no panic.
    #[test]
    fn arbitrary_damage_does_not_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part.parquet");
        let rows = table(0, 50);
        part::seal(&path, &rows.schema(), &[rows], &metadata()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fs::write(&path, bytes).unwrap();
        for batch in part::read(&path).map(|(batches, _)| batches).unwrap_or_default() {
            prop_assert!(batch.num_rows() <= 1024);
        }
    }
}

#[test]
fn a_scan_picks_columns() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..3).map(|n| dir.path().join(n.to_string())).collect();
    for (n, path) in paths.iter().enumerate() {
        let rows = table(n as i64 * 10, n as i64 * 10 + 10);
        part::seal(path, &rows.schema(), &[rows], &BTreeMap::from([("part".into(), n.to_string())])).unwrap();
    }
    let columns = Some(vec!["origin".to_owned(), "n".to_owned()]);
    let scanned: Vec<RecordBatch> = Scan::new(paths.clone(), columns).map(Result::unwrap).collect();
    assert_eq!(numbers(&scanned), (0..30).collect::<Vec<_>>());
    for batch in scanned {
        let names: Vec<&str> =
            batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["n", "origin"]);
    }
    let error = Scan::new(paths, Some(vec!["colour".into()])).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("`colour`"), "{error}");
}

#[test]
fn rejected_rows_carry_what_they_had() {
    let batch = table(0, 10);
    let json = rows_as_json(&batch, &[4, 1, 4]).unwrap();
    let values: Vec<serde_json::Value> =
        json.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values[0], values[2]);
    assert_eq!(values[0]["n"], 4);
    assert_eq!(values[0]["language"], "python");
    assert_eq!(values[0]["origin"]["line"], 4);
    assert_eq!(values[0]["tags"], serde_json::json!(["tag 0"]));
    assert_eq!(values[1]["text"], "text 1 é\n");
    assert!(rows_as_json(&batch, &[3]).unwrap()[0].find("\"text\"").is_none(), "nulls are left out");
    assert_eq!(rows_as_json(&batch, &[]).unwrap(), Vec::<String>::new());
    assert!(rows_as_json(&batch, &[10]).is_err());

    let row = RejectedRow {
        id: Some("abc".into()),
        stage: "ingest".into(),
        reason: "bad_json".into(),
        source: Some("seeds.jsonl:7".into()),
        record: Some(json[0].clone()),
        ..RejectedRow::default()
    };
    let rejected = rejected_batch(&[row, RejectedRow::default()]).unwrap();
    assert_eq!(rejected.schema(), rejected_schema());
    assert_eq!(rejected.column_by_name("source").unwrap().as_string::<i32>().value(0), "seeds.jsonl:7");
    assert!(rejected.column_by_name("language").unwrap().is_null(0));
}

#[test]
fn a_full_disk_leaves_the_old_table() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = common::SmallDisk::mount(dir.path()) else {
        common::skip("a_full_disk_leaves_the_old_table", "a tmpfs cannot be mounted here");
        return;
    };
    let path = dir.path().join("dataset");
    let schema = table(0, 0).schema();
    DatasetWriter::create(&path, &schema, &metadata()).unwrap().finish().unwrap();
    let before = contents(&path);
    let mut writer = DatasetWriter::create(&path, &schema, &metadata()).unwrap();
    let mut result = Ok(());
    for from in (0..2_000_000).step_by(20_000) {
        result = writer.write(&table(from, from + 20_000));
        if result.is_err() {
            break;
        }
    }
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error}");
    assert!(error.hint_text().unwrap().contains("disk space"), "{error}");
    drop(writer);
    assert_eq!(contents(&path), before);
    assert_eq!(names(dir.path()), ["dataset"]);

    let part = dir.path().join("part.parquet");
    let big = table(0, 300_000);
    let error = part::seal(&part, &schema, &[big], &metadata()).unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error}");
    assert!(error.hint_text().unwrap().contains("disk space"), "{error}");
    assert_eq!(names(dir.path()), ["dataset"]);
}
