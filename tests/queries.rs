//! `autocodegen query`: every built-in query against tables with a known answer, the formats, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use autocodegen::analytics::queries;
use autocodegen::engine::prices;
use autocodegen::engine::spending::Prices;
use autocodegen::frame::dataset::DatasetWriter;
use autocodegen::frame::part;
use autocodegen::frame::rejects::{RejectedRow, rejected_batch};
use autocodegen::frame::run_dir::RunDir;
use autocodegen::llm::pricing::Price;
use serde_json::{Value, json};

const HOSTILE: &str = "\u{1b}[2J\u{202e}a|b\r\nc";

/// A column of the fixture: whole numbers, numbers or truth values if all values are, text otherwise; `-` is null.
fn column(values: Vec<&str>) -> ArrayRef {
    let flags: Result<Vec<bool>, _> = values.iter().map(|value| value.parse()).collect();
    if let Ok(flags) = flags {
        return Arc::new(BooleanArray::from(flags));
    }
    let numbers: Result<Vec<u64>, _> = values.iter().map(|value| value.parse()).collect();
    let fractions: Result<Vec<f64>, _> = values.iter().map(|value| value.parse()).collect();
    match (numbers, fractions) {
        (Ok(numbers), _) => Arc::new(UInt64Array::from(numbers)),
        (_, Ok(fractions)) => Arc::new(Float64Array::from(fractions)),
        _ => Arc::new(values.iter().map(|value| (*value != "-").then_some(*value)).collect::<StringArray>()),
    }
}

/// A batch from lines of words, the first of which names the columns.
fn batch(text: &str) -> RecordBatch {
    let lines: Vec<Vec<&str>> = text.trim().lines().map(|line| line.split_whitespace().collect()).collect();
    let columns = (0..lines[0].len())
        .map(|at| (lines[0][at], column(lines[1..].iter().map(|line| line[at]).collect())));
    RecordBatch::try_from_iter(columns).unwrap()
}

