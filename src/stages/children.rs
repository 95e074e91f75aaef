//! Rows exploded into children: their ids and whose children they are.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};

use super::Change;
use crate::error::Result;
use crate::frame::key::child_id;
use crate::frame::schema::{ID, strings};

/// Column with the id of the row that a row was made of.
pub const PARENT_ID: &str = "parent_id";
/// Column with the number of a sample, from 0.
pub const SAMPLE: &str = "sample";

/// The change that makes a row of each of `made`, a row of `batch` and the name of its child, or no name for the row itself;
/// with an `id`.
///
/// # Errors
/// There is no `id`.
pub(super) fn named<'a>(
    batch: &RecordBatch,
    made: impl Iterator<Item = (usize, Option<&'a str>)> + Clone,
) -> Result<Change> {
    let parents = strings(batch, ID)?;
    let ids = made.clone().map(|(row, name)| match name {
        Some(name) => child_id(parents.value(row), name),
        None => parents.value(row).to_owned(),
    });
    Ok(Change {
        add: vec![(ID.to_owned(), Arc::new(StringArray::from_iter_values(ids)))],
        rows: Some(made.map(|(row, _)| row as u32).collect()),
        ..Change::default()
    })
}

/// The change that makes `samples` children of every row of `batch`, with their `id`, `parent_id` and `sample`.
///
/// # Errors
/// There is no `id`.
pub(super) fn samples(batch: &RecordBatch, samples: u32) -> Result<Change> {
    let parents = strings(batch, ID)?;
    let children = || (0..parents.len()).flat_map(|row| (0..samples).map(move |sample| (row, sample)));
    let ids = children().map(|(row, sample)| child_id(parents.value(row), &sample.to_string()));
    let parent_ids = children().map(|(row, _)| parents.value(row));
    let columns: [(&str, ArrayRef); 3] = [
        (ID, Arc::new(StringArray::from_iter_values(ids))),
        (PARENT_ID, Arc::new(StringArray::from_iter_values(parent_ids))),
        (SAMPLE, Arc::new(UInt32Array::from_iter_values(children().map(|(_, sample)| sample)))),
    ];
    Ok(Change {
        rows: Some(children().map(|(row, _)| row as u32).collect()),
        add: columns.into_iter().map(|(name, values)| (name.to_owned(), values)).collect(),
        ..Change::default()
    })
}
