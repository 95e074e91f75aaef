//! What others read in what `export` writes: pyarrow, datasets and DuckDB, as they come from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::common::skip;
use crate::problems::{Samples, problems, run_of};
use crate::small::succeed;

/// The Python that has them: that of the virtual environment `AUTOCODEGEN_READERS`, which `tests/run.sh` makes.
fn python() -> Option<PathBuf> {
    let venv = std::env::var_os("AUTOCODEGEN_READERS").map(PathBuf::from);
    let venv = venv.or_else(|| Some(std::env::home_dir()?.join(".cache/autocodegen-readers")))?;
    Some(venv.join("bin/python3")).filter(|python| python.exists())
}

/// `value` without nulls: readers add them where a line leaves a name out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            let members: Map<String, Value> =
                members.map(|(name, value)| (name, without_nulls(value))).collect();
            Value::Object(members)
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn rows(path: &Path) -> Vec<Value> {
    let batches = autocodegen::frame::records::read_records(path, 1000).unwrap();
    let text: Vec<u8> =
        batches.flat_map(|batch| autocodegen::frame::records::json_lines(&batch.unwrap()).unwrap()).collect();
    String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_format_is_read_by_pyarrow_datasets_and_duckdb() {
    let Some(python) = python() else {
        return skip(
            "every_format_is_read_by_pyarrow_datasets_and_duckdb",
            "no virtual environment with pyarrow, datasets and duckdb: tests/run.sh makes one",
        );
    };
    let problems = problems(12);
    let run = run_of(&problems, Samples::Structs);
    let mut files = Vec::new();
    for (format, endings) in [
        ("parquet", &[".parquet"][..]),
        ("jsonl", &[".jsonl", ".jsonl.gz"]),
        ("acb", &[".jsonl", ".parquet"]),
        ("trl-sft", &[".jsonl", ".parquet"]),
        ("trl-preference", &[".jsonl", ".parquet"]),
        ("verl", &[".jsonl", ".parquet"]),
        ("openai-finetune", &[".jsonl"]),
    ] {
        for ending in endings {
            let out = run.path().join(format!("{format}{ending}"));
            let args =
                ["--format", format, "--out", out.to_str().unwrap(), "--run", run.path().to_str().unwrap()];
            succeed(&[&["export"], &args[..]].concat());
            files.push(out);
        }
    }
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/readers.py")).args(&files);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    for file in &files {
        let expected = without_nulls(rows(file).into());
        assert!(!expected.as_array().unwrap().is_empty());
        for reader in ["pyarrow", "datasets", "duckdb"] {
            let read = without_nulls(read[file.to_str().unwrap()][reader].clone());
            assert_eq!(read, expected, "{reader} reads {}", file.display());
        }
    }
}

#[test]
fn a_folder_is_loaded_split_by_split() {
    let Some(python) = python() else {
        return skip(
            "a_folder_is_loaded_split_by_split",
            "no virtual environment with datasets: tests/run.sh makes one",
        );
    };
    let problems = problems(60);
    let run = run_of(&problems, Samples::Json);
    let out = run.path().join("hub/\"a\": {b}");
    let dataset = run.path().join("dataset");
    let args =
        ["--format", "hf", "--split", "train=0.8,test=0.2", "--shards", "3", "--out", out.to_str().unwrap()];
    succeed(&[&["export", "--dataset", dataset.to_str().unwrap()], &args[..]].concat());
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export/readers.py")).arg(&out);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let read = &read[out.to_str().unwrap()];
    let ids = |rows: &Value| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let (train, test) = (ids(&read["datasets"]["train"]), ids(&read["datasets"]["test"]));
    assert!(train.len() > test.len() && !test.is_empty(), "{} and {}", train.len(), test.len());
    let mut all = [train, test].concat();
    let mut by_duckdb = ids(&read["duckdb"]);
    let mut expected: Vec<String> = problems.iter().map(|problem| problem.id.clone()).collect();
    for ids in [&mut all, &mut by_duckdb, &mut expected] {
        ids.sort();
    }
    assert_eq!(all, expected);
    assert_eq!(by_duckdb, expected);
}
