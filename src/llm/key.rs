//! Journal keys of chat requests.

use serde_json::{Map, Value};

use crate::frame::key::Key;
use crate::llm::chat::{Message, Sampling};

/// Goes first into every key; a new meaning of a request's parts needs a new one.
const FORMAT: &str = "chat/1";

/// The same of conversations.
const CONVERSATION_FORMAT: &str = "conversation/1";

/// The journal key of a request: the same for the same request in every run and on every machine.
///
/// It is the [`Key`] of these parts, in order: `chat/1`; the request body without its messages as canonical JSON
/// (no white space, objects sorted by name); the sample number in decimal; then role and content of each message.
/// Endpoint, limits and retries are no part of it: they do not change what is asked.
pub fn request_key(sampling: &Sampling, messages: &[Message], sample: u32) -> Key {
    key_of_fields(sampling_fields(sampling), messages, sample)
}

/// [`request_key`] of a request whose body has these `fields` besides its messages.
pub(super) fn key_of_fields(fields: Map<String, Value>, messages: &[Message], sample: u32) -> Key {
    let mut body = Value::Object(fields);
    body.sort_all_objects();
    let (body, sample) = (body.to_string(), sample.to_string());
    let mut parts = vec![FORMAT, &body, &sample];
    parts.extend(texts(messages));
    Key::of(&parts)
}

/// The key of what is said in a request, whichever model is asked and however it is to sample.
pub fn conversation_key(messages: &[Message]) -> Key {
    Key::of(&std::iter::once(CONVERSATION_FORMAT).chain(texts(messages)).collect::<Vec<_>>())
}

fn texts(messages: &[Message]) -> impl Iterator<Item = &str> {
    messages.iter().flat_map(|message| [message.role.as_str(), message.content.as_str()])
}

/// The fields of a request body that [`Sampling`] stands for. Extra fields replace those of the same name.
pub(super) fn sampling_fields(sampling: &Sampling) -> Map<String, Value> {
    let Sampling { model, temperature, max_tokens, top_p, seed, extra } = sampling;
    let settings = [
        ("temperature", temperature.map(Value::from)),
        ("max_tokens", max_tokens.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        ("seed", seed.map(Value::from)),
    ];
    let mut fields = Map::new();
    fields.insert("model".to_owned(), Value::from(model.as_str()));
    for (name, value) in settings {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    fields.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sampling(extra: Value) -> Sampling {
        let extra = extra.as_object().unwrap().clone();
        Sampling {
            model: "m".into(),
            temperature: Some(0.0),
            max_tokens: Some(4096),
            top_p: None,
            seed: None,
            extra,
        }
    }

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    #[test]
    fn a_key_is_the_same_in_every_run() {
        let key = request_key(&sampling(json!({})), &[message("user", "hello")], 0);
        // Written down from the definition: journals of the past are found by it.
        let parts = ["chat/1", r#"{"max_tokens":4096,"model":"m","temperature":0.0}"#, "0", "user", "hello"];
        assert_eq!(key, Key::of(&parts));
    }

    #[test]
    fn the_order_of_extra_fields_does_not_matter_but_everything_else_does() {
        let ask = [message("user", "hello")];
        let key = |extra, messages: &[Message], sample| request_key(&sampling(extra), messages, sample);
        let base = key(json!({"a": {"x": 1, "y": 2}, "b": 2}), &ask, 0);
        assert_eq!(base, key(json!({"b": 2, "a": {"y": 2, "x": 1}}), &ask, 0));
        let others = [
            key(json!({"a": {"x": 1, "y": 3}, "b": 2}), &ask, 0),
            key(json!({"a": {"x": 1, "y": 2}, "b": 2}), &ask, 1),
            key(json!({"a": {"x": 1, "y": 2}, "b": 2}), &[message("system", "hello")], 0),
            key(json!({"a": {"x": 1, "y": 2}, "b": 2}), &[message("user", "hell"), message("o", "")], 0),
        ];
        assert!(others.iter().all(|other| *other != base));
    }
}
