//! `/run_code`, `/batch`, `/languages`, `/health`, and what is none of them.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Server;

#[tokio::test]
async fn run_code_speaks_sandbox_fusion() {
    let Some(server) = Server::start("run_code", &[]) else { return };
    let run = async |language: &str, code: &str| {
        let body = json!({
            "code": code, "language": language, "compile_timeout": 10, "run_timeout": 1,
            "stdin": null, "files": {}, "fetch_files": [],
        });
        server.ask("/run_code", body).await
    };
    let passed = run("python", "print('hi')").await;
    assert_eq!(passed["status"], "Success");
    assert_eq!((&passed["message"], &passed["compile_result"]), (&json!(""), &Value::Null));
    assert_eq!((&passed["executor_pod_name"], &passed["files"]), (&Value::Null, &json!({})));
    let result = &passed["run_result"];
    assert_eq!((&result["status"], &result["return_code"]), (&json!("Finished"), &json!(0)));
    assert_eq!((&result["stdout"], &result["stderr"]), (&json!("hi\n"), &json!("")));
    assert!(result["execution_time"].is_f64());

    // What a program prints says nothing here.
    assert_eq!(run("python", "print('AssertionError')").await["status"], "Success");

    let failed = run("bash", "echo oops >&2; exit 3").await;
    assert_eq!((&failed["status"], &failed["run_result"]["return_code"]), (&json!("Failed"), &json!(3)));
    assert_eq!(failed["run_result"]["stderr"], "oops\n");

    let late = run("nodejs", "for (;;);").await;
    assert_eq!(
        (&late["status"], &late["run_result"]["status"]),
        (&json!("Failed"), &json!("TimeLimitExceeded"))
    );
    assert_eq!(late["run_result"]["return_code"], Value::Null);

    let compiled = run("cpp", "#include <cstdio>\nint main() { puts(\"hi\"); }").await;
    assert_eq!(
        (&compiled["status"], &compiled["compile_result"]["return_code"]),
        (&json!("Success"), &json!(0))
    );
    assert_eq!(compiled["run_result"]["stdout"], "hi\n");

    let refused = run("cpp", "int main() { nothing }").await;
    assert_eq!((&refused["status"], &refused["run_result"]), (&json!("Failed"), &Value::Null));
    assert_eq!(
        (&refused["compile_result"]["status"], &refused["compile_result"]["return_code"]),
        (&json!("Finished"), &json!(1))
    );
    assert!(refused["compile_result"]["stderr"].as_str().unwrap().contains("nothing"));

    let good = json!({ "code": "true", "language": "bash" });
    assert_eq!(server.ask("/run_code", good.clone()).await["status"], "Success");
    for (field, value) in [
        ("code", Value::Null),
        ("language", json!("cobol")),
        ("fetch_files", json!(["/etc/passwd"])),
        ("run_timeout", json!("soon")),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let response = server.post("/run_code", &bad).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        let told: Value = response.json().await.unwrap();
        let named = if field == "language" { "cobol" } else { field };
        assert!(told["message"].as_str().unwrap().contains(named), "{told}");
    }
}

#[tokio::test]
async fn programs_read_what_they_are_given() {
    let Some(server) = Server::start("stdin", &[]) else { return };
    let run = async |language: &str, code: &str, stdin: &str| {
        let body = json!({ "code": code, "language": language, "stdin": stdin });
        let answer = server.ask("/run_code", body).await;
        assert_eq!(answer["status"], "Success", "{answer}");
        answer["run_result"]["stdout"].as_str().unwrap().to_owned()
    };
    assert_eq!(run("bash", "cat; cat /dev/stdin", "one\ntwo é\0").await, "one\ntwo é\0one\ntwo é\0");
    assert_eq!(run("bash", "cat", "").await, "");
    let long = "0123456789\n".repeat(300_000);
    assert_eq!(run("python", "print(sum(map(len, open(0))))", &long).await, format!("{}\n", long.len()));
    let cpp = "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a * b; }";
    assert_eq!(run("cpp", cpp, "6 7").await, "42");
    // It is the program's to read, not to change, and nobody else's.
    let write = "import os\ntry:\n    os.write(os.open('/dev/stdin', os.O_RDWR), b'x')\nexcept OSError as error:\n    print(error.errno)";
    assert_eq!(run("python", write, "given").await, "1\n");
    assert_eq!(run("bash", "cat; ls -A", "").await, "test.sh\n");
}

#[tokio::test]
async fn a_batch_of_inputs_compiles_its_program_once() {
    let Some(server) = Server::start("batch_inputs", &["--jobs", "2"]) else { return };
    let source = "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << 2 * n << std::endl; }";
    let test = |n: i32| json!({ "stdin": n.to_string(), "expected_stdout": format!("{}  \n\n", 2 * n) });
    let mut tests: Vec<_> = (0..10).map(test).collect();
    tests[3]["expected_stdout"] = json!("7");
    let answer = server.ask("/batch", json!({ "language": "cpp", "source": source, "tests": tests })).await;
    let verdicts: Vec<_> = answer["results"].as_array().unwrap().iter().map(|r| &r["verdict"]).collect();
    assert_eq!(answer["passed"], 9, "{answer}");
    assert_eq!(
        (&verdicts[3]["outcome"], &verdicts[3]["stdout"], &verdicts[3]["reason"]),
        (&json!("WRONG_ANSWER"), &json!("6\n"), &json!("stdout is not the expected from line 1 on"))
    );
    assert_eq!(verdicts.iter().filter(|verdict| verdict["compile_reused"] == true).count(), 9);
    assert_eq!(server.metric("autocodegen_sandbox_compiles_reused_total{language=\"cpp\"}").await, 9.0);

    let mixed = json!({
        "language": "python", "source": "n = int(input())", "tests": [
            { "stdin": "4", "tests": "assert n == 4" }, { "stdin": "5", "tests": "assert n == 4" },
        ],
    });
    let answer = server.ask("/batch", mixed).await;
    let outcomes: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| &r["verdict"]["outcome"]).collect();
    assert_eq!(outcomes, ["PASSED", "WRONG_ANSWER"]);
}

