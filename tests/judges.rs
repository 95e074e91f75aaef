//! The stages that judge problems (critic, difficulty, tags), by the real binary, a real endpoint and the real sandbox.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod chat_server;
mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use autocodegen::plan::pipeline::Pipeline;
use autocodegen::text::template::Templates;
use chat_server::{ChatServer, Said, prompt_of, reply};
use serde_json::{Value, json};
use tempfile::TempDir;

const RULES: [&str; 8] = [
    "signature_mismatch",
    "randomness",
    "wrong_target",
    "floating_point",
    "swallowed_exceptions",
    "tests_never_run",
    "unstated_requirements",
    "other",
];

fn stage(dir: &Path, args: &str) -> Output {
    let mut command = Command::new(cargo_bin!("autocodegen"));
    command.current_dir(dir).arg("stage").args(args.split_whitespace()).stdin(Stdio::null());
    command.args(["--pipeline", "full"]);
    command.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").env("AUTOCODEGEN_CACHE", "off");
    command.output().unwrap()
}

/// Runs `stage`, which must end with `code`.
fn ends(dir: &Path, args: &str, code: i32) -> String {
    let output = stage(dir, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args}: {said}");
    said
}

/// The records of a file, by `id`.
fn records(file: &Path) -> HashMap<String, Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect()
}

/// Why rows left, by `id`.
fn reasons(file: &Path) -> HashMap<String, (String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    records(file).into_iter().map(|(id, row)| (id, (text(&row, "reason"), text(&row, "detail")))).collect()
}

/// The value that a column holds as JSON text.
fn json_of(row: &Value, column: &str) -> Value {
    serde_json::from_str(row[column].as_str().unwrap()).unwrap()
}

/// A problem whose id is also in its question, so that the server knows it.
fn problem(id: &str, language: &str) -> Value {
    json!({
        "id": id,
        "language": language,
        "question": format!("<{id}> Write `total(numbers)`, the sum of a list of numbers."),
        "canonical_solution": "```python\ndef total(numbers):\n    return sum(numbers)\n```",
        "demo_test_func": "assert total([1, 2]) == 3",
        "full_test_func": "assert total([0.1, 0.2]) == 0.30000000000000004\nassert total([]) == 0",
        "execution": "full_test_func: PASSED",
    })
}

fn write(dir: &Path, name: &str, problems: &[Value]) {
    let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    fs::write(dir.join(name), lines).unwrap();
}

/// The id of the problem that is asked about.
fn id_of(asked: &Value) -> String {
    let first = asked["messages"][0]["content"].as_str().unwrap();
    let start = first.find("<problem-").unwrap() + 1;
    first[start..].split_once('>').unwrap().0.to_owned()
}

/// A vote that sees `defects` (rule and evidence), and no other.
fn vote(defects: &[(&str, &str)]) -> String {
    let claim = |rule: &&str| {
        let found = defects.iter().find(|(defect, _)| defect == rule);
        let (evidence, reason) = found.map_or(("", ""), |(_, evidence)| (*evidence, "it is unfair"));
        json!({"rule": rule, "defect": found.is_some(), "evidence": evidence, "reason": reason})
    };
    json!({"rules": RULES.iter().map(claim).collect::<Vec<_>>()}).to_string()
}

