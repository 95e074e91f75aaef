//! `POST /v1/chat/completions`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::answers::Asked;
use super::faults::spoil;
use super::listener::Reset;
use super::log::Entry;
use super::{Service, error_body, refusal};
use crate::error::Result;
use crate::llm::chat::{Message, Reply};

/// Most samples of one request.
const MOST_SAMPLES: u64 = 128;

pub(super) async fn completions(
    State(service): State<Arc<Service>>,
    ConnectInfo(reset): ConnectInfo<Reset>,
    body: Bytes,
) -> Response {
    let mut logged = service.log.request(None);
    let response = respond(&service, &reset, &body, &mut logged.entry).await;
    logged.entry.status = response.status().as_u16();
    response
}

async fn respond(service: &Service, reset: &Reset, body: &[u8], entry: &mut Entry) -> Response {
    let asked = match read(body) {
        Ok(asked) => asked,
        Err(message) => return refusal(StatusCode::BAD_REQUEST, "invalid_request", message),
    };
    let key = asked.key(0);
    (entry.key, entry.n) = (Some(key), asked.n);
    entry.model = asked.model().to_owned();
    if let Some(rate) = &service.rate
        && let Err(wait) = rate.admit()
    {
        return wait_a_little(wait);
    }
    let (attempt, first) = service.attempt(key);
    entry.key = Some(asked.key(first));
    let fault = service.faults.choose(key, attempt);
    entry.fault = fault.map(|fault| fault.name());
    tokio::time::sleep(service.latency).await;
    if let Some(fault) = fault.filter(|fault| fault.status().is_some()) {
        return spoil(fault, Vec::new(), reset).await;
    }
    let (status, answer) = answer(service, &asked, first);
    if status != StatusCode::OK {
        return (status, Json(answer)).into_response();
    }
    match fault {
        Some(fault) => spoil(fault, answer.to_string().into_bytes(), reset).await,
        None => {
            service.gave(key, asked.n);
            Json(answer).into_response()
        }
    }
}

/// The status and the body of the answer that samples `first` and on of the recording give.
pub(super) fn answer(service: &Service, asked: &Asked, first: u32) -> (StatusCode, Value) {
    match replies(service, asked, first) {
        Ok(Some(replies)) => (StatusCode::OK, completion(asked, &replies)),
        Ok(None) => {
            let message = format!(
                "no reply to this request is recorded (journal key {}, model `{}`); sampling settings and messages \
                 must be those of the recording",
                asked.key(first),
                asked.model()
            );
            (StatusCode::NOT_FOUND, error_body("not_recorded", message))
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error_body("broken_recording", error.to_string())),
    }
}

/// Samples from `first` on; after the last that is recorded they begin again.
fn replies(service: &Service, asked: &Asked, first: u32) -> Result<Option<Vec<Reply>>> {
    let mut replies = Vec::new();
    for n in 0..asked.n {
        let sample = first.wrapping_add(n);
        if let Some(reply) = service.answers.find(asked, sample)? {
            replies.push(reply);
            continue;
        }
        let mut recorded = 0;
        while recorded < sample && service.answers.find(asked, recorded)?.is_some() {
            recorded += 1;
        }
        if recorded == 0 {
            return Ok(None);
        }
        replies.extend(service.answers.find(asked, sample % recorded)?);
    }
    Ok(Some(replies))
}

/// A chat completion with `replies` as its choices.
fn completion(asked: &Asked, replies: &[Reply]) -> Value {
    let choices: Vec<Value> = replies
        .iter()
        .enumerate()
        .map(|(index, reply)| {
            let mut message = Map::new();
            message.insert("role".to_owned(), json!("assistant"));
            message.insert("content".to_owned(), json!(reply.output));
            if !reply.reasoning.is_empty() {
                message.insert("reasoning_content".to_owned(), json!(reply.reasoning));
            }
            let finish_reason = Some(&reply.finish_reason).filter(|reason| !reason.is_empty());
            json!({"index": index, "message": message, "finish_reason": finish_reason})
        })
        .collect();
    let first = &replies[0];
    let model = if first.model.is_empty() { asked.model() } else { &first.model };
    let completion_tokens: u64 = replies.iter().map(|reply| reply.completion_tokens).sum();
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({
        "id": format!("chatcmpl-{}", asked.key(0)),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": {
            "prompt_tokens": first.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": first.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": first.cached_tokens},
        },
    })
}

