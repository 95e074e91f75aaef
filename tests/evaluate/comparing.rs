//! Evaluations side by side, and benchmarks made of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::chat_server::{ChatServer, Said};
use super::{Place, python, records};

/// A service that passes programs that say so: no compiler is needed to compare numbers.
fn service() -> ChatServer {
    ChatServer::new(Duration::ZERO, |asked, _| -> Said {
        let passed = asked["func_code"].as_str().unwrap().contains("pass");
        let outcome = if passed { "PASSED" } else { "WRONG_ANSWER" };
        (200, json!({"exec_outcome": outcome, "exec_cout": "", "response_extensions": {}}).to_string())
    })
}

/// A place with a benchmark of ten problems and three evaluations: `a` solves the first 8, `b` the last 3, `c` the last 4.
fn evaluated() -> Place {
    let place = Place::new();
    let problems: Vec<Value> = (0..10).map(|n| python(&format!("p/{n}"), &format!("f{n}"), "easy")).collect();
    place.lines("ten.jsonl", &problems);
    let service = service();
    for (name, solves) in [("a", 0..8), ("b", 7..10), ("c", 6..10)] {
        let said = |n: usize| if solves.contains(&n) { "pass" } else { "no" };
        let rows: Vec<Value> = (0..10)
            .map(|n| json!({"task_id": format!("p/{n}"), "output": format!("```\n# {name}\n{}\n```", said(n))}))
            .collect();
        place.lines(&format!("{name}.jsonl"), &rows);
        place.json(
            0,
            &format!(
                "evaluate --benchmark ten.jsonl --outputs {name}.jsonl --out {name} --sandbox {}",
                service.base_url
            ),
        );
    }
    place
}

#[test]
fn runs_are_compared_problem_by_problem() {
    let place = evaluated();
    let compared = place.json(0, "compare a b c");
    let pair = &compared["pairs"][0];
    assert_eq!((&pair["first"], &pair["second"], &pair["common"]), (&json!("a"), &json!("b"), &json!(10)));
    // 7 problems only the first solves, 2 only the second: p = 2 (C(9,0) + C(9,1) + C(9,2)) / 2^9 = 92/512.
    assert_eq!((&pair["only_first"], &pair["only_second"]), (&json!(7), &json!(2)));
    assert!((pair["p"].as_f64().unwrap() - 92.0 / 512.0).abs() < 1e-9);
    assert_eq!((&pair["difference"], &pair["pass@1"]), (&json!(0.5), &json!([0.8, 0.3])));
    assert!(pair["interval"][0].as_f64().unwrap() < 0.5 && pair["interval"][1].as_f64().unwrap() > 0.5);
    assert_eq!(compared["pairs"].as_array().unwrap().len(), 3);
    let ended = place.run("compare a b");
    ended.says(0, &[]);
    insta::assert_snapshot!(ended.stdout);
    place.run("compare a bench.jsonl").says(2, &["bench.jsonl"]);
}

#[test]
fn a_lite_benchmark_holds_what_several_models_solve() {
    let place = evaluated();
    place
        .run("benchmark lite a b c --benchmark ten.jsonl --out lite.jsonl")
        .says(0, &["4 of 10 problems: python 4"]);
    let rows = records(&place.path("lite.jsonl"));
    let of = |row: &Value| (row["task_id"].as_str().unwrap().to_owned(), row["solved_by"].as_u64().unwrap());
    let found: Vec<_> = rows.iter().map(of).collect();
    assert_eq!(
        found,
        [("p/6".to_owned(), 2), ("p/8".to_owned(), 2), ("p/9".to_owned(), 2), ("p/7".to_owned(), 3)]
    );
    assert_eq!(rows[0]["origin"]["unknown"][0], json!("columns"), "rows are as they were");
    place.run("benchmark lite a b --benchmark bench.jsonl --out x.jsonl --min-solvers 1").says(0, &[]);
    place.lines("other.jsonl", &[python("x", "x", "easy")]);
    place
        .run("benchmark lite a b --benchmark other.jsonl --out x.jsonl")
        .says(2, &["not of other.jsonl", "hint: "]);
}

#[test]
fn base_models_see_solved_problems_first() {
    let place = evaluated();
    let said = place.run("benchmark complete --benchmark ten.jsonl --per-language 4 --out complete.parquet");
    said.says(0, &["4 of 10 problems: python 4"]);
    let rows = records(&place.path("complete.parquet"));
    assert_eq!(rows.len(), 4);
    for row in &rows {
        let prompt = row["completion_prompt"].as_str().unwrap();
        assert_eq!(prompt.matches("[Code Solution End]").count(), 3);
        assert!(
            prompt
                .ends_with(&format!("[Problem]\n{}\n\n[Code Solution]\n", row["question"].as_str().unwrap()))
        );
        let own = row["canonical_solution"].as_str().unwrap().lines().nth(1).unwrap();
        assert!(!prompt.contains(own), "{prompt}");
    }
    let model = ChatServer::new(Duration::ZERO, |_, _| {
        super::chat_server::reply("```python\npass\n```\n[Problem]\n```\nno\n```")
    });
    let service = service();
    let scores = place.json(
        0,
        &format!(
            "evaluate --benchmark complete.parquet --prompt completion --model base --out base --base-url {}/completions --sandbox {}",
            model.base_url, service.base_url
        ),
    );
    assert_eq!((&scores["pass@1"], &scores["n"]), (&json!(1.0), &json!(4)));
    let mut asked: Vec<String> =
        model.chats().iter().map(|asked| asked["prompt"].as_str().unwrap().to_owned()).collect();
    let mut prompts: Vec<String> =
        rows.iter().map(|row| row["completion_prompt"].as_str().unwrap().to_owned()).collect();
    assert!(model.chats().iter().all(|asked| asked["stop"][0] == json!("[Code Solution End]")));
    asked.sort();
    prompts.sort();
    assert_eq!(asked, prompts);
}
