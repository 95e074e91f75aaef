//! `novelty`, `decontaminate` and `balance` over files: what stays, what leaves, and what is said of it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// `op` with `keys` as the stage `it` over `rows`: the kept rows and the rejected ones.
fn stage(dir: &Path, op: &str, keys: &str, rows: &[Value], more: &[&str]) -> (Vec<Value>, Vec<Value>) {
    let output = run(dir, op, keys, rows, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| {
        let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    (read("out.jsonl"), read("out.jsonl.rejected.jsonl"))
}

fn run(dir: &Path, op: &str, keys: &str, rows: &[Value], more: &[&str]) -> Output {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(dir.join("in.jsonl"), lines).unwrap();
    let pipeline = format!("name = \"p\"\n[[stage]]\nname = \"it\"\nop = \"{op}\"\n{keys}\n");
    fs::write(dir.join("p.toml"), pipeline).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command.current_dir(dir).args([
        "stage",
        "it",
        "--pipeline",
        "p.toml",
        "--in",
        "in.jsonl",
        "--out",
        "out.jsonl",
    ]);
    command.args(more).output().unwrap()
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}

const SORT: &str = "def insertion_sort(items):\n    for i in range(1, len(items)):\n        key = items[i]\n        j = i - 1\n        \
    while j >= 0 and items[j] > key:\n            items[j + 1] = items[j]\n            j -= 1\n        items[j + 1] = key\n    return items\n";
const PRIMES: &str = "def primes(limit):\n    sieve = [True] * (limit + 1)\n    sieve[0:2] = [False, False]\n    for n in range(2, int(limit ** 0.5) + 1):\n        \
    if sieve[n]:\n            sieve[n * n::n] = [False] * len(sieve[n * n::n])\n    return [n for n, prime in enumerate(sieve) if prime]\n";
const SORTS: &str = "Write a Python function `insertion_sort(items)` that sorts a list of numbers in ascending order, in place, and returns it. \
    The list may be empty and may hold equal numbers; no library function that sorts may be used.";
const SIEVES: &str = "Implement `primes(limit)`: it returns all prime numbers up to and including the limit, in ascending order, as a list of integers.";

fn row(id: &str, language: &str, code: &str, question: &str) -> Value {
    json!({"id": id, "language": language, "canonical_solution": code, "question": question})
}

/// Five programs, two questions, in two languages.
fn planted() -> Vec<Value> {
    // The same layout apart, and with one thing renamed in one place.
    let spaced = SORT.replace(" = ", "=").replace("    ", "\t");
    let nearly = SORT.replace("return items", "return list(items)");
    let other = "def count(words):\n    table = {}\n    for word in words:\n        table[word] = table.get(word, 0) + 1\n    return table\n";
    vec![
        row("first", "python", SORT, SORTS),
        row("primes", "python", PRIMES, SIEVES),
        row("spaced", "python", &spaced, "Something else altogether, in quite other words."),
        row("nearly", "python", &nearly, "Sort the given numbers without help from the library, please."),
        row("asked", "python", other, &SORTS.replace("Write a Python", "Implement the Python")),
        row("twin", "shell", SORT, SORTS),
        row("twins", "shell", SORT, SIEVES),
        row("empty", "python", "", ""),
        row("empty too", "python", "", ""),
    ]
}

#[test]
fn planted_duplicates_leave_and_name_what_they_repeat() {
    let dir = TempDir::new().unwrap();
    let (kept, gone) =
        stage(dir.path(), "novelty", r#"columns = ["canonical_solution", "question"]"#, &planted(), &[]);
    assert_eq!(ids(&kept), ["first", "primes", "twin", "empty", "empty too"]);
    let said: Vec<String> = gone
        .iter()
        .map(|row| {
            format!(
                "{} {} {}",
                row["id"].as_str().unwrap(),
                row["reason"].as_str().unwrap(),
                row["detail"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "spaced duplicate repeats first: canonical_solution is 1 similar",
            "nearly duplicate repeats first: canonical_solution is 0.923 similar",
            "asked duplicate repeats first: question is 0.911 similar",
            "twins duplicate repeats twin: canonical_solution is 1 similar",
        ]
    );
    assert!(
        gone.iter().all(|row| row["stage"] == "it" && row["record"].as_str().unwrap().contains("question"))
    );
}

#[test]
fn across_languages_only_where_asked_and_only_the_columns_named() {
    let dir = TempDir::new().unwrap();
    let across = "columns = [\"question\"]\nacross_languages = true";
    let (kept, gone) = stage(dir.path(), "novelty", across, &planted(), &[]);
    assert_eq!(ids(&kept), ["first", "primes", "spaced", "nearly", "empty", "empty too"]);
    assert_eq!(ids(&gone), ["asked", "twin", "twins"]);
    assert_eq!(gone[2]["detail"], "repeats primes: question is 1 similar");
    let exact = "columns = [\"canonical_solution\"]\nthreshold = 1.0";
    let (kept, _) = stage(dir.path(), "novelty", exact, &planted(), &[]);
    assert_eq!(ids(&kept), ["first", "primes", "nearly", "asked", "twin", "empty", "empty too"]);
}

/// Each text is like the next, and not like the one after that.
#[test]
fn similarity_is_not_chained() {
    let dir = TempDir::new().unwrap();
    let text = |from: usize| (from..from + 40).map(|n| format!("w{n} ")).collect::<String>();
    let rows: Vec<Value> = (0..7).map(|n| row(&n.to_string(), "go", &text(n * 4), "")).collect();
    let keys = "columns = [\"canonical_solution\"]\nthreshold = 0.8\nshingle = 1";
    let (kept, gone) = stage(dir.path(), "novelty", keys, &rows, &[]);
    assert_eq!(ids(&kept), ["0", "2", "4", "6"]);
    assert!(gone.iter().all(|row| row["detail"].as_str().unwrap().ends_with("is 0.818 similar")), "{gone:?}");
}

const BENCHMARK: &str = r#"{"task_id": "B/0", "prompt": "Given a list of daily temperatures, return for each day how many days one has to wait for a warmer one, or zero.", "canonical_solution": "def wait(t): return [next((j - i for j in range(i + 1, len(t)) if t[j] > t[i]), 0) for i in range(len(t))]", "n": 3}
{"task_id": "B/1", "prompt": "Reverse the order of the words in a sentence, please.", "canonical_solution": null}
"#;

#[test]
fn rows_that_share_words_with_a_benchmark_leave_and_say_which() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("bench.jsonl"), BENCHMARK).unwrap();
    let copied = "# Given a list of daily\n# temperatures: return, for EACH day, how many days\n# one has to wait for rain";
    let rows = [
        row("code", "python", copied, "x"),
        row(
            "question",
            "python",
            "x",
            "Task: reverse the order of the words in a sentence please (in Python).",
        ),
        row("piece", "python", "x", "how many days one has to wait for a warmer"),
        row("fine", "python", "t[j] > t[i]", "Given a list of daily temperatures, return the mean."),
        row("short", "python", "reverse the order", "words in a sentence"),
        json!({"id": "nothing", "language": "go", "canonical_solution": null, "question": null}),
    ];
    let keys = r#"columns = ["canonical_solution", "question"]"#;
    let (kept, gone) = stage(dir.path(), "decontaminate", keys, &rows, &["--decontaminate", "bench.jsonl"]);
    assert_eq!(ids(&kept), ["fine", "short", "nothing"]);
    let said: Vec<&str> = gone.iter().map(|row| row["detail"].as_str().unwrap()).collect();
    assert_eq!(
        said,
        [
            "canonical_solution has of bench.jsonl, B/0, prompt: \"Given a list of daily temperatures return for EACH day\"",
            "question has of bench.jsonl, B/1, prompt: \"reverse the order of the words in a sentence please\"",
            "question has of bench.jsonl, B/0, prompt: \"how many days one has to wait for a warmer\"",
        ]
    );
    assert!(gone.iter().all(|row| row["reason"] == "contaminated"));

    // Named by the pipeline, in another form, without names.
    let parquet = dir.path().join("rows.parquet");
    let lines = BENCHMARK.replace("task_id", "title");
    fs::write(dir.path().join("lines.jsonl"), lines).unwrap();
    let batches = autocodegen::frame::records::read_records(&dir.path().join("lines.jsonl"), 9).unwrap();
    let mut writer = autocodegen::frame::records::RecordWriter::create(&parquet).unwrap();
    batches.for_each(|batch| writer.write(&batch.unwrap()).unwrap());
    writer.finish().unwrap();
    let (_, gone) =
        stage(dir.path(), "decontaminate", &format!("{keys}\nagainst = [\"rows.parquet\"]"), &rows, &[]);
    assert_eq!(ids(&gone), ["code", "question", "piece"]);
    assert!(gone[1]["detail"].as_str().unwrap().starts_with("question has of rows.parquet, row 2, prompt:"));

    // Without files all rows stay, and that is said; files that are not there and stages that do not look at them are refused.
    assert_eq!(stage(dir.path(), "decontaminate", keys, &rows, &[]).0.len(), rows.len());
    let against = format!("{keys}\nagainst = [\"rows.parquet\"]");
    for (keys, more, idle) in [
        (keys, &[][..], true),
        (keys, &["--quiet"], false),
        (keys, &["--decontaminate", "bench.jsonl"], false),
        (&against, &[], false),
    ] {
        let output = run(dir.path(), "decontaminate", keys, &rows, more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            said.contains("note: `it` keeps all rows: no benchmark is named"),
            idle,
            "{more:?}: {said}"
        );
    }
    let missing = run(dir.path(), "decontaminate", keys, &rows, &["--decontaminate", "none.jsonl"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("none.jsonl"));
    let unused =
        run(dir.path(), "novelty", "columns = [\"question\"]", &rows, &["--decontaminate", "bench.jsonl"]);
    assert_eq!(unused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unused.stderr).contains("no stage that decontaminates"));
}

/// 40 python rows of 4 categories of very unequal size, and a few of another language.
fn problems() -> Vec<Value> {
    let mut rows = Vec::new();
    for n in 0..40 {
        let category =
            ["Strings", "Strings", "Strings", "Graphs", "Strings", "Strings", "Files", "Strings"][n % 8];
        let difficulty = ["easy", "medium", "hard"][n % 3];
        rows.push(json!({"id": format!("p{n}"), "language": "python", "category": category, "difficulty": difficulty}));
    }
    rows.insert(7, json!({"id": "none", "language": "python", "difficulty": "hard"}));
    rows.push(json!({"id": "go1", "language": "go", "category": "Strings", "difficulty": "easy"}));
    rows
}

#[test]
fn categories_take_turns_and_harder_rows_go_first() {
    let dir = TempDir::new().unwrap();
    let keys = "per_language = 12\ndifficulty = \"difficulty\"\nseed = 7";
    let (kept, gone) = stage(dir.path(), "balance", keys, &problems(), &[]);
    let golden = GOLDEN.map(str::to_owned);
    let lines: Vec<String> = kept
        .iter()
        .map(|row| {
            format!(
                "{} {} {}",
                row["id"].as_str().unwrap(),
                row["category"].as_str().unwrap_or("-"),
                row["difficulty"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(lines, golden);
    assert_eq!(gone.len(), problems().len() - kept.len());
    assert!(gone.iter().all(|row| row["reason"] == "not_sampled"));
    assert_eq!(gone[0]["detail"], "3 of the 30 python rows of `Strings` are taken");
    // Each category's rows are its hardest.
    let rank = |row: &Value| ["hard", "medium", "easy"].iter().position(|d| row["difficulty"] == *d).unwrap();
    for left in &gone {
        let record: Value = serde_json::from_str(left["record"].as_str().unwrap()).unwrap();
        let of_its = kept
            .iter()
            .filter(|row| row["category"] == record["category"] && row["language"] == record["language"]);
        assert!(of_its.map(rank).max().unwrap() <= rank(&record), "{record}");
    }
    assert_eq!(stage(dir.path(), "balance", keys, &problems(), &[]).0, kept);
    // The order of the rows does not matter, only the order they come out in; another seed picks others.
    let mut turned = problems();
    turned.reverse();
    let (mut again, _) = stage(dir.path(), "balance", keys, &turned, &[]);
    again.reverse();
    assert_eq!(ids(&again), ids(&kept));
    let (other, _) = stage(dir.path(), "balance", &keys.replace('7', "8"), &problems(), &[]);
    assert_eq!(other.len(), kept.len());
    assert_ne!(ids(&other), ids(&kept));
}

const GOLDEN: [&str; 13] = [
    "p3 Graphs easy",
    "none - hard",
    "p8 Strings hard",
    "p11 Graphs hard",
    "p14 Files hard",
    "p17 Strings hard",
    "p19 Graphs medium",
    "p22 Files medium",
    "p23 Strings hard",
    "p30 Files easy",
    "p35 Graphs hard",
    "p38 Files hard",
    "go1 Strings easy",
];

#[test]
fn keys_that_make_no_sense_and_stages_out_of_place_are_refused() {
    let dir = TempDir::new().unwrap();
    for (op, keys, said) in [
        ("novelty", "columns = []", "nothing to compare"),
        ("novelty", "columns = [\"question\"]\nthreshold = 7", "from 0.1 to 1"),
        ("novelty", "columns = [\"question\"]\nshingle = 0", "from 1 to 100"),
        ("novelty", "columns = [\"code\"]", "needs the column `code`"),
        ("balance", "per_language = 0", "at least 1"),
        ("balance", "per_language = 1", "needs the column `category`"),
        ("decontaminate", "columns = [\"question\"]\nngram = 3", "`ngram` at least `least`"),
    ] {
        let refused = run(dir.path(), op, keys, &planted(), &[]);
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && stderr.contains(said), "{op} {keys}: {stderr}");
    }
    let twice =
        "columns = [\"question\"]\n[[stage]]\nname = \"two\"\nop = \"novelty\"\ncolumns = [\"question\"]";
    run(dir.path(), "novelty", twice, &planted(), &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command.current_dir(dir.path()).args([
        "stage",
        "it,two",
        "--pipeline",
        "p.toml",
        "--in",
        "in.jsonl",
        "--out",
        "o.jsonl",
    ]);
    let refused = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(2) && stderr.contains("`two`") && stderr.contains("only be the first"),
        "{stderr}"
    );
}
