//! Which rows of a dataset are written, and to which split.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;

use super::columns::texts;
use super::{Format, Shape, Splits};
use crate::error::{Error, Result};
use crate::frame::part::{self, Scan};
use crate::frame::schema::ID;

/// The column with the id of the row that a row was made of.
const PARENT_ID: &str = "parent_id";

/// Where each row of a dataset goes.
pub struct Selection {
    /// For each row the number of its split; [`Selection::NOWHERE`] for rows that are left out.
    pub to: Vec<u8>,
    /// Rows of each split.
    pub rows: Vec<u64>,
    /// Rows that have no place in the format, by reason; rows that a condition leaves out do not count.
    pub left_out: BTreeMap<String, u64>,
}

impl Selection {
    /// The split of rows that are left out.
    pub const NOWHERE: u8 = u8::MAX;
}

/// Selects from the rows of `files`, which have `schema`: those numbered in `picked` (sorted), if that is given, that have
/// what `format` needs. Only columns that decide are read, and none where the files' statistics say that all have values.
///
/// # Errors
/// There is no `id` to split by; a file that does not read.
pub fn select(
    files: &[PathBuf],
    schema: &SchemaRef,
    picked: Option<Vec<u32>>,
    splits: &Splits,
    format: &Format,
    shape: &dyn Shape,
) -> Result<Selection> {
    let total = files.iter().map(|file| part::num_rows(file)).sum::<Result<u64>>()?;
    let mut to = vec![if picked.is_some() { Selection::NOWHERE } else { 0 }; total as usize];
    for row in picked.into_iter().flatten() {
        if let Some(to) = to.get_mut(row as usize) {
            *to = 0;
        }
    }
    let mut needs = Vec::new();
    for name in format.needs {
        if part::may_be_null(files, name)? {
            needs.push(*name);
        }
    }
    let mut reads: Vec<&str> = needs.iter().chain(format.decides).copied().collect();
    if !splits.is_single() {
        if schema.column_with_name(ID).is_none() {
            return Err(Error::usage("there is no column `id` to split by")
                .hint("export without --split, or give the rows an `id`"));
        }
        reads.push(ID);
        reads.extend(schema.column_with_name(PARENT_ID).map(|_| PARENT_ID));
    }
    let mut left_out = BTreeMap::new();
    if !reads.is_empty() {
        let reads = reads.into_iter().map(str::to_owned).collect();
        let mut first = 0;
        for batch in Scan::new(files.to_vec(), Some(reads)) {
            let batch = batch?;
            let rows = to.get_mut(first..first + batch.num_rows()).ok_or_else(|| {
                Error::environment("the table grew while it was exported").hint("export it again")
            })?;
            first += batch.num_rows();
            for (row, why) in reasons(&batch, &needs, shape)? {
                if rows[row] != Selection::NOWHERE {
                    *left_out.entry(why).or_default() += 1;
                    rows[row] = Selection::NOWHERE;
                }
            }
            if !splits.is_single() {
                assign(&batch, splits, rows, &mut left_out)?;
            }
        }
    }
    let mut rows = vec![0; splits.shares().len()];
    for split in to.iter().filter(|split| **split != Selection::NOWHERE) {
        rows[usize::from(*split)] += 1;
    }
    Ok(Selection { to, rows, left_out })
}

/// The rows of `batch` that have no place in the format, each once, and why.
fn reasons(batch: &RecordBatch, needs: &[&str], shape: &dyn Shape) -> Result<Vec<(usize, String)>> {
    let unfit = shape.unfit(batch)?;
    let mut reasons = Vec::new();
    for (row, why) in unfit.into_iter().enumerate() {
        let null = |name: &&&str| batch.column_by_name(name).is_some_and(|column| column.is_null(row));
        match needs.iter().find(null) {
            Some(name) => reasons.push((row, format!("no `{name}`"))),
            None => reasons.extend(why.map(|why| (row, why.to_owned()))),
        }
    }
    Ok(reasons)
}

/// Gives the rows that are not left out their splits.
fn assign(
    batch: &RecordBatch,
    splits: &Splits,
    to: &mut [u8],
    left_out: &mut BTreeMap<String, u64>,
) -> Result<()> {
    let ids = texts(batch, ID)?;
    let parents = batch.column_by_name(PARENT_ID).map(|_| texts(batch, PARENT_ID)).transpose()?;
    for (row, to) in to.iter_mut().enumerate().filter(|(_, to)| **to != Selection::NOWHERE) {
        if ids.is_null(row) {
            *left_out.entry(format!("no `{ID}`")).or_default() += 1;
            *to = Selection::NOWHERE;
            continue;
        }
        let parent = parents.as_ref().filter(|parents| parents.is_valid(row)).map(|all| all.value(row));
        // There are at most 255 splits.
        *to = splits.of(ids.value(row), parent) as u8;
    }
    Ok(())
}
