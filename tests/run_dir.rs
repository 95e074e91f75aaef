//! The run directory: layout, lock, leftovers, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use autocodegen::frame::run_dir::RunDir;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_directory_is_locked_against_a_second_process() {
    const CHILD: &str = "AUTOCODEGEN_TEST_RUN_DIR";
    if let Some(dir) = std::env::var_os(CHILD) {
        // The second process.
        let error = RunDir::open_or_create(Path::new(&dir)).unwrap_err();
        println!("refused: {} {error}", error.exit_code());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::open_or_create(dir.path()).unwrap();
    let second = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_run_directory_is_locked_against_a_second_process", "--nocapture"])
            .env(CHILD, dir.path())
            .output()
            .unwrap()
    };
    let output = String::from_utf8(second().stdout).unwrap();
    let expected = format!("is open in process {}", std::process::id());
    assert!(output.contains("refused: 2 ") && output.contains(&expected), "{output}");
    assert!(RunDir::open_read_only(dir.path()).is_ok(), "reading needs no lock");
    drop(run);
    assert!(
        !second().status.success(),
        "the lock is gone, so the child is not refused and its unwrap_err panics"
    );
}

#[test]
fn a_run_directory_keeps_its_files() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Run {
        rows: u64,
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/mine");
    assert!(!RunDir::is_run(&path));
    assert!(RunDir::open_read_only(&path).unwrap_err().hint_text().is_some());
    let run = RunDir::open_or_create(&path).unwrap();
    assert!(RunDir::is_run(&path));
    assert_eq!(run.read_json::<Run>().unwrap(), None);
    run.write_json(&Run { rows: 1 }).unwrap();
    run.write_json(&Run { rows: 2 }).unwrap();
    assert_eq!(run.read_json().unwrap(), Some(Run { rows: 2 }));
    assert!(run.read_json::<Vec<u64>>().unwrap_err().to_string().contains("run.json"));
    let part = run.part("solution.reply", 42).unwrap();
    assert_eq!(part, path.join("stages/solution.reply/part-00042.parquet"));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, "sealed").unwrap();

    // A killed process leaves temporary files and directories; the next one deletes them and nothing else.
    let leftovers = [path.join("run.json.tmp-x1"), part.with_file_name("part-00043.parquet.tmp-ab")];
    leftovers.iter().for_each(|file| fs::write(file, "half").unwrap());
    fs::create_dir(path.join("dataset.tmp-Zz")).unwrap();
    drop(run);
    let run = RunDir::open_or_create(&path).unwrap();
    assert_eq!(names(&path), ["journal", "run.json", "run.lock", "stages", "templates"]);
    assert_eq!(names(part.parent().unwrap()), ["part-00042.parquet"]);
    assert_eq!(run.read_json().unwrap(), Some(Run { rows: 2 }));
}

#[test]
fn names_that_leave_the_run_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::open_or_create(dir.path()).unwrap();
    for name in ["", ".", "..", "../x", "a/b", ".hidden", "A", "a b", "a\0", &"a".repeat(101)] {
        assert!(run.journal(name).is_err(), "{name:?}");
        assert!(run.part(name, 0).is_err(), "{name:?}");
    }
    assert!(run.journal("probe.run-2_b").is_ok());
}

#[test]
fn a_directory_with_other_things_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "precious").unwrap();
    let error = RunDir::open_or_create(dir.path()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("not empty") && error.hint_text().is_some(), "{error}");
    assert_eq!(names(dir.path()), ["thesis.txt"]);
    let error = RunDir::open_or_create(&dir.path().join("thesis.txt")).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
}