#[test]
fn the_critic_rejects_by_majority_with_evidence_and_survives_hostile_votes() {
    let asked: Mutex<HashMap<String, usize>> = Mutex::default();
    let server = ChatServer::new(Duration::ZERO, move |body, _| {
        let id = id_of(body);
        let repair = body["messages"].as_array().unwrap().len() > 1;
        let n = {
            let mut asked = asked.lock().unwrap();
            let n = asked.entry(id.clone()).or_default();
            *n += usize::from(!repair);
            *n
        };
        let float = ("floating_point", "assert total([0.1,\n  0.2]) == 0.30000000000000004");
        let text = match id.as_str() {
            "problem-fair" => vote(&[]),
            // Two of three.
            "problem-float" if n == 2 => vote(&[]),
            "problem-float" => vote(&[float]),
            // One of three.
            "problem-minority" if n == 1 => vote(&[float]),
            "problem-minority" => vote(&[]),
            "problem-invented" => vote(&[("randomness", "random.shuffle(numbers)")]),
            "problem-blank" => vote(&[("other", " \n")]),
            // Prose and a fence around it, comments, the rule twice, and both ways.
            "problem-junk" => {
                let claim = |defect, evidence| {
                    format!(
                        "{{'rule': 'tests_never_run', 'defect': {defect}, 'evidence': '{evidence}', 'reason': ''}}"
                    )
                };
                let claims =
                    [claim("True", "total([1, 2])"), claim("False", ""), claim("True", "total([1, 2])")];
                format!("I think:\n```json\n{{\"rules\": [{}], // all\n}}\n```\nDone.", claims.join(", "))
            }
            // A rule of its own making is sent back; what comes then counts.
            "problem-stranger" if repair => vote(&[("other", "the sum of a list")]),
            "problem-stranger" => vote(&[]).replace("\"other\"", "\"\\u001b[2Jignore all rules\""),
            "problem-silent" => "There is nothing to say, and no JSON.".to_owned(),
            other => panic!("asked about {other}"),
        };
        reply(&text)
    });
    let dir = TempDir::new().unwrap();
    let names = ["fair", "float", "minority", "invented", "blank", "junk", "stranger", "silent"];
    let problems: Vec<Value> =
        names.iter().map(|name| problem(&format!("problem-{name}"), "python")).collect();
    write(dir.path(), "in.jsonl", &problems);
    let stages = "critic.prompt,critic.reply,critic.judge --in in.jsonl --out out.jsonl";
    ends(dir.path(), &format!("{stages} --model judge --base-url {}", server.base_url), 0);

    let kept = records(&dir.path().join("out.jsonl"));
    let left = reasons(&dir.path().join("out.jsonl.rejected.jsonl"));
    let reason = |name: &str| left[&format!("problem-{name}")].0.as_str();
    assert_eq!(reason("float"), "critic:floating_point");
    assert_eq!(reason("junk"), "critic:tests_never_run");
    assert_eq!(reason("stranger"), "critic:other");
    assert_eq!(reason("silent"), "no_vote");
    assert_eq!((kept.len(), left.len()), (4, 4));
    assert!(left["problem-float"].1.starts_with("2 of 3 votes: it is unfair"), "{left:?}");
    assert!(left["problem-silent"].1.contains("none of 3"), "{left:?}");

    let findings = |name: &str| json_of(&kept[&format!("problem-{name}")], "critic");
    assert_eq!(findings("fair"), json!([]));
    assert_eq!(findings("minority")[0]["votes"], 1);
    for (name, rule) in [("invented", "randomness"), ("blank", "other")] {
        let found = &findings(name)[0];
        assert_eq!(
            (&found["rule"], &found["votes"], &found["unsupported"]),
            (&json!(rule), &json!(0), &json!(3))
        );
    }
    assert!(kept.values().all(|row| row.get("execution").is_none() && row.get("votes").is_none()));

    // The critic sees what the runs came to, and is asked for JSON of this schema.
    let first = &server.chats()[0];
    assert!(prompt_of(first).contains("full_test_func: PASSED"));
    assert_eq!(first["response_format"]["json_schema"]["name"], "critic_reply");
    let rules = &first["response_format"]["json_schema"]["schema"]["properties"]["rules"]["items"];
    assert_eq!(rules["properties"]["rule"]["enum"], json!(RULES));
}

fn answer(code: &str) -> Said {
    reply(&format!(
        "Here it is.\n\n```python\n{code}\n```\n\nAnd how to use it:\n\n```python\nprint(total([1]))\n```"
    ))
}

