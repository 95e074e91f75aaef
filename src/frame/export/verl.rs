//! `verl`: rows for reinforcement learning with verl: a prompt, and the tests that reward an answer.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, new_null_array};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::json;

use super::columns::{conversation_type, conversations, texts};
use super::{Container, Format, Options, Place, Shape};
use crate::error::Result;
use crate::frame::schema::{ID, batch_of, column};

pub(super) static FORMAT: Format = Format {
    name: "verl",
    about: "`data_source, prompt, ability, reward_model, extra_info`; the ground truth is the tests, as JSON",
    container: Container::Any,
    needs: &["question", "canonical_solution", "demo_test_func", "full_test_func", "language"],
    decides: &[],
    optional: &[],
    whole: false,
    options: &["system", "data-source"],
    explicit_nulls: false,
    shape,
};

/// Columns of the dataset that `extra_info` takes along where they are there, all as text.
const ALONG: [&str; 3] = [ID, "difficulty", "category"];

fn shape(_: &SchemaRef, options: &Options) -> Box<dyn Shape> {
    Box::new(Tasks { system: options.system.clone(), data_source: options.data_source.clone() })
}

struct Tasks {
    system: Option<String>,
    data_source: String,
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn reward_fields() -> Fields {
    Fields::from(vec![text("style"), text("ground_truth")])
}

fn extra_fields() -> Fields {
    let mut fields = vec![
        text("split"),
        Field::new("index", DataType::Int64, true),
        text("language"),
        text("question"),
        text("answer"),
    ];
    fields.extend(ALONG.map(text));
    Fields::from(fields)
}

impl Shape for Tasks {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("data_source"),
            Field::new("prompt", conversation_type(), true),
            text("ability"),
            Field::new("reward_model", DataType::Struct(reward_fields()), true),
            Field::new("extra_info", DataType::Struct(extra_fields()), true),
        ]))
    }

    fn rows(&self, batch: &RecordBatch, place: &Place<'_>) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
        let questions = texts(batch, "question")?;
        let languages = texts(batch, "language")?;
        let (demo, full) = (texts(batch, "demo_test_func")?, texts(batch, "full_test_func")?);
        let prompts = (0..rows).map(|row| {
            let system = self.system.as_deref().map(|text| ("system", text));
            system.into_iter().chain([("user", questions.value(row))]).collect()
        });
        let truths = (0..rows).map(|row| {
            let truth = json!({
                "language": languages.value(row),
                "demo_test_func": demo.value(row),
                "full_test_func": full.value(row),
            });
            truth.to_string()
        });
        let rewards = vec![same("rule"), Arc::new(StringArray::from_iter_values(truths))];
        let numbers = (0..rows as u64).map(|row| (place.first + row).cast_signed());
        let mut extra: Vec<ArrayRef> = vec![
            same(place.split),
            Arc::new(Int64Array::from_iter_values(numbers)),
            Arc::new(languages.clone()),
            Arc::new(questions.clone()),
            Arc::new(texts(batch, "canonical_solution")?),
        ];
        for name in ALONG {
            extra.push(match batch.column_by_name(name) {
                Some(_) => Arc::new(texts(batch, name)?),
                None => new_null_array(&DataType::Utf8, rows),
            });
        }
        let columns = vec![
            column("data_source", same(&self.data_source)),
            column("prompt", conversations(prompts)),
            column("ability", same("code")),
            column("reward_model", Arc::new(StructArray::new(reward_fields(), rewards, None))),
            column("extra_info", Arc::new(StructArray::new(extra_fields(), extra, None))),
        ];
        batch_of(rows, columns)
    }
}
