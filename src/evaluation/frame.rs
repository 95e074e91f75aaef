//! The seed frame of an evaluation: one row per answer to score, or per problem to ask.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array};

use super::answers::{Answer, Answers};
use super::benchmark::{Benchmark, Problem, Reading};
use super::pipeline::OUTPUT;
use super::shots::Shots;
use crate::error::{Error, Result};
use crate::frame::ingest::SeedStore;
use crate::frame::key::child_id;
use crate::frame::part;
use crate::frame::rejects::{RejectedRow, rejected_batch};
use crate::frame::schema::{Column, ID, LANGUAGE, batch_of, column, rejected_schema};
use crate::sandbox::language::Languages;

/// Column with the id of the problem that a row answers.
pub const PROBLEM_ID: &str = "problem_id";
/// Column with the number of the answer to its problem, from 0.
pub const SAMPLE: &str = "sample";

/// Where the rows of an evaluation come from.
pub enum Source<'a> {
    /// Every problem is one row: it is asked, or its reference solution scored.
    Problems,
    /// The answers are in a column of the benchmark itself; rows that ask the same are samples.
    Column,
    /// The answers are in a file.
    Answers(&'a Answers),
}

/// What a frame is to hold besides the problems.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Whether there are public tests apart.
    pub demo: bool,
    /// Whether problems are beginnings of programs.
    pub continues: bool,
    /// Whether the answers are in the rows.
    pub outputs: bool,
    /// How many solved problems to show before each, and the seed of their choice; for base models.
    pub shots: Option<(usize, u64)>,
}

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows to score, by language.
    pub by_language: BTreeMap<String, u64>,
    /// Rows that cannot be scored, by reason.
    pub useless: BTreeMap<String, u64>,
    /// Problems that no row answers.
    pub unanswered: u64,
}

impl Written {
    /// Rows to score.
    pub fn rows(&self) -> u64 {
        self.by_language.values().sum()
    }
}

/// One row to be.
struct Row<'a> {
    problem: &'a Problem,
    sample: Option<u32>,
    output: Option<&'a str>,
}

/// Writes the rows of `benchmark` into the seed frame `seeds`, and those that are of no use into `rejected`.
///
/// # Errors
/// A file does not read, none of the rows is of use, or the disk.
pub fn write(
    benchmark: &Benchmark,
    reading: &Reading,
    source: &Source<'_>,
    layout: Layout,
    languages: &Languages,
    seeds: &Path,
    rejected: &Path,
) -> Result<Written> {
    let mut written = Written::default();
    let mut useless = Vec::new();
    let frame = |rows: &[Row<'_>]| batch(rows, layout);
    if matches!(source, Source::Answers(_)) || layout.shots.is_some() {
        // Answers and examples may be of any of the problems.
        let mut problems = Vec::new();
        for read in benchmark.problems(reading, languages) {
            let (read, of_no_use) = read?;
            problems.extend(read);
            useless.extend(of_no_use);
        }
        if let Some((count, seed)) = layout.shots {
            show(&mut problems, count, seed);
        }
        let read = problems.len() + useless.len();
        let answers = match source {
            Source::Answers(file) => {
                let (answers, strangers) = file.read(&problems, read)?;
                useless.extend(strangers);
                Some(answers)
            }
            _ => None,
        };
        let rows = match &answers {
            Some(answers) => of_answers(&problems, answers, &mut written),
            None => of_problems(&problems, source, &mut written),
        };
        if !rows.is_empty() {
            SeedStore::write(seeds, frame(&rows)?)?;
        }
    } else {
        let mut batches = benchmark.problems(reading, languages).map(|read| {
            let (problems, of_no_use) = read?;
            useless.extend(of_no_use);
            frame(&of_problems(&problems, source, &mut written))
        });
        let first = batches.next().transpose()?.map_or_else(|| frame(&[]), Ok)?;
        SeedStore::write_all(seeds, first.schema(), std::iter::once(Ok(first)).chain(batches))?;
    }
    for row in &useless {
        *written.useless.entry(row.reason.clone()).or_default() += 1;
    }
    if written.rows() == 0 {
        let first = useless.first().and_then(|row: &RejectedRow| row.detail.clone());
        return Err(Error::usage(format!("there is nothing to score: {}", first.unwrap_or_default()))
            .hint("see the benchmark's columns in `autocodegen evaluate --help`"));
    }
    part::seal(rejected, &rejected_schema(), &[rejected_batch(&useless)?], &BTreeMap::new())?;
    Ok(written)
}

/// Gives each problem that has none the solved problems to show before it.
fn show(problems: &mut [Problem], count: usize, seed: u64) {
    let Shots { picked, texts } = Shots::pick(problems, None, count, seed);
    for (at, text) in picked.into_iter().zip(texts) {
        problems[at].shots.get_or_insert(text);
    }
}

/// A row for each problem that has something to score.
fn of_problems<'a>(problems: &'a [Problem], source: &Source<'_>, written: &mut Written) -> Vec<Row<'a>> {
    let mut rows = Vec::with_capacity(problems.len());
    for problem in problems {
        let (sample, output) = match source {
            Source::Column => (Some(problem.repeat), problem.answer.as_deref()),
            _ => (None, None),
        };
        match (sample, output) {
            (Some(_), None) => written.unanswered += 1,
            _ => rows.push(Row { problem, sample, output }),
        }
    }
    count(&rows, written);
    rows
}

/// A row for each answer.
fn of_answers<'a>(problems: &'a [Problem], answers: &'a [Answer], written: &mut Written) -> Vec<Row<'a>> {
    let mut answered = vec![false; problems.len()];
    let row = |answer: &'a Answer| {
        answered[answer.problem] = true;
        Row { problem: &problems[answer.problem], sample: Some(answer.sample), output: Some(&answer.text) }
    };
    let rows: Vec<Row<'a>> = answers.iter().map(row).collect();
    written.unanswered = answered.iter().filter(|answered| !**answered).count() as u64;
    count(&rows, written);
    rows
}