fn wait_a_little(wait: Duration) -> Response {
    let mut response =
        refusal(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "more requests than the limit admits");
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil() as u64));
    headers.insert("retry-after-ms", HeaderValue::from(wait.as_millis().max(1) as u64));
    response
}

/// What the body of a chat request asks for.
///
/// # Errors
/// It is no such body, or asks for what a recording cannot give.
pub(super) fn read(body: &[u8]) -> Result<Asked, String> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    of_value(body)
}

/// The same of a body that is parsed already.
pub(super) fn of_value(body: Value) -> Result<Asked, String> {
    let Value::Object(mut fields) = body else { return Err("the body is no JSON object".to_owned()) };
    let messages = match fields.remove("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        _ => return Err("`messages` is no list of messages".to_owned()),
    };
    let messages = messages.into_iter().map(message).collect::<Result<Vec<_>, _>>()?;
    if fields.remove("stream").is_some_and(|stream| stream == Value::Bool(true)) {
        return Err("recorded replies are not streamed: leave `stream` out".to_owned());
    }
    let n = match fields.remove("n") {
        None | Some(Value::Null) => 1,
        Some(n) => n.as_u64().filter(|n| (1..=MOST_SAMPLES).contains(n)).ok_or("`n` is from 1 to 128")?,
    };
    // Our own client sends these as 0.0; keys are of that.
    for name in ["temperature", "top_p"] {
        if let Some(number) = fields.get(name).and_then(Value::as_f64) {
            fields.insert(name.to_owned(), Value::from(number));
        }
    }
    Ok(Asked { fields, messages, n: n as u32 })
}

fn message(message: Value) -> Result<Message, String> {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(parts)) => {
            parts.iter().map(|part| part.get("text").and_then(Value::as_str)).collect::<Option<String>>()
        }
        _ => None,
    };
    let role = text(message.get("role")).ok_or("a message has no `role`")?;
    let content = text(message.get("content")).ok_or("a message has no text as `content`")?;
    Ok(Message { role, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::chat::Sampling;
    use crate::llm::key::{request_key, sampling_fields};

    #[test]
    fn the_body_gives_back_the_journals_key() {
        let extra = json!({"enable_thinking": false, "stop": ["a"]}).as_object().unwrap().clone();
        let sampling = Sampling {
            model: "m".into(),
            temperature: Some(0.0),
            max_tokens: Some(7),
            top_p: Some(1.0),
            seed: Some(-3),
            extra,
        };
        let messages = vec![Message { role: "user".into(), content: "ü\u{2028}".into() }];
        let mut body = sampling_fields(&sampling);
        body.insert("messages".into(), serde_json::to_value(&messages).unwrap());
        body.insert("n".into(), json!(3));
        body.insert("stream".into(), json!(false));
        let asked = read(Value::Object(body).to_string().as_bytes()).unwrap();
        assert_eq!((asked.n, asked.model()), (3, "m"));
        for sample in 0..3 {
            assert_eq!(asked.key(sample), request_key(&sampling, &messages, sample));
        }
    }

    #[test]
    fn bodies_that_ask_for_nothing_are_refused() {
        let bad = [
            "",
            "[]",
            "{}",
            r#"{"messages": []}"#,
            r#"{"messages": [{"role": "user"}]}"#,
            r#"{"messages": [{"role": "user", "content": "a"}], "n": 0}"#,
            r#"{"messages": [{"role": "user", "content": "a"}], "stream": true}"#,
        ];
        for body in bad {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
