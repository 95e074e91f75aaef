//! Files of answers: a model's replies, or samples in EvalPlus' form.
//!
//! Rows belong to problems by `task_id`, `problem_id` or `id`, where the benchmark has these ids; otherwise in the order of the
//! benchmark's rows. Several rows of one problem are samples of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;

use super::benchmark::{Problem, entry, texts, value};
use crate::error::{Error, Result};
use crate::frame::ingest::ManifestEntry;
use crate::frame::records::read_records;
use crate::frame::rejects::{RejectedRow, rows_as_json};

/// Rows read at a time.
const ROWS: usize = 1024;

const ID: [&str; 3] = ["task_id", "problem_id", "id"];
/// Columns with answers, the likeliest first.
const ANSWER: [&str; 3] = ["output", "completion", "solution"];

/// What the answers of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// What a model said: the program is in a fenced block.
    Reply,
    /// A program, fenced or not.
    Code,
    /// What follows the problem's `prompt`.
    Completion,
}

impl Kind {
    /// What answers in a column called `name` usually are; `continues` says that problems are beginnings of programs.
    pub fn of(name: &str, continues: bool) -> Self {
        match name {
            "completion" => Self::Completion,
            "canonical_solution" if continues => Self::Completion,
            "canonical_solution" | "solution" => Self::Code,
            _ => Self::Reply,
        }
    }

    /// As the pipeline has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Code => "code",
            Self::Completion => "completion",
        }
    }
}

/// A file of answers.
pub struct Answers {
    path: PathBuf,
    /// Column with the answers.
    pub column: String,
    by_id: bool,
}

/// An answer, and where in the list of problems its problem is.
pub struct Answer {
    /// Position of the problem.
    pub problem: usize,
    /// How many answers to it came before.
    pub sample: u32,
    /// The answer, empty where the row has none.
    pub text: String,
}

impl Answers {
    /// The answers in `path`, in `column` or the likeliest one, to `problems`.
    ///
    /// # Errors
    /// The file does not read, has no such column, or cannot be joined.
    pub fn open(path: &Path, column: Option<&str>, problems: &[Problem]) -> Result<Self> {
        let head = read_records(path, ROWS)?.next().transpose()?;
        let head = head.ok_or_else(|| Error::usage(format!("{} has no rows", path.display())))?;
        let has = |name: &str| head.column_by_name(name).is_some();
        let found = match column {
            Some(name) => Some(name).filter(|name| has(name)),
            None => ANSWER.into_iter().find(|name| has(name)),
        };
        let Some(found) = found else {
            let wanted = column.map_or_else(|| ANSWER.join(", "), str::to_owned);
            return Err(Error::usage(format!("{} has no column {wanted}", path.display())).hint(format!(
                "name the column of the answers with --solution-column; there are {}",
                head.schema_ref()
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            )));
        };
        let first = texts(&head, &ID)?.and_then(|ids| value(&Some(ids), 0));
        let by_id = first.is_some_and(|id| problems.iter().any(|problem| problem.id == id));
        Ok(Self { path: path.to_owned(), column: found.to_owned(), by_id })
    }

    /// The file as it is now.
    ///
    /// # Errors
    /// It is gone.
    pub fn manifest(&self) -> Result<ManifestEntry> {
        entry(&self.path)
    }

    /// All answers in the order of the file, with the rows that answer no problem, to `problems` of a file with `rows` rows.
    ///
    /// # Errors
    /// The file does not read, or has neither ids nor as many rows as the benchmark.
    pub fn read(&self, problems: &[Problem], rows: usize) -> Result<(Vec<Answer>, Vec<RejectedRow>)> {
        let by_id: HashMap<&str, usize> =
            problems.iter().enumerate().rev().map(|(at, problem)| (problem.id.as_str(), at)).collect();
        let by_row: HashMap<usize, usize> =
            problems.iter().enumerate().map(|(at, problem)| (problem.row, at)).collect();
        let (mut answers, mut strangers) = (Vec::new(), Vec::new());
        let mut samples: HashMap<usize, u32> = HashMap::new();
        let mut row = 0;
        for batch in read_records(&self.path, ROWS)? {
            let batch = batch?;
            let (ids, answer) = (texts(&batch, &ID)?, texts(&batch, &[&self.column])?);
            for at in 0..batch.num_rows() {
                let id = value(&ids, at);
                let problem = match self.by_id {
                    true => id.as_deref().and_then(|id| by_id.get(id)),
                    false => by_row.get(&row),
                };
                // By row, the answer to a useless row of the benchmark is of no use either; that has been told.
                if let Some(&problem) = problem {
                    let sample = samples.entry(problem).or_default();
                    let text = value(&answer, at).unwrap_or_default();
                    answers.push(Answer { problem, sample: *sample, text });
                    *sample += 1;
                } else if self.by_id {
                    strangers.push(self.stranger(&batch, at, row, id)?);
                }
                row += 1;
            }
        }
        if !self.by_id && row != rows {
            return Err(Error::usage(format!(
                "{} has {row} rows and the benchmark {rows}, and there are no ids to tell which belong together",
                self.path.display()
            ))
            .hint("give both files a column `task_id`; several rows with the same one are samples"));
        }
        Ok((answers, strangers))
    }

    fn stranger(
        &self,
        batch: &RecordBatch,
        at: usize,
        row: usize,
        id: Option<String>,
    ) -> Result<RejectedRow> {
        Ok(RejectedRow {
            stage: "seed".into(),
            reason: "problem_unknown".into(),
            detail: Some(format!(
                "the benchmark has no problem {}",
                id.as_deref().unwrap_or("without an id")
            )),
            source: Some(format!("{}: row {}", self.path.display(), row + 1)),
            record: rows_as_json(batch, &[at])?.pop(),
            id,
            language: None,
        })
    }
}
