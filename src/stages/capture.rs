//! `capture`: what the printing tests printed becomes a column; the tests become inputs.
//!
//! `demo_test_func` is renamed `demo_test_input`, its run's stdout becomes `demo_test_output`, likewise for
//! every test column. Rows whose runs did not all PASS leave, and so do rows whose output is cut or longer than the
//! run allows: everything printed goes into the next prompt and is paid for.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use serde::Deserialize;

use super::keep::Runs;
use super::registry::{Context, Spec};
use super::run::{SUCCESS, result_column};
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::Result;
use crate::frame::schema::strings;

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Test columns whose runs are captured.
    tests: Vec<String>,
}

struct Capture {
    tests: Vec<String>,
    max_output_bytes: usize,
}

/// `demo_test_func` -> `demo_test_input` or `demo_test_output`.
fn renamed(tests: &str, suffix: &str) -> String {
    format!("{}_{suffix}", tests.strip_suffix("_func").unwrap_or(tests))
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let Config { tests } = spec.config()?;
    let results: Vec<String> = tests.iter().map(|tests| result_column(tests)).collect();
    let max_output_bytes = context.max_output_bytes;
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "capture",
        needs: [tests.as_slice(), results.as_slice(), &[SUCCESS.to_owned()]].concat(),
        adds: tests.iter().flat_map(|tests| [renamed(tests, "input"), renamed(tests, "output")]).collect(),
        drops: [tests.as_slice(), results.as_slice(), &[SUCCESS.to_owned()]].concat(),
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{} {max_output_bytes}", tests.join(","))),
        work: Work::Pure(Box::new(Capture { tests, max_output_bytes })),
    })
}

impl Pure for Capture {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let runs = Runs::of(batch, &self.tests)?;
        let mut outputs: Vec<Vec<Option<String>>> =
            vec![Vec::with_capacity(batch.num_rows()); self.tests.len()];
        let mut rejected = Vec::new();
        for row in 0..batch.num_rows() {
            let mut rejection = runs.failure(row);
            for (run, outputs) in outputs.iter_mut().enumerate() {
                let stdout = runs.verdict(run, row).map(|verdict| {
                    rejection = rejection.take().or_else(|| self.too_long(row, run, &verdict));
                    verdict.stdout
                });
                outputs.push(stdout);
            }
            rejected.extend(rejection);
        }
        let mut add: Vec<(String, ArrayRef)> = Vec::new();
        for (tests, outputs) in self.tests.iter().zip(outputs) {
            add.push((renamed(tests, "input"), Arc::new(strings(batch, tests)?.clone())));
            add.push((renamed(tests, "output"), Arc::new(StringArray::from(outputs))));
        }
        Ok(Change { add, rejected, ..Change::default() })
    }
}

impl Capture {
    fn too_long(&self, row: usize, run: usize, verdict: &crate::sandbox::job::Verdict) -> Option<Rejection> {
        if !verdict.truncated && verdict.stdout.len() <= self.max_output_bytes {
            return None;
        }
        let more = if verdict.truncated { "more than " } else { "" };
        let detail = format!(
            "{}: printed {more}{} bytes; at most {} go into a prompt (--max-output-bytes)",
            self.tests[run],
            verdict.stdout.len(),
            self.max_output_bytes
        );
        Some(Rejection { row, reason: "output_too_long".into(), detail })
    }
}