fn write(dir: &Path, batch: &RecordBatch) {
    let mut writer = DatasetWriter::create(dir, &batch.schema(), &BTreeMap::new()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

fn rejected(id: &str, stage: &str, reason: &str, detail: &str) -> RejectedRow {
    RejectedRow {
        id: Some(id.into()),
        stage: stage.into(),
        reason: reason.into(),
        detail: Some(detail.into()),
        ..RejectedRow::default()
    }
}

fn repeating(id: &str, repeated: &str, similarity: &str) -> RejectedRow {
    let detail = format!("repeats {repeated}: question is {similarity} similar");
    RejectedRow { language: Some("go".into()), ..rejected(id, "new", "duplicate", &detail) }
}

/// A row that left with its difficulty, and a text that only looks as if it named another.
fn rated(id: &str, difficulty: &str, rate: &str, reason: &str) -> RejectedRow {
    let record = format!(
        r#"{{"question":"\"difficulty\":\"none\",\"pass_rate\":0.5,","pass_rate":{rate},"pass_rate_low":0.1,"difficulty":"{difficulty}"}}"#
    );
    let row = rejected(id, "later", reason, "it left");
    RejectedRow { language: Some("go".into()), record: Some(record), ..row }
}

/// A run directory with all tables but, unless wanted, the dataset.
fn run_dir(with_dataset: bool) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::open_or_create(root.path()).unwrap();
    let stages = batch(
        "position stage           op     language rows_in spawned kept rejected pending prompt_tokens completion_tokens busy_ms
         0        solution.prompt prompt go       10      0       10   0        0       0             0                 0
         0        solution.prompt prompt lua      4       0       4    0        0       0             0                 0
         0        solution.prompt prompt python   20      0       20   0        0       0             0                 0
         1        solution.reply  model  go       10      0       8    2        0       100           50                4000
         1        solution.reply  model  lua      4       0       0    4        0       40            20                1000
         1        solution.reply  model  python   20      0       15   4        1       300           200               6500
         2        dataset         select go       8       0       5    3        0       0             0                 0
         2        dataset         select python   15      0       15   0        0       0             0                 0",
    );
    part::seal(&run.stages_table(), &stages.schema(), &[stages], &BTreeMap::new()).unwrap();
    let of = |language: &str, row: RejectedRow| RejectedRow { language: Some(language.into()), ..row };
    let rows = [
        rejected("1", "solution.reply", "empty_reply", "the reply has no text"),
        rejected("2", "verify", "RUNTIME_ERROR", "b: exit code 1"),
        rejected("3", "verify", "RUNTIME_ERROR", "a: exit code 2"),
        rejected("4", "verify", "WRONG_ANSWER", HOSTILE),
        repeating("5", "1", "0.75"),
        repeating("6", "1", "1"),
        rated("7", "too_easy", "1.0", "too_easy"),
        rated("8", "hard", "0.0", "not_sampled"),
        of("go", rejected("9", "dataset", "flaky", "run 2 of 2: exit code 1")),
        of("go", rejected("10", "adequacy", "vacuous_tests", "a constant passes")),
        of("lua", rejected("11", "adequacy", "weak_tests", "1 of 4 mutants killed")),
    ];
    write(&run.rejected(), &rejected_batch(&rows).unwrap());
    let mut replies = String::from(
        "stage id language model finish_reason prompt_tokens cached_tokens completion_tokens latency_ms reused\n",
    );
    for n in 0..=100 {
        replies += &format!("solution.reply r{n} go m stop 10 4 {} {} {}\n", n % 2, n * 10, n < 7);
    }
    replies += "question.reply q1 lua m length 7 0 4096 250 false\n";
    write(&run.replies(), &batch(&replies));
    let price = Price { input: 2.0, cached_input: 0.5, output: 10.0, source: "test".into() };
    let prices = Prices::from([("solution.reply".to_owned(), price)]);
    let asking = ["solution.reply", "question.reply"].map(|stage| (stage.into(), vec!["m".to_owned()]));
    prices::write(&run.prices_table(), &asking, &prices).unwrap();
    let verdicts = batch(
        "stage  id language outcome       wall_ms
         probe  a  go       PASSED        10
         probe  b  go       PASSED        20
         probe  c  go       RUNTIME_ERROR 30
         verify a  go       PASSED        40
         probe  d  python   WRONG_ANSWER  50",
    );
    write(&run.verdicts(), &verdicts);
    if with_dataset {
        write(&run.dataset(), &dataset());
    }
    root
}

/// Problems of which one has no adequacy.
fn dataset() -> RecordBatch {
    let batch = batch(
        "id language score category difficulty pass_rate\n\
         a python 1 graphs medium 0.5\n\
         b go 2 graphs easy 0.75",
    );
    let adequacy: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.75), None]));
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    let columns = names.zip(batch.columns().to_vec());
    RecordBatch::try_from_iter(columns.chain([("adequacy".to_owned(), adequacy)])).unwrap()
}

fn query(run: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_autocodegen"))
        .arg("query")
        .args(args)
        .arg("--run")
        .arg(run)
        .output()
        .unwrap()
}

