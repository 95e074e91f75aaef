//! `parquet` and `jsonl`: the dataset as it is.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::{Container, Format, Options, Place, Shape};
use crate::error::Result;

pub(super) static PARQUET: Format = Format {
    name: "parquet",
    about: "The dataset as it is",
    container: Container::Parquet,
    needs: &[],
    decides: &[],
    optional: &[],
    whole: true,
    options: &[],
    explicit_nulls: false,
    shape,
};

pub(super) static JSONL: Format = Format {
    name: "jsonl",
    about: "The same as JSON lines, nulls left out",
    container: Container::Lines,
    ..PARQUET
};

pub(super) fn shape(schema: &SchemaRef, _: &Options) -> Box<dyn Shape> {
    Box::new(Plain(schema.clone()))
}

struct Plain(SchemaRef);

impl Shape for Plain {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    fn rows(&self, batch: &RecordBatch, _: &Place<'_>) -> Result<RecordBatch> {
        Ok(batch.clone())
    }
}
