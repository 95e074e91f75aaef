//! Columns that several formats make or read.

use std::sync::Arc;

use arrow_array::builder::OffsetBufferBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Fields};

use crate::error::{Error, Result};

/// The values of the column `name` as text, whatever kind of string or number it holds.
pub(super) fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    let column =
        batch.column_by_name(name).ok_or_else(|| Error::usage(format!("there is no column `{name}`")))?;
    let unfit = |why: &dyn std::fmt::Display| Error::usage(format!("column `{name}` is no text: {why}"));
    if column.data_type().is_nested() {
        return Err(unfit(column.data_type()));
    }
    let texts = cast(column, &DataType::Utf8).map_err(|error| unfit(&error))?;
    Ok(texts.as_string::<i32>().clone())
}

/// A turn of a conversation: role and content.
pub(super) type Turn<'a> = (&'static str, &'a str);

/// The type of a column of conversations, as chat templates take them.
pub(super) fn conversation_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(turn_fields()), true)))
}

fn turn_fields() -> Fields {
    Fields::from(vec![Field::new("role", DataType::Utf8, true), Field::new("content", DataType::Utf8, true)])
}

/// A column of conversations, one for each item.
pub(super) fn conversations<'a>(rows: impl IntoIterator<Item = Vec<Turn<'a>>>) -> ArrayRef {
    let (mut roles, mut contents, mut lengths) = (Vec::new(), Vec::new(), OffsetBufferBuilder::new(0));
    for turns in rows {
        lengths.push_length(turns.len());
        for (role, content) in turns {
            roles.push(role);
            contents.push(content);
        }
    }
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(roles)), Arc::new(StringArray::from(contents))];
    let turns = StructArray::new(turn_fields(), columns, None);
    let item = Arc::new(Field::new("item", turns.data_type().clone(), true));
    Arc::new(ListArray::new(item, lengths.finish(), Arc::new(turns), None))
}

/// `code` in a fence of its language, unless it is in one already. Code that holds fences gets a longer one.
pub(super) fn fenced(language: &str, code: &str) -> String {
    let trimmed = code.trim();
    if trimmed.len() > 6 && trimmed.starts_with("```") && trimmed.ends_with("```") {
        return trimmed.to_owned();
    }
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}", code.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_fenced_once() {
        assert_eq!(fenced("go", "x\n"), "```go\nx\n```");
        assert_eq!(fenced("go", "```go\nx\n```\n"), "```go\nx\n```");
        assert_eq!(fenced("python", "a = '```'"), "````python\na = '```'\n````");
        assert_eq!(fenced("python", "```"), "````python\n```\n````");
    }
}
