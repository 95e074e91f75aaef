//! What fits a schema, what does not and why, and which schemas are refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn check(schema: Value, value: Value) -> Result<(), String> {
    JsonSchema::new(schema).unwrap().check(&value)
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    let schema = json!({
        "type": "object",
        "required": ["title", "tests"],
        "additionalProperties": false,
        "properties": {
            "title": {"type": "string", "minLength": 2, "pattern": "^[A-Z]"},
            "level": {"enum": ["easy", "hard"]},
            "score": {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": 10},
            "count": {"type": "integer"},
            "tests": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/test"}},
        },
        "$defs": {"test": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["input"]}]}},
    });
    let schema = JsonSchema::new(schema).unwrap();
    let with = |changes: Value| {
        let mut value = json!({"title": "Sum", "tests": ["1"], "score": null, "count": 2.0});
        value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        schema.check(&value)
    };
    assert_eq!(with(json!({})), Ok(()));
    let cases = [
        (json!({"title": 7}), "at /title: number where the type \"string\" is wanted"),
        (json!({"title": "S"}), "at /title: 1 characters, at least 2 wanted"),
        (json!({"title": "sum"}), "at /title: the text does not match `^[A-Z]`"),
        (json!({"level": "odd"}), "at /level: \"odd\" is none of [\"easy\",\"hard\"]"),
        (json!({"score": 10}), "at /score: 10 does not keep to exclusiveMaximum 10"),
        (json!({"score": -1}), "at /score: -1 does not keep to minimum 0"),
        (json!({"count": 2.5}), "at /count: number where the type \"integer\" is wanted"),
        (json!({"tests": []}), "at /tests: 0 items, at least 1 wanted"),
        (json!({"more": 1}), "at /more: there is no such field in the schema"),
        (
            json!({"tests": ["1", {}]}),
            "at /tests/1: none of the choices fits (at /tests/1: object where the type \"string\" is wanted; \
             at /tests/1: `input` is missing)",
        ),
    ];
    for (change, why) in cases {
        assert_eq!(with(change), Err(why.to_owned()));
    }
    assert_eq!(schema.check(&json!({})), Err("`title`, `tests` is missing".to_owned()));
}

#[test]
fn choices_and_constants() {
    let either = json!({"oneOf": [{"type": "integer"}, {"minimum": 5}]});
    assert_eq!(check(either.clone(), json!(1)), Ok(()));
    assert!(check(either, json!(7)).unwrap_err().contains("2 choices fit"));
    assert!(check(json!({"allOf": [{"const": 1}, {"type": "string"}]}), json!(1)).is_err());
    assert_eq!(check(json!({"const": 1}), json!(1.0)), Ok(()));
    assert!(check(json!({"properties": {"a": false}}), json!({"a": 1})).is_err());
    // No end of references, and no overflow either.
    assert!(check(json!({"$ref": "#"}), json!(1)).unwrap_err().contains("without end"));
}

#[test]
fn a_schema_that_is_not_understood_is_refused() {
    let cases = [
        (json!({"properties": {"a": {"not": {}}}}), "at /properties/a: the keyword `not`"),
        (json!({"type": "text"}), "`type` cannot be \"text\""),
        (json!({"minLength": -1}), "`minLength`"),
        (json!({"pattern": "("}), "`pattern`"),
        (json!({"$ref": "#/$defs/gone"}), "`$ref`"),
        (json!({"$ref": "https://example.org/schema"}), "`$ref`"),
        (json!({"anyOf": []}), "`anyOf`"),
        (json!({"items": [1]}), "a schema is an object, not array"),
        (json!("object"), "a schema is an object"),
    ];
    for (schema, why) in cases {
        let error = JsonSchema::new(schema).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

proptest! {
    #[test]
    fn no_schema_panics(text in "[{}\\[\\]\":,a-z0-9$#/ ]{0,80}", number: i64) {
        let words = ["type", "properties", "items", "anyOf", "$ref", "enum", "required", "minLength", "pattern"];
        for word in words {
            let inner: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
            for schema in [json!({word: inner}), json!({word: number}), json!({word: [{word: text}]}), json!({word: {"a": {word: "#"}}})] {
                if let Ok(schema) = JsonSchema::new(schema) {
                    let _ = schema.check(&json!({"a": [text, number]}));
                }
            }
        }
    }
}
