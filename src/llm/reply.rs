//! Reading the body of a chat completion. Endpoints differ, and any of them may be broken or hostile.

use serde_json::Value;

use crate::error::{Fault, Recovery, Tokens};
use crate::llm::chat::Reply;
use crate::llm::fault::{ServerError, malformed, printable};

/// What the endpoint charges for the response in `body`; 0 where it does not say.
pub(super) fn billed(body: &[u8]) -> Tokens {
    let completion: Value = serde_json::from_slice(body).unwrap_or_default();
    charged(completion.get("usage").unwrap_or(&Value::Null))
}

fn charged(usage: &Value) -> Tokens {
    let cached =
        usage.pointer("/prompt_tokens_details/cached_tokens").or(usage.get("prompt_cache_hit_tokens"));
    Tokens {
        prompt: tokens(usage.get("prompt_tokens")),
        cached: tokens(cached),
        completion: tokens(usage.get("completion_tokens")),
    }
}

/// The reply in the body of a successful response. `latency_ms` is left 0.
///
/// No content is an answer when the endpoint says why: a refusal (its words become the output, finish_reason
/// `refusal`), a tool call (`tool_calls`), or any finish_reason other than a normal stop.
///
/// # Errors
/// `malformed_reply` when this is no chat completion or one without content, `server_error` when the endpoint says
/// that it failed half-way. Both are worth another try.
pub(super) fn parse(body: &[u8]) -> Result<Reply, Fault> {
    let completion: Value = serde_json::from_slice(body).map_err(|error| {
        let text = String::from_utf8_lossy(body);
        malformed(format!("the endpoint's reply is not JSON ({error}); it starts with: {}", text.trim()))
    })?;
    let Some(choice) = completion.get("choices").and_then(|choices| choices.get(0)) else {
        let said = ServerError::read(body).message;
        return Err(malformed(format!("the endpoint's reply has no choices: {said}")));
    };
    let message = choice.get("message").unwrap_or(&Value::Null);
    let (output, finish_reason) = answer(message, text_at(choice, "finish_reason"))?;
    let usage = charged(completion.get("usage").unwrap_or(&Value::Null));
    Ok(Reply {
        output,
        reasoning: [text_at(message, "reasoning_content"), text_at(message, "reasoning")]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
            .to_owned(),
        finish_reason: printable(finish_reason),
        model: printable(text_at(&completion, "model")),
        prompt_tokens: usage.prompt,
        cached_tokens: usage.cached,
        completion_tokens: usage.completion,
        latency_ms: 0,
    })
}

/// Output and finish reason of a choice.
fn answer<'a>(message: &'a Value, finish_reason: &'a str) -> Result<(String, &'a str), Fault> {
    // OpenRouter and DeepSeek report a failure after the headers are out in this way.
    if matches!(finish_reason, "error" | "insufficient_system_resource") {
        let what = format!("the endpoint gave up on the reply: finish_reason `{finish_reason}`");
        return Err(Fault::new(Recovery::Retry, "server_error", what));
    }
    if let Some(output) = content(message.get("content").unwrap_or(&Value::Null)) {
        return Ok((output, finish_reason));
    }
    if let Some(refusal) = message.get("refusal").and_then(Value::as_str) {
        return Ok((refusal.to_owned(), "refusal"));
    }
    let calls_tool = message.get("function_call").is_some_and(Value::is_object)
        || message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
    if calls_tool {
        return Ok((String::new(), "tool_calls"));
    }
    match finish_reason {
        "" | "stop" | "end_turn" => Err(malformed("the endpoint's reply has no message content")),
        reason => Ok((String::new(), reason)),
    }
}

/// The text of a message: a string, or the text parts of a list of parts.
fn content(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            (!texts.is_empty()).then(|| texts.concat())
        }
        _ => None,
    }
}

