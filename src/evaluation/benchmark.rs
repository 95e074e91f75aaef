//! Benchmark files: AutoCodeBench's columns, a run's dataset, or HumanEval's.
//!
//! | what | columns, the first that is there |
//! |---|---|
//! | id | `task_id`, `problem_id`, `id`; otherwise a hash of language and question |
//! | language | `language`, `lang`; otherwise Python where there is an `entry_point` |
//! | question | `question`, `prompt` |
//! | tests | `full_test_func`, and `demo_test_func` if there are such; otherwise `test`, to which a call `check(<entry_point>)` is added |
//! | the rest | `canonical_solution`, `difficulty`, `category`, `shots` |
//!
//! With `entry_point` and `prompt`, problems are beginnings of programs that solutions go on from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use arrow_array::{Array, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;

use crate::error::{Error, Result};
use crate::frame::columns::is_string;
use crate::frame::dataset;
use crate::frame::ingest::ManifestEntry;
use crate::frame::key::row_id;
use crate::frame::records::read_records;
use crate::frame::rejects::{RejectedRow, rows_as_json};
use crate::sandbox::language::Languages;

/// Rows read at a time.
const ROWS: usize = 1024;

const LANGUAGE: [&str; 2] = ["language", "lang"];
const QUESTION: [&str; 2] = ["question", "prompt"];
const ID: [&str; 3] = ["task_id", "problem_id", "id"];
const FULL: &str = "full_test_func";
const DEMO: &str = "demo_test_func";
const ENTRY_POINT: &str = "entry_point";

/// One problem of a benchmark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// Its id, and whether the file gave it.
    pub id: String,
    /// Its row in the file, from 0.
    pub row: usize,
    /// Canonical name of its language.
    pub language: String,
    /// What is asked.
    pub question: String,
    /// The reference solution, as the file has it.
    pub canonical_solution: String,
    /// The public tests, where there are any.
    pub demo: Option<String>,
    /// All tests.
    pub full: String,
    /// `easy`, `medium`, `hard` or what the file says.
    pub difficulty: Option<String>,
    /// What it is about.
    pub category: Option<String>,
    /// The beginning of the program and the function that is asked for, where solutions go on from there.
    pub begins: Option<(String, String)>,
    /// Solved problems to show a base model before it, where the file has them.
    pub shots: Option<String>,
    /// An answer in the same file: see [`Reading::answer`].
    pub answer: Option<String>,
    /// How many rows before had the same id.
    pub repeat: u32,
}

/// A benchmark file, or a folder of Parquet files such as a run's dataset.
pub struct Benchmark {
    /// Its files, in order.
    files: Vec<PathBuf>,
    /// Names of its columns.
    columns: Vec<String>,
}

/// How rows become problems.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Column with answers, if the file has some besides the reference solutions.
    pub answer: Option<String>,
    /// Whether a problem without a question is of no use: it is to be asked.
    pub asks: bool,
}

impl Benchmark {
    /// The benchmark at `path`.
    ///
    /// # Errors
    /// There is none, or it has no column of tests.
    pub fn open(path: &Path) -> Result<Self> {
        let files = match path.is_dir() {
            true => dataset::files(path)?,
            false => vec![path.to_owned()],
        };
        let Some(first) = files.first() else {
            return Err(Error::usage(format!("there is no Parquet file in {}", path.display()))
                .hint("give a JSONL or Parquet file, or a run's `dataset` folder"));
        };
        let head = read_records(first, ROWS)?.next().transpose()?;
        let columns: Vec<String> = head
            .iter()
            .flat_map(|batch| batch.schema_ref().fields().iter().map(|field| field.name().clone()))
            .collect();
        let benchmark = Self { files, columns };
        if !benchmark.has(FULL) && !benchmark.has("test") {
            return Err(Error::usage(format!("{} has no column `{FULL}` or `test`", path.display())).hint(
                "a benchmark has question, canonical_solution, demo_test_func, full_test_func, language, or HumanEval's columns",
            ));
        }
        Ok(benchmark)
    }

