//! Questions about the sealed tables of a run, answered by polars. Reads frames and imports nothing above them.

mod groups;
pub mod output;
pub mod predicate;
pub mod queries;
pub mod report;
pub mod rows;
pub mod tables;

use std::path::PathBuf;

use polars::error::{PolarsError, PolarsResult};
use polars::prelude::{DataFrame, Engine, LazyFrame, PlRefPath, ScanArgsParquet};

use crate::error::Error;
use crate::frame::contained;

/// A lazy scan of `files`, which have the same columns, in the order given.
fn scan(files: &[PathBuf], args: ScanArgsParquet) -> PolarsResult<LazyFrame> {
    let paths: Vec<PlRefPath> =
        files.iter().map(|file| PlRefPath::try_from_path(file)).collect::<Result<_, _>>()?;
    // A run directory called `runs/[1]` is no pattern.
    LazyFrame::scan_parquet_files(paths.into(), ScanArgsParquet { glob: false, ..args })
}

/// The rows of `plan`, made by the streaming engine: tables may be larger than memory.
fn collect(plan: LazyFrame) -> PolarsResult<DataFrame> {
    // Polars 0.55 panics on some questions, such as a cross join with an inequality.
    let answer = contained::panics(|| Ok(plan.collect_with_engine(Engine::Streaming)), Error::usage)
        .map_err(|panic| PolarsError::ComputeError(format!("polars cannot answer this: {panic}").into()))?;
    // A plan without sinks of its own has one result.
    Ok(answer?.unwrap_single())
}

/// What polars says, without the plan it appends.
fn message(error: &PolarsError) -> String {
    let text = error.to_string();
    text.split("\n\n").next().unwrap_or_default().trim().to_owned()
}
