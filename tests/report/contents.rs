//! What is on the page.

use arrow_array::{ArrayRef, BooleanArray, UInt32Array, UInt64Array};
use serde_json::json;
use std::sync::Arc;

use super::fixture::{Run, numbers, rejected, texts, whole};
use super::page;

/// The part of the page that is the section `id`.
fn section<'a>(html: &'a str, id: &str) -> &'a str {
    let (_, rest) =
        html.split_once(&format!("<section id=\"{id}\">")).unwrap_or_else(|| panic!("no {id}: {html}"));
    rest.split("</section>").next().unwrap()
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in {text}");
    }
}

/// The tables of `html` with `|` between cells.
fn cells(html: &str) -> String {
    html.replace("<td class=\"number\">", "|").replace("<td>", "|").replace("</td>", "")
}

#[test]
fn every_section_has_its_numbers() {
    let run = whole();
    let html = page(&run.dir);
    says(&html, &["<title>mine: report</title>", "a run of the pipeline full"]);
    for (what, value) in [
        ("seeds", "30"),
        ("problems", "20"),
        ("pass rate", "66.7 % (48.8 to 80.8)"),
        ("cost", "unknown"),
        ("tokens", "225,000"),
        ("state", "done"),
    ] {
        says(&html, &[&format!("<dt>{what}</dt><dd>{value}</dd>")]);
    }
    let languages = cells(section(&html, "languages"));
    says(&languages, &["|go|10|5|0|50.0 %|23.7 to 76.3<", "|python|20|15|0|75.0 %|53.1 to 88.8<", "<svg"]);
    says(&cells(section(&html, "funnel")), &["|solution.reply|30|0|24|6|0|80.0 %|2 min<", "<svg"]);
    let difficulty = cells(section(&html, "difficulty"));
    says(
        &difficulty,
        &[
            "|hard|1|25.0 %|0.0 %|0.0 %|0.0 %<",
            "|easy|2|50.0 %|50.0 %|25.0 %|75.0 %<",
            "|too_easy|1|25.0 %|",
            "|Lists|2|0|0|2|50.0 %<",
        ],
    );
    assert!(difficulty.find("|hard|") < difficulty.find("|easy|"), "hard problems come first");
    let reasons = section(&html, "rejected");
    says(&cells(reasons), &["|verify|WRONG_ANSWER|4|66.7 %|why r1 left<", "|verify|flaky|1|16.7 %|"]);
    assert_eq!(reasons.matches("<details>").count(), 5, "three of the first reason, and one of each other");
    says(
        reasons,
        &[
            "3 of 4 rows",
            "r1 · go · why r1 left",
            "<span class=\"hk\">func</span>",
            "<h4>n</h4>",
            "<span class=\"hk\">return</span>",
        ],
    );
    says(section(&html, "kept"), &["k1 · go · hard · Strings", "Subtract.", "<span class=\"hk\">def</span>"]);
    let cost = cells(section(&html, "cost"));
    // 100 replies of 1,000 tokens at 2 USD and 500 at 10 USD a million.
    says(
        &cost,
        &[
            "|solution.reply|100|0|100,000|0|50,000|1|0.700 USD<",
            "|question.reply|50|0|50,000|0|25,000|0|unknown<",
        ],
    );
    says(&cost, &["USD by stage", "Tokens by stage"]);
    let latency = cells(section(&html, "latency"));
    says(&latency, &["|solution.reply|reply|100|5.0 s|9.0 s|9.9 s|10.0 s<", "|probe|run|1|0 ms|"]);
    says(
        &cells(section(&html, "configuration")),
        &[
            "|answered by|m at host<",
            "|input|seeds.jsonl, 123 KB<",
            "temperature&quot;:0.5",
            "34 rows, 2 exact repeats dropped, 1 rejected",
        ],
    );
}

#[test]
fn the_page_needs_nothing_and_runs_nothing() {
    let run = whole();
    let html = page(&run.dir);
    assert_eq!(html.matches("<meta http-equiv=\"Content-Security-Policy\"").count(), 1);
    says(&html, &["default-src 'none'", "name=\"viewport\"", "prefers-color-scheme: dark", "@media print"]);
    let lower = html.to_lowercase();
    for part in [
        "<script",
        "javascript:",
        "<img",
        "<link",
        "<iframe",
        "src=",
        "@import",
        "url(",
        " onload",
        " style=\"",
    ] {
        assert!(!lower.contains(part), "{part}");
    }
    // The only address is the name of SVG.
    let addresses = lower.matches("://").count();
    assert_eq!(addresses, lower.matches("\"http://www.w3.org/2000/svg\"").count());
    assert_eq!(html, page(&run.dir), "the same run gives the same page");
}

#[test]
fn a_run_without_rows_of_any_kind_has_a_page() {
    let run = Run::new("mine");
    says(&page(&run.dir), &["No tables yet", "run the same command again", "Configuration"]);

    // Everything was rejected: there is no dataset.
    run.stages(&[
        (0, "ask", "model", "go", [2, 0, 0, 2, 0]),
        (1, "dataset", "select", "go", [0, 0, 0, 0, 0]),
    ]);
    run.rejected(&[rejected("r1", "empty_reply", &json!({})), rejected("r2", "empty_reply", &json!({}))]);
    let html = page(&run.dir);
    says(&cells(section(&html, "languages")), &["|go|2|0|0|0.0 %|0.0 to 65.8<"]);
    assert!(!html.contains("<section id=\"kept\">") && !html.contains("<section id=\"difficulty\">"));

    // Nothing came in at all.
    let run = Run::new("mine");
    run.stages(&[]);
    run.rejected(&[]);
    says(section(&page(&run.dir), "rejected"), &["No row was rejected."]);

    // Not even run.json is there.
    std::fs::write(run.dir.join("run.json"), "{}").unwrap();
    super::report(&run.dir, "").says(2, &["run.json"]);
}