/// The answer in CSV, without the line that names its columns.
fn answer(run: &Path, args: &[&str]) -> String {
    let output = query(run, &[args, &["--format", "csv"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    assert_eq!(stderr, "", "stdout and only stdout has the data");
    String::from_utf8(output.stdout).unwrap().split_once('\n').unwrap().1.trim_end().to_owned()
}

/// Exit code and stderr of a query that is refused without printing data.
fn refused(run: &Path, args: &[&str]) -> (i32, String) {
    let output = query(run, args);
    assert_eq!(output.stdout, b"", "{args:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_built_in_query_gives_the_known_answer() {
    let run = run_dir(true);
    let hostile = format!("\"{HOSTILE}\"");
    let record = |row: RejectedRow| format!("\"{}\"", row.record.unwrap().replace('"', "\"\""));
    let hard = record(rated("8", "hard", "0.0", "not_sampled"));
    let too_easy = record(rated("7", "too_easy", "1.0", "too_easy"));
    let known = BTreeMap::from([
        ("adequacy", "go,1,0,1,1,0,0,0,0,,\nlua,0,1,0,0,0,0,0,0,,\npython,0,0,1,0,0,1,0,0,75.0,75.0".to_owned()),
        ("flaky", "dataset,go,8,1,12.5,run 2 of 2: exit code 1".to_owned()),
        // 94 replies of 101, the others reused: 564 tokens at 2 USD, 376 cached ones at 0.5, 47 replied ones at 10 per million;
        // the other stage has no price.
        (
            "cost",
            "question.reply,lua,1,7,0,4096,\n\
             solution.reply,go,94,940,376,47,0.001786\n\
             all,go,94,940,376,47,0.001786\n\
             all,lua,1,7,0,4096,\n\
             question.reply,all,1,7,0,4096,\n\
             solution.reply,all,94,940,376,47,0.001786"
                .to_owned(),
        ),
        ("balance", "go,graphs,1,100.0\npython,graphs,1,100.0".to_owned()),
        ("duplicates", "go,1,2,0.75,1.0,5".to_owned()),
        // Four problems: two that left, 1.0 and 0.0, and two in the dataset, 0.5 and 0.75.
        (
            "difficulty_calibration",
            "go,3,33.3,0.0,33.3,33.3,58.3,37.5,75.0,87.5\n\
             python,1,0.0,100.0,0.0,0.0,50.0,50.0,50.0,50.0\n\
             all,4,25.0,25.0,25.0,25.0,56.2,37.5,62.5,81.2"
                .to_owned(),
        ),
        (
            "funnel",
            "solution.prompt,prompt,34,0,34,0,0,100.0,0.0\n\
             solution.reply,model,34,0,23,10,1,67.6,11.5\n\
             dataset,select,23,0,20,3,0,87.0,0.0"
                .to_owned(),
        ),
        (
            "pass_rate_by_language",
            "go,10,5,0,50.0,23.7,76.3\nlua,4,0,0,0.0,0.0,49.0\npython,20,15,1,75.0,53.1,88.8\nall,34,20,1,58.8,42.2,73.6"
                .to_owned(),
        ),
        (
            "reject_reasons",
            format!(
                "new,duplicate,2,18.2,repeats 1: question is 0.75 similar\n\
                 verify,RUNTIME_ERROR,2,18.2,a: exit code 2\n\
                 adequacy,vacuous_tests,1,9.1,a constant passes\n\
                 adequacy,weak_tests,1,9.1,1 of 4 mutants killed\n\
                 dataset,flaky,1,9.1,run 2 of 2: exit code 1\n\
                 later,not_sampled,1,9.1,it left\n\
                 later,too_easy,1,9.1,it left\n\
                 solution.reply,empty_reply,1,9.1,the reply has no text\n\
                 verify,WRONG_ANSWER,1,9.1,{hostile}"
            ),
        ),
        (
            "verdicts_by_language",
            "go,probe,PASSED,2,66.7\ngo,probe,RUNTIME_ERROR,1,33.3\n\
             go,verify,PASSED,1,100.0\npython,probe,WRONG_ANSWER,1,100.0"
                .to_owned(),
        ),
        (
            "latency_percentiles",
            "reply,question.reply,1,250.0,250.0,250.0,250\n\
             reply,solution.reply,101,500.0,900.0,990.0,1000\n\
             run,probe,4,25.0,44.0,49.4,50\n\
             run,verify,1,40.0,40.0,40.0,40"
                .to_owned(),
        ),
        (
            "model_comparison",
            "question.reply,m,1,0.0,1,7.0,4096.0,250.0,250.0,1,0.0\n\
             solution.reply,m,101,100.0,0,10.0,0.5,500.0,900.0,101,0.0"
                .to_owned(),
        ),
        // What the dataset of this run has no columns for: see the test of a judged one.
        (
            "pass_rate_by_category",
            "graphs,go,1,0,0,1,75.0\ngraphs,python,1,0,1,0,50.0\ngraphs,all,2,0,1,1,62.5".to_owned(),
        ),
        (
            "pass_rate_by_difficulty",
            "medium,1,33.3,50.0,50.0,50.0\neasy,1,33.3,75.0,75.0,75.0\ntoo_easy,1,33.3,100.0,100.0,100.0"
                .to_owned(),
        ),
        (
            "reject_examples",
            format!(
                "new,duplicate,2,1,5,go,repeats 1: question is 0.75 similar,,\n\
                 new,duplicate,2,2,6,go,repeats 1: question is 1 similar,,\n\
                 verify,RUNTIME_ERROR,2,1,2,,b: exit code 1,,\n\
                 verify,RUNTIME_ERROR,2,2,3,,a: exit code 2,,\n\
                 adequacy,vacuous_tests,1,1,10,go,a constant passes,,\n\
                 adequacy,weak_tests,1,1,11,lua,1 of 4 mutants killed,,\n\
                 dataset,flaky,1,1,9,go,run 2 of 2: exit code 1,,\n\
                 later,not_sampled,1,1,8,go,it left,,{hard}\n\
                 later,too_easy,1,1,7,go,it left,,{too_easy}\n\
                 solution.reply,empty_reply,1,1,1,,the reply has no text,,\n\
                 verify,WRONG_ANSWER,1,1,4,,{hostile},,"
            ),
        ),
        (
            "tokens_by_stage",
            "question.reply,1,0,7,0,4096,4096.0,4096,1\nsolution.reply,101,7,1010,404,50,0.5,1,0".to_owned(),
        ),
    ]);
    let built_in: Vec<String> = queries::all().into_iter().map(|query| query.name).collect();
    assert_eq!(built_in, known.keys().copied().collect::<Vec<_>>(), "every query has an answer here");
    for (name, expected) in known {
        assert_eq!(answer(run.path(), &[name]), expected, "{name}");
    }
}

#[test]
fn built_in_queries_work_on_tables_without_rows() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::open_or_create(root.path()).unwrap();
    let full = run_dir(true);
    let empty = |from: &Path| part::read(from).unwrap().0[0].slice(0, 0);
    let stages = empty(&full.path().join("stages.parquet"));
    part::seal(&run.stages_table(), &stages.schema(), &[stages], &BTreeMap::new()).unwrap();
    let prices = empty(&full.path().join("prices.parquet"));
    part::seal(&run.prices_table(), &prices.schema(), &[prices], &BTreeMap::new()).unwrap();
    for table in ["dataset", "rejected", "replies", "verdicts"] {
        write(&root.path().join(table), &empty(&full.path().join(table).join("part-00000.parquet")));
    }
    for query in queries::all() {
        let rows = answer(root.path(), &[query.name.as_str()]);
        // The total of no languages is one line.
        let expected = usize::from(query.name == "pass_rate_by_language");
        assert_eq!(rows.lines().count(), expected, "{}: {rows}", query.name);
    }
}

#[test]
fn balance_counts_categories_within_each_language() {
    let run = run_dir(false);
    let dataset = "language category\ngo files\npython files\npython graphs\npython graphs\ngo files";
    write(&run.path().join("dataset"), &batch(dataset));
    assert_eq!(
        answer(run.path(), &["balance"]),
        "go,files,2,100.0\npython,graphs,2,66.7\npython,files,1,33.3"
    );
}

#[test]
fn judged_problems_are_counted_by_difficulty_and_category() {
    let run = run_dir(true);
    let dataset = batch(
        "id language difficulty category pass_rate
         a  python   hard       Strings  0.0
         b  go       easy       Strings  0.9
         c  go       medium     Lists    0.5
         d  go       medium     -        0.1",
    );
    write(&run.path().join("dataset"), &dataset);
    let rows = [rejected("5", "difficulty.rate", "too_easy", "all 10 answers passed the tests")];
    write(&run.path().join("rejected"), &rejected_batch(&rows).unwrap());
    assert_eq!(
        answer(run.path(), &["pass_rate_by_difficulty"]),
        "hard,1,20.0,0.0,0.0,0.0\nmedium,2,40.0,30.0,10.0,50.0\neasy,1,20.0,90.0,90.0,90.0\ntoo_easy,1,20.0,100.0,100.0,100.0"
    );
    assert_eq!(
        answer(run.path(), &["pass_rate_by_category"]),
        "Lists,go,1,0,1,0,50.0\nLists,all,1,0,1,0,50.0\n\
         Strings,go,1,0,0,1,90.0\nStrings,python,1,1,0,0,0.0\nStrings,all,2,1,0,1,45.0"
    );
}

#[test]
fn translations_are_counted_by_the_language_they_are_in() {
    let run = run_dir(false);
    let stages = batch(
        "position stage    op           language rows_in spawned kept rejected pending prompt_tokens completion_tokens busy_ms
         0        problem  select       cpp      2       0       2    0        0       0             0                 0
         0        problem  select       java     1       0       1    0        0       0             0                 0
         1        targets  translate_to cpp      2       2       4    0        0       0             0                 0
         1        targets  translate_to java     1       0       0    1        0       0             0                 0
         2        verify   run          go       2       0       2    0        0       0             0                 0
         2        verify   run          rust     2       0       1    0        1       0             0                 0
         3        dataset  select       go       2       0       2    0        0       0             0                 0
         3        dataset  select       rust     1       0       0    1        0       0             0                 0",
    );
    let path = run.path().join("stages.parquet");
    part::seal(&path, &stages.schema(), &[stages], &BTreeMap::new()).unwrap();
    assert_eq!(
        answer(run.path(), &["pass_rate_by_language"]),
        "go,2,2,0,100.0,34.2,100.0\nrust,2,0,1,0.0,0.0,65.8\nall,4,2,1,50.0,15.0,85.0"
    );
}

#[test]
fn models_are_compared_by_what_became_of_their_seeds() {
    let run = run_dir(true);
    let seeds: Vec<String> = (0..4).map(|n| format!("seed{n:028}")).collect();
    let mut replies =
        String::from("stage id model finish_reason prompt_tokens completion_tokens latency_ms\n");
    for (n, seed) in seeds.iter().enumerate() {
        replies += &format!("solve {seed} {} stop 10 {} {}\n", ["big", "small"][n % 2], n, 100 * (n + 1));
        replies += &format!("judge {seed}.{n} big length 5 0 50\n");
    }
    write(&run.path().join("replies"), &batch(&replies));
    let dataset = format!("id language\n{}.1 go\n{}.0 go\n{} go\n", seeds[0], seeds[0], seeds[1]);
    write(&run.path().join("dataset"), &batch(&dataset));
    assert_eq!(
        answer(run.path(), &["model_comparison"]),
        "judge,big,4,0.0,4,5.0,0.0,50.0,50.0,4,50.0\n\
         solve,big,2,100.0,0,10.0,1.0,200.0,280.0,2,50.0\n\
         solve,small,2,100.0,0,10.0,2.0,300.0,380.0,2,50.0"
    );
}

#[test]
fn columns_a_query_calls_optional_are_null_where_they_are_not_there() {
    let run = run_dir(true);
    let ask = |list: &str| {
        let sql =
            format!("-- A test.\n-- optional: {list}\nSELECT id, score, level FROM dataset ORDER BY id");
        let file = run.path().join("mine.sql");
        std::fs::write(&file, sql).unwrap();
        query(run.path(), &[file.to_str().unwrap(), "--format", "csv"])
    };
    let text = |output: Output| String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(text(ask("dataset.level text, dataset.score number")), "id,score,level\na,1,\nb,2,\n");
    for list in ["level text", "dataset.level", "nowhere.level text", "dataset.level date"] {
        let said = text(ask(list));
        assert!(said.contains("names no column") && said.contains("TABLE.COLUMN"), "{list}: {said}");
    }
    let said = text(ask("dataset.other text"));
    assert!(
        said.contains("level") && said.contains("`dataset` has the columns id, language, score, category, difficulty, pass_rate, adequacy, other"),
        "{said}"
    );
}

#[test]
fn the_list_says_what_each_query_answers() {
    let output = Command::new(env!("CARGO_BIN_EXE_autocodegen")).args(["query", "--list"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), queries::all().len());
    for (line, query) in text.lines().zip(queries::all()) {
        assert!(line.starts_with(&query.name) && line.ends_with(&query.about), "{line}");
        assert!(query.sql.starts_with("-- ") && query.about.len() > 20, "{}", query.name);
    }
}

#[test]
fn one_answer_in_every_format() {
    let run = run_dir(true);
    let sql = "SELECT id, language, score / 3.0 AS third, CAST(NULL AS VARCHAR) AS nothing FROM dataset ORDER BY id";
    let out = |format: &str| {
        let output = query(run.path(), &["--sql", sql, "--format", format]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let rows: Value = serde_json::from_str(&out("json")).unwrap();
    assert_eq!(rows[1], json!({"id": "b", "language": "go", "third": 2.0 / 3.0, "nothing": null}));
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(out("csv").lines().next(), Some("id,language,third,nothing"));
    assert_eq!(
        out("markdown"),
        "| id | language | third | nothing |\n| --- | --- | ---: | --- |\n| a | python | 0.333 |  |\n| b | go | 0.667 |  |\n"
    );
    let table = out("table");
    assert!(table.contains(" a    python     0.333"), "{table}");

    let file = run.path().join("answer.parquet");
    let saved = query(run.path(), &["--sql", sql, "--format", "parquet", "--out", file.to_str().unwrap()]);
    assert!(saved.status.success() && saved.stdout.is_empty(), "{}", String::from_utf8_lossy(&saved.stderr));
    assert_eq!(part::num_rows(&file).unwrap(), 2);
    let (code, stderr) = refused(run.path(), &["--sql", sql, "--format", "parquet"]);
    assert!(code == 2 && stderr.contains("--out"), "{stderr}");
}

#[test]
fn an_empty_answer_is_still_an_answer() {
    let run = run_dir(true);
    let none = ["--sql", "SELECT * FROM dataset WHERE id = 'x'"];
    let json = query(run.path(), &[&none[..], &["--format", "json"]].concat());
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap(), json!([]));
    assert_eq!(answer(run.path(), &none), "");
}

#[test]
fn what_programs_printed_cannot_drive_the_terminal() {
    let run = run_dir(true);
    let sql = "SELECT detail, REPLACE('xxxxxxxxxx', 'x', '1234567890') AS long FROM rejected WHERE id = '4'";
    for format in ["table", "markdown"] {
        let output = query(run.path(), &["--sql", sql, "--format", format]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        assert!(text.contains("u{1b}[2J"), "{text}");
        match format {
            "markdown" => assert!(text.contains("a\\|b") && text.lines().count() == 3, "{text}"),
            _ => assert!(text.contains("1234567890…") && !text.contains(&"1234567890".repeat(7)), "{text}"),
        }
    }
    let output = query(run.path(), &["--sql", sql, "--format", "json"]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["detail"], HOSTILE, "programs get the value as it is");
}

#[test]
fn bad_questions_are_refused_with_what_there_is() {
    let run = run_dir(false);
    let cases: &[(&[&str], &[&str])] = &[
        (&["funel"], &["`funel`", "funnel", "pass_rate_by_language"]),
        (&["--sql", "SELECT FROM WHERE"], &["query failed", "tables are dataset, rejected"]),
        (
            &["--sql", "SELECT nonsense FROM stages"],
            &["nonsense", "`stages` has the columns position, stage, op"],
        ),
        (
            &["--sql", "SELECT * FROM nowhere"],
            &["nowhere", "tables are dataset, rejected, replies, verdicts, stages, prices"],
        ),
        (&["--sql", "SELECT * FROM dataset"], &["no table `dataset` yet", "autocodegen run"]),
        // Polars panics.
        (
            &[
                "--sql",
                "SELECT a.id FROM rejected a CROSS JOIN stages b WHERE length(a.id) < length(b.stage)",
            ],
            &["the query failed: polars cannot answer this"],
        ),
        (&["--sql", "DROP TABLE stages"], &["no SELECT", "cannot be changed"]),
        (&["--sql", "CREATE TABLE a AS SELECT * FROM stages"], &["no SELECT"]),
        (&["--sql", "SELECT 1; SELECT 2"], &["one"]),
        (&["--sql", "  "], &["empty"]),
        (&["missing.sql"], &["missing.sql"]),
        (&[], &["NAME|FILE.sql"]),
    ];
    for (args, said) in cases {
        let (code, stderr) = refused(run.path(), args);
        assert_eq!(code, 2, "{args:?}: {stderr}");
        for text in *said {
            assert!(stderr.contains(text), "{args:?}: no {text:?} in {stderr}");
        }
    }
    let nowhere = tempfile::tempdir().unwrap();
    let (code, stderr) = refused(nowhere.path(), &["funnel"]);
    assert!(code == 2 && stderr.contains("not a run directory"), "{stderr}");
}

#[test]
fn a_damaged_table_is_named() {
    let run = run_dir(true);
    let file = run.path().join("replies/part-00000.parquet");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let (code, stderr) = refused(run.path(), &["tokens_by_stage"]);
    assert!(code == 2 && stderr.contains("replies/part-00000.parquet"), "{stderr}");
}

#[test]
fn a_query_can_come_from_a_file() {
    let run = run_dir(true);
    let file = run.path().join("mine.sql");
    std::fs::write(&file, "-- How many problems.\nSELECT COUNT(*) AS n FROM dataset -- that is all").unwrap();
    assert_eq!(answer(run.path(), &[file.to_str().unwrap()]), "2");
}
