//! Several samples of one row in one column: a JSON array of objects, as `model` with `samples_into` writes it.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::frame::schema::strings;
use crate::llm::chat::REQUEST_REFUSED;

/// One reply of several to the same conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sampled {
    /// Its text; JSON where the stage wants JSON.
    pub output: String,
    /// Why it is no answer, where it is none: the reason that a row of its own would be rejected for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Sampled {
    /// Whether its request was refused, so that no model has answered it.
    pub fn is_refused(&self) -> bool {
        self.problem.as_deref() == Some(REQUEST_REFUSED)
    }
}

/// `items` as the text of one row.
///
/// # Errors
/// They cannot be written as JSON.
pub(super) fn text<T: Serialize>(items: &[T]) -> Result<String> {
    serde_json::to_string(items).map_err(|error| Error::usage(format!("samples: {error}")))
}

/// The column of these texts, one a row.
///
/// # Errors
/// They are too long for one partition; `stage` is named.
pub(super) fn column(stage: &str, texts: Vec<String>) -> Result<ArrayRef> {
    let bytes: usize = texts.iter().map(String::len).sum();
    if i32::try_from(bytes).is_err() {
        return Err(Error::usage(format!(
            "stage `{stage}`: the samples of one partition have {bytes} bytes"
        ))
        .hint("ask for fewer samples, or start a new run with a smaller --partition-size"));
    }
    Ok(Arc::new(StringArray::from(texts)))
}

/// The samples in the column `name` of every row; a row has an error where its text is none that [`text`] wrote.
///
/// # Errors
/// There is no such column of strings.
pub(super) fn read(batch: &RecordBatch, name: &str) -> Result<Vec<Result<Vec<Sampled>, String>>> {
    let column = strings(batch, name)?;
    let read = |row| match column.is_valid(row) {
        true => serde_json::from_str(column.value(row)).map_err(|error| format!("`{name}`: {error}")),
        false => Err(format!("`{name}` is empty")),
    };
    Ok((0..batch.num_rows()).map(read).collect())
}