/// The string `name` of `object`; empty when it is missing or something else.
fn text_at<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A token count; 0 when it is missing or makes no sense. Some endpoints report whole numbers as 12.0.
fn tokens(value: Option<&Value>) -> u64 {
    let Some(value) = value else { return 0 };
    value.as_u64().or_else(|| value.as_f64().map(|count| count as u64)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse_value(value: &Value) -> Result<Reply, Fault> {
        parse(value.to_string().as_bytes())
    }

    fn choice(message: Value, finish_reason: Value) -> Result<Reply, Fault> {
        parse_value(&json!({"choices": [{"message": message, "finish_reason": finish_reason}]}))
    }

    #[test]
    fn a_full_reply_is_read_whole() {
        let reply = parse_value(&json!({
            "model": "deepseek-chat",
            "choices": [{
                "message": {"role": "assistant", "content": "hello", "reasoning_content": "hm"},
                "finish_reason": "stop",
            }],
            "usage": {"prompt_tokens": 12, "completion_tokens": 3.0, "prompt_tokens_details": {"cached_tokens": 8}},
        }));
        let expected = Reply {
            output: "hello".into(),
            reasoning: "hm".into(),
            finish_reason: "stop".into(),
            model: "deepseek-chat".into(),
            prompt_tokens: 12,
            cached_tokens: 8,
            completion_tokens: 3,
            latency_ms: 0,
        };
        assert_eq!(reply.unwrap(), expected);
    }

    #[test]
    fn the_dialects_of_endpoints() {
        let deepseek = parse_value(&json!({
            "choices": [{"message": {"content": "a", "reasoning": "b"}}],
            "usage": {"prompt_cache_hit_tokens": 5, "prompt_tokens": null, "completion_tokens": -1},
        }));
        let deepseek = deepseek.unwrap();
        assert_eq!((deepseek.finish_reason.as_str(), deepseek.reasoning.as_str()), ("", "b"));
        assert_eq!((deepseek.cached_tokens, deepseek.prompt_tokens, deepseek.completion_tokens), (5, 0, 0));

        let parts = json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
        assert_eq!(choice(parts, json!("stop")).unwrap().output, "ab");
        assert_eq!(parse(b"\n\n{\"choices\":[{\"message\":{\"content\":\"\"}}]}\n").unwrap().output, "");
    }

    #[test]
    fn no_content_is_an_answer_when_the_endpoint_says_why() {
        let outcome = |message, finish_reason| {
            let reply = choice(message, finish_reason).unwrap();
            (reply.output, reply.finish_reason)
        };
        let pair = |output: &str, reason: &str| (output.to_owned(), reason.to_owned());
        let refusal = json!({"content": null, "refusal": "I will not"});
        assert_eq!(outcome(refusal, json!("stop")), pair("I will not", "refusal"));
        let call = json!({"content": null, "tool_calls": [{"id": "1"}]});
        assert_eq!(outcome(call, json!("stop")), pair("", "tool_calls"));
        assert_eq!(outcome(json!({"content": null}), json!("length")), pair("", "length"));
        assert_eq!(outcome(json!({}), json!("content_filter")), pair("", "content_filter"));
    }

    #[test]
    fn useless_replies_are_worth_another_try() {
        let unusable = [
            "",
            "<html><body>502</body></html>",
            "[]",
            "null",
            "{}",
            r#"{"choices": []}"#,
            r#"{"choices": [3]}"#,
            r#"{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"message": {"content": 7}, "finish_reason": null}]}"#,
            r#"{"error": {"message": "overloaded"}}"#,
            r#"{"choices": [{"message": {"content": "cut"#,
        ];
        for body in unusable {
            let fault = parse(body.as_bytes()).unwrap_err();
            assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "malformed_reply"), "{body}");
        }
        assert!(parse(unusable[9].as_bytes()).unwrap_err().message.contains("overloaded"));
        let fault = choice(json!({"content": "par"}), json!("error")).unwrap_err();
        assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "server_error"));
    }

    /// JSON in which the names that the parser looks for turn up in every place with every kind of value.
    fn any_completion() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "(stop|length|error|.{0,12})".prop_map(Value::from),
        ];
        let name = "(choices|message|content|refusal|tool_calls|finish_reason|usage|prompt_tokens\
                    |prompt_tokens_details|cached_tokens|completion_tokens|text|error|reasoning|model)";
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..6)
                    .prop_map(|fields| fields.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_panics(completion in any_completion(), choice in any_completion()) {
            let _ = parse_value(&completion);
            let _ = parse_value(&json!({"choices": [choice], "usage": completion}));
        }

        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            prop_assert!(parse(&body).is_err());
        }

        #[test]
        fn any_text_comes_through_unharmed(text: String) {
            let reply = choice(json!({"content": text.as_str()}), json!("stop")).unwrap();
            prop_assert_eq!(reply.output, text);
        }
    }
}
