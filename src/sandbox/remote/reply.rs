//! What a service answers, and the verdict or fault it means.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Fault, Recovery};
use crate::sandbox::job::{Limits, Outcome, Usage, Verdict};

/// Bytes of output that the reference keeps. An output this long may have lost its end, and a program that
/// prints more may be reported as out of time because nobody reads what it prints.
const REFERENCE_OUTPUT_BYTES: usize = 2048;

/// The answer to `POST /submit`. What a fault has no use for may be absent.
#[derive(Debug, Deserialize)]
struct Reply {
    exec_outcome: String,
    #[serde(default)]
    exec_cout: Option<String>,
    #[serde(default)]
    exec_compile_message: Option<String>,
    #[serde(default)]
    exec_runtime_message: Option<String>,
    #[serde(default)]
    response_extensions: Option<Extensions>,
}

/// What services add. Numbers may be integers, floats or strings of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Extensions {
    exit_code: Value,
    stdout: Option<String>,
    stderr: Option<String>,
    /// Wall-clock seconds of the run.
    process_exec_time: Value,
    /// CPU seconds of the run.
    process_cpu_time: Value,
    /// Bytes.
    process_peak_memory: Value,
    // The reference does not say the following.
    /// Whether output was cut.
    truncated: Option<bool>,
    invalid_utf8: bool,
    reason: Option<String>,
    limits: Option<Limits>,
    usage: Option<Usage>,
    compile_usage: Option<Usage>,
    compile_reused: bool,
    toolchain: Option<String>,
    isolation: Option<String>,
}

/// Reads the answer of the service at `from`.
pub(super) fn read(body: &[u8], from: &str) -> Result<Verdict, Fault> {
    let fault = |recovery, cause, what: String| {
        Fault::new(recovery, cause, format!("sandbox service {from}: {what}"))
    };
    let reply: Reply = serde_json::from_slice(body).map_err(|error| {
        let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
        fault(Recovery::Retry, "bad_reply", format!("not an answer to /submit ({error}): {start}"))
    })?;
    let said = || {
        let messages = [&reply.exec_compile_message, &reply.exec_runtime_message];
        let said = messages.into_iter().flatten().find(|message| !message.trim().is_empty());
        said.map_or_else(|| "no message".to_owned(), |message| message.trim().chars().take(500).collect())
    };
    let name = Value::String(reply.exec_outcome.clone());
    let outcome: Outcome = serde_json::from_value(name).map_err(|_| {
        fault(Recovery::Pend, "bad_reply", format!("unknown outcome {:?}", reply.exec_outcome))
    })?;
    match outcome {
        Outcome::InternalError => Err(fault(Recovery::Retry, "internal_error", said())),
        Outcome::UnknownError => Err(fault(Recovery::Retry, "unknown_error", said())),
        Outcome::ArgumentError => Err(fault(Recovery::Pend, "argument_error", said())),
        Outcome::ToolchainMissing => Err(fault(Recovery::Pend, "toolchain_missing", said())),
        _ => Ok(verdict(outcome, reply)),
    }
}

fn verdict(outcome: Outcome, reply: Reply) -> Verdict {
    let extensions = reply.response_extensions.unwrap_or_default();
    // The extensions have both outputs; without them, the plain fields hold stdout and what went wrong.
    let stdout = extensions.stdout.filter(|s| !s.is_empty()).or(reply.exec_cout).unwrap_or_default();
    let runtime_message = reply.exec_runtime_message.unwrap_or_default();
    let compile_message = reply.exec_compile_message.unwrap_or_default();
    let stderr = extensions.stderr.unwrap_or_else(|| runtime_message.clone());
    let truncated = extensions.truncated.unwrap_or_else(|| may_be_cut(&stdout) || may_be_cut(&stderr));
    let reason = match outcome {
        _ if extensions.reason.is_some() => extensions.reason.unwrap_or_default(),
        Outcome::Passed => String::new(),
        Outcome::TimeLimitExceeded if truncated => {
            "out of time, perhaps only because the service stopped reading its output".to_owned()
        }
        _ => first_line(&[&compile_message, &runtime_message, &stderr]).unwrap_or(outcome.name()).to_owned(),
    };
    let exit = number(&extensions.exit_code).map(|code| code as i32);
    Verdict {
        outcome,
        reason,
        exit_code: exit.filter(|code| *code >= 0),
        // As Python tells it: minus the number.
        signal: exit.filter(|code| *code < 0).map(|code| code.saturating_neg()),
        truncated,
        invalid_utf8: extensions.invalid_utf8,
        limits: extensions.limits,
        usage: extensions.usage.unwrap_or(Usage {
            wall_ms: milliseconds(&extensions.process_exec_time),
            cpu_ms: milliseconds(&extensions.process_cpu_time),
            peak_rss_bytes: number(&extensions.process_peak_memory).map_or(0, |bytes| bytes as u64),
        }),
        compile_usage: extensions.compile_usage,
        compile_reused: extensions.compile_reused,
        toolchain: extensions.toolchain.unwrap_or_else(|| "remote".to_owned()),
        isolation: extensions.isolation.unwrap_or_else(|| "remote".to_owned()),
        stdout,
        stderr,
        compile_message,
    }
}

/// Whether `output` is as long as the reference's outputs get. A character cut in half may have been left out.
fn may_be_cut(output: &str) -> bool {
    output.len() + 3 >= REFERENCE_OUTPUT_BYTES
}

fn first_line<'a>(texts: &[&'a str]) -> Option<&'a str> {
    texts.iter().flat_map(|text| text.lines()).map(str::trim).find(|line| !line.is_empty())
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn milliseconds(seconds: &Value) -> u64 {
    number(seconds).map_or(0, |seconds| (seconds * 1000.0).round() as u64)
}
