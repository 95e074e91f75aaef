//! What is read as JSON, what is refused, and that neither takes long.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn first(reply: &str) -> Result<Value, String> {
    candidates(reply).map(|mut found| found.remove(0))
}

#[test]
fn what_models_write_for_json_is_read() {
    let cases = [
        ("Sure! Here it is:\n```json\n{\"a\": 1}\n```\nAnything else?", json!({"a": 1})),
        ("The answer is {\"a\": [1, 2]}, see [1].", json!({"a": [1, 2]})),
        ("Use {x} like so: {\"a\": {}}", json!({"a": {}})),
        ("{'a': 'it\\'s', b_2: \"x\",}", json!({"a": "it's", "b_2": "x"})),
        ("[1, +2, .5, 1., -3e2, // one\n /* two */ 4 # three\n,]", json!([1, 2, 0.5, 1.0, -300.0, 4])),
        (
            "{\"a\": True, \"b\": None, \"c\": NaN, \"d\": -Infinity}",
            json!({"a": true, "b": null, "c": null, "d": null}),
        ),
        ("{\"code\": \"x = 1\n\ty\", \"re\": \"\\d+\\.\"}", json!({"code": "x = 1\n\ty", "re": "\\d+\\."})),
        ("{\"a\": \"\\ud83d\\ude00 \\ud83d \\u00e9 \\u12\"}", json!({"a": "😀 \u{fffd} é \\u12"})),
        ("\u{feff}{\"a\": 1, \"a\": 2}", json!({"a": 2})),
        ("\"text\"", json!("text")),
        ("~~~\nno JSON\n~~~\n```\n[]\n```", json!([])),
    ];
    for (reply, meant) in cases {
        assert_eq!(first(reply).as_ref(), Ok(&meant), "{reply}");
    }
}

#[test]
fn what_would_have_to_be_guessed_is_refused_with_its_place() {
    let cases = [
        ("{\"a\": {\"b\": 1}\n \"c\": 2}", "'\"' where a comma or } is expected at line 2, column 2"),
        ("{\"a\": {\"b\": 1}, \"c\": [1, 2", "the JSON ends too early at line 1, column 27"),
        ("{\"a\": \"he said \"no\"\"}", "'n' where a comma or } is expected at line 1, column 17"),
        ("I cannot do that.", "'I' where a value is expected at line 1, column 1"),
        ("", "the JSON ends too early at line 1, column 1"),
        ("{\"a\": 1e999}", "'1' where a value is expected at line 1, column 7"),
        ("{\"a\": /* ", "the JSON ends too early at line 1, column 10"),
    ];
    for (reply, why) in cases {
        assert_eq!(first(reply), Err(why.to_owned()), "{reply}");
    }
    // A piece of a broken answer is not taken for the answer.
    assert!(first("{\"a\": {\"b\": 1}, oops! {\"c\": 2").is_err());
}

#[test]
fn depth_and_time_are_bounded() {
    for opening in ["[", "{\"a\":", "[{\"a\":"] {
        assert!(first(&opening.repeat(200_000)).is_err());
        let deep = opening.repeat(60)
            + "1"
            + &opening
                .chars()
                .rev()
                .filter_map(|c| match c {
                    '[' => Some(']'),
                    '{' => Some('}'),
                    _ => None,
                })
                .collect::<String>()
                .repeat(60);
        let value = first(&deep).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&value.to_string()).unwrap(), value);
    }
    assert_eq!(candidates(&"{} ".repeat(10_000)).unwrap().len(), CANDIDATES);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| json!(f64::from(quarters) / 4.0)),
        any::<String>().prop_map(Value::from),
        "[\"'\\\\{}\\[\\],:/*#\n\t a-z`]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("([a-z_]{1,6}|.{0,6})", inner, 0..5)
                .prop_map(|fields| fields.into_iter().collect::<Value>()),
        ]
    })
}

/// `value` written as loosely as is still clear; `choices` says how, in turn.
fn loosely(value: &Value, choices: &mut impl Iterator<Item = u8>) -> String {
    let mut pick = |options: &[&str]| {
        let choice = choices.next().unwrap_or_default();
        options[usize::from(choice) % options.len()].to_owned()
    };
    let gap = pick(&["", " ", "\n\t", " // so\n", "/* [\"{ */", " # it's\n"]);
    let text = match value {
        Value::Null => pick(&["null", "None", "NaN"]),
        Value::Bool(true) => pick(&["true", "True"]),
        Value::Bool(false) => pick(&["false", "False"]),
        Value::Number(number) => number.to_string(),
        Value::String(text) => match pick(&["json", "raw", "single"]).as_str() {
            "json" => value.to_string(),
            "raw" => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            _ => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        },
        Value::Array(items) => {
            let end = pick(&["]", ",]", " , ]"]);
            let items: Vec<String> = items.iter().map(|item| loosely(item, choices)).collect();
            format!("[{}{}", items.join(","), if items.is_empty() { "]" } else { &end })
        }
        Value::Object(fields) => {
            let end = pick(&["}", ",}", "\n,\n}"]);
            let bare = pick(&["", "bare"]) == "bare";
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                    let quoted = Value::from(name.as_str()).to_string();
                    let name = if bare && plain { name.clone() } else { quoted };
                    format!("{name}:{}", loosely(value, choices))
                })
                .collect();
            format!("{{{}{}", fields.join(","), if fields.is_empty() { "}" } else { &end })
        }
    };
    format!("{gap}{text}{gap}")
}

proptest! {
    #[test]
    fn any_json_is_read_whatever_is_around_it(value in any_json(), before in "[^\\[{`~\"'#/]{0,40}", after in "[^\\[{`~]{0,40}") {
        let (compact, pretty) = (value.to_string(), serde_json::to_string_pretty(&value).unwrap());
        let fenced = crate::text::blocks::render("json", &pretty);
        prop_assert_eq!(first(&compact), Ok(value.clone()));
        prop_assert_eq!(first(&format!("{before}\n{fenced}\n{after}")), Ok(value.clone()));
        if value.is_object() || value.is_array() {
            // What is inside its strings could be a fence.
            prop_assume!(blocks(&compact).next().is_none());
            prop_assert_eq!(first(&format!("{before} {compact} {after}")), Ok(value));
        }
    }

    #[test]
    fn loosely_written_json_means_the_same(value in any_json(), choices: Vec<u8>) {
        let text = loosely(&value, &mut choices.into_iter().cycle());
        prop_assert_eq!(first(&text), Ok(value), "{}", text);
    }

    #[test]
    fn no_reply_panics(reply: String, noise in "[\\[\\]{}\"',:\\\\u0-9a-f/*# `\ntrue.e+-]{0,200}", value in any_json(), cut: prop::sample::Index) {
        let _ = candidates(&reply);
        let _ = candidates(&noise);
        let text = value.to_string();
        let at = text.char_indices().nth(cut.index(text.chars().count())).map_or(0, |(at, _)| at);
        let _ = candidates(&format!("{}{noise}{}", &text[..at], &text[at..]));
    }
}
