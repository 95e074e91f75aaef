//! `POST /submit` and `POST /splice_code`: the reference's protocol, its loose types included.
//!
//! What is wrong with a request is told in an answer with status 200, as its clients expect. Answers have more fields than
//! the reference's; none of its own means anything else.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Service;
use super::body::JsonBody;
use super::loose;
use super::memory::json_held;
use super::refusal::Refusal;
use super::runner::{outcome_of, told};
use crate::error::Fault;
use crate::sandbox::Sandbox;
use crate::sandbox::job::{Job, LimitOverrides, Limits, Outcome, Usage, Verdict};
use crate::sandbox::language::Language;
use crate::sandbox::splice;

/// Longest `exec_runtime_message`, bytes: the whole of stderr is told elsewhere.
const MESSAGE_BYTES: usize = 64 * 1024;

/// How often bytes of output may be held: two streams, in the verdict and, stdout twice, in the answer.
const ANSWER_PER_OUTPUT: u64 = 5;

/// A request that can be run.
struct Submission<'a> {
    src_uid: &'a Value,
    language: &'a Language,
    job: Job,
}

impl<'a> Submission<'a> {
    fn read(service: &'a Service, request: &'a Value) -> Result<Self, String> {
        let request = loose::object(request)?;
        let src_uid = loose::field(request, "src_uid").ok_or_else(|| loose::missing("src_uid"))?;
        let language = service.language(loose::required(request, "lang")?)?;
        let (source, tests) = program(request)?;
        let none = Map::new();
        let extensions = match loose::field(request, "request_extensions") {
            Some(extensions) => {
                loose::object(extensions).map_err(|what| format!("`request_extensions`: {what}"))?
            }
            None => &none,
        };
        let mut asked: LimitOverrides = match loose::field(extensions, "limits") {
            Some(limits) => serde_json::from_value(limits.clone())
                .map_err(|error| format!("`request_extensions.limits`: {error}"))?,
            None => LimitOverrides::default(),
        };
        asked.cpu_ms = loose::seconds(extensions, "timeout")?.or(asked.cpu_ms);
        let job = Job {
            language: language.name.clone(),
            source: source.to_owned(),
            tests: tests.map(str::to_owned),
            limits: service.options.ceilings.over(language, asked),
            strict: loose::flag(extensions, "strict")?,
            variation: loose::count(extensions, "variation")?,
            ..Job::default()
        };
        Ok(Self { src_uid, language, job })
    }
}

/// The source and tests of a request; a whole program counts more than its parts.
fn program(request: &Map<String, Value>) -> Result<(&str, Option<&str>), String> {
    if let Some(source) = loose::text(request, "source_code")? {
        return Ok((source, None));
    }
    match (loose::text(request, "func_code")?, loose::text(request, "main_code")?) {
        (Some(source), Some(tests)) => Ok((source, Some(tests))),
        (Some(_), None) => Err(loose::missing("main_code")),
        (None, Some(_)) => Err(loose::missing("func_code")),
        (None, None) => Err("field `source_code`, or `func_code` and `main_code`, is missing".to_owned()),
    }
}

/// `POST /submit`.
pub(super) async fn submit(State(service): State<Arc<Service>>, body: JsonBody) -> Result<Response, Refusal> {
    let arrived = Instant::now();
    let submission = match Submission::read(&service, &body.value) {
        Ok(submission) => submission,
        Err(message) => {
            let src_uid = body.value.get("src_uid").unwrap_or(&Value::Null);
            let language = body.value.get("lang").and_then(Value::as_str).unwrap_or_default();
            service.metrics.rejected("argument_error");
            let mut answer = Answer::new(&service, src_uid, language, Outcome::ArgumentError);
            answer.exec_runtime_message = Cow::Owned(message);
            return Ok(Json(answer).into_response());
        }
    };
    let _place = service.admit()?;
    let Submission { src_uid, language, job } = submission;
    let all_code = match &job.tests {
        Some(tests) => spliced(language, &job.source, tests).await?,
        None => String::new(),
    };
    let output_bytes = language.limits_for(&job.limits).output_bytes;
    let memory = service.memory_for(output_bytes.saturating_mul(ANSWER_PER_OUTPUT)).await;
    let result = service.runner.run(&job).await;
    let mut answer = match &result {
        Ok(verdict) => Answer::of_verdict(&service, src_uid, language, verdict),
        Err(fault) => Answer::of_fault(&service, src_uid, language, fault),
    };
    answer.all_code = &all_code;
    answer.response_extensions.exec_runtime = rounded(arrived.elapsed().as_secs_f64());
    json_held(&answer, memory)
}

/// `POST /splice_code`.
pub(super) async fn splice_code(
    State(service): State<Arc<Service>>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let read = || {
        let request = loose::object(&body.value)?;
        let src_uid = loose::field(request, "src_uid").ok_or_else(|| loose::missing("src_uid"))?;
        let language = service.language(loose::required(request, "lang")?)?;
        let parts = (loose::required(request, "func_code")?, loose::required(request, "main_code")?);
        Ok((src_uid, language, parts))
    };
    let answer = match read() {
        Ok((src_uid, language, (solution, tests))) => {
            let _place = service.admit()?;
            json!({ "src_uid": src_uid, "all_code": spliced(language, solution, tests).await? })
        }
        Err(message) => {
            let message: String = message;
            service.metrics.rejected("argument_error");
            let src_uid = body.value.get("src_uid").unwrap_or(&Value::Null);
            json!({
                "src_uid": src_uid, "all_code": "",
                "exec_outcome": Outcome::ArgumentError, "exec_runtime_message": message,
            })
        }
    };
    Ok(Json(answer).into_response())
}

