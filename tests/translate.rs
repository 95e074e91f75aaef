//! Translation by the real binary, a loopback model and the real sandbox: right translations are kept, wrong ones whose tests
//! are as wrong are caught by what they print, what cannot run waits.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod chat_server;
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use autocodegen::frame::records::{json_lines, read_records};
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::toolchain;
use chat_server::{ChatServer, prompt_of, reply};
use serde_json::Value;
use tempfile::TempDir;

const GOLDEN: &str = include_str!("golden/translate.txt");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A translation written for these tests: `paths.perl`.
fn translation(name: &str) -> String {
    fs::read_to_string(root().join(format!("tests/translations/{name}.md"))).unwrap()
}

/// The problem in Python that tests bring along, and a bundled one by the beginning of its id.
fn problem(id: &str) -> Value {
    let own = fs::read_to_string(root().join("tests/translations/payoff.json")).unwrap();
    let bundled = ["shell", "javascript", "cpp"].map(|name| format!("data/problems/{name}.jsonl"));
    let bundled = bundled.map(|path| fs::read_to_string(root().join(path)).unwrap()).concat();
    let rows = own.lines().chain(bundled.lines()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.into_iter().find(|row| row["id"].as_str().unwrap().starts_with(id)).unwrap()
}

const PAYOFF: &str = "9cfd861f";
const PATHS: &str = "7fdbf809";
const RENDER: &str = "bdb3edae";
const JUSTIFY: &str = "46eb92a3";

/// Those of `languages` whose programs can be run here; says which cannot.
fn runnable(test: &str, languages: &[&'static str]) -> BTreeSet<&'static str> {
    let options = Options { launcher: Some(cargo_bin!("autocodegen").into()), ..Options::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Err(error) = runtime.block_on(async { LocalSandbox::start(options).map(drop) }) {
        common::skip(test, &error.to_string());
        return BTreeSet::new();
    }
    let known = Languages::embedded().unwrap();
    let there = |name: &&str| toolchain::find(known.get(name).unwrap()).is_ok();
    let (there, missing): (Vec<&str>, Vec<&str>) = languages.iter().partition(|name| there(name));
    if !missing.is_empty() {
        common::skip(test, &format!("there is no toolchain of {}", missing.join(", ")));
    }
    there.into_iter().collect()
}

/// Runs the pipeline `pipeline` in `dir`; exit code and what it said.
fn run(dir: &Path, pipeline: &str, args: &str) -> (i32, String) {
    let mut command = Command::new(cargo_bin!("autocodegen"));
    command.current_dir(dir).args(["run", pipeline, "--quiet", "--out", "run"]).args(args.split_whitespace());
    command.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").env("AUTOCODEGEN_CACHE", "off");
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn table(run: &Path, name: &str) -> Vec<Value> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(run.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        for batch in read_records(&file, 1000).unwrap() {
            let lines = String::from_utf8(json_lines(&batch.unwrap()).unwrap()).unwrap();
            rows.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
    }
    rows
}

/// Where every translation ended: its parent and language, and `dataset` or stage and reason.
fn fates(run: &Path) -> BTreeMap<String, String> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let kept = table(run, "dataset").into_iter().map(|row| (text(&row, "id"), "dataset".to_owned()));
    let left = table(run, "rejected").into_iter();
    let left =
        left.map(|row| (text(&row, "id"), format!("{} {}", text(&row, "stage"), text(&row, "reason"))));
    kept.collect::<Vec<_>>().into_iter().chain(left).collect()
}

/// The pipeline `translate` with other targets, in a file of `dir`.
fn pipeline_to(dir: &Path, targets: &str) -> String {
    let whole = fs::read_to_string(root().join("data/pipelines/translate.toml")).unwrap();
    let (before, rest) = whole.split_once("[stage.targets]\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    fs::write(dir.join("mine.toml"), format!("{before}[stage.targets]\n{targets}\n\n{after}")).unwrap();
    "mine.toml".to_owned()
}

/// `problem` with a note in its solution that tells it from others like it.
fn noted(mut problem: Value, note: &str) -> Value {
    let comment =
        if ["cpp", "javascript"].contains(&problem["language"].as_str().unwrap()) { "//" } else { "#" };
    let solution = problem["canonical_solution"].as_str().unwrap();
    let (fence, code) = solution.split_once('\n').unwrap();
    problem["canonical_solution"] = format!("{fence}\n{comment} note: {note}.\n{code}").into();
    problem["id"] = note.into();
    problem
}

/// The note in a prompt.
fn note_of(prompt: &str) -> &str {
    prompt.split_once(" note: ").unwrap().1.split_once('.').unwrap().0
}

fn write(dir: &Path, problems: &[Value]) {
    let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    fs::write(dir.join("in.jsonl"), lines).unwrap();
}

#[test]
fn the_bundled_translations_end_as_they_should() {
    let languages = ["perl", "php", "typescript", "rust"];
    if runnable("bundled", &languages).len() < languages.len() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (code, said) = run(dir.path(), "translate", "");
    assert_eq!(code, 0, "{said}");
    let out = dir.path().join("run");
    let golden: BTreeMap<String, String> = GOLDEN
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(id, fate)| (id.into(), fate.into()))
        .collect();
    assert_eq!(fates(&out), golden);
    let dataset = table(&out, "dataset");
    for row in &dataset {
        let text = |name: &str| row[name].as_str().unwrap();
        let parent = problem(text("parent_id"));
        assert_eq!(parent["language"], row["source_language"]);
        assert_eq!(parent["topic"], row["topic"]);
        assert!(text("id").ends_with(&format!(".{}", text("language"))));
        assert!(text("canonical_solution").starts_with("```") && !text("full_test_func").contains("```"));
        assert!(row.get("seed_id").is_none() && row.get("success").is_none(), "{row}");
    }
    let caught = table(&out, "rejected");
    let detail = caught.iter().find(|row| row["reason"] == "not_equivalent").unwrap()["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        detail.contains("shell printed, from line 7 on:\nOutput: [2 ERROR no route to host\n1 INFO started"),
        "{detail}"
    );
    assert!(
        detail
            .contains("perl printed, from line 7 on:\nOutput: [2 ERROR no route to host\n1 WARN slow query"),
        "{detail}"
    );

    // Counts add up by language also where rows change theirs, and a second run changes nothing.
    let counts: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    let targets = counts["counts"]["targets"].as_object().unwrap();
    for (language, tally) in targets {
        let number = |name: &str| tally[name].as_u64().unwrap();
        assert_eq!(number("rows_in") + number("spawned"), number("kept"), "{language}");
    }
    assert_eq!(targets.keys().collect::<Vec<_>>(), ["cpp", "javascript", "shell"]);
    let bytes =
        |name: &str| fs::read(fs::read_dir(out.join(name)).unwrap().next().unwrap().unwrap().path()).unwrap();
    let before = bytes("dataset");
    fs::remove_dir_all(out.join("stages")).unwrap();
    assert_eq!(run(dir.path(), "translate", "").0, 0);
    assert!(bytes("dataset") == before);
}

#[test]
fn what_cannot_be_run_here_waits_and_is_not_asked_for_again() {
    let all = ["r", "ruby", "elixir", "julia", "racket", "swift"];
    let there = runnable("waits", &["r", "ruby", "elixir", "racket"]);
    if there.len() < 4 {
        return;
    }
    let server = ChatServer::new(Duration::ZERO, |body, _| {
        let prompt = prompt_of(body);
        let named = [("R.", "r"), ("Ruby.", "ruby"), ("Elixir.", "elixir"), ("Racket.", "racket")];
        let first = prompt.lines().next().unwrap();
        let found = named.iter().find(|(name, _)| first.ends_with(&format!(" and {name}")));
        // Nobody has run what would be said for the others: what is said for Ruby does to wait.
        reply(&translation(&format!("payoff.{}", found.map_or("ruby", |(_, name)| name))))
    });
    let dir = TempDir::new().unwrap();
    let mut lost = problem(PAYOFF);
    lost["language"] = "go".into();
    write(dir.path(), &[problem(PAYOFF), lost]);
    let args = format!("--seeds in.jsonl --model m --base-url {}", server.base_url);
    let known = Languages::embedded().unwrap();
    let missing: Vec<&&str> =
        all.iter().filter(|name| toolchain::find(known.get(name).unwrap()).is_err()).collect();
    let (code, said) = run(dir.path(), "translate", &args);
    assert_eq!(code, i32::from(!missing.is_empty()), "{said}");
    assert_eq!(server.asked(), 6);
    let out = dir.path().join("run");
    let ended = |out: &Path| -> BTreeMap<String, String> {
        fates(out).into_iter().map(|(id, fate)| (id.rsplit('.').next().unwrap().to_owned(), fate)).collect()
    };
    let first = ended(&out);
    for language in there {
        assert_eq!(first[language], "dataset", "{first:?}");
    }
    assert!(first.values().any(|fate| fate == "targets no_target"), "{first:?}");
    if missing.is_empty() {
        return;
    }
    assert!(missing.iter().all(|name| !first.contains_key(**name)), "{first:?}");
    assert!(said.contains("toolchain_missing"), "{said}");
    assert!(said.contains(&format!("{} rows are pending", missing.len())) || missing.len() == 1, "{said}");
    let counts: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert!(missing.iter().all(|name| counts["counts"]["verify"][**name]["pending"] == 1));

    let (code, _) = run(dir.path(), "translate", &args);
    assert_eq!((code, server.asked()), (1, 6), "replies that are there are not asked for again");
    assert_eq!(ended(&out), first);
}

/// Tests that pass whatever the solution does, as lazily translated ones do.
fn weak_tests(language: &str) -> &'static str {
    match language {
        "ruby" => "raise 'wrong' unless payoff_schedule(0, 500, 100) == []",
        "r" => "stopifnot(length(payoff_schedule(0, 500, 100)) == 0)",
        "racket" => "#lang racket\n(require rackunit)\n(check-equal? (payoff-schedule 0 500 100) '())",
        "perl" => "die 'wrong' unless normalize_path('/a') eq '/a';",
        "rust" => "#[test]\nfn test() { assert_eq!(justify(\"\", 10), Ok(vec![])); }",
        "typescript" => "import assert from \"assert\";\nassert.strictEqual(render('', {}), '');",
        _ => "<?php\nassert(render('', []) === '');",
    }
}

/// `reply` with the contents of a section replaced.
fn with_section(reply: &str, tag: &str, contents: &str) -> String {
    let (before, rest) = reply.split_once(&format!("<{tag}>")).unwrap();
    let (_, after) = rest.split_once(&format!("</{tag}>")).unwrap();
    format!("{before}<{tag}>\n{contents}\n</{tag}>{after}")
}

/// A defect planted into a translation: problem, translation, and what is written instead of what.
type Planted = (&'static str, &'static str, &'static str, &'static str);

const PLANTED: &[Planted] = &[
    (PAYOFF, "payoff.ruby", "(balance * rate_bp + 60_000) / 120_000", "balance * rate_bp / 120_000"),
    (PAYOFF, "payoff.ruby", "[payment - interest, balance].min", "payment - interest"),
    (PAYOFF, "payoff.ruby", "rows << [rows.length + 1,", "rows << [rows.length,"),
    (PAYOFF, "payoff.ruby", "\"payment must be positive\" if", "\"payment must be at least 1\" if"),
    (PAYOFF, "payoff.ruby", "rows.sum { |row| row[1] }", "rows.sum { |row| row[2] }"),
    (PAYOFF, "payoff.ruby", "last_payment: last[1] + last[2]", "last_payment: last[2]"),
    (PAYOFF, "payoff.ruby", "balance < 0 || rate_bp < 0", "balance < 0"),
    (PAYOFF, "payoff.ruby", "{ months: last[0],", "{ month: last[0],"),
    (PAYOFF, "payoff.ruby", "  end\n  rows\nend", "  end\n  rows.reverse\nend"),
    (PAYOFF, "payoff.ruby", "rows.sum { |row| row[1] }", "rows.sum { |row| row[1] }.to_s"),
    (PAYOFF, "payoff.ruby", "return { months: 0,", "return { months: nil,"),
    (PAYOFF, "payoff.ruby", "return { months: 0, interest: 0, last_payment: 0 } if", "return {} if"),
    (
        PAYOFF,
        "payoff.ruby",
        "(balance * rate_bp + 60_000) / 120_000",
        "(balance * rate_bp / 120_000.0).round(half: :even)",
    ),
    (PAYOFF, "payoff.r", "+ 60000) %/% 120000", "+ 60000) / 120000"),
    (
        PAYOFF,
        "payoff.r",
        "rows[[length(rows) + 1]] <- c(length(rows) + 1,",
        "rows[[length(rows) + 1]] <- c(length(rows),",
    ),
    (
        PAYOFF,
        "payoff.racket",
        "(quotient (+ (* balance rate-bp) 60000) 120000)",
        "(/ (* balance rate-bp) 120000)",
    ),
    (PAYOFF, "payoff.racket", "(list month interest principal rest)", "(list month principal interest rest)"),
    (PATHS, "paths.perl", " || $part eq '.'", ""),
    (PATHS, "paths.perl", "$path eq '' ? '.' : $path", "$path"),
    (PATHS, "paths.perl", "\"not absolute: $path\\n\"", "\"not an absolute path: $path\\n\""),
    (
        PATHS,
        "paths.perl",
        "while (@from && @to && $from[0] eq $to[0])",
        "while (@from && @to && $to[0] =~ /^$from[0]/)",
    ),
    (JUSTIFY, "justify.rust", "i <= total % gaps", "gaps - i < total % gaps"),
    (JUSTIFY, "justify.rust", "last < words.len() && gaps > 0", "gaps > 0"),
    (JUSTIFY, "justify.rust", "word.len() > width", "word.len() >= width"),
    (RENDER, "render.typescript", "\"'\": '&#39;'", "\"'\": '&apos;'"),
    (RENDER, "render.typescript", "trim: (text) => text.trim()", "trim: (text) => text.trimEnd()"),
    (RENDER, "render.typescript", "`unclosed tag at ${open}`", "`unclosed tag at ${open + 1}`"),
    (RENDER, "render.php", "($value ? 'true' : 'false')", "($value ? '1' : '')"),
    (RENDER, "render.php", "'upper' => strtoupper($text)", "'upper' => ucfirst($text)"),
];

#[test]
fn wrong_translations_with_tests_as_wrong_are_caught_by_what_they_print() {
    let there = runnable("planted", &["ruby", "r", "racket", "perl", "rust", "typescript", "php"]);
    let language = |name: &str| name.split_once('.').unwrap().1.to_owned();
    let planted: Vec<(usize, &Planted)> =
        PLANTED.iter().enumerate().filter(|(_, (_, name, ..))| there.contains(&*language(name))).collect();
    if planted.is_empty() {
        return;
    }
    let server = ChatServer::new(Duration::ZERO, |body, _| {
        let prompt = prompt_of(body);
        let (_, name, from, to) = PLANTED[note_of(prompt).parse::<usize>().unwrap()];
        let language = name.split_once('.').unwrap().1;
        if !prompt.contains(&format!("opened with ```{language} and")) {
            return reply("Not this one.");
        }
        let right = translation(name);
        assert_eq!(right.matches(from).count(), 1, "{name}: {from}");
        let wrong = right.replace(from, to);
        let weak = weak_tests(language);
        reply(&with_section(&with_section(&wrong, "demo_test_cases", weak), "full_test_cases", weak))
    });
    let dir = TempDir::new().unwrap();
    let pipeline = pipeline_to(
        dir.path(),
        "python = [\"ruby\", \"r\", \"racket\"]\njavascript = [\"php\", \"typescript\"]\ncpp = [\"rust\"]\nshell = [\"perl\"]",
    );
    let problems: Vec<Value> =
        planted.iter().map(|(n, (id, ..))| noted(problem(id), &n.to_string())).collect();
    write(dir.path(), &problems);
    let (code, said) =
        run(dir.path(), &pipeline, &format!("--seeds in.jsonl --model m --base-url {}", server.base_url));
    assert_eq!(code, 0, "{said}");
    let out = dir.path().join("run");
    let ends = fates(&out);
    let caught = ends.values().filter(|fate| *fate == "harness.compare not_equivalent").count();
    eprintln!(
        "{caught} of {} wrong translations that verification passed are caught by what they print",
        planted.len()
    );
    assert_eq!(caught, planted.len(), "{ends:#?}");
}

#[test]
fn what_the_inputs_do_not_tell_apart_is_not_caught() {
    if runnable("untold", &["perl"]).is_empty() {
        return;
    }
    let server = ChatServer::new(Duration::ZERO, |_, _| {
        reply(&translation("paths.perl").replace("$from[0] eq $to[0]", "lc $from[0] eq lc $to[0]"))
    });
    let dir = TempDir::new().unwrap();
    write(dir.path(), &[problem(PATHS)]);
    let (code, said) =
        run(dir.path(), "translate", &format!("--seeds in.jsonl --model m --base-url {}", server.base_url));
    assert_eq!((code, table(&dir.path().join("run"), "dataset").len()), (0, 1), "{said}");
}

#[test]
fn hostile_replies_are_rejected_by_what_is_wrong_with_them() {
    let right = translation("paths.perl");
    let twice = |tag: &str| format!("{right}\n<{tag}>\nagain\n</{tag}>");
    let cases: Vec<(&str, String)> = vec![
        ("section_missing", "I cannot do that.".into()),
        ("section_missing", right.replace("demo_test_cases>", "demo_tests>")),
        ("section_in_code", format!("````text\n{right}\n````")),
        ("section_unclosed", right.replace("</printing_harness>", "")),
        ("section_repeated", twice("full_test_cases")),
        ("section_repeated", twice("translated_problem")),
        (
            "section_nested",
            right
                .replace("</translated_problem>", "")
                .replace("</demo_test_cases>", "</demo_test_cases>\n</translated_problem>"),
        ),
        ("section_empty", with_section(&right, "full_test_cases", " \n ")),
        ("section_empty", with_section(&right, "full_test_cases", "```perl\n\n```")),
        ("block_count", with_section(&right, "printing_harness", "```perl\n1;\n```\nor\n```perl\n2;\n```")),
        ("section_unclosed", "<demo_test_cases>".repeat(200_000)),
        ("section_missing", "</demo_test_cases>".repeat(200_000)),
        (
            "section_repeated",
            format!("{right}{}", "<translated_problem>x</translated_problem>".repeat(50_000)),
        ),
    ];
    let replies: Vec<String> = cases.iter().map(|(_, text)| text.clone()).collect();
    let server = ChatServer::new(Duration::ZERO, move |body, _| {
        reply(&replies[note_of(prompt_of(body)).parse::<usize>().unwrap()])
    });
    let dir = TempDir::new().unwrap();
    let problems: Vec<Value> = (0..cases.len()).map(|n| noted(problem(PATHS), &n.to_string())).collect();
    write(dir.path(), &problems);
    let (code, said) =
        run(dir.path(), "translate", &format!("--seeds in.jsonl --model m --base-url {}", server.base_url));
    assert_eq!(code, 0, "{said}");
    let rejected = table(&dir.path().join("run"), "rejected");
    assert_eq!(rejected.len(), cases.len());
    for row in rejected {
        let record: Value = match &row["record"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            record => record.clone(),
        };
        let n: usize = record["parent_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(row["reason"], cases[n].0, "{n}: {}", row["detail"]);
    }
}

#[test]
fn targets_are_checked_before_anything_is_asked() {
    let dir = TempDir::new().unwrap();
    write(dir.path(), &[problem(PATHS)]);
    for (targets, says) in [
        ("shell = [\"perl\", \"cobol\"]", "there is no language `cobol`"),
        ("shell = []", "the targets of `shell`"),
        ("shell = [\"bash\"]", "the targets of `shell`"),
        ("shell = [\"perl\", \"pl\"]", "the targets of `shell`"),
        ("", "there are no targets"),
    ] {
        let pipeline = pipeline_to(dir.path(), targets);
        let (code, said) =
            run(dir.path(), &pipeline, "--seeds in.jsonl --model m --base-url http://127.0.0.1:9");
        assert!(code == 2 && said.contains(says), "{targets}: {said}");
    }
    let mut bare = problem(PATHS);
    bare.as_object_mut().unwrap().remove("full_test_input");
    write(dir.path(), &[bare]);
    let server = ChatServer::new(Duration::ZERO, |_, _| reply("never asked"));
    let args = format!("--seeds in.jsonl --model m --base-url {}", server.base_url);
    let (code, said) = run(dir.path(), "translate", &args);
    assert_eq!(server.asked(), 0);
    assert!(code == 2 && said.contains("needs the column `full_test_input`"), "{said}");
}

#[test]
fn every_target_has_a_prompt_that_names_both_languages() {
    let dir = TempDir::new().unwrap();
    let sources = ["python", "java", "javascript", "cpp", "shell"];
    let problems: Vec<Value> = sources
        .map(|language| {
            let mut problem = problem(PAYOFF);
            problem["language"] = language.into();
            problem
        })
        .into();
    write(dir.path(), &problems);
    let mut command = Command::new(cargo_bin!("autocodegen"));
    command.current_dir(dir.path()).args([
        "run",
        "translate",
        "--seeds",
        "in.jsonl",
        "--model",
        "any",
        "--dry-run=14",
    ]);
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = [
        "Python and R",
        "Python and Ruby",
        "Python and Elixir",
        "Python and Julia",
        "Python and Racket",
        "Python and Swift",
        "Java and Scala",
        "Java and C#",
        "Java and Kotlin",
        "Java and Dart",
        "JavaScript and PHP",
        "JavaScript and TypeScript",
        "C++ and Rust",
        "Shell and Perl",
    ];
    for name in names {
        assert_eq!(printed.matches(&format!("experienced programmer in {name}.")).count(), 1, "{name}");
    }
    assert!(printed.contains("translate.reply      14 model requests"), "{printed}");
}