#[test]
fn pending_rows_are_told_first() {
    let run = Run::new("mine");
    run.stages(&[(0, "ask", "model", "go", [5, 0, 2, 0, 3])]);
    run.file(&json!({
        "state": "pending",
        "counts": {"ask": {"go": {"rows_in": 5, "kept": 2, "pending": 3}}},
    }));
    let html = page(&run.dir);
    says(&html, &["3 rows are pending", "<dt>pending</dt><dd>3</dd>", "<dt>state</dt><dd>rows pending</dd>"]);
    run.file(&json!({"state": "running"}));
    says(&page(&run.dir), &["under way, or was killed"]);
}

#[test]
fn columns_that_are_missing_or_of_another_type_leave_the_rest_of_the_page() {
    let run = whole();
    let plain = || vec![("id", texts(&["k1"])), ("language", texts(&["go"]))];
    run.dataset(plain());
    run.rejected(&[]);
    let html = page(&run.dir);
    says(section(&html, "difficulty"), &["No row has a difficulty", "No row has a category"]);

    let number: ArrayRef = Arc::new(UInt64Array::from(vec![7]));
    run.dataset([plain(), vec![("difficulty", number.clone()), ("category", number)]].concat());
    let html = page(&run.dir);
    let told = section(&html, "difficulty");
    assert!(told.contains("Left out: ") || told.contains("|7|"), "{told}");
    says(&html, &["<section id=\"kept\">", "<section id=\"latency\">"]);
}

#[test]
fn scores_of_an_evaluation_are_those_that_evaluate_tells() {
    let run = Run::new("evaluate");
    run.stages(&[(0, "check", "run", "go", [4, 0, 4, 0, 0]), (1, "scores", "select", "go", [4, 0, 4, 0, 0])]);
    run.rejected(&[]);
    let flags = |values: &[bool]| Arc::new(BooleanArray::from(values.to_vec())) as ArrayRef;
    run.dataset(vec![
        ("id", texts(&["a", "b", "c", "d"])),
        ("problem_id", texts(&["a", "b", "c", "d"])),
        ("sample", Arc::new(UInt32Array::from(vec![0; 4])) as ArrayRef),
        ("language", texts(&["go", "go", "go", "lua"])),
        ("difficulty", texts(&["hard", "hard", "easy", "easy"])),
        ("category", texts(&["Strings", "Lists", "Lists", "Lists"])),
        ("passed", flags(&[true, false, true, true])),
        ("full_test_func_passed", flags(&[true, false, true, true])),
        ("outcome", texts(&["PASSED", "WRONG_ANSWER", "PASSED", "PASSED"])),
        ("message", texts(&["", "no", "", ""])),
        ("pass_rate", numbers(&[1.0; 4])),
    ]);
    let html = page(&run.dir);
    let languages = cells(section(&html, "languages"));
    says(&languages, &["|go|3|2|66.7 %|", "|lua|1|1|100.0 %|", "|all|4|3|75.0 %|"]);
    says(&cells(section(&html, "difficulty")), &["|hard|2|1|50.0 %|", "|easy|2|2|100.0 %|"]);
    says(&cells(section(&html, "category")), &["|Lists|3|2|66.7 %|"]);
    says(&html, &["<dt>problems</dt><dd>4</dd>", "<dt>pass@1</dt><dd>75.0 % ("]);
    assert!(!html.contains("Share of seeds"), "rows that come through are no passes");
}

#[test]
fn long_rows_and_many_reasons_keep_the_page_small() {
    let run = Run::new("mine");
    run.stages(&[(0, "ask", "model", "go", [900, 0, 0, 900, 0])]);
    let long = "x = 'é' <b>\n".repeat(1_000);
    let rows: Vec<_> = (0..900)
        .map(|n| rejected(&format!("r{n}"), &format!("reason{}", n % 300), &json!({"text": long, "b": long})))
        .collect();
    run.rejected(&rows);
    let html = page(&run.dir);
    says(section(&html, "rejected"), &["The first 40 of 300 are shown.", "cut: 4,000 of 12,000 characters"]);
    assert!(html.len() < 1_500_000, "{}", html.len());
}

#[test]
fn secrets_are_not_shown() {
    let run = whole();
    run.file(&json!({
        "answered_by": "m at https://bob:hunter2@host/v1",
        "sandbox": "sandbox services http://u:hunter2@10.0.0.7:8080",
        "model": {"model": "m", "extra": {"user": "u1", "api_key": "hunter2", "deep": {"Authorization": "Bearer hunter2"}}},
    }));
    let line = json!({"directory": "/", "arguments": ["run", "--base-url", "https://h/v1?api_key=hunter2", "--extra-body", "{\"token\": \"hunter2\"}"]});
    std::fs::write(run.dir.join("command.json"), line.to_string()).unwrap();
    std::fs::write(run.dir.join("pipeline.toml"), "name = \"mine\"\napi_key = \"hunter2\"\n").unwrap();
    let html = page(&run.dir);
    assert!(!html.contains("hunter2"));
    says(&html, &["(not shown)@host", "u1", "last command", "pipeline.toml"]);
}
