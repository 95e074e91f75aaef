//! The reference's protocol.

use serde_json::{Value, json};

use super::Server;

#[tokio::test]
async fn answers_have_the_reference_fields() {
    let Some(server) = Server::start("submit", &[]) else { return };
    let answer = server
        .ask("/submit", json!({
            "src_uid": "0001", "lang": "python", "source_code": "import sys\nprint(1)\nprint(2, file=sys.stderr)",
            "request_extensions": { "timeout": 30, "debug": "false" }, "show_log": "true",
        }))
        .await;
    let extensions = &answer["response_extensions"];
    for (field, expected) in [
        ("src_uid", json!("0001")),
        ("all_code", json!("")),
        ("exec_cout", json!("1\n")),
        ("exec_outcome", json!("PASSED")),
        ("exec_compile_message", json!("")),
        ("exec_runtime_message", json!("")),
    ] {
        assert_eq!(answer[field], expected, "{field}");
    }
    for (field, expected) in [
        ("server_ip", json!("127.0.0.1")),
        ("exit_code", json!(0)),
        ("stdout", json!("1\n")),
        ("stderr", json!("2\n")),
        ("timeout", json!(false)),
        ("language", json!("python")),
        ("truncated", json!(false)),
        ("reason", json!("")),
        ("compile_usage", Value::Null),
    ] {
        assert_eq!(extensions[field], expected, "{field}");
    }
    for field in ["exec_runtime", "process_exec_time", "process_cpu_time", "process_cpu_util"] {
        assert!(extensions[field].is_f64(), "{field} {extensions}");
    }
    assert!(extensions["process_peak_memory"].as_u64().unwrap() > 1 << 20, "{extensions}");
    assert_eq!(extensions["limits"]["cpu_ms"], 30_000);
    assert!(extensions["toolchain"].as_str().unwrap().starts_with("Python 3"));
    assert!(extensions["isolation"].as_str().unwrap().contains("namespaces"));
}

