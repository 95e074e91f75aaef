//! Models that are asked first.

use std::time::Duration;

use serde_json::{Value, json};

use super::chat_server::{ChatServer, Said, prompt_of, reply};
use super::{Place, fenced, ready};

/// The right answer to a problem of the benchmark.
fn right(question: &str) -> &'static str {
    match question {
        question if question.contains("twice(n)") => "def twice(n):\n    return n * 2",
        question if question.contains("doubled(n)") => "def doubled(n):\n    return n * 2",
        question if question.contains("shell") => "twice() { echo $(( $1 * 2 )); }",
        _ => "sub twice { return $_[0] * 2; }",
    }
}

fn roles(asked: &Value) -> Vec<&str> {
    asked["messages"].as_array().unwrap().iter().map(|turn| turn["role"].as_str().unwrap()).collect()
}

#[test]
fn a_model_is_asked_for_one_block_and_its_answers_scored_and_kept() {
    if !ready("model") {
        return;
    }
    let place = Place::new();
    let server = ChatServer::new(Duration::ZERO, |asked, _| -> Said {
        let question = prompt_of(asked);
        match question.contains("Perl") {
            true => reply(""),
            false => reply(&fenced(right(question))),
        }
    });
    let command =
        format!("evaluate --benchmark bench.jsonl --model m --out run --base-url {}", server.base_url);
    let scores = place.json(0, &command);
    // The empty reply is an answer that does not pass.
    assert_eq!((&scores["pass@1"], &scores["n"]), (&json!(0.75), &json!(4)));
    assert_eq!(
        (&scores["by_language"]["perl"]["pass@1"], &scores["outcomes"]["empty_reply"]),
        (&json!(0.0), &json!(1))
    );
    assert_eq!(scores["demo"]["rate"], json!(0.75));
    let chats = server.chats();
    assert_eq!(chats.len(), 4);
    assert!(
        chats.iter().all(|asked| roles(asked) == ["system", "user"] && asked["temperature"] == json!(0.0))
    );
    let system = chats[0]["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains("one single fenced code block") && system.contains("tests"), "{system}");
    assert_eq!(place.json(0, &command), scores);
    assert_eq!(server.asked(), 4, "answers are in the run directory");
    let rows = place.table("run", "dataset");
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["program"], json!("def twice(n):\n    return n * 2"));
}

#[test]
fn what_a_model_does_not_answer_is_pending_and_picked_up() {
    if !ready("pending") {
        return;
    }
    let place = Place::new();
    let server = |works: bool| {
        ChatServer::new(Duration::ZERO, move |asked, _| -> Said {
            let question = prompt_of(asked);
            match question.contains("shell") && !works {
                true => (500, "no".to_owned()),
                false => reply(&fenced(right(question))),
            }
        })
    };
    let command = "evaluate --benchmark bench.jsonl --model m --out run --tries 1 --patience 1 --base-url";
    let broken = server(false);
    let ended = place.run(&format!("{command} {}", broken.base_url));
    ended.says(1, &["1 rows are pending and not scored"]);
    assert!(ended.stdout.contains(" all            3        3   100.0 %"), "{}", ended.stdout);
    let mended = server(true);
    let scores = place.json(0, &format!("{command} {}", mended.base_url));
    assert_eq!((&scores["pass@1"], &scores["n"], &scores["pending"]), (&json!(1.0), &json!(4), &json!(0)));
    assert_eq!(mended.asked(), 1);
}