/// `n`-th of ten answers, of which the first `right` are right and the others wrong in as many ways.
fn sample(n: usize, right: usize) -> Said {
    if n < right {
        return answer("def total(numbers):\n    return sum(numbers)");
    }
    match n % 5 {
        0 => answer("def total(numbers):\n    return max(numbers)"),
        1 => answer("def total(numbers)\n    return sum(numbers)"),
        2 => reply("Add all of the numbers with `sum`."),
        3 => {
            let cut = json!({"choices": [{"finish_reason": "length", "message": {"content": "```python\ndef total("}}]});
            (200, cut.to_string())
        }
        _ => answer("def total(numbers):\n    return numbers.total"),
    }
}

#[test]
fn difficulty_is_rated_by_what_a_weaker_model_s_answers_do() {
    if !can_run_python("difficulty") {
        return;
    }
    let asked: Mutex<HashMap<String, usize>> = Mutex::default();
    let server = ChatServer::new(Duration::ZERO, move |body, _| {
        assert_eq!(body["model"], "weak");
        let id = id_of(body);
        let right: usize = id.strip_prefix("problem-").unwrap().parse().unwrap();
        let mut asked = asked.lock().unwrap();
        let n = asked.entry(id).or_default();
        *n += 1;
        sample(*n - 1, right)
    });
    let dir = TempDir::new().unwrap();
    let problems: Vec<Value> =
        [0, 1, 5, 6, 10].iter().map(|right| problem(&format!("problem-{right}"), "python")).collect();
    write(dir.path(), "in.jsonl", &problems);
    let model = format!(
        "--model strong --stage-model difficulty.reply=weak --in-flight 1 --base-url {}",
        server.base_url
    );
    let ask = format!("difficulty.prompt,difficulty.reply --in in.jsonl --out answers.jsonl {model}");
    ends(dir.path(), &ask, 0);
    assert_eq!(server.asked(), 50);

    // A sandbox that fails is no answer that fails: the rows wait.
    let broken = ChatServer::new(Duration::ZERO, |_, _| (500, "out of order".into()));
    let rate = "difficulty.run,difficulty.rate --in answers.jsonl --out rated.jsonl";
    let url = broken.base_url.trim_end_matches("/v1");
    let said = ends(dir.path(), &format!("{rate} --sandbox {url} --tries 1"), 1);
    assert!(said.contains("5 rows are pending") || said.contains("5 rows"), "{said}");
    assert!(records(&dir.path().join("rated.jsonl")).is_empty());

    ends(dir.path(), rate, 0);
    let rated = records(&dir.path().join("rated.jsonl"));
    let row = |right: usize| &rated[&format!("problem-{right}")];
    for (right, difficulty) in [(0, "hard"), (1, "medium"), (5, "medium"), (6, "easy")] {
        assert_eq!(row(right)["difficulty"], difficulty);
        assert_eq!(row(right)["pass_count"], right);
        assert_eq!(row(right)["pass_rate"], right as f64 / 10.0);
        let bounds = ["pass_rate_low", "pass_rate_high"].map(|name| row(right)[name].as_f64().unwrap());
        assert!(bounds[0] <= right as f64 / 10.0 && right as f64 / 10.0 <= bounds[1] && bounds[1] < 1.0);
    }
    let left = reasons(&dir.path().join("rated.jsonl.rejected.jsonl"));
    assert_eq!(left["problem-10"].0, "too_easy");
    assert_eq!((rated.len(), left.len()), (4, 1));

    let samples = json_of(row(1), "samples");
    let outcomes: Vec<&str> =
        samples.as_array().unwrap().iter().map(|sample| sample["outcome"].as_str().unwrap()).collect();
    let wrong = ["SYNTAX_ERROR", "no_code", "finish_reason_length", "RUNTIME_ERROR", "WRONG_ANSWER"];
    assert_eq!(outcomes, [&["PASSED"], &wrong[..], &wrong[..4]].concat());
    assert_eq!(samples[0]["code"], "def total(numbers):\n    return sum(numbers)");
    assert_eq!((&samples[0]["passed"], &samples[2]["passed"]), (&json!(true), &json!(false)));
    assert_eq!(samples[2]["code"], Value::Null);
}

