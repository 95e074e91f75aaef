//! Fields whose types clients do not take seriously: numbers and booleans may come as strings. `null` is the same as
//! a field that is not there.

use serde_json::{Map, Value};

/// Longest part of a client's text that a message repeats, characters.
const QUOTED: usize = 60;

/// `value` as an object.
pub(super) fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("a JSON object is needed, not {}", quoted(value)))
}

/// The field `name` unless it is absent or `null`.
pub(super) fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// A field that holds text.
pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    let text = |value: &'a Value| value.as_str().ok_or_else(|| wrong(name, "a string", value));
    field(object, name).map(text).transpose()
}

/// A field that must hold text.
pub(super) fn required<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    text(object, name)?.ok_or_else(|| missing(name))
}

/// A field of seconds, as ms, at least 1.
pub(super) fn seconds(object: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    let Some(value) = field(object, name) else { return Ok(None) };
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        // A float too large for an integer becomes the largest.
        Some(seconds) if seconds > 0.0 => Ok(Some(((seconds * 1000.0).round() as u64).max(1))),
        _ => Err(wrong(name, "a positive number of seconds", value)),
    }
}

/// A field that is true or false; `false` when absent.
pub(super) fn flag(object: &Map<String, Value>, name: &str) -> Result<bool, String> {
    let Some(value) = field(object, name) else { return Ok(false) };
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" | "" => Some(false),
            _ => None,
        },
        _ => None,
    };
    flag.ok_or_else(|| wrong(name, "true or false", value))
}

/// A field that holds a small whole number; 0 when absent.
pub(super) fn count(object: &Map<String, Value>, name: &str) -> Result<u32, String> {
    let Some(value) = field(object, name) else { return Ok(0) };
    let count = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    count.ok_or_else(|| wrong(name, "a whole number", value))
}

/// What is said of a field that is not there.
pub(super) fn missing(name: &str) -> String {
    format!("field `{name}` is missing")
}

/// What is said of a field that is not `wanted`.
pub(super) fn wrong(name: &str, wanted: &str, value: &Value) -> String {
    format!("field `{name}` must be {wanted}, not {}", quoted(value))
}

/// The beginning of a value; JSON has its control characters escaped.
fn quoted(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(value: Value) -> Map<String, Value> {
        Map::from_iter([("x".to_owned(), value)])
    }

    #[test]
    fn seconds_come_as_numbers_and_as_text() {
        for (given, ms) in [
            (json!(5), 5000),
            (json!(0.25), 250),
            (json!("1.5"), 1500),
            (json!(" 3 "), 3000),
            (json!(1e-9), 1),
        ] {
            assert_eq!(seconds(&one(given.clone()), "x"), Ok(Some(ms)), "{given}");
        }
        assert_eq!(seconds(&one(json!(1e300)), "x"), Ok(Some(u64::MAX)));
        assert_eq!(seconds(&one(Value::Null), "x"), Ok(None));
        for wrong in [json!(0), json!(-1), json!("NaN"), json!("soon"), json!(""), json!([5]), json!(true)] {
            assert!(seconds(&one(wrong.clone()), "x").is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_come_as_booleans_numbers_and_text() {
        for yes in [json!(true), json!("true"), json!("True"), json!(1), json!("1")] {
            assert_eq!(flag(&one(yes.clone()), "x"), Ok(true), "{yes}");
        }
        for no in [json!(false), json!("false"), json!("False"), json!(0), json!(""), Value::Null] {
            assert_eq!(flag(&one(no.clone()), "x"), Ok(false), "{no}");
        }
        assert!(flag(&one(json!("maybe")), "x").is_err() && flag(&one(json!([])), "x").is_err());
    }

    #[test]
    fn messages_repeat_only_the_beginning_of_what_was_sent() {
        let long = wrong("x", "short", &json!("é\n".repeat(1000)));
        assert!(long.len() < 200 && !long.contains('\n'), "{long}");
    }
}