/// The program made of both; off the async threads, as sources may be long.
async fn spliced(language: &Language, solution: &str, tests: &str) -> Result<String, Refusal> {
    let (language, solution, tests) = (language.clone(), solution.to_owned(), tests.to_owned());
    let program =
        tokio::task::spawn_blocking(move || splice::splice(&language, &solution, &tests, false).source);
    program.await.map_err(|error| Refusal::internal(format!("splicing failed: {error}")))
}

/// The answer to `/submit`.
#[derive(Serialize)]
struct Answer<'a> {
    src_uid: &'a Value,
    all_code: &'a str,
    exec_cout: &'a str,
    exec_outcome: Outcome,
    exec_compile_message: Cow<'a, str>,
    exec_runtime_message: Cow<'a, str>,
    response_extensions: Extensions<'a>,
}

/// The first half are the reference's.
#[derive(Serialize)]
struct Extensions<'a> {
    src_uid: &'a Value,
    server_ip: &'a str,
    language: &'a str,
    outcome: Outcome,
    /// Seconds from request to answer.
    exec_runtime: f64,
    /// Of the program, or of the compiler that refused it; minus the number of the signal that ended it.
    exit_code: Option<i32>,
    stdout: &'a str,
    stderr: &'a str,
    timeout: bool,
    process_exec_time: f64,
    process_cpu_time: f64,
    /// Percent.
    process_cpu_util: f64,
    process_peak_memory: u64,
    #[serde(flatten)]
    ours: Option<Ours<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
}

/// What a verdict tells beyond the reference's fields.
#[derive(Serialize)]
struct Ours<'a> {
    reason: &'a str,
    signal: Option<i32>,
    truncated: bool,
    invalid_utf8: bool,
    usage: Usage,
    compile_usage: Option<Usage>,
    compile_reused: bool,
    limits: Option<Limits>,
    toolchain: &'a str,
    isolation: &'a str,
}

impl<'a> Answer<'a> {
    fn new(service: &'a Service, src_uid: &'a Value, language: &'a str, outcome: Outcome) -> Self {
        Self {
            src_uid,
            all_code: "",
            exec_cout: "",
            exec_outcome: outcome,
            exec_compile_message: Cow::Borrowed(""),
            exec_runtime_message: Cow::Borrowed(""),
            response_extensions: Extensions {
                src_uid,
                server_ip: &service.server_ip,
                language,
                outcome,
                exec_runtime: 0.0,
                exit_code: None,
                stdout: "",
                stderr: "",
                timeout: outcome == Outcome::TimeLimitExceeded,
                process_exec_time: 0.0,
                process_cpu_time: 0.0,
                process_cpu_util: 0.0,
                process_peak_memory: 0,
                ours: None,
                fault: None,
            },
        }
    }

    fn of_verdict(
        service: &'a Service,
        src_uid: &'a Value,
        language: &'a Language,
        verdict: &'a Verdict,
    ) -> Self {
        let mut answer = Self::new(service, src_uid, &language.name, verdict.outcome);
        answer.exec_cout = &verdict.stdout;
        let or_reason =
            |text: &'a str| Cow::Borrowed(if text.is_empty() { verdict.reason.as_str() } else { text });
        match verdict.outcome {
            Outcome::Passed => {}
            Outcome::CompilationError => answer.exec_compile_message = or_reason(&verdict.compile_message),
            _ => {
                answer.exec_compile_message = Cow::Borrowed(&verdict.compile_message);
                let stderr = &verdict.stderr;
                let stderr = &stderr[..stderr.floor_char_boundary(MESSAGE_BYTES)];
                answer.exec_runtime_message = or_reason(stderr);
            }
        }
        let Usage { wall_ms, cpu_ms, peak_rss_bytes } = verdict.usage;
        let extensions = &mut answer.response_extensions;
        extensions.exit_code = verdict.exit_code.or(verdict.signal.map(|signal| -signal));
        extensions.stdout = &verdict.stdout;
        extensions.stderr = &verdict.stderr;
        extensions.process_exec_time = wall_ms as f64 / 1000.0;
        extensions.process_cpu_time = cpu_ms as f64 / 1000.0;
        extensions.process_cpu_util = rounded(100.0 * cpu_ms as f64 / wall_ms.max(1) as f64);
        extensions.process_peak_memory = peak_rss_bytes;
        extensions.ours = Some(Ours {
            reason: &verdict.reason,
            signal: verdict.signal,
            truncated: verdict.truncated,
            invalid_utf8: verdict.invalid_utf8,
            usage: verdict.usage,
            compile_usage: verdict.compile_usage,
            compile_reused: verdict.compile_reused,
            limits: verdict.limits,
            toolchain: &verdict.toolchain,
            isolation: &verdict.isolation,
        });
        answer
    }

    fn of_fault(service: &'a Service, src_uid: &'a Value, language: &'a Language, fault: &Fault) -> Self {
        let mut answer = Self::new(service, src_uid, &language.name, outcome_of(fault));
        answer.exec_runtime_message = Cow::Owned(told(fault));
        answer.response_extensions.fault = Some(fault.cause);
        answer
    }
}

/// To three places.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
