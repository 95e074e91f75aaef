//! What each format writes, row by row; splits, and what is refused.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::DataType;
use autocodegen::frame::part;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use crate::problems::{Problem, Samples, batch, problems, run_of, write};
use crate::small::{autocodegen, lines, succeed};

fn export(run: &Path, format: &str, out: &Path, args: &[&str]) -> String {
    let fixed =
        ["export", "--run", run.to_str().unwrap(), "--format", format, "--out", out.to_str().unwrap()];
    succeed(&[&fixed[..], args].concat())
}

fn refused(run: &Path, format: &str, out: &Path, args: &[&str]) -> String {
    let fixed =
        ["export", "--run", run.to_str().unwrap(), "--format", format, "--out", out.to_str().unwrap()];
    let output = autocodegen(&[&fixed[..], args].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{format} {args:?}: {stderr}");
    assert!(stderr.contains("hint:") || stderr.contains("error:"), "{stderr}");
    stderr
}

/// The rows that `format` makes of `problems`.
fn exported(problems: &[Problem], format: &str, args: &[&str]) -> (Vec<Value>, String) {
    let run = run_of(problems, Samples::Json);
    let out = run.path().join("out.jsonl");
    let said = export(run.path(), format, &out, args);
    (lines(&out), said)
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

#[test]
fn acb_has_the_benchmarks_columns_in_its_order() {
    let problems = problems(8);
    let run = run_of(&problems, Samples::Structs);
    let out = run.path().join("acb.jsonl");
    export(run.path(), "acb", &out, &[]);
    for (line, problem) in std::fs::read_to_string(&out).unwrap().lines().zip(&problems) {
        let row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let expected = [
            ("question", problem.question.as_str()),
            ("canonical_solution", &problem.solution),
            ("demo_test_func", &problem.demo),
            ("full_test_func", &problem.full),
            ("language", problem.language),
            ("difficulty", problem.difficulty),
        ];
        let row: Vec<(&str, &str)> =
            row.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        assert_eq!(row, expected);
    }
    let parquet = run.path().join("acb.parquet");
    export(run.path(), "acb", &parquet, &[]);
    let schema = part::schema(&parquet).unwrap();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        names,
        ["question", "canonical_solution", "demo_test_func", "full_test_func", "language", "difficulty"]
    );
    assert_eq!(part::num_rows(&parquet).unwrap(), 8);
}

#[test]
fn without_a_difficulty_acb_says_null_and_says_so() {
    let run = run_of(&problems(2), Samples::None);
    let out = run.path().join("acb.jsonl");
    let said = export(run.path(), "acb", &out, &[]);
    assert!(said.contains("no `difficulty`"), "{said}");
    assert!(lines(&out).iter().all(|row| row.as_object().unwrap()["difficulty"].is_null()));
}

#[test]
fn conversations_are_question_and_fenced_solution() {
    let problems = problems(4);
    for format in ["trl-sft", "openai-finetune"] {
        let (rows, _) = exported(&problems, format, &[]);
        let expected =
            problems.iter().map(|of| json!({"messages": [user(&of.question), assistant(&of.solution)]}));
        assert_eq!(rows, expected.collect::<Vec<_>>());
        let (rows, _) = exported(&problems, format, &["--system", "Write\ncode."]);
        let system = json!({"role": "system", "content": "Write\ncode."});
        assert!(
            rows.iter()
                .all(|row| row["messages"][0] == system && row["messages"].as_array().unwrap().len() == 3)
        );
    }
}

#[test]
fn preference_pairs_have_the_solution_and_the_first_sample_that_failed() {
    let problems = problems(8);
    let right = |n: usize, chosen: &str| match chosen {
        "sample" => "```python\nalso right\n```".to_owned(),
        _ => problems[n].solution.clone(),
    };
    for samples in [Samples::Json, Samples::Structs] {
        let run = run_of(&problems, samples);
        let out = run.path().join("pairs.jsonl");
        // Every fourth has none that failed; every other fourth has one, but none that passed.
        for (chosen, pairs, said_why) in [
            ("canonical", vec![0, 1, 2, 4, 5, 6], "left out 2 rows: no sample failed"),
            ("sample", vec![0, 1, 4, 5], "left out 2 rows: no sample passed"),
        ] {
            let said = export(run.path(), "trl-preference", &out, &["--chosen", chosen, "--overwrite"]);
            assert!(said.contains(said_why), "{said}");
            let expected: Vec<Value> = pairs
                .into_iter()
                .map(|n| {
                    let language = problems[n].language;
                    let wrong = match n % 4 {
                        2 => format!("```{language}\nbad\n```"),
                        _ => format!("````{language}\nprint('```')\n````"),
                    };
                    json!({"prompt": [user(&problems[n].question)],
                        "chosen": [assistant(&right(n, chosen))], "rejected": [assistant(&wrong)]})
                })
                .collect();
            assert_eq!(lines(&out), expected);
        }
    }
}

#[test]
fn verl_rows_have_its_columns_nested_as_in_its_examples() {
    let problems = problems(6);
    let run = run_of(&problems, Samples::Json);
    let out = run.path().join("verl.parquet");
    export(run.path(), "verl", &out, &["--split", "train=0.5,test=0.5", "--data-source", "acb"]);
    let mut seen = 0;
    for split in ["train", "test"] {
        let file = run.path().join(format!("verl-{split}.parquet"));
        let schema = part::schema(&file).unwrap();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["data_source", "prompt", "ability", "reward_model", "extra_info"]);
        let DataType::List(turn) = schema.field(1).data_type() else { panic!("{schema}") };
        assert!(matches!(turn.data_type(), DataType::Struct(fields) if fields.len() == 2), "{schema}");
        let rows = part::read(&file).unwrap().0;
        let text: Vec<u8> =
            rows.iter().flat_map(|rows| autocodegen::frame::records::json_lines(rows).unwrap()).collect();
        for (index, line) in String::from_utf8(text).unwrap().lines().enumerate() {
            let row: Value = serde_json::from_str(line).unwrap();
            let problem = problems.iter().find(|of| row["extra_info"]["id"] == of.id).unwrap();
            assert_eq!(row["data_source"], "acb");
            assert_eq!(row["ability"], "code");
            assert_eq!(row["prompt"], json!([user(&problem.question)]));
            assert_eq!(row["reward_model"]["style"], "rule");
            let truth: Value =
                serde_json::from_str(row["reward_model"]["ground_truth"].as_str().unwrap()).unwrap();
            assert_eq!(
                truth,
                json!({"language": problem.language, "demo_test_func": problem.demo, "full_test_func": problem.full})
            );
            let extra = json!({"split": split, "index": index, "language": problem.language, "id": problem.id,
                "question": problem.question, "answer": problem.solution, "difficulty": problem.difficulty});
            assert_eq!(row["extra_info"], extra);
            seen += 1;
        }
    }
    assert_eq!(seen, problems.len());
}