    /// Whether it has a column `name`.
    pub fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column == name)
    }

    /// Whether it has public tests apart.
    pub fn has_demo(&self) -> bool {
        self.has(FULL) && self.has(DEMO)
    }

    /// Whether its problems are beginnings of programs.
    pub fn continues(&self) -> bool {
        self.has(ENTRY_POINT) && self.has("prompt")
    }

    /// Its files as they are now, for telling whether they have changed.
    ///
    /// # Errors
    /// A file is gone.
    pub fn manifest(&self) -> Result<Vec<ManifestEntry>> {
        self.files.iter().map(|path| entry(path)).collect()
    }

    /// All its rows, as they are.
    ///
    /// # Errors
    /// A file does not read, or the files do not fit together.
    pub fn rows(&self) -> Result<RecordBatch> {
        let batches: Vec<RecordBatch> = self.batches().collect::<Result<_>>()?;
        let schema =
            batches.first().map(RecordBatch::schema).ok_or_else(|| Error::usage("there are no rows"))?;
        concat_batches(&schema, &batches)
            .map_err(|error| Error::usage(format!("the files of the benchmark do not fit together: {error}")))
    }

    fn batches(&self) -> impl Iterator<Item = Result<RecordBatch>> {
        self.files.iter().flat_map(|path| match read_records(path, ROWS) {
            Ok(batches) => batches,
            Err(error) => Box::new(std::iter::once(Err(error))),
        })
    }

    /// Its problems, batch by batch, each batch with the rows that are of no use and why.
    pub fn problems<'a>(
        &'a self,
        reading: &'a Reading,
        languages: &'a Languages,
    ) -> impl Iterator<Item = Result<(Vec<Problem>, Vec<RejectedRow>)>> + 'a {
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut row = 0;
        self.batches().map(move |batch| {
            let batch = batch?;
            let (mut problems, mut useless) = self.read(&batch, row, reading, languages)?;
            row += batch.num_rows();
            for problem in &mut problems {
                let repeats = seen.entry(problem.id.clone()).or_default();
                problem.repeat = *repeats;
                *repeats += 1;
            }
            let source = |row: &mut RejectedRow| row.source = Some(self.files[0].display().to_string());
            useless.iter_mut().for_each(source);
            Ok((problems, useless))
        })
    }

    fn read(
        &self,
        batch: &RecordBatch,
        first: usize,
        reading: &Reading,
        languages: &Languages,
    ) -> Result<(Vec<Problem>, Vec<RejectedRow>)> {
        let text = |names: &[&str]| texts(batch, names);
        let named = |name: &str| texts(batch, &[name]);
        let (ids, names, questions) = (text(&ID)?, text(&LANGUAGE)?, text(&QUESTION)?);
        let (canonical, demo, full) = (named("canonical_solution")?, named(DEMO)?, text(&[FULL, "test"])?);
        let (difficulties, categories, shots) = (named("difficulty")?, named("category")?, named("shots")?);
        let (prompts, entry_points) = (named("prompt")?, named(ENTRY_POINT)?);
        let answers = reading.answer.as_deref().map(named).transpose()?.flatten();
        let calls_check = !self.has(FULL);
        let (mut problems, mut useless) = (Vec::with_capacity(batch.num_rows()), Vec::new());
        for row in 0..batch.num_rows() {
            let get = |column: &Option<StringArray>| value(column, row);
            let entry_point = get(&entry_points);
            let python = || entry_point.is_some().then(|| "python".to_owned());
            let name = get(&names).or_else(python);
            let language = name.as_deref().and_then(|name| languages.get(name)).map(|of| of.name.clone());
            let question = get(&questions);
            let tests = match (get(&full), &entry_point) {
                (Some(tests), Some(name)) if calls_check => Some(with_call(&tests, name)),
                (tests, _) => tests,
            };
            let demo = get(&demo).filter(|_| self.has_demo());
            let reason = match (&language, &tests) {
                (None, _) if name.is_none() => {
                    Some(("language_missing", "the row names no language".to_owned()))
                }
                (None, _) => {
                    Some(("language_unknown", format!("there is no language `{}`", name.unwrap_or_default())))
                }
                (_, None) => Some(("tests_missing", format!("the row has no `{FULL}`"))),
                _ if self.has_demo() && demo.is_none() => {
                    Some(("tests_missing", format!("the row has no `{DEMO}`")))
                }
                _ if reading.asks && question.is_none() => {
                    Some(("question_missing", "there is nothing to ask the model".to_owned()))
                }
                _ => None,
            };
            if let Some((reason, detail)) = reason {
                useless.push(RejectedRow {
                    id: get(&ids),
                    language,
                    stage: "seed".into(),
                    reason: reason.into(),
                    detail: Some(format!("row {}: {detail}", first + row + 1)),
                    source: None,
                    record: rows_as_json(batch, &[row])?.pop(),
                });
                continue;
            }
            let language = language.unwrap_or_default();
            let question = question.unwrap_or_default();
            let canonical_solution = get(&canonical).unwrap_or_default();
            let hashed = if question.is_empty() { &canonical_solution } else { &question };
            problems.push(Problem {
                id: get(&ids).unwrap_or_else(|| row_id(&language, hashed, 0)),
                row: first + row,
                demo,
                full: tests.unwrap_or_default(),
                difficulty: get(&difficulties),
                category: get(&categories),
                begins: entry_point.and_then(|name| Some((get(&prompts)?, name))),
                shots: get(&shots),
                answer: get(&answers),
                repeat: 0,
                language,
                question,
                canonical_solution,
            });
        }
        Ok((problems, useless))
    }
}

