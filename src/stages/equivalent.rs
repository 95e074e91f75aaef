//! `equivalent`: keeps the rows whose program prints the same values as the one it was translated from.
//!
//! What the original printed is in a column; what the translation printed comes from its run, and takes its place. Rows
//! whose run did not PASS leave with the outcome as the reason, those that print something else as `not_equivalent`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use serde::Deserialize;

use super::keep::Runs;
use super::registry::{Context, Spec};
use super::run::{SUCCESS, result_column};
use super::translate_to::SOURCE_LANGUAGE;
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::Result;
use crate::frame::schema::{LANGUAGE, strings};
use crate::text::equivalent::{Difference, Printed, equivalent};

/// Most lines of each output that a rejection shows, and most bytes of them.
const SHOWN_LINES: usize = 6;
const SHOWN_BYTES: usize = 600;

/// What a language's own tool prints before the program does.
const SAID_BY_TOOLS: &[(&str, &str)] =
    &[("racket", "raco test: \"test.rkt\"\n"), ("scheme", "raco test: \"test.scm\"\n")];

/// What the program itself printed.
fn of_program<'a>(language: &str, stdout: &'a str) -> &'a str {
    let said = SAID_BY_TOOLS.iter().find(|(name, _)| *name == language);
    said.and_then(|(_, line)| stdout.strip_prefix(line)).unwrap_or(stdout)
}

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Column with the program that prints; `run` has run it.
    harness: String,
    /// Column with what the original printed.
    printed: String,
}

struct Equivalent {
    harness: [String; 1],
    printed: String,
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let Config { harness, printed } = spec.config()?;
    let results = [result_column(&harness), SUCCESS.to_owned()];
    let ours = [LANGUAGE.to_owned(), SOURCE_LANGUAGE.to_owned(), printed.clone()];
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "equivalent",
        needs: [ours.as_slice(), &results].concat(),
        adds: vec![printed.clone()],
        drops: results.into(),
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{harness} {printed}")),
        work: Work::Pure(Box::new(Equivalent { harness: [harness], printed })),
    })
}

impl Pure for Equivalent {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let runs = Runs::of(batch, &self.harness)?;
        let (sources, targets) = (strings(batch, SOURCE_LANGUAGE)?, strings(batch, LANGUAGE)?);
        let originals = strings(batch, &self.printed)?;
        let mut rejected = Vec::new();
        let mut printed = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let (source, target) = (sources.value(row), targets.value(row));
            let stdout = runs.verdict(0, row);
            let stdout =
                stdout.map(|verdict| (of_program(target, &verdict.stdout).to_owned(), verdict.truncated));
            let rejection = runs.failure(row).or_else(|| {
                let (translated, truncated) = stdout.as_ref()?;
                let original =
                    if originals.is_valid(row) { of_program(source, originals.value(row)) } else { "" };
                let (reason, detail) = match () {
                    () if *truncated => {
                        ("output_too_long", "what the translation printed was cut".to_owned())
                    }
                    () if original.trim().is_empty() => {
                        ("nothing_to_compare", format!("`{}` is empty", self.printed))
                    }
                    () => {
                        let difference = equivalent(
                            Printed { text: original, language: source },
                            Printed { text: translated, language: target },
                        )
                        .err()?;
                        ("not_equivalent", shown(difference, (source, original), (target, translated)))
                    }
                };
                Some(Rejection { row, reason: reason.to_owned(), detail })
            });
            rejected.extend(rejection);
            printed.push(stdout.map(|(stdout, _)| stdout));
        }
        let column: ArrayRef = Arc::new(StringArray::from(printed));
        Ok(Change { add: vec![(self.printed.clone(), column)], rejected, ..Change::default() })
    }
}

/// Both outputs from where they part.
fn shown(difference: Difference, original: (&str, &str), translated: (&str, &str)) -> String {
    let part = |line: usize, (language, printed): (&str, &str)| {
        let lines: Vec<&str> = printed.lines().skip(line - 1).take(SHOWN_LINES).collect();
        let text = lines.join("\n");
        let cut = &text[..text.floor_char_boundary(SHOWN_BYTES)];
        let more = if cut.len() < text.len() || printed.lines().count() > line - 1 + lines.len() {
            " ..."
        } else {
            ""
        };
        let nothing = if cut.is_empty() { "(nothing more)" } else { cut };
        format!("{language} printed, from line {line} on:\n{nothing}{more}")
    };
    format!("{}\n{}", part(difference.left_line, original), part(difference.right_line, translated))
}