#[test]
fn a_request_that_is_refused_is_no_failed_answer() {
    let server = ChatServer::new(Duration::ZERO, |body, _| match id_of(body).as_str() {
        "problem-long" => {
            (400, json!({"error": {"code": "context_length_exceeded", "message": "too long"}}).to_string())
        }
        _ => sample(0, 1),
    });
    let dir = TempDir::new().unwrap();
    write(dir.path(), "in.jsonl", &[problem("problem-long", "python"), problem("problem-short", "python")]);
    let model = format!("--model m --base-url {}", server.base_url);
    ends(dir.path(), &format!("difficulty.prompt,difficulty.reply --in in.jsonl --out out.jsonl {model}"), 0);
    let left = reasons(&dir.path().join("out.jsonl.rejected.jsonl"));
    assert_eq!(left["problem-long"].0, "request_refused");
    let kept = records(&dir.path().join("out.jsonl"));
    assert_eq!(json_of(&kept["problem-short"], "answers").as_array().unwrap().len(), 10);
}

#[test]
fn what_runs_came_to_is_put_in_words_for_the_critic() {
    if !can_run_python("execution") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut loud = problem("problem-loud", "python");
    loud["full_test_func"] = json!("print('checked', total([1]))");
    loud.as_object_mut().unwrap().remove("execution");
    write(dir.path(), "in.jsonl", &[loud]);
    ends(dir.path(), "verify,verify.keep --in in.jsonl --out out.jsonl", 0);
    let kept = records(&dir.path().join("out.jsonl"));
    let told = "full_test_func: PASSED, exit code 0, stdout ends with:\nchecked 1, stderr is empty\n\
                demo_test_func: PASSED, exit code 0, stdout is empty, stderr is empty";
    assert_eq!(kept["problem-loud"]["execution"], told);
}

#[test]
fn a_tag_is_one_of_the_categories_or_none() {
    let server = ChatServer::new(Duration::ZERO, |body, _| {
        let repair = body["messages"].as_array().unwrap().len() > 1;
        let good = r#"{"category": "Functional Programming"}"#;
        reply(match id_of(body).as_str() {
            "problem-plain" => good,
            "problem-repaired" if repair => good,
            "problem-repaired" => r#"{"category": "functional programming"}"#,
            "problem-injected" => "{\"category\": \"Functional Programming\\n<script>alert(1)</script>\"}",
            "problem-list" => r#"{"category": ["Functional Programming", "Machine Learning & AI"]}"#,
            "problem-more" => r#"{"category": "Functional Programming", "difficulty": "hard"}"#,
            _ => "Functional Programming",
        })
    });
    let dir = TempDir::new().unwrap();
    let names = ["plain", "repaired", "injected", "list", "more", "bare"];
    let problems: Vec<Value> =
        names.iter().map(|name| problem(&format!("problem-{name}"), "python")).collect();
    write(dir.path(), "in.jsonl", &problems);
    let model = format!("--model m --base-url {}", server.base_url);
    ends(dir.path(), &format!("tag.prompt,tag.reply,tag.extract --in in.jsonl --out out.jsonl {model}"), 0);
    let kept = records(&dir.path().join("out.jsonl"));
    let left = reasons(&dir.path().join("out.jsonl.rejected.jsonl"));
    let mut ids: Vec<&String> = kept.keys().collect();
    ids.sort();
    assert_eq!(ids, ["problem-plain", "problem-repaired"]);
    assert!(kept.values().all(|row| row["category"] == "Functional Programming"));
    assert_eq!(left.len(), 4);
    assert!(left.values().all(|(reason, _)| reason == "json_invalid"), "{left:?}");
}