fn count(rows: &[Row<'_>], written: &mut Written) {
    for row in rows {
        *written.by_language.entry(row.problem.language.clone()).or_default() += 1;
    }
}

/// The rows as a frame. Its columns depend on `layout` alone.
fn batch(rows: &[Row<'_>], layout: Layout) -> Result<RecordBatch> {
    let texts = |name: &str, of: &dyn Fn(&Row<'_>) -> Option<String>| -> Column {
        let values: StringArray = rows.iter().map(of).collect();
        column(name, Arc::new(values) as ArrayRef)
    };
    let of_problem =
        |name: &str, of: &dyn Fn(&Problem) -> Option<String>| texts(name, &|row| of(row.problem));
    let samples: UInt32Array = rows.iter().map(|row| Some(row.sample.unwrap_or(0))).collect();
    let mut columns = vec![
        texts(ID, &|row| Some(id(row))),
        of_problem(LANGUAGE, &|problem| Some(problem.language.clone())),
        texts(PROBLEM_ID, &|row| Some(problem_id(row))),
        column(SAMPLE, Arc::new(samples)),
        of_problem("question", &|problem| Some(problem.question.clone())),
        of_problem("canonical_solution", &|problem| Some(problem.canonical_solution.clone())),
        of_problem("full_test_func", &|problem| Some(problem.full.clone())),
        of_problem("difficulty", &|problem| problem.difficulty.clone()),
        of_problem("category", &|problem| problem.category.clone()),
    ];
    if layout.demo {
        columns.push(of_problem("demo_test_func", &|problem| problem.demo.clone()));
    }
    if layout.continues {
        let begins = |problem: &Problem| problem.begins.clone().unwrap_or_default();
        columns.push(of_problem("prompt", &|problem| Some(begins(problem).0)));
        columns.push(of_problem("entry_point", &|problem| Some(begins(problem).1)));
    }
    if layout.outputs {
        columns.push(texts(OUTPUT, &|row| row.output.map(str::to_owned)));
    }
    if layout.shots.is_some() {
        columns.push(of_problem("shots", &|problem| problem.shots.clone()));
    }
    batch_of(rows.len(), columns)
}

/// The id of a problem. Repeats in a benchmark are problems of their own; repeats that are samples are not.
fn problem_id(row: &Row<'_>) -> String {
    match (row.sample, row.problem.repeat) {
        (None, repeat @ 1..) => format!("{}-{repeat}", row.problem.id),
        _ => row.problem.id.clone(),
    }
}

fn id(row: &Row<'_>) -> String {
    match row.sample {
        None | Some(0) => problem_id(row),
        Some(sample) => child_id(&row.problem.id, &sample.to_string()),
    }
}
