//! Columns: found, renamed, widened, mixed.

use super::*;

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
        &mut |kept, _| {
            assert!(!bench.path("run/seeds").exists() && !bench.path("run/rejected/seed.parquet").exists());
            rows.push(kept);
        },
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
