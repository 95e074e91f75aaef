//! `trl-sft`: conversations to fine-tune on, as TRL's trainers and most others take them.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};

use super::columns::{Turn, conversation_type, conversations, fenced, texts};
use super::{Container, Format, Options, Place, Shape};
use crate::error::Result;
use crate::frame::schema::{batch_of, column};

pub(super) static FORMAT: Format = Format {
    name: "trl-sft",
    about: "`messages`: the question, and the solution in a fenced block",
    container: Container::Any,
    needs: &["question", "canonical_solution", "language"],
    decides: &[],
    optional: &[],
    whole: false,
    options: &["system"],
    explicit_nulls: false,
    shape,
};

pub(super) fn shape(_: &SchemaRef, options: &Options) -> Box<dyn Shape> {
    Box::new(Lessons { system: options.system.clone() })
}

struct Lessons {
    system: Option<String>,
}

impl Shape for Lessons {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("messages", conversation_type(), true)]))
    }

    fn rows(&self, batch: &RecordBatch, _: &Place<'_>) -> Result<RecordBatch> {
        let questions = texts(batch, "question")?;
        let solutions = texts(batch, "canonical_solution")?;
        let languages = texts(batch, "language")?;
        let answers: Vec<String> =
            (0..batch.num_rows()).map(|row| fenced(languages.value(row), solutions.value(row))).collect();
        let messages = answers.iter().enumerate().map(|(row, answer)| {
            let system = self.system.as_deref().map(|text| ("system", text));
            let turns: [Turn<'_>; 2] = [("user", questions.value(row)), ("assistant", answer)];
            system.into_iter().chain(turns).collect()
        });
        batch_of(batch.num_rows(), vec![column("messages", conversations(messages))])
    }
}
