//! Answers that are there already.

use serde_json::{Value, json};

use super::{Place, fenced, problems, python, ready, records};

/// What does not change from run to run of a printed table.
fn steady(printed: &str) -> String {
    let lines = printed.lines().filter(|line| !line.starts_with("time ") && !line.starts_with("sandbox "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn reference_solutions_pass_and_those_that_do_not_are_listed() {
    if !ready("reference solutions") {
        return;
    }
    let place = Place::new();
    let scores =
        place.json(0, "evaluate --benchmark bench.jsonl --solution-column canonical_solution --out sound");
    assert_eq!((&scores["pass@1"], &scores["n"], &scores["pending"]), (&json!(1.0), &json!(4), &json!(0)));
    assert_eq!(scores["failed"], json!([]));
    let mut rows = problems();
    rows[0]["canonical_solution"] = json!("def twice(n):\n    return n + 2");
    rows[3]["canonical_solution"] = json!("sub twice { return 5 * $_[0];");
    rows[1]["language"] = json!("Klingon");
    rows[1].as_object_mut().unwrap().remove("difficulty");
    place.lines("unsound.jsonl", &rows);
    let ended =
        place.run("evaluate --benchmark unsound.jsonl --solution-column canonical_solution --out unsound");
    ended.says(0, &["1 rows cannot be scored: language_unknown 1"]);
    insta::assert_snapshot!(steady(&ended.stdout));
    let row = &place.table("unsound", "rejected")[0];
    assert_eq!((&row["id"], &row["reason"]), (&json!("p/1"), &json!("language_unknown")));
}

/// pass@k of answers in a file, by numbers worked out by hand.
#[test]
fn samples_by_id_give_the_unbiased_estimate() {
    if !ready("samples") {
        return;
    }
    let place = Place::new();
    let answer = |id: &str, code: &str| json!({"task_id": id, "output": fenced(code)});
    let good = |name: &str| format!("def {name}(n):\n    return n + n");
    // p/0: 1 of 3 passes; the second passes the public test alone. p/1: 2 of 3. s/0 and l/0: all three.
    let mut rows = vec![
        answer("p/0", "def twice(n):\n    return n"),
        answer("p/0", "def twice(n):\n    return 4"),
        answer("p/1", &good("doubled")),
        answer("p/0", &good("twice")),
        answer("p/1", "syntax error here"),
        answer("p/1", &good("doubled")),
        answer("q/7", "nobody asked"),
    ];
    for _ in 0..3 {
        rows.push(answer("s/0", "twice() { echo $(( $1 + $1 )); }"));
        rows.push(answer("l/0", "sub twice { return $_[0] + $_[0]; }"));
    }
    place.lines("answers.jsonl", &rows);
    let scores = place.json(
        0,
        "evaluate --benchmark bench.jsonl --outputs answers.jsonl --solution-column output --out scored --k 1,2,3,5",
    );
    // pass@1: (1/3 + 2/3 + 1 + 1) / 4. pass@2: p/0 1 - C(2,2)/C(3,2) = 2/3, the others 1.
    assert_eq!(scores["pass@1"], json!(0.75));
    assert_eq!(scores["pass@k"], json!({"1": 0.75, "2": 0.916666667, "3": 1.0}));
    assert_eq!(scores["demo"]["rate"], json!(0.833333333));
    assert_eq!(scores["full"]["rate"], json!(0.75));
    assert_eq!(scores["by_language"]["python"]["pass@k"], json!({"1": 0.5, "2": 0.833333333, "3": 1.0}));
    assert_eq!(scores["by_difficulty"]["easy"]["pass@1"], json!(0.666666667));
    assert_eq!(scores["by_category"]["Functions & Modules"]["n"], json!(3));
    assert_eq!(scores["not_scorable"], json!({"problem_unknown": 1}));
    insta::assert_snapshot!(serde_json::to_string_pretty(&scores).unwrap());
    let ids: Vec<Value> = place.table("scored", "dataset").iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids[..3], [json!("p/0"), json!("p/0.1"), json!("p/1")]);
}

#[test]
fn without_ids_rows_belong_together_by_their_order() {
    if !ready("by order") {
        return;
    }
    let place = Place::new();
    let mut rows = problems();
    rows.truncate(2);
    rows.iter_mut().for_each(|row| drop(row.as_object_mut().unwrap().remove("task_id")));
    place.lines("plain.jsonl", &rows);
    place.lines(
        "two.jsonl",
        &[json!({"output": fenced("def twice(n): return 2 * n")}), json!({"output": null})],
    );
    let scores = place.json(0, "evaluate --benchmark plain.jsonl --outputs two.jsonl --out two");
    assert_eq!((&scores["pass@1"], &scores["n"]), (&json!(0.5), &json!(2)));
    place.lines("three.jsonl", &vec![json!({"output": "x"}); 3]);
    let ended = place.run("evaluate --benchmark plain.jsonl --outputs three.jsonl --out three");
    ended.says(2, &["three.jsonl has 3 rows and the benchmark 2", "hint: ", "task_id"]);
    // Answers beside the problems, as the reference writes them: rows that ask the same are samples.
    rows[0]["output"] = json!("def twice(n): return 2 * n");
    let again = rows[0].clone();
    rows[1]["output"] = json!("Sure:\ndef doubled(n): return n");
    rows.push(again);
    place.lines("beside.jsonl", &rows);
    let scores = place.json(0, "evaluate --benchmark beside.jsonl --solution-column output --out beside");
    assert_eq!((&scores["pass@1"], &scores["answers"], &scores["n"]), (&json!(0.5), &json!(3), &json!(2)));
}

#[test]
fn humaneval_and_evalplus_files_are_taken_as_they_are() {
    if !ready("humaneval") {
        return;
    }
    let place = Place::new();
    let task = |n: u32, helper: &str, body: &str| {
        json!({
            "task_id": format!("Own/{n}"),
            "prompt": format!("from typing import List\n\n{helper}def f{n}(x: List[int]) -> int:\n    \"\"\"Sum, and {n}.\"\"\"\n"),
            "canonical_solution": body,
            "entry_point": format!("f{n}"),
            "test": format!("def check(candidate):\n    assert candidate([1, 2]) == 3 + {n}\n    assert candidate([]) == {n}\n"),
        })
    };
    let tasks = [
        task(0, "", "    return sum(x)\n"),
        task(1, "def one():\n    return 1\n\n", "    return sum(x) + one()\n"),
    ];
    place.lines("human.jsonl", &tasks);
    let scores =
        place.json(0, "evaluate --benchmark human.jsonl --solution-column canonical_solution --out human");
    assert_eq!((&scores["pass@1"], &scores["demo"], &scores["n"]), (&json!(1.0), &Value::Null, &json!(2)));
    place.lines(
        "completions.jsonl",
        &[
            json!({"task_id": "Own/0", "completion": "    return sum(x)\n"}),
            json!({"task_id": "Own/0", "completion": "    return 0\n"}),
            json!({"task_id": "Own/1", "completion": "def f1(x: List[int]) -> int:\n    return one() + sum(x)\n"}),
            json!({"task_id": "Own/1", "completion": "    return f1(x[1:]) + x[0] if x else one()\n"}),
        ],
    );
    let scores =
        place.json(0, "evaluate --benchmark human.jsonl --outputs completions.jsonl --out completions");
    assert_eq!((&scores["pass@1"], &scores["answers"]), (&json!(0.75), &json!(4)));
    place.lines(
        "solutions.jsonl",
        &[
            json!({"task_id": "Own/0", "solution": "def f0(x):\n    return sum(x)\n"}),
            json!({"task_id": "Own/1", "solution": "def f1(x):\n    return sum(x) + 2\n"}),
        ],
    );
    let scores = place.json(0, "evaluate --benchmark human.jsonl --outputs solutions.jsonl --out solutions");
    assert_eq!(scores["pass@1"], json!(0.5));
    assert!(records(&place.path("human.jsonl")).len() == 2);
}

#[test]
fn a_pass_is_earned_unless_lenient() {
    if !ready("strict") {
        return;
    }
    let place = Place::new();
    place.lines("one.jsonl", &[python("p/0", "twice", "easy")]);
    let cheat = "import os\ndef twice(n):\n    os._exit(0)";
    place.lines("cheat.jsonl", &[json!({"task_id": "p/0", "output": fenced(cheat)})]);
    let command = "evaluate --benchmark one.jsonl --outputs cheat.jsonl --out cheat";
    assert_eq!(place.json(0, command)["pass@1"], json!(0.0));
    assert_eq!(place.json(0, &format!("{command} --lenient"))["pass@1"], json!(1.0));
}

#[test]
fn what_cannot_be_scored_is_said_before_anything_runs() {
    let place = Place::new();
    place.run("evaluate --benchmark bench.jsonl").says(2, &["nothing to score", "hint: "]);
    place.run("evaluate --benchmark none.jsonl --model m").says(2, &["none.jsonl", "hint: "]);
    place.lines("seeds.jsonl", &[json!({"text": "x", "language": "python"})]);
    place
        .run("evaluate --benchmark seeds.jsonl --solution-column canonical_solution")
        .says(2, &["full_test_func", "hint: "]);
    place.run("evaluate --benchmark bench.jsonl --solution-column answer").says(2, &["`answer`", "hint: "]);
    place.lines("odd.jsonl", &[json!({"task_id": "p/0", "reply": "x"})]);
    place
        .run("evaluate --benchmark bench.jsonl --outputs odd.jsonl")
        .says(2, &["output, completion, solution", "task_id, reply"]);
    place.lines("strangers.jsonl", &[json!({"full_test_func": "x", "demo_test_func": "x"})]);
    place
        .run("evaluate --benchmark strangers.jsonl --solution-column full_test_func --out s")
        .says(2, &["nothing to score", "row 1: the row names no language"]);
}
