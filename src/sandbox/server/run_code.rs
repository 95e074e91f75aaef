//! `POST /run_code`: the basics of SandboxFusion's endpoint of that name.
//!
//! It tells how commands ended, not whether a program is right: a run that exits with 0 is a success whatever it
//! printed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Service;
use super::body::JsonBody;
use super::loose;
use super::memory::json_held;
use super::refusal::Refusal;
use super::runner::told;
use crate::sandbox::Sandbox;
use crate::sandbox::job::{Job, LimitOverrides, Outcome, Usage, Verdict};

/// CPU time a program may use unless the request says otherwise, ms.
const RUN_TIMEOUT_MS: u64 = 10_000;

/// How often bytes of output may be held: two streams, in the verdict and in the answer.
const ANSWER_PER_OUTPUT: u64 = 4;

/// Names of modes for what other clients call languages; the others are aliases of their language files.
const MODES: [(&str, &str); 4] =
    [("nodejs", "javascript"), ("go_test", "go"), ("junit", "java"), ("kotlin_script", "kotlin")];

/// The answer.
#[derive(Serialize)]
struct Answer {
    status: Status,
    message: String,
    compile_result: Option<Step>,
    run_result: Option<Step>,
    /// Never known; the field is the protocol's.
    executor_pod_name: Option<String>,
    files: Map<String, Value>,
}

#[derive(Serialize)]
enum Status {
    Success,
    Failed,
    SandboxError,
}

/// How one command ended.
#[derive(Serialize)]
struct Step {
    status: StepStatus,
    /// Wall-clock seconds.
    execution_time: f64,
    /// Minus the number of the signal that ended it; `null` when it ran out of time.
    return_code: Option<i32>,
    stdout: String,
    stderr: String,
}

#[derive(Serialize)]
enum StepStatus {
    Finished,
    TimeLimitExceeded,
}

/// `POST /run_code`.
pub(super) async fn run_code(
    State(service): State<Arc<Service>>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let (job, output_bytes) = read(&service, &body.value).map_err(Refusal::invalid)?;
    let _place = service.admit()?;
    let memory = service.memory_for(output_bytes.saturating_mul(ANSWER_PER_OUTPUT)).await;
    let answer = match service.runner.run(&job).await {
        Ok(verdict) => Answer::of(verdict),
        Err(fault) => Answer {
            status: Status::SandboxError,
            message: told(&fault),
            compile_result: None,
            run_result: None,
            executor_pod_name: None,
            files: Map::new(),
        },
    };
    json_held(&answer, memory)
}

/// The job, and how much output of each kind it may have.
fn read(service: &Service, request: &Value) -> Result<(Job, u64), String> {
    let request = loose::object(request)?;
    let code = loose::required(request, "code")?;
    let name = loose::required(request, "language")?;
    let mode = MODES.iter().find(|(mode, _)| *mode == name.trim());
    let language = service.language(mode.map_or(name, |(_, language)| language))?;
    for (field, nothing) in [("files", json!({})), ("fetch_files", json!([]))] {
        if loose::field(request, field).is_some_and(|value| *value != nothing) {
            return Err(format!("field `{field}` is not supported: programs here are whole by themselves"));
        }
    }
    let stdin = loose::text(request, "stdin")?.unwrap_or_default().to_owned();
    // Compiling has the same limits as running, so the time asked for compiling can only be checked.
    loose::seconds(request, "compile_timeout")?;
    let cpu_ms = loose::seconds(request, "run_timeout")?.unwrap_or(RUN_TIMEOUT_MS);
    let asked = LimitOverrides { cpu_ms: Some(cpu_ms), ..LimitOverrides::default() };
    let limits = service.options.ceilings.over(language, asked);
    let job =
        Job { language: language.name.clone(), source: code.to_owned(), limits, stdin, ..Job::default() };
    Ok((job, language.limits_for(&limits).output_bytes))
}

impl Answer {
    fn of(verdict: Verdict) -> Self {
        // A program that has run has at least used memory.
        let refused = verdict.compile_usage.is_some() && verdict.usage == Usage::default();
        let compile = verdict.compile_usage.map(|usage| Step {
            status: StepStatus::Finished,
            execution_time: usage.wall_ms as f64 / 1000.0,
            return_code: Some(0),
            stdout: String::new(),
            stderr: String::new(),
        });
        let ended = |usage: Usage, stdout, stderr| {
            let late = verdict.outcome == Outcome::TimeLimitExceeded;
            Step {
                status: if late { StepStatus::TimeLimitExceeded } else { StepStatus::Finished },
                execution_time: usage.wall_ms as f64 / 1000.0,
                return_code: verdict.exit_code.or(verdict.signal.map(|n| -n)).filter(|_| !late),
                stdout,
                stderr,
            }
        };
        let (compile_result, run_result) = match verdict.compile_usage {
            Some(usage) if refused => (Some(ended(usage, String::new(), verdict.compile_message)), None),
            _ => (compile, Some(ended(verdict.usage, verdict.stdout, verdict.stderr))),
        };
        let success = run_result.as_ref().is_some_and(|run| run.return_code == Some(0));
        Self {
            status: if success { Status::Success } else { Status::Failed },
            message: if success { String::new() } else { verdict.reason },
            compile_result,
            run_result,
            executor_pod_name: None,
            files: Map::new(),
        }
    }
}
