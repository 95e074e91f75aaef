//! `POST /batch`: one solution, many tests.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::Service;
use super::body::JsonBody;
use super::loose;
use super::memory::json_held;
use super::refusal::Refusal;
use super::runner::outcome_of;
use crate::sandbox::batch::{Test, Tested, run_batch};
use crate::sandbox::job::{Job, LimitOverrides, Outcome};

/// Tests of one batch.
const MOST_TESTS: usize = 1024;

/// Output that the verdicts of one batch may hold, bytes: all of them are kept until the last is there.
const OUTPUT_BYTES: u64 = 128 << 20;

struct Batch {
    solution: Job,
    tests: Vec<Test>,
    fail_fast: bool,
}

/// `POST /batch`.
pub(super) async fn batch(State(service): State<Arc<Service>>, body: JsonBody) -> Result<Response, Refusal> {
    let batch = read(&service, &body.value).map_err(Refusal::invalid)?;
    let _place = service.admit()?;
    let memory = service.memory_for(2 * OUTPUT_BYTES).await;
    let results = run_batch(&service.runner, &batch.solution, &batch.tests, batch.fail_fast).await;
    let passed = results.iter().filter(|tested| has_passed(tested)).count();
    let count = |wanted: fn(&Tested) -> bool| results.iter().filter(|tested| wanted(tested)).count();
    let answer = json!({
        "language": batch.solution.language,
        "passed": passed,
        "skipped": count(|tested| matches!(tested, Tested::Skipped)),
        "errors": count(|tested| matches!(tested, Tested::Fault(_))),
        "results": results.into_iter().map(told).collect::<Vec<_>>(),
    });
    json_held(&answer, memory)
}

fn has_passed(tested: &Tested) -> bool {
    matches!(tested, Tested::Verdict(verdict) if verdict.outcome == Outcome::Passed)
}

fn told(tested: Tested) -> Value {
    match tested {
        Tested::Verdict(verdict) => json!({ "verdict": verdict }),
        Tested::Skipped => json!({
            "verdict": null, "skipped": true, "reason": "a test before it was not passed",
        }),
        Tested::Fault(fault) => json!({
            "verdict": null,
            "error": {
                "outcome": outcome_of(&fault),
                "cause": fault.cause, "message": fault.message, "hint": fault.hint,
            },
        }),
    }
}

/// A test is its code, or an object of what its program is given.
fn read_test(test: &Value) -> Result<Test, String> {
    match test {
        Value::String(tests) => Ok(Test { tests: Some(tests.clone()), ..Test::default() }),
        Value::Object(_) => {
            serde_json::from_value(test.clone()).map_err(|error| format!("field `tests`: {error}"))
        }
        _ => Err(loose::wrong("tests", "a list of strings and objects", test)),
    }
}

fn read(service: &Service, request: &Value) -> Result<Batch, String> {
    let request = loose::object(request)?;
    let either = |ours: &str, reference: &str| match loose::text(request, ours)? {
        Some(text) => Ok(text),
        None => loose::text(request, reference)?.ok_or_else(|| loose::missing(ours)),
    };
    let language = service.language(either("language", "lang")?)?;
    let source = either("source", "func_code")?;
    let tests = loose::field(request, "tests").ok_or_else(|| loose::missing("tests"))?;
    let tests: Vec<Test> = match tests.as_array() {
        Some(list) if (1..=MOST_TESTS).contains(&list.len()) => {
            list.iter().map(read_test).collect::<Result<_, _>>()?
        }
        _ => return Err(format!("field `tests` must be a list of 1 to {MOST_TESTS} tests")),
    };
    let mut asked: LimitOverrides = match loose::field(request, "limits") {
        Some(limits) => {
            serde_json::from_value(limits.clone()).map_err(|error| format!("field `limits`: {error}"))?
        }
        None => LimitOverrides::default(),
    };
    asked.cpu_ms = loose::seconds(request, "timeout")?.or(asked.cpu_ms);
    // Two streams each.
    let most_output = OUTPUT_BYTES / (2 * tests.len() as u64);
    let output = language.limits_for(&asked).output_bytes;
    asked.output_bytes = Some(output.min(most_output));
    let solution = Job {
        language: language.name.clone(),
        source: source.to_owned(),
        tests: None,
        limits: service.options.ceilings.over(language, asked),
        strict: loose::flag(request, "strict")?,
        ..Job::default()
    };
    Ok(Batch { solution, tests, fail_fast: loose::flag(request, "fail_fast")? })
}
