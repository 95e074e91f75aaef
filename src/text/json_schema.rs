//! Checking JSON against a schema: the part of JSON Schema that replies are described with.
//!
//! A schema that uses any other keyword is refused when it is read, so that none is silently left unchecked. (The crates
//! that know all of JSON Schema bring in much more, and change features of crates that arrow is built on.)

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

/// Keywords that say nothing about what is valid.
const ANNOTATIONS: [&str; 12] = [
    "title",
    "description",
    "default",
    "examples",
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "format",
    "deprecated",
    "readOnly",
];
/// Keywords that are checked.
const CHECKED: [&str; 22] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "items",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "anyOf",
    "allOf",
    "oneOf",
    "$ref",
];
/// Keywords whose value is a schema, a list of schemas, or schemas by name.
const ONE: [&str; 2] = ["items", "additionalProperties"];
const LISTED: [&str; 3] = ["anyOf", "allOf", "oneOf"];
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];

const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];

/// Deepest nesting of a schema, and of a value's check by it: one that refers to itself would have no end.
const DEPTH: usize = 256;

/// A schema that values can be checked against.
#[derive(Debug, Clone)]
pub struct JsonSchema {
    root: Value,
    patterns: HashMap<String, Regex>,
}

impl JsonSchema {
    /// The schema that `root` writes down.
    ///
    /// # Errors
    /// It is no schema, or uses a keyword that is not known here; the message says where.
    pub fn new(root: Value) -> Result<Self, String> {
        let mut patterns = HashMap::new();
        audit(&root, &root, "", 0, &mut patterns)?;
        Ok(Self { root, patterns })
    }

    /// The schema as it was written down.
    pub fn as_value(&self) -> &Value {
        &self.root
    }

