//! Seeds from Parquet files.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::block::{Block, Checks, Own, Record, Refused, Rejection, Seed, Source, key_of, shown};
use super::jsonl::no_text_column;
use super::{LANGUAGE_COLUMNS, SeedOptions, TEXT_COLUMNS};
use crate::error::{Error, Result};
use crate::frame::columns::{ColumnType, Columns, is_string};
use crate::frame::contained;

const BATCH_ROWS: usize = 1024;

/// A Parquet input and where its text and language are.
#[derive(Debug, Clone)]
pub(super) struct ParquetInput {
    path: PathBuf,
    shown: Arc<str>,
    schema: SchemaRef,
    text: usize,
    language: Option<usize>,
}

impl ParquetInput {
    /// Finds the text and the language column.
    ///
    /// # Errors
    /// The file is no complete Parquet file, or has no such columns of strings.
    pub(super) fn probe(path: &Path, options: &SeedOptions) -> Result<Self> {
        let schema = open(path)?.schema().clone();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let position = |name: &str| names.iter().position(|own| own == name);
        let found = |given: &Option<String>, usual: &[&str]| match given {
            Some(given) => position(given),
            None => usual.iter().find_map(|usual| position(usual)),
        };
        let text =
            found(&options.text_column, TEXT_COLUMNS).ok_or_else(|| no_text_column(path, options, &names))?;
        let language = found(&options.language_column, LANGUAGE_COLUMNS);
        for column in std::iter::once(text).chain(language) {
            let field = schema.field(column);
            if !is_string(field.data_type()) {
                let (name, of) = (field.name(), field.data_type());
                return Err(Error::usage(format!("column `{name}` of {} is {of}, not text", path.display()))
                    .hint("name other columns with --text-column and --language-column"));
            }
        }
        Ok(Self { path: path.into(), shown: path.to_string_lossy().into(), schema, text, language })
    }

    /// Makes `columns` wide enough for the file's own columns.
    pub(super) fn widen(&self, columns: &mut Columns, checks: &Checks<'_>) {
        for column in self.own() {
            let field = self.schema.field(column);
            columns.widen(&checks.own_name(field.name()), &ColumnType::of_field(field));
        }
    }

    fn own(&self) -> impl Iterator<Item = usize> {
        (0..self.schema.fields().len())
            .filter(|column| *column != self.text && Some(*column) != self.language)
    }

    /// The file's rows.
    pub(super) fn batches(&self) -> Result<Batches> {
        Batches::of(&self.path, open(&self.path)?.with_batch_size(BATCH_ROWS))
    }

    /// The records of a batch whose first row is row `first` of the file, counted from 1.
    pub(super) fn parse<'a>(
        &self,
        batch: &'a RecordBatch,
        first: u64,
        checks: &mut Checks<'_>,
    ) -> Result<Block<'a>> {
        let strings = |column: usize| -> Result<StringArray> {
            let cast =
                cast(batch.column(column), &DataType::Utf8).map_err(|error| damaged(&self.path, &error))?;
            Ok(StringArray::from(cast.to_data()))
        };
        let texts = strings(self.text)?;
        let languages = self.language.map(strings).transpose()?;
        let mut records = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let source = Source { path: self.shown.clone(), place: Some(first + row as u64) };
            let text = texts.is_valid(row).then(|| texts.value(row));
            let language = languages.as_ref().and_then(|names| names.is_valid(row).then(|| names.value(row)));
            records.push(match self.check(text, language, checks) {
                Ok((text, language)) => Record::Seed(Seed {
                    source,
                    key: key_of(&language, text),
                    language,
                    text: Cow::Owned(text.to_owned()),
                    own: row..row,
                    written: "",
                }),
                Err((reason, detail)) => {
                    let record = text.and_then(|text| shown(text.as_bytes()));
                    Record::Rejected(Rejection { source, reason, detail, language: None, record })
                }
            });
        }
        let own = self.own().map(|column| {
            let field = self.schema.field(column);
            (checks.own_name(field.name()), ColumnType::of_field(field), batch.column(column).clone())
        });
        Ok(Block { records, own: Own::Arrays(own.collect()) })
    }

    fn check<'t>(
        &self,
        text: Option<&'t str>,
        language: Option<&str>,
        checks: &mut Checks<'_>,
    ) -> Result<(&'t str, Arc<str>), Refused> {
        let name = self.schema.field(self.text).name();
        let text = text.ok_or_else(|| ("text_missing", format!("`{name}` is null")))?;
        checks.text(text)?;
        Ok((text, checks.language(language)?))
    }
}

/// Opens a Parquet file.
///
/// # Errors
/// It does not open, or is no complete Parquet file.
pub(in crate::frame) fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let open = || ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(path, &error));
    contained::panics(open, |why| damaged(path, &why))
}

/// The batches of a Parquet file, none after an error.
pub(in crate::frame) struct Batches {
    path: PathBuf,
    reader: Option<ParquetRecordBatchReader>,
}

impl Batches {
    /// What `builder`, which reads `path`, is set to read.
    ///
    /// # Errors
    /// The file is damaged.
    pub(in crate::frame) fn of(path: &Path, builder: ParquetRecordBatchReaderBuilder<File>) -> Result<Self> {
        let build = || builder.build().map_err(|error| damaged(path, &error));
        let reader = contained::panics(build, |why| damaged(path, &why))?;
        Ok(Self { path: path.to_owned(), reader: Some(reader) })
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { path, reader } = self;
        let next = reader.as_mut()?;
        let read = || next.next().transpose().map_err(|error| damaged(path, &error));
        let batch = contained::panics(read, |why| damaged(path, &why));
        if batch.is_err() {
            *reader = None;
        }
        batch.transpose()
    }
}

/// The error for a Parquet file that does not read.
pub(in crate::frame) fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("cannot read {} as Parquet: {error}", path.display()))
        .hint("the file seems damaged or cut short: write it again or leave it out")
}