/// The size and time of a file.
pub(super) fn entry(path: &Path) -> Result<ManifestEntry> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("read", path, error))?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(ManifestEntry {
        path: path.to_string_lossy().into_owned(),
        size: metadata.len(),
        mtime_ns: modified.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0),
    })
}

/// The first column of `names` that `batch` has, as text.
pub(super) fn texts(batch: &RecordBatch, names: &[&str]) -> Result<Option<StringArray>> {
    let Some((name, column)) =
        names.iter().find_map(|name| batch.column_by_name(name).map(|column| (name, column)))
    else {
        return Ok(None);
    };
    let unfit = || Error::usage(format!("column `{name}` has type {}, not a string", column.data_type()));
    let plain =
        is_string(column.data_type()) || column.data_type().is_primitive() || column.data_type().is_null();
    if !plain {
        return Err(unfit());
    }
    let text = cast(column, &DataType::Utf8).map_err(|_| unfit())?;
    Ok(text.as_any().downcast_ref::<StringArray>().cloned())
}

/// What `column` has at `row`, unless that is null or blank.
pub(super) fn value(column: &Option<StringArray>, row: usize) -> Option<String> {
    let column = column.as_ref().filter(|column| column.is_valid(row))?;
    Some(column.value(row)).filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// HumanEval's tests define `check`, and are called by whoever runs them.
fn with_call(tests: &str, entry_point: &str) -> String {
    let called = tests.lines().any(|line| line.starts_with("check("));
    if called { tests.to_owned() } else { format!("{tests}\n\ncheck({entry_point})\n") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn read(rows: &[Value], asks: bool) -> Result<(Vec<Problem>, Vec<RejectedRow>)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.jsonl");
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let (languages, reading) = (Languages::embedded().unwrap(), Reading { answer: None, asks });
        let benchmark = Benchmark::open(&path)?;
        let (mut problems, mut useless) = (Vec::new(), Vec::new());
        for batch in benchmark.problems(&reading, &languages) {
            let (read, rejected) = batch?;
            problems.extend(read);
            useless.extend(rejected);
        }
        Ok((problems, useless))
    }

    #[test]
    fn ids_may_be_numbers_and_languages_aliases() {
        let row = json!({"id": 7, "lang": "C++", "prompt": "q", "full_test_func": "t", "difficulty": null});
        let (problems, useless) = read(&[row.clone(), row], true).unwrap();
        assert!(useless.is_empty());
        let [first, second] = &problems[..] else { panic!("{problems:?}") };
        assert_eq!((first.id.as_str(), first.language.as_str(), first.question.as_str()), ("7", "cpp", "q"));
        assert_eq!((first.repeat, second.repeat, second.row), (0, 1, 1));
        assert_eq!((&first.demo, &first.difficulty), (&None, &None));
    }

    #[test]
    fn humaneval_tests_are_called_once() {
        let row =
            |test: &str| json!({"task_id": "a", "prompt": "def f():\n", "entry_point": "f", "test": test});
        let (problems, _) =
            read(&[row("def check(c): pass\n"), row("def check(c): pass\ncheck(f)")], true).unwrap();
        assert_eq!(problems[0].full, "def check(c): pass\n\n\ncheck(f)\n");
        assert_eq!(problems[1].full, "def check(c): pass\ncheck(f)");
        assert_eq!(problems[0].begins, Some(("def f():\n".to_owned(), "f".to_owned())));
        assert_eq!(problems[0].language, "python");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z+ \n]{0,12}".prop_map(Value::from),
            Just(json!("python")),
            Just(json!({"a": [1, "x"]})),
        ]
    }

    fn any_row() -> impl Strategy<Value = Value> {
        let names = [
            "task_id",
            "id",
            "language",
            "lang",
            "question",
            "prompt",
            "test",
            "full_test_func",
            "demo_test_func",
            "entry_point",
            "canonical_solution",
            "difficulty",
            "category",
            "shots",
        ];
        prop::collection::vec((prop::sample::select(names.to_vec()), any_value()), 0..10).prop_map(|fields| {
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
            Value::Object(fields.collect::<Map<_, _>>())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_row_is_a_problem_or_has_a_reason(rows in prop::collection::vec(any_row(), 1..6), asks: bool) {
            if let Ok((problems, useless)) = read(&rows, asks) {
                prop_assert_eq!(problems.len() + useless.len(), rows.len());
                prop_assert!(problems.iter().all(|problem| !problem.full.trim().is_empty() && !problem.id.is_empty()));
                prop_assert!(!asks || problems.iter().all(|problem| !problem.question.trim().is_empty()));
            }
        }
    }
}
