//! `extract_answer`: the program in an answer to a problem, for a benchmark: see [`crate::text::answer`].

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use rayon::prelude::*;
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::{Change, Pure, Stage, Work, depends_on};
use crate::error::Result;
use crate::frame::schema::{LANGUAGE, strings};
use crate::text::answer;

/// The language whose answers go into the module of the reference solution.
const ELIXIR: &str = "elixir";

/// Keys of the operator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Column with the answer.
    from: String,
    /// Column for the program.
    into: String,
    /// What answers are.
    #[serde(rename = "as", default)]
    kind: Kind,
    /// Whether problems are beginnings of programs, in the columns `prompt` and `entry_point`, that answers go on from.
    #[serde(default)]
    continues: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// What a model said: the program is in a fenced block.
    #[default]
    Reply,
    /// A program, fenced or not.
    Code,
    /// What follows the problem's `prompt`, as it is.
    Completion,
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let mut needs = vec![LANGUAGE.to_owned(), config.from.clone()];
    if config.kind == Kind::Reply {
        needs.push("canonical_solution".into());
    }
    if config.continues {
        needs.extend(["prompt", "entry_point"].map(str::to_owned));
    }
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "extract_answer",
        needs,
        adds: vec![config.into.clone()],
        drops: vec![],
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{config:?}")),
        work: Work::Pure(Box::new(config)),
    })
}

impl Config {
    fn program<'a>(&self, text: &'a str, language: &str, canonical: &str) -> Cow<'a, str> {
        match self.kind {
            Kind::Code | Kind::Completion => text.into(),
            Kind::Reply => match answer::program(text) {
                code if language == ELIXIR => answer::in_module(&code, canonical).into_owned().into(),
                code => code,
            },
        }
    }
}

impl Pure for Config {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let column = |wanted: bool, name| wanted.then(|| strings(batch, name)).transpose();
        let answers = strings(batch, &self.from)?;
        let languages = strings(batch, LANGUAGE)?;
        let canonical = column(self.kind == Kind::Reply, "canonical_solution")?;
        let prompts = column(self.continues, "prompt")?;
        let entry_points = column(self.continues, "entry_point")?;
        let value = |column: Option<&'_ StringArray>, row: usize| match column {
            Some(column) if column.is_valid(row) => column.value(row).to_owned(),
            _ => String::new(),
        };
        let programs: Vec<String> = (0..batch.num_rows())
            .into_par_iter()
            .map(|row| {
                let text = if answers.is_valid(row) { answers.value(row) } else { "" };
                let program = self.program(text, languages.value(row), &value(canonical, row));
                match (value(prompts, row), value(entry_points, row)) {
                    (prompt, name) if !name.is_empty() => {
                        let is_rest = self.kind == Kind::Completion;
                        answer::after_prompt(&program, &prompt, &name, is_rest).into_owned()
                    }
                    _ => program.into_owned(),
                }
            })
            .collect();
        let programs: ArrayRef = Arc::new(StringArray::from(programs));
        Ok(Change { add: vec![(self.into.clone(), programs)], ..Change::default() })
    }
}
