//! Seeds from JSON lines.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::block::{Block, Checks, Own, Record, Refused, Rejection, Seed, Source, key_of, shown};
use super::{LANGUAGE_COLUMNS, SeedOptions, TEXT_COLUMNS};
use crate::error::{Error, Result};
use crate::frame::columns::Kind;
use crate::frame::json_object::{JsonObject, NoObject};
use crate::frame::lines::{LINE_CAP, Line, LineChunk, LineChunks};

/// How many lines are looked at to find the text and the language column.
const SAMPLE_LINES: usize = 1000;

/// A JSONL input and where its text and language are.
#[derive(Debug, Clone)]
pub(super) struct JsonlInput {
    path: Arc<str>,
    text: String,
    language: String,
}

impl JsonlInput {
    /// Finds the text and the language column in the first lines.
    ///
    /// # Errors
    /// There are objects, but none has a text column.
    pub(super) fn probe(path: &Path, options: &SeedOptions) -> Result<Self> {
        let chunk = LineChunks::open(path)?.next().transpose()?;
        let mut names: Vec<String> = Vec::new();
        let lines = chunk.iter().flat_map(LineChunk::lines).take(SAMPLE_LINES);
        for (_, line) in lines {
            let Line::Whole(line) = line else { continue };
            let Some(Ok(object)) = std::str::from_utf8(line).ok().map(JsonObject::parse) else { continue };
            for (name, _) in object.iter() {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        let found = |given: &Option<String>, usual: &[&str]| match given {
            Some(given) => names.contains(given).then(|| given.clone()),
            None => usual
                .iter()
                .find(|usual| names.iter().any(|name| name == *usual))
                .map(|name| (*name).to_owned()),
        };
        let text = match found(&options.text_column, TEXT_COLUMNS) {
            Some(text) => text,
            // Nothing could be parsed: every line will be rejected under its own reason.
            None if names.is_empty() => options.text_column.clone().unwrap_or_else(|| TEXT_COLUMNS[0].into()),
            None => return Err(no_text_column(path, options, &names)),
        };
        let language = found(&options.language_column, LANGUAGE_COLUMNS)
            .or_else(|| options.language_column.clone())
            .unwrap_or_else(|| LANGUAGE_COLUMNS[0].into());
        Ok(Self { path: path.to_string_lossy().into(), text, language })
    }

    /// The records of a chunk of lines.
    pub(super) fn parse<'a>(&self, chunk: &'a LineChunk, checks: &mut Checks<'_>) -> Block<'a> {
        let mut records = Vec::new();
        let mut own = OwnValues::default();
        for (number, line) in chunk.lines() {
            let source = Source { path: self.path.clone(), place: Some(number) };
            let (line, parsed) = match line {
                Line::TooLong(head) => {
                    (head, Err(("line_too_long", format!("the line has more than {LINE_CAP} bytes"))))
                }
                Line::Whole(line) => (line, self.seed(&source, line, &mut own, checks)),
            };
            records.push(match parsed {
                Ok(seed) => Record::Seed(seed),
                Err((reason, detail)) => Record::Rejected(Rejection {
                    source,
                    reason,
                    detail,
                    language: None,
                    record: shown(line),
                }),
            });
        }
        Block { records, own: Own::Values { names: own.names, values: own.values } }
    }

    fn seed<'a>(
        &self,
        source: &Source,
        line: &'a [u8],
        own: &mut OwnValues<'a>,
        checks: &mut Checks<'_>,
    ) -> Result<Seed<'a>, Refused> {
        let line = std::str::from_utf8(line).map_err(|error| {
            ("not_utf8", format!("byte {} of the line is not UTF-8", error.valid_up_to() + 1))
        })?;
        let object = JsonObject::parse(line).map_err(|error| match error {
            NoObject::Malformed(_) => ("malformed_json", error.to_string()),
            NoObject::Other => ("not_an_object", error.to_string()),
        })?;
        let text = string(object.get(&self.text), &self.text, "text_missing")?
            .ok_or_else(|| ("text_missing", format!("the record has no `{}`", self.text)))?;
        checks.text(&text)?;
        let language = string(object.get(&self.language), &self.language, "language_missing")?;
        let language = checks.language(language.as_deref())?;
        let start = own.values.len();
        for (name, raw) in object.iter() {
            if name != self.text
                && name != self.language
                && let Err(error) = own.push(name, raw, checks)
            {
                own.values.truncate(start);
                return Err(("malformed_json", format!("`{name}`: {error}")));
            }
        }
        let own = start..own.values.len();
        Ok(Seed { source: source.clone(), key: key_of(&language, &text), language, text, own, written: line })
    }
}

#[derive(Default)]
struct OwnValues<'a> {
    names: Vec<String>,
    /// Names as written -> position in `names`.
    positions: HashMap<String, usize>,
    values: Vec<(usize, Kind, Cow<'a, str>)>,
}

impl<'a> OwnValues<'a> {
    fn push(&mut self, name: &str, raw: &'a str, checks: &Checks<'_>) -> Result<(), serde_json::Error> {
        let kind = Kind::of(raw)?;
        let position = match self.positions.get(name) {
            Some(position) => *position,
            None => {
                self.names.push(checks.own_name(name));
                self.positions.insert(name.to_owned(), self.names.len() - 1);
                self.names.len() - 1
            }
        };
        self.values.push((position, kind, Cow::Borrowed(raw)));
        Ok(())
    }
}

/// The string that `raw` is; `None` if it is not there or null.
fn string<'a>(
    raw: Option<&'a str>,
    name: &str,
    reason: &'static str,
) -> Result<Option<Cow<'a, str>>, Refused> {
    match raw {
        None | Some("null") => Ok(None),
        Some(raw) => match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Ok(Some(Cow::Borrowed(plain))),
            Some(_) => match serde_json::from_str::<String>(raw) {
                Ok(text) => Ok(Some(Cow::Owned(text))),
                Err(error) => Err(("malformed_json", format!("`{name}`: {error}"))),
            },
            None => Err((reason, format!("`{name}` is not a string"))),
        },
    }
}

/// The error for an input without a text column.
pub(super) fn no_text_column(path: &Path, options: &SeedOptions, names: &[String]) -> Error {
    let wanted = match &options.text_column {
        Some(given) => format!("no column `{given}`"),
        None => format!("no text column (one of {})", TEXT_COLUMNS.join(", ")),
    };
    Error::usage(format!("{} has {wanted}; its columns are {}", path.display(), names.join(", ")))
        .hint("name the column that holds the code with --text-column")
}
