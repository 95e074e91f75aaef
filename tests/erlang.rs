//! The end of Erlang programs: it comes as soon as nothing of theirs is left, and not before.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Outcome, Verdict};

const FLOOD: usize = 8 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_the_tests_has_its_second() {
    let Some(sandbox) = common::sandbox("erlang") else { return };
    for (test, expected) in [
        (r#"io:format("done")"#, "done"),
        (r#"spawn(fun() -> receive after 300 -> io:format("late") end end)"#, "late"),
        (r#"open_port({spawn, "sh -c 'sleep 0.3; echo late >&2'"}, [])"#, "late\n"),
        (r#"spawn(fun() -> receive after 300 -> halt(3) end end)"#, "exit 3"),
        (r#"eunit:test(fun() -> ok end)"#, "  Test passed.\n"),
        // What nobody waits for is written as well.
        (
            r#"user ! {io_request, self(), make_ref(), {put_chars, unicode, binary:copy(<<"x">>, 8 bsl 20)}}"#,
            "",
        ),
        (r#"logger:error("spoken")"#, "spoken"),
    ] {
        let source = format!("-module(test).\n-export([test/0]).\ntest() -> {test}.\n");
        let job = Job { language: "erlang".to_owned(), source, ..Job::default() };
        let verdict = match sandbox.run(&job).await {
            Err(fault) if fault.cause == "toolchain_missing" => {
                return common::skip("erlang", &fault.message);
            }
            verdict => verdict.unwrap(),
        };
        let Verdict { outcome, stdout, stderr, exit_code, .. } = &verdict;
        let written = format!("{stdout}{stderr}");
        if let Some(code) = expected.strip_prefix("exit ") {
            assert_eq!(
                (*outcome, exit_code.map(|code| code.to_string())),
                (Outcome::RuntimeError, Some(code.to_owned())),
                "{test}"
            );
        } else if expected.is_empty() {
            assert_eq!((*outcome, written.len()), (Outcome::Passed, FLOOD), "{test}");
        } else {
            assert!(*outcome == Outcome::Passed && written.contains(expected), "{test}: {verdict:#?}");
        }
    }
}
