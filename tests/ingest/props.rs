//! Arbitrary lines and arbitrary values.

use super::*;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever bytes of a Parquet input are overwritten: seeds or an error, no panic.
    #[test]
    fn a_damaged_parquet_input_does_not_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let bench = Bench::new();
        let path = bench.path("seeds.parquet");
        let texts = StringArray::from_iter_values((0..50).map(|n| format!("print({n})")));
        let languages = StringArray::from(vec!["python"; 50]);
        parquet(&path, vec![("text", Arc::new(texts)), ("language", Arc::new(languages))]);
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fs::write(&path, bytes).unwrap();
        let _ = bench.ingest(&bench.options(&["seeds.parquet"]));
        if let Ok(records) = autocodegen::frame::records::read_records(&path, 16) {
            prop_assert!(records.count() <= 1024);
        }
    }
}