#[test]
fn relatives_are_in_one_split_and_every_row_is_in_one() {
    let problems = problems(400);
    let run = run_of(&problems, Samples::None);
    let out = run.path().join("all.jsonl.gz");
    let said =
        export(run.path(), "jsonl", &out, &["--split", "train=0.7,valid=0.2,test=0.1", "--shards", "2"]);
    assert!(said.contains("wrote 6 files: 400 rows"), "{said}");
    let mut roots: Vec<BTreeSet<String>> = Vec::new();
    let mut order = Vec::new();
    for split in ["train", "valid", "test"] {
        let mut here = BTreeSet::new();
        let mut sizes = Vec::new();
        for shard in 0..2 {
            let file = run.path().join(format!("all-{split}-{shard:05}-of-00002.jsonl.gz"));
            let text = std::io::read_to_string(flate2::read::MultiGzDecoder::new(
                std::fs::File::open(file).unwrap(),
            ))
            .unwrap();
            let ids: Vec<String> = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
                .collect();
            sizes.push(ids.len());
            here.extend(ids.iter().map(|id| id[..32].to_owned()));
            order.extend(ids);
        }
        assert!(sizes[0].abs_diff(sizes[1]) <= 1, "{split}: {sizes:?}");
        roots.push(here);
    }
    assert_eq!(order.len(), 400);
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 400);
    assert!(
        roots[0].is_disjoint(&roots[1]) && roots[0].is_disjoint(&roots[2]) && roots[1].is_disjoint(&roots[2])
    );
    let sizes: Vec<usize> = roots.iter().map(BTreeSet::len).collect();
    assert!((120..160).contains(&sizes[0]) && (25..55).contains(&sizes[1]), "{sizes:?}");
    // A split is a property of the problem: with fewer rows around it stays where it was.
    let few = run.path().join("few.jsonl");
    export(
        run.path(),
        "jsonl",
        &few,
        &["--split", "train=0.7,valid=0.2,test=0.1", "--where", "language = 'rust'"],
    );
    for (split, roots) in ["train", "valid", "test"].iter().zip(&roots) {
        let rows = lines(&run.path().join(format!("few-{split}.jsonl")));
        assert!(rows.iter().all(|row| roots.contains(&row["id"].as_str().unwrap()[..32])));
        assert_eq!(rows.len(), roots.len());
    }
}

#[test]
fn row_groups_and_compression_are_what_was_asked_for() {
    let run = run_of(&problems(100), Samples::None);
    let out = run.path().join("x.parquet");
    let metadata = |args: &[&str]| {
        export(run.path(), "parquet", &out, &[args, &["--overwrite"]].concat());
        let reader = SerializedFileReader::new(std::fs::File::open(&out).unwrap()).unwrap();
        let groups = reader.metadata().row_groups();
        let rows: Vec<i64> = groups.iter().map(|group| group.num_rows()).collect();
        (rows, format!("{:?}", groups[0].column(0).compression()))
    };
    let (rows, codec) = metadata(&["--row-group-size", "40", "--compression", "zstd:19"]);
    assert_eq!(rows, [40, 40, 20]);
    assert!(codec.starts_with("ZSTD"), "{codec}");
    assert_eq!(metadata(&["--compression", "none"]).1, "UNCOMPRESSED");
    assert_eq!(metadata(&["--compression", "snappy"]).1, "SNAPPY");
    let size = |args: &[&str]| {
        export(run.path(), "parquet", &out, &[args, &["--overwrite"]].concat());
        std::fs::metadata(&out).unwrap().len()
    };
    assert!(size(&["--compression", "zstd:22"]) < size(&["--compression", "none"]));
}

