//! Seeds from source files: one file, one seed.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use super::block::{Block, Checks, Own, Record, Refused, Rejection, Seed, Source, key_of, shown};
use super::inputs::Input;
use crate::error::{Error, Result};
use crate::frame::columns::Kind;

/// A source file, its language and its path inside the folder it was found in.
#[derive(Clone, Copy)]
pub(super) struct SourceInput<'a> {
    pub(super) input: &'a Input,
    pub(super) language: &'a str,
    pub(super) shown: &'a str,
}

/// Reads files into records; the path comes along as the column `path`.
pub(super) fn parse<'a>(files: &[SourceInput<'_>], limit: usize, checks: &Checks<'_>) -> Result<Block<'a>> {
    let mut records = Vec::with_capacity(files.len());
    let mut values = Vec::with_capacity(files.len());
    for file in files {
        let path = &file.input.path;
        let source = Source { path: path.to_string_lossy().into(), place: None };
        // One byte past the limit is enough to know that it is too long.
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|opened| opened.take(limit as u64 + 1).read_to_end(&mut bytes))
            .map_err(|error| Error::io("read", path, error))?;
        let language: Arc<str> = file.language.into();
        match text_of(&bytes, file, limit, checks) {
            Ok(text) => {
                let own = values.len()..values.len() + 1;
                let shown = serde_json::Value::from(file.shown).to_string();
                values.push((0, Kind::Text, Cow::Owned(shown)));
                let key = key_of(&language, &text);
                records.push(Record::Seed(Seed {
                    source,
                    key,
                    language,
                    text: Cow::Owned(text),
                    own,
                    written: "",
                }));
            }
            Err((reason, detail)) => records.push(Record::Rejected(Rejection {
                source,
                reason,
                detail,
                language: Some(language),
                record: shown(&bytes),
            })),
        }
    }
    Ok(Block { records, own: Own::Values { names: vec![checks.own_name("path")], values } })
}

fn text_of(
    bytes: &[u8],
    file: &SourceInput<'_>,
    limit: usize,
    checks: &Checks<'_>,
) -> Result<String, Refused> {
    if bytes.len() > limit {
        let size = file.input.size;
        return Err(("too_long", format!("the file has {size} bytes, the limit is {limit}")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ("not_utf8", format!("byte {} of the file is not UTF-8", error.valid_up_to() + 1))
    })?;
    checks.text(text)?;
    Ok(text.to_owned())
}
