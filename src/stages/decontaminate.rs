//! `decontaminate`: rows that share runs of words with a benchmark leave as `contaminated`.
//!
//! Benchmarks are files of the user's: JSONL or Parquet with any columns of text (`prompt`, `question`,
//! `canonical_solution`, `test`, ...), named by the stage's key `against` or by `--decontaminate`. Words are letters, digits and
//! `_`; case, layout and punctuation do not count. The columns of a row are looked at one by one.
//!
//! One run may be chance or a phrase that everybody uses: two texts have to share `share` of the runs of the shorter one. Runs that
//! more than `common` rows of the benchmarks share are boilerplate and prove nothing, and neither do runs of numbers or of
//! few different words (imports).
//!
//! Short texts: a benchmark's text with fewer words than a run has is looked for as a whole, and so is a column of a row in
//! the benchmark's texts, if they have at least `least` words; with fewer they would be found everywhere.
//!
//! Without any file, every row stays.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::records::read_records;
use crate::frame::schema::strings;
use crate::text::ngrams::{Known, Rules, word_hashes};
use crate::text::shingles::words;

/// Rows of a benchmark read at once.
const ROWS: usize = 1000;
/// Columns that name a row of a benchmark.
const NAMES: [&str; 3] = ["task_id", "id", "name"];

/// Keys of the operator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Columns that are looked at.
    columns: Vec<String>,
    /// Files of benchmarks, besides those of `--decontaminate`.
    #[serde(default)]
    against: Vec<PathBuf>,
    /// Words of a run.
    #[serde(default = "ngram")]
    ngram: usize,
    /// Fewest words of a text that is looked for as a whole.
    #[serde(default = "least")]
    least: usize,
    /// Most rows of the benchmarks that share a run which still proves something.
    #[serde(default = "common")]
    common: usize,
    /// Share of the runs of the shorter text, the row's or the benchmark's, that has to be the same; 0: any run.
    #[serde(default = "share")]
    share: f64,
}

fn ngram() -> usize {
    10
}

fn least() -> usize {
    8
}

fn common() -> usize {
    10
}

fn share() -> f64 {
    0.1
}

struct Decontaminate {
    config: Config,
    files: Vec<PathBuf>,
    /// Read when the first rows come.
    benchmarks: OnceLock<Result<Benchmarks, String>>,
}

pub(super) fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let sizes = (1..=config.ngram).contains(&config.least) && config.ngram <= 100;
    if config.columns.is_empty() || !sizes || !(0.0..=1.0).contains(&config.share) {
        return Err(Error::usage(format!(
            "stage `{}`: `columns` names what is looked at; `least` is at least 1, `ngram` at least `least` and at most \
             100, `share` from 0 to 1",
            spec.name
        )));
    }
    let mut files = config.against.clone();
    let mut depends = format!("{:?} {:?}", config.columns, config.rules());
    if let Some(more) = context.decontaminate {
        files.extend_from_slice(more);
        for file in &files {
            depends += &format!(" {:?} {}", name(file), hash(file)?);
        }
    }
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "decontaminate",
        needs: config.columns.clone(),
        adds: vec![],
        drops: vec![],
        requests: None,
        fan_out: 1,
        depends: depends_on(depends),
        work: Work::Pure(Box::new(Decontaminate { config, files, benchmarks: OnceLock::new() })),
    })
}

impl Config {
    fn rules(&self) -> Rules {
        Rules { size: self.ngram, least: self.least, common: self.common, share: self.share }
    }
}

/// The name of a file without its folder: what a run says does not depend on where files lie.
fn name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

fn hash(file: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let hashed = std::fs::File::open(file).and_then(|mut bytes| std::io::copy(&mut bytes, &mut hasher));
    hashed.map_err(|error| Error::io("read", file, error))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The texts of benchmarks.
struct Benchmarks {
    known: Known,
    /// Of each text its row, and the place of its column in `columns`.
    texts: Vec<(u32, u32)>,
    /// Of each row its file, and what it is called there.
    rows: Vec<(u32, String)>,
    columns: Vec<String>,
}

impl Benchmarks {
    fn read(files: &[PathBuf], rules: Rules) -> Result<Self> {
        let mut all = Self { known: Known::new(rules), texts: vec![], rows: vec![], columns: vec![] };
        for (file, path) in files.iter().enumerate() {
            let mut number = 0;
            for batch in read_records(path, ROWS)? {
                all.add(file as u32, &batch?, &mut number)?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, file: u32, batch: &RecordBatch, number: &mut usize) -> Result<()> {
        let first = self.rows.len() as u32;
        let names = NAMES.iter().find_map(|name| strings(batch, name).ok());
        for row in 0..batch.num_rows() {
            *number += 1;
            let called = names.filter(|names| names.is_valid(row)).map(|names| names.value(row).to_owned());
            self.rows.push((file, called.unwrap_or_else(|| format!("row {number}"))));
        }
        for field in batch.schema_ref().fields().iter().filter(|field| *field.data_type() == DataType::Utf8) {
            let column = self.columns.iter().position(|name| name == field.name());
            let column = column.unwrap_or_else(|| {
                self.columns.push(field.name().clone());
                self.columns.len() - 1
            });
            for (row, text) in (first..).zip(strings(batch, field.name())?) {
                if let Some(text) = text {
                    self.known.add(row, text);
                    self.texts.push((row, column as u32));
                }
            }
        }
        Ok(())
    }
}

impl Pure for Decontaminate {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        if self.files.is_empty() {
            return Ok(Change::default());
        }
        let read = || Benchmarks::read(&self.files, self.config.rules()).map_err(|error| error.to_string());
        let benchmarks = self.benchmarks.get_or_init(read).as_ref().map_err(Error::usage)?;
        let columns = self.config.columns.iter().map(|name| strings(batch, name));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut rejected = Vec::new();
        for row in 0..batch.num_rows() {
            let found = self.config.columns.iter().zip(&columns).find_map(|(name, texts)| {
                texts.is_valid(row).then(|| self.found(benchmarks, name, texts.value(row)))?
            });
            rejected.extend(found.map(|detail| Rejection { row, reason: "contaminated".into(), detail }));
        }
        Ok(Change { rejected, ..Change::default() })
    }
}

impl Decontaminate {
    /// What the text of `column` shares with a benchmark.
    fn found(&self, benchmarks: &Benchmarks, column: &str, text: &str) -> Option<String> {
        let shared = benchmarks.known.find(&word_hashes(text))?;
        let words: Vec<&str> = words(text).skip(shared.words.start).take(shared.words.len()).collect();
        let (row, field) = benchmarks.texts[shared.known];
        let (file, called) = &benchmarks.rows[row as usize];
        let file = name(&self.files[*file as usize]);
        let field = &benchmarks.columns[field as usize];
        Some(format!("{column} has of {file}, {called}, {field}: \"{}\"", words.join(" ")))
    }
}
