//! A dataset in the shapes that benchmarks, trainers and hubs read: one file per format, and one table of them.
//!
//! Rows stream: memory holds a batch, an open row group per split, and one byte per row that says where it goes.

mod acb;
pub mod card;
mod columns;
mod hf;
mod openai_finetune;
mod plain;
mod samples;
mod select;
mod shards;
mod split;
mod trl_preference;
mod trl_sft;
mod verl;
mod writer;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

pub use hf::{check_replaceable, hub_paths};
pub use select::{Selection, select};
pub use shards::{ClosedShards, Shard, ShardWriter, shard_paths, split_path};
pub use split::Splits;
pub use writer::{SplitWriter, selected};

use crate::error::{Error, Result};

/// What shapes depend on besides the dataset.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The system message of conversations, if they are to have one.
    pub system: Option<String>,
    /// What is preferred in preference pairs.
    pub chosen: Chosen,
    /// What verl finds the reward function by.
    pub data_source: String,
}

/// What is preferred in preference pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Chosen {
    /// The canonical solution.
    #[default]
    Canonical,
    /// The first sample that passed the tests.
    Sample,
}

/// What files a format is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// `.jsonl`, `.jsonl.gz`, `.jsonl.zst`.
    Lines,
    /// `.parquet`.
    Parquet,
    /// Either of them, as the ending says.
    Any,
    /// A folder of Parquet files.
    Folder,
}

/// One format.
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// What it is written to.
    pub container: Container,
    /// Columns the dataset must have; rows without a value there are left out.
    pub needs: &'static [&'static str],
    /// Other columns that decide whether a row is left out; the dataset must have them, too.
    pub decides: &'static [&'static str],
    /// Columns that are null where the dataset does not have them.
    pub optional: &'static [&'static str],
    /// Whether all columns of the dataset are written, so that others can be added.
    pub whole: bool,
    /// Names of the fields of [`Options`] that matter to it.
    pub options: &'static [&'static str],
    /// Whether JSONL says `null`.
    pub explicit_nulls: bool,
    /// Its shape for a dataset with this schema.
    pub shape: fn(&SchemaRef, &Options) -> Box<dyn Shape>,
}

/// All formats. Adding one is a file and a line.
pub static FORMATS: [&Format; 8] = [
    &plain::PARQUET,
    &plain::JSONL,
    &acb::FORMAT,
    &trl_sft::FORMAT,
    &trl_preference::FORMAT,
    &verl::FORMAT,
    &openai_finetune::FORMAT,
    &hf::FORMAT,
];

/// Where rows of a dataset go.
pub struct Place<'a> {
    /// Name of the split.
    pub split: &'a str,
    /// Number of the first row in the split, from 0.
    pub first: u64,
}

/// How the rows of a dataset look in a format.
pub trait Shape {
    /// The columns that are written.
    fn schema(&self) -> SchemaRef;

    /// Why rows of `batch`, which has the columns that the format decides by, have no place in it; `None` for the others.
    ///
    /// # Errors
    /// A column of an unfit type.
    fn unfit(&self, batch: &RecordBatch) -> Result<Vec<Option<&'static str>>> {
        Ok(vec![None; batch.num_rows()])
    }

    /// The rows of `batch`, which all have a place in the format.
    ///
    /// # Errors
    /// A column of an unfit type.
    fn rows(&self, batch: &RecordBatch, place: &Place<'_>) -> Result<RecordBatch>;
}

impl Format {
    /// The format called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.into_iter().find(|format| format.name == name)
    }

    /// Checks that a dataset with `schema` has what the format needs.
    ///
    /// # Errors
    /// Columns that are missing, all of them named.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        let missing: Vec<String> = (self.needs.iter().chain(self.decides))
            .filter(|name| schema.column_with_name(name).is_none())
            .map(|name| format!("`{name}`"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let why = match missing.iter().any(|name| name == "`samples`") {
            true => "; `samples` comes from a pipeline with a `difficulty` stage",
            false => "",
        };
        Err(Error::usage(format!("--format {} needs the column {}", self.name, missing.join(", ")))
            .hint(format!("the dataset has {}{why}", names.join(", "))))
    }
}
