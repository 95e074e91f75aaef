//! Tests that notice nothing and programs that are never the same, found by real runs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::toolchain;
use serde_json::{Value, json};

use programs::{PRICES, Price};

/// Whether programs of `language` can be run here; says so where not.
fn can_run(language: &str) -> bool {
    let options = Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Err(error) = runtime.block_on(async { LocalSandbox::start(options).map(drop) }) {
        common::skip(language, &error.to_string());
        return false;
    }
    match toolchain::find(Languages::embedded().unwrap().get(language).unwrap()) {
        Ok(_) => true,
        Err(missing) => {
            common::skip(language, &format!("{missing:?}"));
            false
        }
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What became of rows: kept ones by `name`, and `[reason, detail]` of the rejected ones.
struct Outcome {
    kept: BTreeMap<String, Value>,
    rejected: BTreeMap<String, [String; 2]>,
}

/// Puts `rows` through a pipeline of one stage whose keys are `keys`.
fn stage(dir: &Path, keys: &str, rows: &[Value]) -> Outcome {
    fs::write(dir.join("one.toml"), format!("name = \"one\"\n[[stage]]\nname = \"only\"\n{keys}\n")).unwrap();
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(dir.join("in.jsonl"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_autocodegen"))
        .current_dir(dir)
        .args(["stage", "only", "--pipeline", "one.toml", "--in", "in.jsonl", "--out", "out.jsonl"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = |row: &Value| row["name"].as_str().unwrap().to_owned();
    let kept = lines(&dir.join("out.jsonl"));
    // The `run` stage wraps what came in, as the reference does.
    let kept = kept.into_iter().map(|row| match row.get("original_data") {
        Some(original) => (name(original), row.clone()),
        None => (name(&row), row),
    });
    let rejected = lines(&dir.join("out.jsonl.rejected.jsonl"));
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let rejected = rejected.iter().map(|row| {
        let record: Value = match &row["record"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            record => record.clone(),
        };
        (name(&record), [text(row, "reason"), text(row, "detail")])
    });
    Outcome { kept: kept.collect(), rejected: rejected.collect() }
}

fn row(name: &str, price: &Price, tests: &str) -> Value {
    json!({
        "name": name, "language": price.language, "canonical_solution": price.solution, "full_test_func": tests,
        "text": name,
    })
}

const ADEQUACY: &str = "op = \"adequacy\"\nsolution = \"canonical_solution\"\ntests = [\"full_test_func\"]";

/// In each of the native languages: tests that assert nothing, or only what holds of any result, are vacuous; those that
/// look at one case only are weak; those that look at all cases kill nearly all mutants.
#[test]
fn vacuous_and_weak_tests_are_told_from_good_ones() {
    let prices: Vec<&Price> = PRICES.iter().filter(|price| can_run(price.language)).collect();
    let rows = |kinds: [(&str, fn(&Price) -> &'static str); 2]| -> Vec<Value> {
        let of = |price: &&Price| {
            kinds.map(|(kind, tests)| row(&format!("{} {kind}", price.language), price, tests(price)))
        };
        prices.iter().flat_map(of).collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let outcome =
        stage(dir.path(), ADEQUACY, &rows([("good", |price| price.good), ("weak", |price| price.weak)]));
    // For these the stub is enough.
    let silent = rows([("silent", |price| price.silent), ("constant", |price| price.constant)]);
    let dir = tempfile::tempdir().unwrap();
    let vacuous = stage(dir.path(), &format!("{ADEQUACY}\nmax_mutants = 0"), &silent);
    for price in prices {
        let name = |kind: &str| format!("{} {kind}", price.language);
        let good = outcome.kept.get(&name("good")).unwrap_or_else(|| panic!("{:?}", outcome.rejected));
        let (tried, adequacy) = (good["mutants_tried"].as_u64().unwrap(), good["adequacy"].as_f64().unwrap());
        assert!(tried >= 6 && adequacy >= 0.8, "{good}");
        assert_eq!(good["mutants_killed"].as_u64().unwrap(), (tried as f64 * adequacy).round() as u64);
        for kind in ["silent", "constant"] {
            let [reason, detail] = &vacuous.rejected[&name(kind)];
            assert_eq!(reason, "vacuous_tests", "{}: {detail}", name(kind));
        }
        let [reason, detail] = &outcome.rejected[&name("weak")];
        assert_eq!(reason, "weak_tests", "{}: {detail}", price.language);
        assert!(detail.contains("mutants killed; one that passes: line "), "{detail}");
    }
}

#[test]
fn what_cannot_be_judged_is_kept_or_leaves_with_its_outcome() {
    if !can_run("python") || !can_run("awk") {
        return;
    }
    let python = |name: &str, solution: &str, tests: &str| json!({ "name": name, "language": "python", "canonical_solution": solution, "full_test_func": tests, "text": name });
    let rows = [
        json!({ "name": "no grammar", "language": "awk", "canonical_solution": "BEGIN { x = 1 }", "full_test_func": "", "text": "" }),
        python("nothing to mutate", "NAME = 'a'", "assert NAME == 'a'"),
        python("wrong", "def f(a):\n    return a + 1", "assert f(1) == 3"),
        // Mutants that never end are killed by the limit; few mutants say too little to reject a row.
        python("loops", "def f(a):\n    while a < 3:\n        a += 1\n    return a", "assert f(3) == 3"),
        python(
            "slow",
            "def f(a):\n    for i in range(10 ** 9):\n        a += 1\n    return a",
            "assert f(0) == 10 ** 9",
        ),
        python("fenced", "```python\ndef f(a):\n    return a + 1\n```", "```python\nassert f(1) == 2\n```"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let outcome =
        stage(dir.path(), &format!("{ADEQUACY}\nlimits = {{ cpu_ms = 500 }}\nmin_tried = 100"), &rows);
    for name in ["no grammar", "nothing to mutate", "slow"] {
        let row = &outcome.kept[name];
        assert_eq!((&row["mutants_tried"], &row["mutants_killed"]), (&json!(0), &json!(0)), "{row}");
        assert!(row.get("adequacy").is_none_or(Value::is_null), "{row}");
    }
    let [reason, detail] = &outcome.rejected["wrong"];
    assert!(reason == "WRONG_ANSWER" && detail.starts_with("the solution itself: "), "{reason}: {detail}");
    let adequacy = outcome.kept["loops"]["adequacy"].as_f64().unwrap();
    assert!(adequacy > 0.0 && adequacy < 1.0, "{adequacy}");
    assert_eq!(outcome.kept["fenced"]["adequacy"], 1.0);
}

/// A wrong solution has to pass all test columns to survive.
#[test]
fn tests_of_several_columns_count_together() {
    if !can_run("python") {
        return;
    }
    let row = |name: &str, demo: &str, full: &str| {
        json!({
            "name": name, "language": "python", "canonical_solution": "def f(a, b):\n    return a - b", "text": name,
            "demo_test_func": demo, "full_test_func": full,
        })
    };
    let (good, silent) = ("assert f(5, 2) == 3\nassert f(0, 1) == -1", "f(1, 2)");
    let rows = [row("first", good, silent), row("second", silent, good), row("neither", silent, silent)];
    let keys = "op = \"adequacy\"\nsolution = \"canonical_solution\"\ntests = [\"demo_test_func\", \"full_test_func\"]";
    let dir = tempfile::tempdir().unwrap();
    let outcome = stage(dir.path(), keys, &rows);
    for name in ["first", "second"] {
        assert_eq!(outcome.kept[name]["adequacy"], 1.0, "{name}");
    }
    assert_eq!(outcome.rejected["neither"][0], "vacuous_tests");
}

#[test]
fn keys_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (keys, said) in [
        ("op = \"adequacy\"\nsolution = \"s\"\ntests = []", "`tests` names no column"),
        ("op = \"adequacy\"\nsolution = \"s\"\ntests = [\"t\"]\nthreshold = 80", "between 0 and 1"),
        ("op = \"adequacy\"\nsolution = \"s\"\ntests = [\"t\"]\nmax_mutants = 1000", "at most 200"),
        ("op = \"run\"\nsolution = \"s\"\ntests = [\"t\"]\nrepeat = 0", "from 1 to 8"),
    ] {
        fs::write(
            dir.path().join("one.toml"),
            format!("name = \"one\"\n[[stage]]\nname = \"only\"\n{keys}\n"),
        )
        .unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_autocodegen"))
            .current_dir(dir.path())
            .args(["explain", "one.toml"])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(said), "{keys}: {stderr}");
    }
}

/// Addresses, clocks and the order of hash tables show when a program is run twice; what has none of them is kept.
#[test]
fn programs_that_are_never_the_same_are_rejected_as_flaky() {
    const GO: &str = "package main\nimport \"fmt\"\nfunc keys() {\n\tm := map[int]int{}\n\tfor i := range 100 {\n\t\tm[i] = i\n\t}\n\
        \tfor key := range m {\n\t\tfmt.Print(key, \" \")\n\t}\n}\n";
    const JAVA: &str = "class Thing { static String name(Object o) { return o.toString(); } }";
    let programs = [
        ("python", "address", "class P: pass", "print(id(P()))", "stdout differs from line 1 on: "),
        ("python", "objects", "class P: pass", "print('same')\nprint({'a': P()})", "line 2"),
        ("python", "clock", "import time", "print(time.time())", "line 1"),
        ("python", "set", "names = {'ab', 'cd', 'ef', 'gh', 'ij'}", "print(names)", "line 1"),
        ("python", "verdict", "import os", "assert os.getcwd() == '/work'", "WRONG_ANSWER instead of PASSED"),
        ("python", "steady set", "names = {'ab', 'cd', 'ef', 'gh', 'ij'}", "print(sorted(names))", ""),
        ("python", "steady failure", "class P: pass", "print(id(P()))\nassert False", ""),
        ("go", "map", GO, "package main\nfunc main() { keys() }\n", "line 1"),
        (
            "java",
            "identity",
            JAVA,
            "public class Main { public static void main(String[] a) { System.out.println(Thing.name(new Object())); } }",
            "line 1",
        ),
        (
            "java",
            "steady",
            JAVA,
            "public class Main { public static void main(String[] a) { System.out.println(Thing.name(\"x\")); } }",
            "",
        ),
        ("javascript", "random", "const pick = () => Math.random();", "console.log(pick());", "line 1"),
        ("javascript", "steady", "const pick = (a) => a;", "console.log(pick({ b: 1, a: 2 }));", ""),
    ];
    let programs: Vec<_> = programs.into_iter().filter(|(language, ..)| can_run(language)).collect();
    let rows: Vec<Value> = programs
        .iter()
        .map(|(language, name, solution, tests, _)| {
            json!({
                "name": format!("{language} {name}"), "language": language, "canonical_solution": solution,
                "demo_test_func": tests, "text": name,
            })
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let keys = "op = \"run\"\nsolution = \"canonical_solution\"\ntests = [\"demo_test_func\"]\nrepeat = 2";
    let outcome = stage(dir.path(), keys, &rows);
    for (language, name, .., difference) in programs {
        let name = format!("{language} {name}");
        match difference {
            "" => assert!(outcome.kept.contains_key(&name), "{name}: {:?}", outcome.rejected.get(&name)),
            difference => {
                let [reason, detail] =
                    outcome.rejected.get(&name).unwrap_or_else(|| panic!("{name} was kept"));
                assert_eq!(reason, "flaky", "{name}: {detail}");
                let says = detail.starts_with("demo_test_func: run 2 of 2: ") && detail.contains(difference);
                assert!(says, "{name}: {detail}");
            }
        }
    }
    let journal = fs::read_dir(dir.path().join("out.jsonl.journal"));
    assert!(journal.is_err(), "the output is complete: its journal is gone");
}
