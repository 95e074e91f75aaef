//! Which rows of a table a predicate in SQL picks.

use std::path::PathBuf;

use polars::error::PolarsResult;
use polars::prelude::{RowIndex, ScanArgsParquet, col};
use polars::sql::sql_expr;

use super::{collect, message, scan};
use crate::error::{Error, Result};
use crate::frame::part;

/// The column that numbers rows while the predicate is worked out.
const ROW: &str = "__row";

/// Numbers of the rows, in order, for which `predicate` holds, over all `files` of a table. Nulls do not hold.
///
/// # Errors
/// A predicate that does not parse, names a column that is not there, or is not true or false.
pub fn rows_where(files: &[PathBuf], predicate: &str) -> Result<Vec<u32>> {
    picked(files, predicate).map_err(|error| {
        let columns = files.first().and_then(|file| part::schema(file).ok());
        let names: Vec<String> =
            columns.iter().flat_map(|schema| schema.fields()).map(|field| field.name().clone()).collect();
        Error::usage(format!("--where `{predicate}` failed: {}", message(&error))).hint(format!(
            "write a condition such as \"language = 'python'\"; columns are {}",
            names.join(", ")
        ))
    })
}

fn picked(files: &[PathBuf], predicate: &str) -> PolarsResult<Vec<u32>> {
    let row_index = Some(RowIndex { name: ROW.into(), offset: 0 });
    let rows = scan(files, ScanArgsParquet { row_index, ..ScanArgsParquet::default() })?;
    let frame = collect(rows.filter(sql_expr(predicate)?).select([col(ROW)]))?;
    let mut rows: Vec<u32> = frame.column(ROW)?.u32()?.iter().flatten().collect();
    rows.sort_unstable();
    Ok(rows)
}
