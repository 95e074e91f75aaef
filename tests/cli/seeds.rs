//! Seeds that are no good: rows are rejected by file and line, inputs are refused, and nothing is asked for them.

use serde_json::json;

use super::*;

#[test]
fn bad_rows_are_rejected_with_file_and_line_and_the_rest_goes_on() {
    let place = Place::new();
    let line = |value: Value| (value.to_string() + "\n").into_bytes();
    let lines: Vec<Vec<u8>> = vec![
        line(json!({"text": "first = 1", "language": "python"})),
        b"{\"text\": \"x\", \n".to_vec(),
        b"{\"text\": \"\xff\xfe\", \"language\": \"python\"}\n".to_vec(),
        line(json!({"language": "python"})),
        line(json!({"text": "", "language": "python"})),
        line(json!({"text": " \n\t", "language": "python"})),
        line(json!({"text": 5, "language": "python"})),
        line(json!({"text": null, "language": "python"})),
        line(json!({"text": "x", "language": "klingon"})),
        line(json!({"text": "x"})),
        line(json!({"text": "y".repeat(101), "language": "python"})),
        line(json!(["text", "x"])),
        line(json!({"text": "z".repeat(17 << 20), "language": "python"})),
        b"\n".to_vec(),
        line(json!({"text": "last = 1", "language": "py"})),
    ];
    place.write("mixed.jsonl", lines.concat());
    let server = willing();
    let run = place.ask(&server, "run ask.toml --seeds mixed.jsonl --max-seed-bytes 100 --out r");
    run.says(0, &[]);
    assert_eq!(server.asked(), 2, "{run:#?}");
    assert_eq!(place.table("r", "dataset").len(), 2);
    let rejected = place.table("r", "rejected");
    let why: Vec<(&str, &str)> = rejected
        .iter()
        .map(|row| (row["source"].as_str().unwrap(), row["reason"].as_str().unwrap()))
        .collect();
    let wanted = [
        ("mixed.jsonl:2", "malformed_json"),
        ("mixed.jsonl:3", "not_utf8"),
        ("mixed.jsonl:4", "text_missing"),
        ("mixed.jsonl:5", "text_empty"),
        ("mixed.jsonl:6", "text_empty"),
        ("mixed.jsonl:7", "text_missing"),
        ("mixed.jsonl:8", "text_missing"),
        ("mixed.jsonl:9", "language_unknown"),
        ("mixed.jsonl:10", "language_missing"),
        ("mixed.jsonl:11", "too_long"),
        ("mixed.jsonl:12", "not_an_object"),
        ("mixed.jsonl:13", "line_too_long"),
    ];
    assert_eq!(why, wanted);
    for row in &rejected {
        assert!(!row["detail"].as_str().unwrap().is_empty(), "{row}");
        assert!(row["record"].to_string().len() < 10_000, "a rejected row keeps a whole huge line");
    }
    // The funnel counts every line that holds a record, and the blank one not.
    let seeds = run.stdout.lines().find(|line| line.trim_start().starts_with("seeds ")).unwrap();
    let counts: Vec<&str> = seeds.split_whitespace().skip(1).take(4).collect();
    assert_eq!(counts, ["14", "2", "12", "0"], "{seeds}");
}

#[test]
fn damaged_parquet_is_refused_before_anything_is_asked() {
    let place = Place::new();
    let server = willing();
    let good = place.run("stage solution.prompt --in seeds.jsonl --out seeds.parquet");
    good.says(0, &[]);
    let bytes = fs::read(place.path("seeds.parquet")).unwrap();
    let cut = [("cut.parquet", &bytes[..bytes.len() / 2]), ("tail.parquet", &bytes[..bytes.len() - 3])];
    for (name, bytes) in cut.into_iter().chain([("empty.parquet", &b""[..]), ("text.parquet", b"hello")]) {
        place.write(name, bytes);
        let run = place.ask(&server, &format!("run ask.toml --text-column seed --seeds {name} --out r"));
        run.says(2, &[name, "Parquet"]);
        place.run(&format!("stage question.prompt --in {name} --out o.jsonl")).says(2, &[name, "Parquet"]);
        assert!(!place.path("o.jsonl").exists());
    }
    // Damage that only shows while reading.
    let mut flipped = bytes.clone();
    for byte in &mut flipped[40..bytes.len() / 3] {
        *byte ^= 0x5a;
    }
    place.write("flipped.parquet", &flipped);
    place
        .ask(&server, "run ask.toml --text-column seed --seeds flipped.parquet --out r")
        .says(2, &["flipped.parquet"]);
    assert_eq!(server.asked(), 0);
    place.ask(&server, "run ask.toml --text-column seed --seeds seeds.parquet --out r").says(0, &[]);
    assert_eq!(server.asked(), 2);
}

#[test]
fn unreadable_inputs_are_refused() {
    let place = Place::new();
    let server = willing();
    fs::create_dir(place.path("folder")).unwrap();
    place.write("folder/notes.md", "no code here");
    place.write("array.json", r#"[{"text": "x"}]"#);
    place.write("notes.md", "no code here");
    place.write("columns.jsonl", "{\"body\": \"x\", \"language\": \"python\"}\n");
    nix::unistd::mkfifo(&place.path("pipe.jsonl"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (path, words) in [
        ("missing.jsonl", &["missing.jsonl", "No such file"][..]),
        ("folder", &["no seeds in the folder folder"]),
        ("*.nothing", &["no file matches `*.nothing`"]),
        ("[", &["["]),
        ("pipe.jsonl", &["pipe.jsonl", "neither a file nor a folder"]),
        ("array.json", &["array.json", "jq"]),
        ("notes.md", &["notes.md", "neither JSONL"]),
        ("columns.jsonl", &["columns.jsonl", "no text column", "body", "--text-column"]),
        ("seeds.jsonl/deeper", &["seeds.jsonl/deeper"]),
    ] {
        place.ask(&server, &format!("run ask.toml --seeds {path} --out r")).says(2, words);
        place.run(&format!("run ask.toml --seeds {path} --model m --dry-run")).says(2, words);
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn zero_seeds_are_an_error() {
    let place = Place::new();
    let server = willing();
    place.write("empty.jsonl", "");
    place.write("blank.jsonl", "\n\n");
    place.write("bad.jsonl", "{\n{\"text\": \"\", \"language\": \"python\"}\n");
    for (name, words) in [
        ("empty.jsonl", &["no usable seed"][..]),
        ("blank.jsonl", &["no usable seed"]),
        ("bad.jsonl", &["2 records were rejected", "1 malformed_json", "1 text_empty", "bad.jsonl:1"]),
    ] {
        place.ask(&server, &format!("run ask.toml --seeds {name} --out r")).says(2, words);
    }
    assert_eq!(server.asked(), 0);
}