#[test]
fn rows_without_what_the_format_needs_are_left_out_and_counted() {
    let run = run_of(&problems(3), Samples::None);
    let whole = batch(&problems(3), Samples::None);
    let columns = whole.schema_ref().fields().iter().zip(whole.columns()).map(|(field, column)| {
        let holes: ArrayRef = Arc::new(StringArray::from(vec![Some("Q"), None, Some("R")]));
        (field.name().clone(), if field.name() == "question" { holes } else { column.clone() })
    });
    write(&run.path().join("dataset"), &RecordBatch::try_from_iter(columns).unwrap());
    let out = run.path().join("x.jsonl");
    let said = export(run.path(), "acb", &out, &["--shards", "2"]);
    assert!(said.contains("left out 1 rows: no `question`") && said.contains("2 files: 2 rows"), "{said}");
    assert_eq!(lines(&run.path().join("x-00001-of-00002.jsonl"))[0]["question"], "R");
}

#[test]
fn a_dataset_of_no_run_is_exported_too() {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("set"), &batch(&problems(4), Samples::Json));
    let file = root.path().join("set/part-00000.parquet");
    for dataset in [root.path().join("set"), file] {
        let out = root.path().join("x.jsonl");
        let args = [
            "export",
            "--dataset",
            dataset.to_str().unwrap(),
            "--format",
            "trl-preference",
            "--where",
            "language = 'python'",
        ];
        succeed(&[&args[..], &["--out", out.to_str().unwrap(), "--overwrite"]].concat());
        assert_eq!(lines(&out).len(), 2);
    }
}

#[test]
fn what_does_not_go_together_is_refused_and_nothing_is_written() {
    let run = run_of(&problems(4), Samples::None);
    let (jsonl, parquet) = (run.path().join("out/x.jsonl"), run.path().join("out/x.parquet"));
    let cases: &[(&str, &Path, &[&str], &str)] = &[
        ("trl-preference", &jsonl, &[], "`samples`; the dataset has"),
        ("openai-finetune", &parquet, &[], "does not fit"),
        ("acb", &jsonl, &["--system", "x"], "--system means nothing"),
        ("trl-sft", &jsonl, &["--chosen", "sample"], "--chosen means nothing"),
        ("trl-sft", &jsonl, &["--with-prompts"], "no room for prompts"),
        ("jsonl", &jsonl, &["--compression", "zstd:3"], "are for Parquet"),
        ("parquet", &parquet, &["--compression", "zstd:23"], "no level of zstd"),
        ("parquet", &parquet, &["--compression", "lzma"], "zstd:LEVEL"),
        ("parquet", &parquet, &["--row-group-size", "0"], "--row-group-size"),
        ("parquet", &parquet, &["--split", "train=0.9,test=0.2"], "not to 1"),
        ("parquet", &parquet, &["--split", "../x=1"], "no name of a split"),
        ("parquet", &parquet, &["--dataset", "x", "--with-prompts"], "--dataset"),
        ("csv", &jsonl, &[], "trl-preference"),
    ];
    for (format, out, args, said) in cases {
        let stderr = match args.contains(&"--dataset") {
            true => {
                let args = [&["export", "--format", format, "--out", out.to_str().unwrap()], *args].concat();
                String::from_utf8(autocodegen(&args).stderr).unwrap()
            }
            false => refused(run.path(), format, out, args),
        };
        let wanted = said.split("; ").all(|said| stderr.contains(said));
        assert!(wanted && !stderr.contains("panicked"), "{format} {args:?}: {stderr}");
        assert!(!run.path().join("out").exists(), "{format} {args:?}");
    }
}

#[test]
fn samples_of_another_shape_are_refused() {
    let run = run_of(&problems(1), Samples::None);
    let whole = batch(&problems(1), Samples::None);
    let out = run.path().join("out/x.jsonl");
    for bad in ["7", "{}", "[1]", "not JSON", r#"[{"passed": "yes"}]"#] {
        let samples: ArrayRef = Arc::new(StringArray::from(vec![bad]));
        let columns = whole.schema_ref().fields().iter().zip(whole.columns());
        let columns = columns.map(|(field, column)| (field.name().clone(), column.clone()));
        let columns = columns.chain([("samples".to_owned(), samples)]);
        write(&run.path().join("dataset"), &RecordBatch::try_from_iter(columns).unwrap());
        let stderr = refused(run.path(), "trl-preference", &out, &[]);
        assert!(stderr.contains("no list of samples"), "{bad}: {stderr}");
        assert!(!run.path().join("out").exists());
    }
}
