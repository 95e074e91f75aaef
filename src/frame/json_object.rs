//! One JSON object whose values are left as they are written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Names and raw values in the order they are written; of a repeated name only the last counts.
#[derive(Debug)]
pub struct JsonObject<'a>(Vec<(Cow<'a, str>, &'a str)>);

/// Why a line is not a JSON object.
#[derive(Debug)]
pub enum NoObject {
    /// It is no JSON at all.
    Malformed(serde_json::Error),
    /// It is some other JSON value.
    Other,
}

impl fmt::Display for NoObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "malformed JSON: {error}"),
            Self::Other => f.write_str("JSON, but not an object"),
        }
    }
}

impl<'a> JsonObject<'a> {
    /// Parses a line.
    ///
    /// # Errors
    /// The line holds anything but one JSON object.
    pub fn parse(line: &'a str) -> Result<Self, NoObject> {
        if line.trim_start().starts_with('{') {
            serde_json::from_str(line).map_err(NoObject::Malformed)
        } else {
            serde_json::from_str::<IgnoredAny>(line).map_err(NoObject::Malformed)?;
            Err(NoObject::Other)
        }
    }

    /// The raw value of `name`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, raw)| *raw)
    }

    /// Names and raw values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, raw)| (name.as_ref(), *raw))
    }
}

impl<'de> Deserialize<'de> for JsonObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = JsonObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de str)> = Vec::with_capacity(8);
                while let Some(Name(name)) = map.next_key()? {
                    let raw = map.next_value::<&'de RawValue>()?.get();
                    match members.iter_mut().find(|(known, _)| *known == name) {
                        Some(member) => member.1 = raw,
                        None => members.push((name, raw)),
                    }
                }
                Ok(JsonObject(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A member's name, borrowed from the line where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