#[test]
fn rounds_feed_the_verdict_back_and_only_to_those_that_did_not_pass() {
    if !ready("rounds") {
        return;
    }
    let place = Place::new();
    let server = ChatServer::new(Duration::ZERO, |asked, _| -> Said {
        let first = asked["messages"][1]["content"].as_str().unwrap();
        let round = roles(asked).len() / 2;
        // p/0 is right at once, p/1 in the second round, s/0 in the third, l/0 never.
        let right_from = match first {
            question if question.contains("twice(n)") => 1,
            question if question.contains("doubled(n)") => 2,
            question if question.contains("shell") => 3,
            _ => 9,
        };
        match round >= right_from {
            true => reply(&fenced(right(first))),
            false if first.contains("doubled(n)") => {
                reply(&fenced("def doubled(n):\n    raise KeyError('lost')"))
            }
            false => reply(&fenced("exit 3")),
        }
    });
    let command = format!(
        "evaluate --benchmark bench.jsonl --model m --rounds 3 --out run --base-url {}",
        server.base_url
    );
    let scores = place.json(0, &command);
    let after: Vec<&Value> = scores["rounds"].as_array().unwrap().iter().map(|rate| &rate["rate"]).collect();
    assert_eq!(after, [&json!(0.25), &json!(0.5), &json!(0.75)]);
    assert_eq!(scores["pass@1"], json!(0.75));
    let chats = server.chats();
    assert_eq!(chats.len(), 4 + 3 + 2);
    let of = |text: &str, turns: usize| {
        chats.iter().find(|asked| prompt_first(asked).contains(text) && roles(asked).len() == turns).unwrap()
    };
    let second = of("doubled(n)", 4);
    assert_eq!(roles(second), ["system", "user", "assistant", "user"]);
    assert_eq!(
        second["messages"][2]["content"],
        json!(fenced("def doubled(n):\n    raise KeyError('lost')"))
    );
    let feedback = second["messages"][3]["content"].as_str().unwrap();
    assert!(feedback.contains("RUNTIME_ERROR") && feedback.contains("KeyError: 'lost'"), "{feedback}");
    assert_eq!(roles(of("Perl", 6)), ["system", "user", "assistant", "user", "assistant", "user"]);
    let rounds: Vec<_> = place.table("run", "dataset").iter().map(|row| row["round"].clone()).collect();
    assert_eq!(rounds, [json!(1), json!(2), json!(3), json!(3)]);
    assert_eq!(place.json(0, &command), scores);
    assert_eq!(server.asked(), 9);
}

fn prompt_first(asked: &Value) -> &str {
    asked["messages"][1]["content"].as_str().unwrap()
}

#[test]
fn samples_are_asked_for_with_a_temperature_and_scored_together() {
    if !ready("samples of a model") {
        return;
    }
    let place = Place::new();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = ChatServer::new(Duration::ZERO, move |asked, _| -> Said {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match nth % 2 {
            0 => reply(&fenced(right(prompt_of(asked)))),
            _ => reply("I would rather not."),
        }
    });
    let scores = place.json(
        0,
        &format!(
            "evaluate --benchmark bench.jsonl --model m --samples 4 --k 1,4 --in-flight 1 --out run --base-url {}",
            server.base_url
        ),
    );
    assert_eq!((&scores["answers"], &scores["n"], &scores["pass@1"]), (&json!(16), &json!(4), &json!(0.5)));
    assert_eq!(scores["pass@k"], json!({"1": 0.5, "4": 1.0}));
    assert!(server.chats().iter().all(|asked| asked["temperature"] == json!(0.7)));
}

/// The beginning of a program that a model answers with the function alone still has its imports and helpers.
#[test]
fn a_function_alone_is_run_with_what_its_problem_begins_with() {
    if !ready("humaneval of a model") {
        return;
    }
    let place = Place::new();
    place.lines(
        "human.jsonl",
        &[json!({
            "task_id": "Own/0",
            "prompt": "from math import sqrt\n\ndef half(x):\n    return x / 2\n\ndef f(x: float) -> float:\n    \"\"\"Half the root.\"\"\"\n",
            "canonical_solution": "    return half(sqrt(x))\n",
            "entry_point": "f",
            "test": "def check(candidate):\n    assert candidate(16) == 2\n",
        })],
    );
    let server =
        ChatServer::new(Duration::ZERO, |_, _| reply(&fenced("def f(x):\n    return half(sqrt(x))")));
    let scores = place.json(
        0,
        &format!("evaluate --benchmark human.jsonl --model m --out run --base-url {}", server.base_url),
    );
    assert_eq!((&scores["pass@1"], &scores["demo"]), (&json!(1.0), &Value::Null));
    assert!(prompt_of(&server.chats()[0]).contains("Half the root."));
}
