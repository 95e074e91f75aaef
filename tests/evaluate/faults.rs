//! Sandboxes that fail: never a score.

use std::time::Duration;

use serde_json::{Value, json};

use super::chat_server::{ChatServer, Said};
use super::{Place, ready};

/// A sandbox service that says `outcome` of Perl programs and PASSED of others.
fn service(outcome: &'static str) -> ChatServer {
    ChatServer::new(Duration::ZERO, move |asked, _| -> Said {
        let of = if asked["lang"] == "perl" { outcome } else { "PASSED" };
        (200, json!({"exec_outcome": of, "exec_cout": "", "response_extensions": {}}).to_string())
    })
}

#[test]
fn a_fault_of_the_sandbox_is_pending_not_failed() {
    for outcome in ["INTERNAL_ERROR", "TOOLCHAIN_MISSING", "ARGUMENT_ERROR"] {
        let place = Place::new();
        let service = service(outcome);
        let command = format!(
            "evaluate --benchmark bench.jsonl --solution-column canonical_solution --out run --tries 1 --sandbox {}",
            service.base_url
        );
        let scores = place.json(1, &command);
        assert_eq!(
            (&scores["pass@1"], &scores["n"], &scores["pending"]),
            (&json!(1.0), &json!(3), &json!(1))
        );
        assert_eq!(scores["by_language"]["perl"], Value::Null, "{outcome}");
        place
            .run(&command)
            .says(1, &["1 rows are pending and not scored", "pending: 1 row is waiting at check"]);
    }
}

#[test]
fn nothing_scored_is_no_score() {
    let place = Place::new();
    place.lines("perl.jsonl", &[super::problems().pop().unwrap()]);
    let service = service("INTERNAL_ERROR");
    let command = format!(
        "evaluate --benchmark perl.jsonl --solution-column canonical_solution --out run --tries 1 --sandbox {}",
        service.base_url
    );
    let scores = place.json(1, &command);
    assert_eq!((&scores["pass@1"], &scores["n"], &scores["pending"]), (&Value::Null, &json!(0), &json!(1)));
    assert!(place.run(&command).stdout.starts_with("no answer is scored yet\n"));
    place.run("compare run run").says(2, &["has no scored answer", "hint: "]);
}

#[test]
fn running_again_takes_up_what_was_pending() {
    if !ready("taking up") {
        return;
    }
    let place = Place::new();
    let service = service("UNKNOWN_ERROR");
    let command = "evaluate --benchmark bench.jsonl --solution-column canonical_solution --out run --tries 1";
    place.json(1, &format!("{command} --sandbox {}", service.base_url));
    let scores = place.json(0, command);
    assert_eq!((&scores["pass@1"], &scores["n"], &scores["pending"]), (&json!(1.0), &json!(4), &json!(0)));
}

#[test]
fn hostile_benchmarks_and_sandboxes_do_not_drive_the_terminal() {
    let place = Place::new();
    let evil = "\u{202e}\u{1b}]0;owned\u{7}\u{1b}[2J\r";
    let mut rows = super::problems();
    for name in ["task_id", "category", "difficulty"] {
        rows[0][name] = json!(evil);
    }
    place.lines("evil.jsonl", &rows);
    let service = ChatServer::new(Duration::ZERO, move |_, _| -> Said {
        let said =
            json!({"exec_outcome": "RUNTIME_ERROR", "exec_runtime_message": evil, "response_extensions": {}});
        (200, said.to_string())
    });
    let ended = place.run(&format!(
        "evaluate --benchmark evil.jsonl --solution-column canonical_solution --out run --sandbox {}",
        service.base_url
    ));
    ended.says(0, &[]);
    assert!(ended.stdout.contains("owned"), "{ended:#?}");
    let raw = ended.stdout.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
    assert_eq!(raw, None, "{ended:#?}");
}
