//! Record files written: beside the target, put in place when finished.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StringArray};
use arrow_json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
};
use arrow_schema::{ArrowError, FieldRef, SchemaRef};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::frame::atomic::{ClosedFile, NewFile};
use crate::frame::columns::is_json_text;
use crate::frame::ingest::writer::properties;

/// Rows turned into JSON by one task.
const SLICE_ROWS: usize = 128;

/// How record files are written.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Whether JSONL says `null` where there is no value, instead of leaving the name out.
    pub explicit_nulls: bool,
    /// Parquet: most rows of a row group. It has at most 32 MiB in any case.
    pub row_group_rows: Option<usize>,
    /// Parquet: how pages are compressed; zstd at its default level unless set.
    pub compression: Option<Compression>,
}

impl WriteOptions {
    fn properties(&self) -> WriterProperties {
        let mut builder = properties().into_builder();
        if let Some(rows) = self.row_group_rows {
            builder = builder.set_max_row_group_row_count(Some(rows));
        }
        if let Some(compression) = self.compression {
            builder = builder.set_compression(compression);
        }
        builder.build()
    }
}

/// Writes a JSONL (`.gz` and `.zst` compress) or `.parquet` file, which appears only when finished.
pub struct RecordWriter {
    place: NewFile,
    output: Output,
    options: WriteOptions,
    rows: u64,
}

enum Output {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
    /// The first batch brings the schema.
    Parquet(File, Option<(SchemaRef, ArrowWriter<File>)>),
}

impl RecordWriter {
    /// A writer for `path`; the extension decides the format.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_with(path, WriteOptions::default())
    }

    /// [`RecordWriter::create`] for those who want it otherwise.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create_with(path: &Path, options: WriteOptions) -> Result<Self> {
        let (place, file) = NewFile::create(path)?;
        let output = match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => Output::Parquet(file, None),
            Some("gz") => Output::Gzip(GzEncoder::new(BufWriter::new(file), flate2::Compression::default())),
            Some("zst") => Output::Zstd(
                zstd::Encoder::new(BufWriter::new(file), 0)
                    .map_err(|error| Error::io("create", path, error))?,
            ),
            _ => Output::Plain(BufWriter::new(file)),
        };
        Ok(Self { place, output, options, rows: 0 })
    }

    /// Appends the rows of `batch`. Nulls are left out of JSONL unless the options say otherwise.
    ///
    /// # Errors
    /// The disk; in Parquet, a schema other than that of the first batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let target = self.place.path();
        let nulls = self.options.explicit_nulls;
        let lines = match &mut self.output {
            Output::Plain(file) => to_lines(batch, nulls, file),
            Output::Gzip(file) => to_lines(batch, nulls, file),
            Output::Zstd(file) => to_lines(batch, nulls, file),
            Output::Parquet(_, Some((schema, _))) if *schema != batch.schema() => {
                let error = format!("the records of {} do not all have the same columns", target.display());
                return Err(Error::usage(error).hint("write .jsonl instead"));
            }
            Output::Parquet(file, rows) => to_rows(batch, &self.options, file, rows),
        };
        lines.map_err(|error| Error::io("write", target, error))
    }

    /// Puts the file in place and says how many rows it has. Without this call nothing appears.
    ///
    /// # Errors
    /// The disk; a Parquet file that never got a batch.
    pub fn finish(self) -> Result<u64> {
        let (file, rows) = self.close()?;
        file.place()?;
        Ok(rows)
    }

    /// The complete file, still to be put in its place, and its rows.
    ///
    /// # Errors
    /// As for [`RecordWriter::finish`].
    pub fn close(self) -> Result<(ClosedFile, u64)> {
        self.output.finish().map_err(|error| Error::io("write", self.place.path(), error))?;
        Ok((self.place.close()?, self.rows))
    }
}

impl Output {
    fn finish(self) -> std::io::Result<()> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file.finish()?,
            Self::Zstd(file) => file.finish()?,
            Self::Parquet(_, Some((_, rows))) => {
                return rows.close().map(drop).map_err(std::io::Error::other);
            }
            Self::Parquet(_, None) => {
                return Err(std::io::Error::other("there is nothing to say what the columns are"));
            }
        };
        file.flush()
    }
}

fn to_rows(
    batch: &RecordBatch,
    options: &WriteOptions,
    file: &File,
    rows: &mut Option<(SchemaRef, ArrowWriter<File>)>,
) -> std::io::Result<()> {
    let (_, rows) = match rows {
        Some(rows) => rows,
        None => {
            let writer = ArrowWriter::try_new(file.try_clone()?, batch.schema(), Some(options.properties()))
                .map_err(std::io::Error::other)?;
            rows.insert((batch.schema(), writer))
        }
    };
    rows.write(batch).map_err(std::io::Error::other)
}

fn to_lines(batch: &RecordBatch, nulls: bool, file: &mut impl Write) -> std::io::Result<()> {
    let starts: Vec<usize> = (0..batch.num_rows()).step_by(SLICE_ROWS).collect();
    let slices: Vec<Vec<u8>> = starts
        .par_iter()
        .map(|start| lines(&batch.slice(*start, SLICE_ROWS.min(batch.num_rows() - start)), nulls))
        .collect::<Result<_, _>>()
        .map_err(std::io::Error::other)?;
    slices.iter().try_for_each(|lines| file.write_all(lines))
}

/// The rows as JSON lines, in column order, nulls left out, JSON texts as the values they are.
///
/// # Errors
/// A column has a type that JSON cannot express.
pub fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    lines(batch, false)
}

fn lines(batch: &RecordBatch, nulls: bool) -> Result<Vec<u8>, ArrowError> {
    let builder = WriterBuilder::new().with_encoder_factory(Arc::new(JsonTexts)).with_explicit_nulls(nulls);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Makes columns of JSON text come out as JSON values.
#[derive(Debug)]
struct JsonTexts;

impl EncoderFactory for JsonTexts {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let texts = array.as_any().downcast_ref::<StringArray>().filter(|_| is_json_text(field));
        Ok(texts.map(|texts| NullableEncoder::new(Box::new(JsonText(texts)), texts.nulls().cloned())))
    }
}

struct JsonText<'a>(&'a StringArray);

impl Encoder for JsonText<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.0.value(row);
        if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
            // Line ends can only be between tokens here, and would end the JSON line.
            out.extend(text.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        } else {
            out.extend(serde_json::Value::from(text).to_string().bytes());
        }
    }
}