    /// Checks `value`.
    ///
    /// # Errors
    /// The first thing that does not fit, and where: `at /items/0: ...`.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        self.check_at(&self.root, value, "", 0)
    }

    fn check_at(&self, schema: &Value, value: &Value, at: &str, depth: usize) -> Result<(), String> {
        let Value::Object(schema) = schema else {
            return if schema == &Value::Bool(false) {
                misfit(at, "nothing is allowed here")
            } else {
                Ok(())
            };
        };
        if depth == DEPTH {
            return misfit(at, "the schema refers to itself without end");
        }
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let target = refer(&self.root, name).ok_or_else(|| format!("`{name}` is not in the schema"))?;
            self.check_at(target, value, at, depth + 1)?;
        }
        check_kind(schema, value, at)?;
        match value {
            Value::Object(fields) => self.check_fields(schema, fields, at, depth)?,
            Value::Array(items) => {
                check_length(schema, ["minItems", "maxItems"], items.len(), "items", at)?;
                if let Some(each) = schema.get("items") {
                    for (n, item) in items.iter().enumerate() {
                        self.check_at(each, item, &format!("{at}/{n}"), depth + 1)?;
                    }
                }
            }
            Value::String(text) => {
                check_length(schema, ["minLength", "maxLength"], text.chars().count(), "characters", at)?;
                let pattern = schema.get("pattern").and_then(Value::as_str);
                if let Some(regex) = pattern.and_then(|pattern| self.patterns.get(pattern))
                    && !regex.is_match(text)
                {
                    return misfit(at, &format!("the text does not match `{regex}`"));
                }
            }
            Value::Number(number) => check_range(schema, number.as_f64().unwrap_or(f64::NAN), at)?,
            Value::Null | Value::Bool(_) => {}
        }
        self.check_combined(schema, value, at, depth)
    }

    fn check_fields(
        &self,
        schema: &Map<String, Value>,
        fields: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<(), String> {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let missing: Vec<&str> =
            required.filter_map(Value::as_str).filter(|name| !fields.contains_key(*name)).collect();
        if !missing.is_empty() {
            return misfit(at, &format!("`{}` is missing", missing.join("`, `")));
        }
        check_length(schema, ["minProperties", "maxProperties"], fields.len(), "fields", at)?;
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, field) in fields {
            let at = format!("{at}/{name}");
            match (properties.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(known), _) => self.check_at(known, field, &at, depth + 1)?,
                (None, Some(Value::Bool(false))) => {
                    return misfit(&at, "there is no such field in the schema");
                }
                (None, Some(others)) => self.check_at(others, field, &at, depth + 1)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn check_combined(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
        depth: usize,
    ) -> Result<(), String> {
        for (keyword, most) in [("anyOf", usize::MAX), ("oneOf", 1)] {
            let Some(Value::Array(choices)) = schema.get(keyword) else { continue };
            let checked = choices.iter().map(|choice| self.check_at(choice, value, at, depth + 1));
            let misfits: Vec<String> = checked.filter_map(Result::err).collect();
            let fitting = choices.len() - misfits.len();
            if fitting == 0 {
                return misfit(at, &format!("none of the choices fits ({})", misfits.join("; ")));
            }
            if fitting > most {
                return misfit(at, &format!("{fitting} choices fit, and only one may"));
            }
        }
        let all = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        all.into_iter().try_for_each(|part| self.check_at(part, value, at, depth + 1))
    }
}

fn misfit(at: &str, what: &str) -> Result<(), String> {
    Err(match at {
        "" => what.to_owned(),
        at => format!("at {at}: {what}"),
    })
}

/// Checks `type`, `enum` and `const`.
fn check_kind(schema: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    let is = |name: &Value| match (name.as_str().unwrap_or_default(), value) {
        ("integer", Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        (name, value) => name == kind(value),
    };
    let fits = match schema.get("type") {
        None => true,
        Some(Value::Array(names)) => names.iter().any(is),
        Some(name) => is(name),
    };
    if !fits {
        return misfit(at, &format!("{} where the type {} is wanted", kind(value), schema["type"]));
    }
    let listed = schema.get("enum").and_then(Value::as_array);
    if listed.is_some_and(|listed| !listed.iter().any(|one| equal(one, value))) {
        return misfit(at, &format!("{} is none of {}", short(value), schema["enum"]));
    }
    match schema.get("const") {
        Some(only) if !equal(only, value) => misfit(at, &format!("{} is not {only}", short(value))),
        _ => Ok(()),
    }
}

/// Equality in which 1 and 1.0 are the same number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn check_length(
    schema: &Map<String, Value>,
    [least, most]: [&str; 2],
    length: usize,
    of: &str,
    at: &str,
) -> Result<(), String> {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
    if let Some(least) = bound(least).filter(|least| (length as u64) < *least) {
        return misfit(at, &format!("{length} {of}, at least {least} wanted"));
    }
    match bound(most).filter(|most| length as u64 > *most) {
        Some(most) => misfit(at, &format!("{length} {of}, at most {most} wanted")),
        None => Ok(()),
    }
}

fn check_range(schema: &Map<String, Value>, number: f64, at: &str) -> Result<(), String> {
    let bounds =
        [("minimum", true), ("maximum", true), ("exclusiveMinimum", false), ("exclusiveMaximum", false)];
    for (keyword, inclusive) in bounds {
        let Some(bound) = schema.get(keyword).and_then(Value::as_f64) else { continue };
        let beyond = if keyword.ends_with("inimum") { number < bound } else { number > bound };
        if beyond || (number == bound && !inclusive) {
            return misfit(at, &format!("{number} does not keep to {keyword} {bound}"));
        }
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The beginning of a value, for messages.
fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

/// The part of `root` that `#/...` names.
fn refer<'a>(root: &'a Value, name: &str) -> Option<&'a Value> {
    root.pointer(name.strip_prefix('#')?)
}

/// Sees to it that every part of `schema` is understood.
fn audit(
    root: &Value,
    schema: &Value,
    at: &str,
    depth: usize,
    patterns: &mut HashMap<String, Regex>,
) -> Result<(), String> {
    let bad = |what: String| Err(format!("json_schema, at {}: {what}", if at.is_empty() { "/" } else { at }));
    let fields = match schema {
        Value::Object(fields) if depth < DEPTH => fields,
        Value::Bool(_) => return Ok(()),
        Value::Object(_) => return bad("nested too deeply".into()),
        other => return bad(format!("a schema is an object, not {}", kind(other))),
    };
    for (keyword, value) in fields {
        let at = format!("{at}/{keyword}");
        let keyword = keyword.as_str();
        let texts = value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        let fits = match keyword {
            "type" => {
                let named = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
                named(value) || (texts && value.as_array().is_some_and(|list| list.iter().all(named)))
            }
            "enum" => value.is_array(),
            "required" => texts,
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => value.is_number(),
            "pattern" => match value.as_str().map(|pattern| (pattern, Regex::new(pattern))) {
                Some((pattern, Ok(regex))) => {
                    patterns.insert(pattern.to_owned(), regex);
                    true
                }
                _ => false,
            },
            "$ref" => value.as_str().is_some_and(|name| refer(root, name).is_some()),
            _ if keyword.starts_with("min") || keyword.starts_with("max") => value.is_u64(),
            _ if NAMED.contains(&keyword) => value.is_object(),
            _ if LISTED.contains(&keyword) => value.as_array().is_some_and(|list| !list.is_empty()),
            _ => true,
        };
        if !CHECKED.contains(&keyword) && !ANNOTATIONS.contains(&keyword) {
            return bad(format!("the keyword `{keyword}` is not supported"));
        }
        if !fits {
            return bad(format!("`{keyword}` cannot be {}", short(value)));
        }
        let parts: Vec<(String, &Value)> = match value {
            Value::Object(named) if NAMED.contains(&keyword) => {
                named.iter().map(|(name, part)| (format!("{at}/{name}"), part)).collect()
            }
            Value::Array(listed) if LISTED.contains(&keyword) => {
                listed.iter().enumerate().map(|(n, part)| (format!("{at}/{n}"), part)).collect()
            }
            part if ONE.contains(&keyword) => vec![(at, part)],
            _ => Vec::new(),
        };
        for (at, part) in parts {
            audit(root, part, &at, depth + 1, patterns)?;
        }
    }
    Ok(())
}