#[tokio::test]
async fn a_batch_answers_every_test_in_order() {
    let Some(server) = Server::start("batch", &["--jobs", "2"]) else { return };
    let mut batch = json!({
        "lang": "py", "func_code": "def double(n):\n    return 2 * n", "timeout": "1",
        "tests": ["assert double(1) == 2\nprint('one')", "assert double(1) == 3", "while True: pass", "double()"],
    });
    let outcomes = |answer: &Value| -> Vec<Value> {
        let results = answer["results"].as_array().unwrap();
        results.iter().map(|result| result["verdict"]["outcome"].clone()).collect()
    };
    let answer = server.ask("/batch", batch.clone()).await;
    let expected = ["PASSED", "WRONG_ANSWER", "TIME_LIMIT_EXCEEDED", "RUNTIME_ERROR"];
    assert_eq!(outcomes(&answer), expected);
    assert_eq!((&answer["passed"], &answer["skipped"], &answer["errors"]), (&json!(1), &json!(0), &json!(0)));
    let first = &answer["results"][0]["verdict"];
    assert_eq!((&first["stdout"], &first["exit_code"]), (&json!("one\n"), &json!(0)));
    assert!(first["usage"]["peak_rss_bytes"].as_u64().unwrap() > 0 && first["toolchain"].is_string());

    batch["fail_fast"] = json!(true);
    let answer = server.ask("/batch", batch.clone()).await;
    assert_eq!(outcomes(&answer), [json!("PASSED"), json!("WRONG_ANSWER"), Value::Null, Value::Null]);
    assert_eq!(answer["skipped"], 2);
    assert_eq!(
        (&answer["results"][3]["skipped"], &answer["results"][3]["verdict"]),
        (&json!(true), &Value::Null)
    );

    // Two at once take turns on two seats, not four after another.
    let sleeps = json!({ "language": "shell", "source": ":", "tests": vec!["sleep 0.5"; 4] });
    let started = Instant::now();
    assert_eq!(server.ask("/batch", sleeps).await["passed"], 4);
    let time = started.elapsed();
    assert!((Duration::from_millis(1000)..Duration::from_millis(1900)).contains(&time), "{time:?}");

    let strict = json!({
        "language": "python", "source": "import os", "tests": ["os._exit(0)", "assert True"], "strict": true,
    });
    assert_eq!(outcomes(&server.ask("/batch", strict).await), ["WRONG_ANSWER", "PASSED"]);

    for (field, value) in [
        ("lang", json!("cobol")),
        ("func_code", Value::Null),
        ("tests", json!([])),
        ("tests", json!([{ "input": "1" }])),
        ("tests", json!("assert True")),
        ("tests", json!(["assert True", 5])),
        ("tests", json!(vec![""; 1025])),
        ("fail_fast", json!("perhaps")),
        ("limits", json!({ "fuel": 1 })),
    ] {
        let mut bad = batch.clone();
        bad[field] = value;
        let response = server.post("/batch", &bad).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"], "invalid_request");
    }
}

#[tokio::test]
async fn languages_and_health_tell_what_is_there() {
    let Some(server) = Server::start("languages", &["--jobs", "2", "--queue", "5", "--max-timeout", "3"])
    else {
        return;
    };
    let listing = server.get("/languages").await;
    let listing = listing["languages"].as_array().unwrap();
    let entry = |name: &str| listing.iter().find(|language| language["name"] == name).unwrap();
    let shell = entry("shell");
    assert_eq!((&shell["installed"], &shell["limits"]["cpu_ms"]), (&json!(true), &json!(3000)));
    assert!(shell["aliases"].as_array().unwrap().contains(&json!("bash")));
    assert!(shell["version"].as_str().unwrap().contains("bash"), "{shell}");
    for language in listing {
        match language["installed"].as_bool().unwrap() {
            true => assert!(language["version"].is_string(), "{language}"),
            false => assert!(!language["missing"].as_array().unwrap().is_empty(), "{language}"),
        }
    }

    let health = server.get("/health").await;
    assert_eq!(
        (&health["status"], &health["places"], &health["free_seats"]),
        (&json!("ready"), &json!(7), &json!(2))
    );
    assert!(health["sandbox"].as_str().unwrap().contains("namespaces"), "{health}");
}

#[tokio::test]
async fn other_requests_are_refused_as_json() {
    let Some(server) = Server::start("refusals", &[]) else { return };
    let url = |path: &str| server.url(path);
    for (request, status, cause) in [
        (server.client.get(url("/nowhere")), 404, "not_found"),
        (server.client.post(url("/")), 404, "not_found"),
        (server.client.get(url("/submit/../submit%00")), 404, "not_found"),
        (server.client.get(url("/submit")), 405, "method_not_allowed"),
        (server.client.delete(url("/health")), 405, "method_not_allowed"),
        (server.client.post(url("/submit")).body("{}"), 415, "not_json"),
        (server.client.post(url("/batch")).header("content-type", "text/plain").body("{}"), 415, "not_json"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["error"], cause);
        assert!(!told["message"].as_str().unwrap().is_empty());
    }
}
