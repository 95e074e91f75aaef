//! From what went wrong at an endpoint to the [`Fault`] the executor acts on.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

use crate::error::{Fault, Recovery};
use crate::llm::chat::REQUEST_REFUSED;

/// Most characters of a fault's message; most of it is what a server said.
const MESSAGE_CHARS: usize = 300;

/// The fault for a response whose status is not a success.
///
/// `key_hint` is what to do when the endpoint refuses the API key.
pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, body: &[u8], key_hint: &str) -> Fault {
    let said = ServerError::read(body);
    let code = said.code.as_deref().unwrap_or_default();
    let fault = |recovery, cause| {
        let message = match said.message.is_empty() {
            true => format!("the endpoint answered {status}"),
            false => format!("the endpoint answered {status}: {}", said.message),
        };
        Fault::new(recovery, cause, message)
    };
    match status.as_u16() {
        // OpenAI reports a used-up account as 429; waiting does not fill it.
        402 => fault(Recovery::Stop, "payment_required").hint("the account has no balance left: top it up"),
        _ if code == "insufficient_quota" => {
            fault(Recovery::Stop, "payment_required").hint("the account's quota is used up: raise it")
        }
        401 | 403 => fault(Recovery::Stop, "unauthorized").hint(key_hint),
        300..=399 => {
            let target = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("elsewhere");
            Fault::new(
                Recovery::Stop,
                "not_found",
                format!("the endpoint answered {status}: moved to {target}"),
            )
            .hint("use the address it moved to as base URL")
        }
        // Our own server of recordings: other requests may well be recorded.
        404 if code == "not_recorded" => fault(Recovery::Pend, "not_recorded"),
        404 => fault(Recovery::Stop, "not_found").hint(NOT_FOUND_HINT),
        _ if code == "model_not_found" => fault(Recovery::Stop, "not_found").hint(NOT_FOUND_HINT),
        429 => fault(Recovery::Retry, "rate_limited").retry_after(retry_after(headers)),
        503 | 529 => fault(Recovery::Retry, "overloaded").retry_after(retry_after(headers)),
        408 | 409 | 425 | 500.. => fault(Recovery::Retry, "server_error").retry_after(retry_after(headers)),
        400 | 413 | 422 if said.is_about_the_request() || status == StatusCode::PAYLOAD_TOO_LARGE => {
            fault(Recovery::Pend, REQUEST_REFUSED)
                .hint("shorten the prompt, or ask a model with a longer context")
        }
        _ => fault(Recovery::Pend, "bad_request").hint(
            "the endpoint refuses this request: see what it says about the sampling settings or the prompt",
        ),
    }
}

const NOT_FOUND_HINT: &str = "check the model's name and the base URL; many endpoints want it to end in /v1";

/// The fault for a request that failed below HTTP: no connection, reset, cut off.
pub(super) fn of_transport(address: &str, error: reqwest::Error) -> Fault {
    let (connecting, timeout) = (error.is_connect(), error.is_timeout());
    let error = error.without_url();
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    match (connecting, timeout) {
        (true, _) => {
            // The TLS library's own error is not to be had from the chain, only its words.
            let hint = match message.contains("certificate") {
                true => {
                    "the server's certificate is not trusted here: see whether ca-certificates is installed, or name \
                     the authority that signed it with --ca-cert FILE"
                }
                false => "check the base URL, and that the server is running and can be reached from here",
            };
            Fault::new(Recovery::Retry, "connection", format!("cannot connect to {address}: {message}"))
                .hint(hint)
        }
        (false, true) => {
            Fault::new(Recovery::Retry, "timeout", format!("{address} did not answer: {message}"))
        }
        (false, false) => {
            Fault::new(Recovery::Retry, "connection", format!("the connection to {address} broke: {message}"))
        }
    }
}

/// A reply that came whole, with status 200, and cannot be used.
pub(super) fn malformed(message: impl Into<String>) -> Fault {
    Fault::new(Recovery::Retry, "malformed_reply", message)
}

/// What a server says about an error.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ServerError {
    /// Its words; the whole body where we do not know the form.
    pub message: String,
    /// Its machine-readable code, e.g. `model_not_found`.
    pub code: Option<String>,
    /// Its kind of error, e.g. `invalid_request_error`.
    pub kind: Option<String>,
}

/// Codes and kinds of errors that are about what one request says, not about how requests are made.
const ABOUT_THE_REQUEST: [&str; 9] = [
    "context_length_exceeded",
    "string_above_max_length",
    "exceed_context_size_error",
    "content_filter",
    "content_policy_violation",
    "data_inspection_failed",
    "invalid_prompt",
    "request_too_large",
    "prompt_too_long",
];

