//! `trl-preference`: pairs of a right and a wrong answer, as TRL's DPO and reward trainers take them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};

use super::columns::{conversation_type, conversations, fenced, texts};
use super::samples::{SAMPLES, Sample, samples};
use super::{Chosen, Container, Format, Options, Place, Shape};
use crate::error::Result;
use crate::frame::schema::{batch_of, column};

pub(super) static FORMAT: Format = Format {
    name: "trl-preference",
    about: "`prompt, chosen, rejected`: the solution or a sample that passed, and a sample that failed",
    container: Container::Any,
    needs: &["question", "canonical_solution", "language"],
    decides: &[SAMPLES],
    optional: &[],
    whole: false,
    options: &["system", "chosen"],
    explicit_nulls: false,
    shape,
};

fn shape(_: &SchemaRef, options: &Options) -> Box<dyn Shape> {
    Box::new(Pairs { system: options.system.clone(), chosen: options.chosen })
}

struct Pairs {
    system: Option<String>,
    chosen: Chosen,
}

/// The first program among `samples` that the tests judged so.
fn judged(samples: &[Sample], passed: bool) -> Option<&str> {
    let mut judged = samples.iter().filter(|sample| sample.passed == Some(passed));
    judged.find_map(|sample| sample.code.as_deref().filter(|code| !code.trim().is_empty()))
}

/// Conversations of one answer each.
fn answers(texts: &[String]) -> ArrayRef {
    conversations(texts.iter().map(|text| vec![("assistant", text.as_str())]))
}

impl Shape for Pairs {
    fn schema(&self) -> SchemaRef {
        let field = |name| Field::new(name, conversation_type(), true);
        Arc::new(Schema::new(["prompt", "chosen", "rejected"].map(field).to_vec()))
    }

    fn unfit(&self, batch: &RecordBatch) -> Result<Vec<Option<&'static str>>> {
        let why = |samples: &Vec<Sample>| {
            if judged(samples, false).is_none() {
                Some("no sample failed")
            } else if self.chosen == Chosen::Sample && judged(samples, true).is_none() {
                Some("no sample passed")
            } else {
                None
            }
        };
        Ok(samples(batch)?.iter().map(why).collect())
    }

    fn rows(&self, batch: &RecordBatch, _: &Place<'_>) -> Result<RecordBatch> {
        let questions = texts(batch, "question")?;
        let solutions = texts(batch, "canonical_solution")?;
        let languages = texts(batch, "language")?;
        let samples = samples(batch)?;
        let (mut chosen, mut rejected) = (Vec::new(), Vec::new());
        for (row, samples) in samples.iter().enumerate() {
            let right = match self.chosen {
                Chosen::Canonical => Some(solutions.value(row)),
                Chosen::Sample => judged(samples, true),
            };
            let fenced = |code: Option<&str>| fenced(languages.value(row), code.unwrap_or_default());
            chosen.push(fenced(right));
            rejected.push(fenced(judged(samples, false)));
        }
        let prompts = (0..questions.len()).map(|row| {
            let system = self.system.as_deref().map(|text| ("system", text));
            system.into_iter().chain([("user", questions.value(row))]).collect()
        });
        let columns = vec![
            column("prompt", conversations(prompts)),
            column("chosen", answers(&chosen)),
            column("rejected", answers(&rejected)),
        ];
        batch_of(batch.num_rows(), columns)
    }
}
