//! What can be read, and what is written.

use super::*;

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
