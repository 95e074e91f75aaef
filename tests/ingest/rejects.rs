//! Rows that are rejected and inputs that are refused.

use super::*;

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
