//! A dataset of problems as a pipeline with a `difficulty` stage leaves them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use autocodegen::frame::dataset::DatasetWriter;
use autocodegen::frame::key::{child_id, row_id};
use autocodegen::frame::run_dir::RunDir;
use serde_json::{Value, json};

/// A problem; some are translations of the one before.
pub struct Problem {
    pub id: String,
    pub parent: Option<String>,
    pub language: &'static str,
    pub question: String,
    pub solution: String,
    pub demo: String,
    pub full: String,
    pub difficulty: &'static str,
    /// Code, and whether it passed, of each sample.
    pub samples: Vec<(Option<&'static str>, Option<bool>)>,
}

/// Problems whose texts try what JSON, Markdown and Parquet could stumble over. Every fourth has no sample that failed.
pub fn problems(count: usize) -> Vec<Problem> {
    (0..count)
        .map(|n| {
            let seed = row_id("python", &(n / 2).to_string(), 0);
            let translated = n % 2 == 1;
            let samples = match n % 4 {
                3 => vec![(Some("def f(): return 1"), Some(true))],
                2 => vec![(Some("  "), Some(false)), (None, Some(false)), (Some("bad"), Some(false))],
                _ => vec![
                    (Some("unjudged"), None),
                    (Some("```python\nalso right\n```"), Some(true)),
                    (Some("print('```')"), Some(false)),
                    (Some("worse"), Some(false)),
                ],
            };
            Problem {
                id: if translated { child_id(&seed, "rust") } else { seed.clone() },
                parent: translated.then_some(seed),
                language: if translated { "rust" } else { "python" },
                question: format!("Q{n}: \"é\" 😀 </script>\n\u{2028}\t| {{{{ x }}}}"),
                solution: format!("```python\ndef f():\n    return {n}\n```"),
                demo: format!("assert f() == {n}  # demo \\"),
                full: format!("assert f() == {n}  # full"),
                difficulty: ["hard", "medium", "easy"][n % 3],
                samples,
            }
        })
        .collect()
}

/// How the column `samples` is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Samples {
    Structs,
    Json,
    None,
}

fn structs(problems: &[Problem]) -> ArrayRef {
    let fields = vec![
        Field::new("code", DataType::Utf8, true),
        Field::new("passed", DataType::Boolean, true),
        Field::new("outcome", DataType::Utf8, true),
    ];
    let mut rows = ListBuilder::new(StructBuilder::from_fields(fields, 0));
    for problem in problems {
        for (code, passed) in &problem.samples {
            let sample = rows.values();
            sample.field_builder::<StringBuilder>(0).unwrap().append_option(*code);
            sample.field_builder::<BooleanBuilder>(1).unwrap().append_option(*passed);
            sample.field_builder::<StringBuilder>(2).unwrap().append_value("ANY");
            sample.append(true);
        }
        rows.append(true);
    }
    Arc::new(rows.finish())
}

fn json_text(problem: &Problem) -> String {
    let samples = problem
        .samples
        .iter()
        .map(|(code, passed)| json!({"code": code, "passed": passed, "outcome": "ANY"}));
    Value::Array(samples.collect()).to_string()
}

/// A run directory whose dataset has these problems.
pub fn run_of(problems: &[Problem], samples: Samples) -> tempfile::TempDir {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let run = RunDir::open_or_create(root.path()).unwrap();
    write(&run.dataset(), &batch(problems, samples));
    root
}

pub fn write(dir: &Path, batch: &RecordBatch) {
    let mut writer = DatasetWriter::create(dir, &batch.schema(), &BTreeMap::new()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

pub fn batch(problems: &[Problem], samples: Samples) -> RecordBatch {
    let text = |of: fn(&Problem) -> Option<&str>| -> ArrayRef {
        Arc::new(problems.iter().map(of).collect::<StringArray>())
    };
    let mut columns = vec![
        ("id", text(|problem| Some(&problem.id))),
        ("parent_id", text(|problem| problem.parent.as_deref())),
        ("language", text(|problem| Some(problem.language))),
        ("question", text(|problem| Some(&problem.question))),
        ("canonical_solution", text(|problem| Some(&problem.solution))),
        ("demo_test_func", text(|problem| Some(&problem.demo))),
        ("full_test_func", text(|problem| Some(&problem.full))),
    ];
    if samples != Samples::None {
        columns.push(("difficulty", text(|problem| Some(problem.difficulty))));
    }
    match samples {
        Samples::None => {}
        Samples::Structs => columns.push(("samples", structs(problems))),
        Samples::Json => {
            columns
                .push(("samples", Arc::new(StringArray::from_iter_values(problems.iter().map(json_text)))));
        }
    }
    RecordBatch::try_from_iter(columns).unwrap()
}
