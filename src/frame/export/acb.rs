//! `acb`: rows as AutoCodeBench has them.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::columns::texts;
use super::{Container, Format, Options, Place, Shape};
use crate::error::Result;
use crate::frame::schema::{batch_of, column};

/// The benchmark's columns, in its order. All but the last must be there.
const NEEDS: [&str; 5] = ["question", "canonical_solution", "demo_test_func", "full_test_func", "language"];
const DIFFICULTY: &str = "difficulty";

pub(super) static FORMAT: Format = Format {
    name: "acb",
    about: "Rows as AutoCodeBench has them; difficulty is null where the dataset has none",
    container: Container::Any,
    needs: &NEEDS,
    decides: &[],
    optional: &[DIFFICULTY],
    whole: false,
    options: &[],
    explicit_nulls: true,
    shape,
};

fn shape(_: &SchemaRef, _: &Options) -> Box<dyn Shape> {
    Box::new(Benchmark)
}

struct Benchmark;

impl Shape for Benchmark {
    fn schema(&self) -> SchemaRef {
        let names = NEEDS.into_iter().chain([DIFFICULTY]);
        Arc::new(Schema::new(names.map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>()))
    }

    fn rows(&self, batch: &RecordBatch, _: &Place<'_>) -> Result<RecordBatch> {
        let mut columns = Vec::new();
        for name in NEEDS {
            columns.push(column(name, Arc::new(texts(batch, name)?)));
        }
        let difficulty: ArrayRef = match batch.column_by_name(DIFFICULTY) {
            Some(_) => Arc::new(texts(batch, DIFFICULTY)?),
            None => new_null_array(&DataType::Utf8, batch.num_rows()),
        };
        columns.push(column(DIFFICULTY, difficulty));
        batch_of(batch.num_rows(), columns)
    }
}
