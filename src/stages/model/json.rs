//! Replies that are to be JSON: how they are asked for, read, checked, and asked for again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::text::json_reply::candidates;
use crate::text::json_schema::JsonSchema;

/// The form of replies that the endpoint is asked for in `response_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// None: nothing is sent.
    Text,
    /// Any JSON object.
    JsonObject,
    /// What the schema describes.
    JsonSchema,
}

/// Longest name of a schema that services take.
const NAME_BYTES: usize = 64;
/// Most of a wrong reply that is sent back, bytes, and most of what is wrong with it that is told, characters.
const QUOTED_BYTES: usize = 32 << 10;
const WHY_CHARS: usize = 500;

/// The JSON that a stage's replies are to be.
#[derive(Debug)]
pub(super) struct Expected {
    pub format: Format,
    pub schema: Option<JsonSchema>,
    /// Whether a reply that does not fit is sent back once.
    pub repair: bool,
}

impl Expected {
    /// `response_format` of requests; `stage` names the schema.
    pub fn response_format(&self, stage: &str) -> Option<Value> {
        match (self.format, &self.schema) {
            (Format::JsonSchema, Some(schema)) => {
                let name: String =
                    stage.chars().map(|c| if c == '.' { '_' } else { c }).take(NAME_BYTES).collect();
                Some(json!({
                    "type": "json_schema",
                    "json_schema": {"name": name, "schema": schema.as_value()},
                }))
            }
            (Format::JsonObject, _) => Some(json!({"type": "json_object"})),
            (Format::Text | Format::JsonSchema, _) => None,
        }
    }

    /// The JSON in `output`: the likeliest of what it may mean that fits.
    ///
    /// # Errors
    /// Why there is none, for the model and for people.
    pub fn read(&self, output: &str) -> Result<Value, String> {
        let mut first = None;
        for value in candidates(output)? {
            match self.check(&value) {
                Ok(()) => return Ok(value),
                Err(why) => first = first.or(Some(why)),
            }
        }
        let why = first.unwrap_or_else(|| "there is no JSON in it".to_owned());
        Err(why.chars().take(WHY_CHARS).collect())
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        match &self.schema {
            Some(schema) => schema.check(value),
            None if value.is_object() => Ok(()),
            None => Err("it is not a JSON object".to_owned()),
        }
    }

    /// What to answer to `output` to get it right, if it is to be; and how much of it to quote.
    pub fn complaint<'a>(&self, output: &'a str) -> Option<(&'a str, String)> {
        if !self.repair || output.trim().is_empty() {
            return None;
        }
        let why = self.read(output).err()?;
        let form = match &self.schema {
            Some(schema) => format!(" It must fit this JSON schema: {}", schema.as_value()),
            None => " It must be one JSON object.".to_owned(),
        };
        let mut end = output.len().min(QUOTED_BYTES);
        while !output.is_char_boundary(end) {
            end -= 1;
        }
        let complaint = format!("Your reply is not valid: {why}.{form} Reply with the corrected JSON only.");
        Some((&output[..end], complaint))
    }
}
