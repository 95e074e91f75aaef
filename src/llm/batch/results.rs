//! Reading result files: one line per request, in any order, from services that differ in the details.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Fault, Recovery};
use crate::llm::chat::Reply;
use crate::llm::fault::{ServerError, of_status, printable};
use crate::llm::reply;

/// One line of a result file.
#[derive(Debug)]
pub(super) struct ResultLine {
    /// Which request.
    pub custom_id: String,
    /// Its reply, or why there is none.
    pub outcome: Result<Reply, Fault>,
}

#[derive(Deserialize)]
struct Raw {
    custom_id: String,
    #[serde(default)]
    response: Option<RawResponse>,
    #[serde(default)]
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct RawResponse {
    /// vLLM leaves it out of answers that are well.
    #[serde(default = "ok")]
    status_code: u16,
    #[serde(default)]
    body: Option<Box<RawValue>>,
}

fn ok() -> u16 {
    200
}

/// Reads a line of an output file or an error file.
///
/// # Errors
/// It is no result; the message says why.
pub(super) fn parse(line: &[u8]) -> Result<ResultLine, String> {
    let Raw { custom_id, response, error } =
        serde_json::from_slice(line).map_err(|error| format!("not a result: {error}"))?;
    let error = error.as_ref().map(|error| error.get()).filter(|error| *error != "null");
    let outcome = match response {
        Some(RawResponse { status_code, body }) => {
            let body = body.as_ref().map(|body| body.get());
            let status =
                StatusCode::from_u16(status_code).map_err(|_| "its status is no HTTP status".to_owned())?;
            match (status.is_success(), body, error) {
                (true, Some(body), _) => {
                    reply::parse(body.as_bytes(), 1).map(|mut replies| replies.swap_remove(0))
                }
                (true, None, _) => Err(no_answer("its response has no body")),
                (false, body, error) => {
                    let said = body.filter(|body| *body != "null").or(error).unwrap_or_default();
                    Err(of_status(status, &HeaderMap::new(), said.as_bytes(), KEY_HINT))
                }
            }
        }
        None => Err(error.map_or_else(|| no_answer("it has neither response nor error"), of_error)),
    };
    let outcome = outcome.map_err(|mut fault| {
        fault.message = printable(&fault.message);
        fault
    });
    Ok(ResultLine { custom_id, outcome })
}

const KEY_HINT: &str = "check the key that the batch was made with";

/// A request that the service never sent to the model.
fn of_error(error: &str) -> Fault {
    let value: Value = serde_json::from_str(error).unwrap_or_default();
    let code = value.get("code").and_then(Value::as_str).unwrap_or_default();
    let message = ServerError::read(error.as_bytes()).message;
    let (recovery, cause) = match code {
        "batch_expired" => (Recovery::Retry, "batch_expired"),
        "batch_cancelled" => (Recovery::Pend, "batch_cancelled"),
        _ => (Recovery::Retry, "batch_error"),
    };
    Fault::new(recovery, cause, format!("the batch has no answer: {message}"))
}

fn no_answer(what: &str) -> Fault {
    Fault::new(Recovery::Retry, "no_result", format!("the result holds no answer: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn outcome(line: Value) -> Result<Reply, Fault> {
        parse(line.to_string().as_bytes()).unwrap().outcome
    }

    fn fault(line: Value) -> (Recovery, &'static str) {
        let fault = outcome(line).unwrap_err();
        (fault.recovery, fault.cause)
    }

    #[test]
    fn answers_of_services_and_of_vllm() {
        let completion = json!({
            "model": "m", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        });
        let service = json!({
            "id": "batch_req_1", "custom_id": "k", "error": null,
            "response": {"status_code": 200, "request_id": "r", "body": completion},
        });
        let vllm = json!({
            "id": "vllm-1", "custom_id": "k", "error": null, "response": {"request_id": "r", "body": completion},
        });
        for line in [service, vllm] {
            let parsed = parse(line.to_string().as_bytes()).unwrap();
            assert_eq!(parsed.custom_id, "k");
            let reply = parsed.outcome.unwrap();
            assert_eq!((reply.output.as_str(), reply.prompt_tokens), ("hi", 3));
        }
    }

    #[test]
    fn errors_of_services_and_of_vllm() {
        let expired = json!({
            "custom_id": "k", "response": null, "error": {"code": "batch_expired", "message": "too late"},
        });
        assert_eq!(fault(expired), (Recovery::Retry, "batch_expired"));
        let refused = json!({
            "custom_id": "k", "error": null,
            "response": {"status_code": 400, "body": {"error": {"message": "no\u{1b}[2J", "code": "bad"}}},
        });
        let shown = outcome(refused.clone()).unwrap_err().message;
        assert!(shown.contains("no\\u{1b}[2J"), "{shown}");
        assert_eq!(fault(refused), (Recovery::Pend, "bad_request"));
        let vllm = json!({
            "custom_id": "k", "response": {"status_code": 400, "body": null},
            "error": {"object": "error", "message": "too long", "code": 400},
        });
        assert!(outcome(vllm.clone()).unwrap_err().message.contains("too long"));
        assert_eq!(fault(vllm), (Recovery::Pend, "bad_request"));
        assert_eq!(fault(json!({"custom_id": "k"})), (Recovery::Retry, "no_result"));
        let busy = json!({"custom_id": "k", "response": {"status_code": 429, "body": {}}});
        assert_eq!(fault(busy), (Recovery::Retry, "rate_limited"));
    }

    proptest! {
        #[test]
        fn no_line_panics(line: Vec<u8>, status: u16, body in "(null|\\{\\}|\\[1\\]|\"x\"|\\{\"choices\":\\[\\{\\}\\]\\})") {
            let _ = parse(&line);
            let line = format!(r#"{{"custom_id":"k","response":{{"status_code":{status},"body":{body}}}}}"#);
            let _ = parse(line.as_bytes());
        }
    }
}
