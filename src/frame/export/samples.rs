//! The column `samples` that a `difficulty` stage leaves: what a weaker model answered, and how the tests judged it.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use serde::Deserialize;

use super::columns::texts;
use crate::error::{Error, Result};
use crate::frame::columns::json_texts;

/// The column: a list of structs, or JSON text.
pub(super) const SAMPLES: &str = "samples";

/// One answer of the weaker model.
#[derive(Debug, Deserialize)]
pub(super) struct Sample {
    /// The program; `None` where the reply had none.
    #[serde(default)]
    pub(super) code: Option<String>,
    /// Whether it passed the tests; `None` where they have not judged it.
    #[serde(default)]
    pub(super) passed: Option<bool>,
}

/// The samples of each row. A row without any has an empty list.
pub(super) fn samples(batch: &RecordBatch) -> Result<Vec<Vec<Sample>>> {
    let column = batch
        .column_by_name(SAMPLES)
        .ok_or_else(|| Error::usage(format!("there is no column `{SAMPLES}`")))?;
    let json = match column.data_type().is_nested() {
        true => {
            let json = json_texts(column).map_err(|error| unfit(&error))?;
            json.as_string::<i32>().clone()
        }
        false => texts(batch, SAMPLES)?,
    };
    let rows = (0..json.len()).map(|row| match json.is_null(row) {
        true => Ok(Vec::new()),
        false => serde_json::from_str(json.value(row)).map_err(|error| unfit(&error)),
    });
    rows.collect()
}

fn unfit(why: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("column `{SAMPLES}` is no list of samples: {why}"))
        .hint("each sample is {\"code\": text, \"passed\": true or false}")
}
