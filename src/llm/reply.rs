//! Reading the body of a chat completion. Endpoints differ, and any of them may be broken or hostile.

use serde_json::{Value, json};

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

/// The replies in the body of a successful response: 1 to `most`, one per choice. `latency_ms` is left 0.
///
/// No content is an answer when the endpoint says why: a refusal (its words become the output, finish_reason
/// `refusal`), a tool call (`tool_calls`), or any finish_reason other than a normal stop. The prompt is paid once: its
/// tokens are those of the first reply. The tokens of the replies are shared out by the lengths of their texts.
///
/// # Errors
/// `malformed_reply` when this is no chat completion or one without content, `server_error` when the endpoint says
/// that it failed half-way. Both are worth another try. One usable choice of several is enough.
pub(super) fn parse(body: &[u8], most: usize) -> Result<Vec<Reply>, Fault> {
    let completion: Value = serde_json::from_slice(body).map_err(|error| {
        let text = String::from_utf8_lossy(body);
        malformed(format!("the endpoint's reply is not JSON ({error}); it starts with: {}", text.trim()))
    })?;
    let choices = completion.get("choices").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut replies = Vec::new();
    let mut unusable = None;
    for choice in choices.iter().take(most.max(1)) {
        match reply(choice) {
            Ok(reply) => replies.push(reply),
            Err(fault) => unusable = unusable.or(Some(fault)),
        }
    }
    if replies.is_empty() {
        return Err(unusable.unwrap_or_else(|| {
            let said = ServerError::read(body).message;
            malformed(format!("the endpoint's reply has no choices: {said}"))
        }));
    }
    let usage = charged(completion.get("usage").unwrap_or(&Value::Null));
    replies[0].prompt_tokens = usage.prompt;
    replies[0].cached_tokens = usage.cached;
    share(usage.completion, &mut replies);
    let model = printable(text_at(&completion, "model"));
    replies.iter_mut().for_each(|reply| reply.model.clone_from(&model));
    Ok(replies)
}

/// One choice as a reply, without what the completion says of all choices together.
fn reply(choice: &Value) -> Result<Reply, Fault> {
    // A plain completion has its text without a message around it.
    let plain = choice.get("text").map(|text| json!({"content": text}));
    let message = choice.get("message").or(plain.as_ref()).unwrap_or(&Value::Null);
    let (output, finish_reason) = answer(message, text_at(choice, "finish_reason"))?;
    let reasoning = [text_at(message, "reasoning_content"), text_at(message, "reasoning")];
    Ok(Reply {
        output,
        reasoning: reasoning.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned(),
        finish_reason: printable(finish_reason),
        ..Reply::default()
    })
}

/// Shares `tokens` out among `replies` by the lengths of their texts; the last gets what is left.
fn share(tokens: u64, replies: &mut [Reply]) {
    let length = |reply: &Reply| (reply.output.len() + reply.reasoning.len()) as u128;
    let all = replies.iter().map(length).sum::<u128>().max(1);
    let mut left = tokens;
    let last = replies.len() - 1;
    for (at, reply) in replies.iter_mut().enumerate() {
        let part = u64::try_from(u128::from(tokens) * length(reply) / all).unwrap_or(left);
        reply.completion_tokens = if at == last { left } else { part.min(left) };
        left -= reply.completion_tokens;
    }
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
        parse(value.to_string().as_bytes(), 1).map(|mut replies| replies.remove(0))
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
        let spaced = parse(b"\n\n{\"choices\":[{\"message\":{\"content\":\"\"}}]}\n", 1).unwrap();
        assert_eq!(spaced[0].output, "");
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
            let fault = parse(body.as_bytes(), 1).unwrap_err();
            assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "malformed_reply"), "{body}");
        }
        assert!(parse(unusable[9].as_bytes(), 1).unwrap_err().message.contains("overloaded"));
        let fault = choice(json!({"content": "par"}), json!("error")).unwrap_err();
        assert_eq!((fault.recovery, fault.cause), (Recovery::Retry, "server_error"));
    }

    #[test]
    fn several_choices_share_one_bill() {
        let choice = |content: Value| json!({"message": {"content": content}, "finish_reason": "stop"});
        let choices =
            [json!("aaaa"), Value::Null, json!("bb"), json!("c"), json!("more than asked")].map(choice);
        let body = json!({
            "model": "m",
            "choices": choices,
            "usage": {"prompt_tokens": 50, "completion_tokens": 10, "prompt_cache_hit_tokens": 8},
        });
        let replies = parse(body.to_string().as_bytes(), 4).unwrap();
        let of = |reply: &Reply| (reply.output.clone(), reply.prompt_tokens, reply.completion_tokens);
        let bill: Vec<_> = replies.iter().map(of).collect();
        assert_eq!(bill, [("aaaa".into(), 50, 5), ("bb".into(), 0, 2), ("c".into(), 0, 3)]);
        assert!(replies.iter().all(|reply| reply.model == "m"));
        assert_eq!(replies[0].cached_tokens, 8);
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
            let _ = parse(json!({"choices": [choice, completion], "usage": completion}).to_string().as_bytes(), 2);
        }

        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            prop_assert!(parse(&body, 3).is_err());
        }

        #[test]
        fn any_text_comes_through_unharmed(text: String) {
            let reply = choice(json!({"content": text.as_str()}), json!("stop")).unwrap();
            prop_assert_eq!(reply.output, text);
        }
    }
}