#[tokio::test]
async fn outcomes_and_messages() {
    let Some(server) = Server::start("outcomes", &[]) else { return };
    let run = async |language: &str, source: &str| {
        let body = json!({
            "src_uid": "x", "lang": language, "source_code": source, "request_extensions": { "timeout": 1 },
        });
        server.ask("/submit", body).await
    };
    let failed = run("py", "print('out')\nassert 1 == 2").await;
    assert_eq!(failed["exec_outcome"], "WRONG_ANSWER");
    assert_eq!((&failed["exec_cout"], &failed["exec_compile_message"]), (&json!("out\n"), &json!("")));
    assert!(failed["exec_runtime_message"].as_str().unwrap().contains("AssertionError"), "{failed}");

    let crashed = run("bash", "kill -SEGV $$").await;
    assert_eq!(crashed["exec_outcome"], "RUNTIME_ERROR");
    assert_eq!(crashed["response_extensions"]["exit_code"], -11);
    assert!(crashed["exec_runtime_message"].as_str().unwrap().contains("SIGSEGV"), "{crashed}");

    let late = run("shell", "while :; do :; done").await;
    assert_eq!(late["exec_outcome"], "TIME_LIMIT_EXCEEDED");
    assert_eq!(late["response_extensions"]["timeout"], true);

    let body = json!({
        "src_uid": "m", "lang": "python", "source_code": "x = bytearray(200 << 20)",
        "request_extensions": { "limits": { "memory_bytes": 50 << 20 } },
    });
    let greedy = server.ask("/submit", body).await;
    assert_eq!(greedy["exec_outcome"], "MEMORY_LIMIT_EXCEEDED");

    let refused = run("c++", "int main() { return nothing; }").await;
    assert_eq!(refused["exec_outcome"], "COMPILATION_ERROR");
    assert!(refused["exec_compile_message"].as_str().unwrap().contains("nothing"), "{refused}");
    assert_eq!(refused["exec_runtime_message"], "");
    assert!(refused["response_extensions"]["compile_usage"]["cpu_ms"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn solutions_and_tests_are_spliced() {
    let Some(server) = Server::start("splice", &[]) else { return };
    let parts = json!({
        "src_uid": 7, "lang": "python", "func_code": "def f():\n    return 3", "main_code": "assert f() == 3",
    });
    let spliced = server.ask("/splice_code", parts.clone()).await;
    let program = "def f():\n    return 3\nassert f() == 3";
    assert_eq!(spliced, json!({ "src_uid": 7, "all_code": program }));
    let answer = server.ask("/submit", parts).await;
    assert_eq!((&answer["all_code"], &answer["exec_outcome"]), (&json!(program), &json!("PASSED")));

    // Ends before its tests: a pass for the reference, none where one must be earned.
    let mut early = json!({
        "src_uid": "e", "lang": "python", "func_code": "import os\nos._exit(0)", "main_code": "assert False",
    });
    assert_eq!(server.ask("/submit", early.clone()).await["exec_outcome"], "PASSED");
    early["request_extensions"] = json!({ "strict": "true" });
    let strict = server.ask("/submit", early).await;
    assert_eq!(strict["exec_outcome"], "WRONG_ANSWER");
    assert!(
        strict["response_extensions"]["reason"].as_str().unwrap().contains("before its tests"),
        "{strict}"
    );

    let elsewhere = json!({
        "src_uid": "v", "lang": "python", "source_code": "import os\nprint(os.getcwd())", "show_log": true,
        "request_extensions": { "variation": "1" },
    });
    let answer = server.ask("/submit", elsewhere).await;
    assert!(!answer["exec_cout"].as_str().unwrap().contains("/work"), "{answer}");
}

#[tokio::test]
async fn types_may_be_loose() {
    let Some(server) = Server::start("loose types", &[]) else { return };
    for (timeout, cpu_ms) in
        [(json!("7"), 7000), (json!(2.5), 2500), (json!("2.5"), 2500), (json!(7), 7000), (Value::Null, 5000)]
    {
        for show_log in [json!(true), json!("true"), json!(1), Value::Null] {
            let answer = server
                .ask(
                    "/submit",
                    json!({
                        "src_uid": "l", "lang": " Bash ", "source_code": "echo hi", "func_code": null,
                        "request_extensions": { "timeout": timeout, "debug": show_log }, "show_log": show_log,
                    }),
                )
                .await;
            assert_eq!(answer["exec_outcome"], "PASSED", "{timeout} {show_log}");
            assert_eq!(answer["response_extensions"]["limits"]["cpu_ms"], cpu_ms, "{timeout}");
        }
    }
    let answer = server.submit("shell", "").await;
    assert_eq!(answer["exec_outcome"], "PASSED");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_with_200() {
    let Some(server) = Server::start("argument errors", &[]) else { return };
    let good = json!({ "src_uid": "g", "lang": "shell", "source_code": "true" });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let without = |field: &str| with(field, Value::Null);
    let cases = [
        (without("src_uid"), "src_uid"),
        (without("lang"), "lang"),
        (without("source_code"), "source_code"),
        (with("source_code", json!(5)), "source_code"),
        (with("lang", json!(["shell"])), "lang"),
        (with("lang", json!("cobol")), "cobol"),
        (with("lang", json!("")), "unknown language"),
        (with("lang", json!("python\nX-Injected: 1")), "unknown language"),
        (with("request_extensions", json!("fast")), "request_extensions"),
        (with("request_extensions", json!({ "timeout": "soon" })), "timeout"),
        (with("request_extensions", json!({ "timeout": -1 })), "timeout"),
        (with("request_extensions", json!({ "timeout": 0 })), "timeout"),
        (with("request_extensions", json!({ "strict": "perhaps" })), "strict"),
        (with("request_extensions", json!({ "variation": -1 })), "variation"),
        (with("request_extensions", json!({ "limits": { "fuel": 3 } })), "fuel"),
        (json!({ "src_uid": "g", "lang": "shell", "func_code": "a" }), "main_code"),
        (json!({ "src_uid": "g", "lang": "shell", "main_code": "a" }), "func_code"),
        (json!([]), "object"),
        (json!("submit"), "object"),
        (Value::Null, "object"),
    ];
    for (body, told) in cases {
        let answer = server.ask("/submit", body.clone()).await;
        assert_eq!(answer["exec_outcome"], "ARGUMENT_ERROR", "{body}");
        let message = answer["exec_runtime_message"].as_str().unwrap();
        assert!(message.contains(told) && !message.contains('\n'), "{body}: {message}");
        assert_eq!(answer["src_uid"], body.get("src_uid").cloned().unwrap_or_default());
        assert_eq!((&answer["exec_cout"], &answer["all_code"]), (&json!(""), &json!("")));
    }
    let unspliced = server.ask("/splice_code", json!({ "src_uid": "g", "lang": "shell" })).await;
    assert_eq!((&unspliced["all_code"], &unspliced["exec_outcome"]), (&json!(""), &json!("ARGUMENT_ERROR")));
}

#[tokio::test]
async fn callers_get_no_more_than_the_ceilings() {
    let Some(server) = Server::start("ceilings", &["--max-timeout", "3", "--max-memory-mb", "100"]) else {
        return;
    };
    let body = |extensions: Value| json!({ "src_uid": "c", "lang": "shell", "source_code": "true", "request_extensions": extensions });
    let greedy = json!({ "timeout": 1e12, "limits": { "memory_bytes": 1u64 << 50, "wall_ms": 1u64 << 50 } });
    for extensions in [greedy, json!({})] {
        let answer = server.ask("/submit", body(extensions)).await;
        let limits = &answer["response_extensions"]["limits"];
        assert_eq!((&limits["cpu_ms"], &limits["wall_ms"]), (&json!(3000), &json!(7000)));
        assert_eq!(limits["memory_bytes"], 100 << 20);
    }
    let modest = json!({ "timeout": 1, "limits": { "wall_ms": 1500, "output_bytes": 5 } });
    let mut modest = body(modest);
    modest["source_code"] = json!("echo 123456789");
    let answer = server.ask("/submit", modest).await;
    assert_eq!(
        (&answer["exec_cout"], &answer["response_extensions"]["truncated"]),
        (&json!("12345"), &json!(true))
    );
}

#[tokio::test]
async fn many_at_once_get_their_own_answers() {
    let Some(server) = Server::start("concurrency", &[]) else { return };
    let asks = (0..256).map(|n| {
        let body = json!({ "src_uid": n.to_string(), "lang": "shell", "source_code": format!("echo {n}; exit $(({n} % 3))") });
        let server = &server;
        async move { (n, server.ask("/submit", body).await) }
    });
    for (n, answer) in futures::future::join_all(asks).await {
        assert_eq!(answer["src_uid"], n.to_string());
        assert_eq!(answer["exec_cout"], format!("{n}\n"));
        assert_eq!(answer["exec_outcome"], if n % 3 == 0 { "PASSED" } else { "RUNTIME_ERROR" });
    }
}