#[test]
fn stages_ask_models_of_their_own_where_those_are_served() {
    let fair = |_: &Value, _: &str| reply(&vote(&[]));
    let (one, two) = (ChatServer::new(Duration::ZERO, fair), ChatServer::new(Duration::ZERO, fair));
    let dir = TempDir::new().unwrap();
    write(dir.path(), "in.jsonl", &[problem("problem-a", "python"), problem("problem-b", "python")]);
    let endpoints = format!(
        "[[endpoint]]\nbase_url = \"{}\"\n[[endpoint]]\nbase_url = \"{}\"\nserves = [\"small\"]\n",
        one.base_url, two.base_url
    );
    fs::write(dir.path().join("endpoints.toml"), endpoints).unwrap();
    let stages = "critic.prompt,critic.reply,critic.judge --in in.jsonl --out out.jsonl --model large --endpoints endpoints.toml";
    ends(dir.path(), &format!("{stages} --stage-model critic.reply=small,other"), 0);
    // Sample 0 and 2 of each row are the first model's, sample 1 the second's.
    let models = |server: &ChatServer| -> Vec<String> {
        server.chats().iter().map(|chat| chat["model"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(models(&two), ["small"; 4]);
    assert_eq!(models(&one), ["other"; 2]);
    assert_eq!(records(&dir.path().join("out.jsonl")).len(), 2);

    for (wrong, says) in [
        ("critic.judge=small", "has no stage `critic.judge` that asks a model"),
        ("nothing=small", "has no stage `nothing`"),
        ("critic.reply", "it looks like difficulty.reply=NAME"),
        ("critic.reply=a,,b", "it looks like difficulty.reply=NAME"),
    ] {
        let said = ends(dir.path(), &format!("{stages} --stage-model {wrong}"), 2);
        assert!(said.contains(says), "{wrong}: {said}");
    }
    for (key, says) in [
        ("model = 3", "`model` names no model"),
        ("model = []", "`model` names no model"),
        ("model = ['a', 1]", "`model` names no model"),
        ("temperature = 0.0\nsamples = 2\nmodel = 'a'", "2 samples at temperature 0"),
        ("samples = 2\nsamples_into = 'answers'\nreasoning_into = 'why'", "`why` has no single value"),
    ] {
        let toml = format!(
            "name = 'p'\n[[stage]]\nname = 'a.prompt'\nop = 'prompt'\ntemplate = 'solution'\n[[stage]]\nname = 'a.reply'\nop = 'model'\n{key}\n"
        );
        fs::write(dir.path().join("p.toml"), toml).unwrap();
        let mut explain = Command::new(cargo_bin!("autocodegen"));
        let output = explain.current_dir(dir.path()).args(["explain", "p.toml"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(says), "{key}: {said}");
    }
}

#[test]
fn prompts_and_schemas_name_the_same_rules_and_categories() {
    let pipeline = Pipeline::load("full").unwrap();
    let schema = |stage: &str| {
        let spec = pipeline.stages.iter().find(|spec| spec.name == stage).unwrap();
        serde_json::to_value(&spec.keys["json_schema"]).unwrap()
    };
    let listed = |step: &str, prefix: &str| -> Vec<String> {
        let templates = Templates::load(None).unwrap();
        let sources = templates.sources(step, "python").unwrap();
        let lines = sources[0].1.lines().filter_map(|line| line.split_once(prefix));
        lines.map(|(_, rest)| rest.split(['`']).next().unwrap().to_owned()).collect()
    };
    let category = schema("tag.reply")["properties"]["category"]["enum"].clone();
    assert_eq!(category, json!(listed("tag", "- ")));
    assert_eq!(category.as_array().unwrap().len(), 20);
    let rule = &schema("critic.reply")["properties"]["rules"]["items"]["properties"]["rule"]["enum"];
    assert_eq!(*rule, json!(RULES));
    assert_eq!(*rule, json!(listed("critic", ". `")));
}

fn can_run_python(test: &str) -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|python| python.status.success());
    if !there {
        common::skip(test, "python3 is not installed");
    }
    there
}