/// Words of such errors, where the code does not tell.
const WORDS_ABOUT_THE_REQUEST: [&str; 10] = [
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "input is too long",
    "too many input tokens",
    "maximum model length",
    "content management policy",
    "content policy",
    "content exists risk",
];

impl ServerError {
    /// Reads an error body: `{"error": {"message", "code"}}`, `{"error": "..."}`, `{"message"}`, `{"detail"}` or text.
    pub(super) fn read(body: &[u8]) -> Self {
        let text = || String::from_utf8_lossy(body).trim().to_owned();
        let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(body) else {
            return Self { message: text(), ..Self::default() };
        };
        let error = object.get("error");
        let message =
            [error.and_then(|e| e.get("message")), error, object.get("message"), object.get("detail")]
                .into_iter()
                .flatten()
                .find_map(Value::as_str);
        let named = |name: &str| Some(error?.get(name)?.as_str()?.to_owned());
        Self {
            message: message.map_or_else(text, str::to_owned),
            code: named("code"),
            kind: named("type").or_else(|| Some(object.get("type")?.as_str()?.to_owned())),
        }
    }

    /// Whether asking this again can never succeed, while other requests may.
    fn is_about_the_request(&self) -> bool {
        let known =
            |code: &Option<String>| code.as_deref().is_some_and(|code| ABOUT_THE_REQUEST.contains(&code));
        let message = self.message.to_lowercase();
        known(&self.code)
            || known(&self.kind)
            || WORDS_ABOUT_THE_REQUEST.iter().any(|words| message.contains(words))
    }
}

/// How long the server asks us to wait: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str, unit: f64| Duration::try_from_secs_f64(text.parse::<f64>().ok()? * unit).ok();
    if let Some(wait) = text("retry-after-ms").and_then(|ms| number(ms, 0.001)) {
        return Some(wait);
    }
    let value = text(RETRY_AFTER.as_str())?;
    number(value, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(value).ok()?;
        // A date that has passed means: now.
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

/// `text` made fit for a terminal and a log line: characters that do not print escaped, cut after 300.
pub(super) fn printable(text: &str) -> String {
    let mut line = String::new();
    // Escaping only lengthens a text, so the first characters are all that can matter.
    for c in text.chars().take(MESSAGE_CHARS + 1) {
        match c {
            '"' | '\'' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
    }
    if let Some((end, _)) = line.char_indices().nth(MESSAGE_CHARS) {
        let last = line[..end].char_indices().next_back().map_or(0, |(at, _)| at);
        line.truncate(last);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wait(name: &'static str, value: &str) -> Option<Duration> {
        retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]))
    }

    #[test]
    fn retry_after_in_every_form() {
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after", "0.5"), Some(Duration::from_millis(500)));
        assert_eq!(wait("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let soon = wait("retry-after", &soon).unwrap().as_secs();
        assert!((98..=100).contains(&soon), "{soon}");
        for odd in ["-1", "NaN", "inf", "1e300", "soon", ""] {
            assert_eq!(wait("retry-after", odd), None, "{odd}");
        }
    }

    #[test]
    fn a_servers_words_are_found_in_the_usual_places() {
        let message = |body: &str| ServerError::read(body.as_bytes()).message;
        assert_eq!(message(r#"{"error": {"message": "no", "code": 7}}"#), "no");
        assert_eq!(message(r#"{"error": "no"}"#), "no");
        assert_eq!(message(r#"{"message": "no"}"#), "no");
        assert_eq!(message(r#"{"detail": "no"}"#), "no");
        assert_eq!(message("  no\n"), "no");
        assert_eq!(message(r#"{"detail": [1]}"#), r#"{"detail": [1]}"#);
        let code = ServerError::read(br#"{"error": {"message": "no", "code": "model_not_found"}}"#).code;
        assert_eq!(code.as_deref(), Some("model_not_found"));
    }

    proptest! {
        #[test]
        fn messages_are_short_and_printable(text in r"(.|\n|\x1b){0,700}") {
            let line = printable(&text);
            prop_assert!(line.chars().count() <= MESSAGE_CHARS);
            prop_assert!(!line.chars().any(char::is_control));
        }

        #[test]
        fn no_error_body_and_no_wait_panics(body: Vec<u8>, value in "[ -~]{0,40}") {
            ServerError::read(&body);
            wait("retry-after", &value);
            wait("retry-after-ms", &value);
        }
    }
}
