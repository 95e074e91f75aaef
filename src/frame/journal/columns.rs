//! Records as rows of a table, and back.
//!
//! A record is a JSON object. Each column of a table takes the value at one path of it; what no column takes is kept as
//! JSON text in the column `more`, so nothing is lost, whatever fields records get later. `crc` is over the record as
//! it is put together again: what is read is what was compacted, or an error.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Int32Builder, StringBuilder, UInt32Builder, UInt64Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Column with what no other column has: JSON text, null when there is nothing.
const MORE: &str = "more";
/// Column with the checksum of the record.
const CRC: &str = "crc";

/// A table that journals are compacted into: the directory `name` of the run, and its columns.
#[derive(Debug)]
pub struct Table {
    /// Name of the table and its directory.
    pub name: &'static str,
    columns: &'static [Column],
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    /// Names of nested objects' fields, outermost first.
    path: &'static [&'static str],
    kind: Kind,
    /// Whether the value only repeats what `more` has: a view for queries.
    copied: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Utf8; empty when the record has none.
    Text,
    /// UInt64; 0 when the record has none.
    Number,
    /// UInt32; 0 when the record has none.
    Small,
    /// Int32; null when the record has none.
    Signed,
    /// Boolean; false when the record has none.
    Flag,
}

const fn of(name: &'static str, path: &'static [&'static str], kind: Kind) -> Column {
    Column { name, path, kind, copied: false }
}

const fn view(name: &'static str, path: &'static [&'static str], kind: Kind) -> Column {
    Column { name, path, kind, copied: true }
}

/// Model replies.
pub static REPLIES: Table = Table {
    name: "replies",
    columns: &[
        of("key", &["key"], Kind::Text),
        of("stage", &["stage"], Kind::Text),
        of("id", &["row"], Kind::Text),
        of("language", &["language"], Kind::Text),
        of("sample", &["sample"], Kind::Small),
        of("attempts", &["attempts"], Kind::Small),
        of("reused", &["reused"], Kind::Flag),
        of("model", &["answer", "model"], Kind::Text),
        of("finish_reason", &["answer", "finish_reason"], Kind::Text),
        of("prompt_tokens", &["answer", "prompt_tokens"], Kind::Number),
        of("cached_tokens", &["answer", "cached_tokens"], Kind::Number),
        of("completion_tokens", &["answer", "completion_tokens"], Kind::Number),
        of("latency_ms", &["answer", "latency_ms"], Kind::Number),
        of("output", &["answer", "output"], Kind::Text),
        of("reasoning", &["answer", "reasoning"], Kind::Text),
    ],
};

/// Sandbox verdicts.
pub static VERDICTS: Table = Table {
    name: "verdicts",
    columns: &[
        of("key", &["key"], Kind::Text),
        of("stage", &["stage"], Kind::Text),
        of("id", &["row"], Kind::Text),
        of("language", &["language"], Kind::Text),
        of("sample", &["sample"], Kind::Small),
        of("attempts", &["attempts"], Kind::Small),
        of("reused", &["reused"], Kind::Flag),
        of("outcome", &["answer", "outcome"], Kind::Text),
        of("reason", &["answer", "reason"], Kind::Text),
        of("exit_code", &["answer", "exit_code"], Kind::Signed),
        of("signal", &["answer", "signal"], Kind::Signed),
        of("wall_ms", &["answer", "usage", "wall_ms"], Kind::Number),
        of("cpu_ms", &["answer", "usage", "cpu_ms"], Kind::Number),
        of("peak_rss_bytes", &["answer", "usage", "peak_rss_bytes"], Kind::Number),
        // A verdict without compiling has no `compile_usage`, which is not the same as one of zeros.
        view("compile_wall_ms", &["answer", "compile_usage", "wall_ms"], Kind::Number),
        view("compile_cpu_ms", &["answer", "compile_usage", "cpu_ms"], Kind::Number),
        of("stdout", &["answer", "stdout"], Kind::Text),
        of("stderr", &["answer", "stderr"], Kind::Text),
        of("compile_message", &["answer", "compile_message"], Kind::Text),
        of("toolchain", &["answer", "toolchain"], Kind::Text),
        of("isolation", &["answer", "isolation"], Kind::Text),
    ],
};

/// Names of columns whose values repeat so little that a dictionary would only take space.
pub(super) const DISTINCT: [&str; 7] = ["key", "id", "output", "reasoning", "stdout", "stderr", MORE];

impl Table {
    /// The table called `name`.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        [&REPLIES, &VERDICTS].into_iter().find(|table| table.name == name)
    }

    /// The columns of the table's files.
    pub fn schema(&self) -> SchemaRef {
        let columns = self.columns.iter().map(|column| {
            let kind = match column.kind {
                Kind::Text => DataType::Utf8,
                Kind::Number => DataType::UInt64,
                Kind::Small => DataType::UInt32,
                Kind::Signed => DataType::Int32,
                Kind::Flag => DataType::Boolean,
            };
            Field::new(column.name, kind, true)
        });
        let rest = [Field::new(MORE, DataType::Utf8, true), Field::new(CRC, DataType::UInt32, true)];
        Arc::new(Schema::new(columns.chain(rest).collect::<Vec<_>>()))
    }

    /// Records as a batch.
    pub(super) fn batch(&self, mut records: Vec<Map<String, Value>>) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> =
            self.columns.iter().map(|column| column.take(&mut records)).collect();
        let more =
            records.iter().map(|rest| (!rest.is_empty()).then(|| Value::Object(rest.clone()).to_string()));
        let mut text = StringBuilder::new();
        more.for_each(|more| text.append_option(more));
        columns.push(Arc::new(text.finish()));
        let unchecked = columns.clone();
        let mut crc = UInt32Builder::new();
        for row in 0..records.len() {
            let record = self.join(row, |name| {
                let at = self.columns.iter().position(|column| column.name == name);
                unchecked.get(at.unwrap_or(self.columns.len()))
            });
            crc.append_value(checksum(&record.unwrap_or_default()));
        }
        columns.push(Arc::new(crc.finish()));
        RecordBatch::try_new(self.schema(), columns)
            .map_err(|error| Error::usage(format!("records do not fit the table `{}`: {error}", self.name)))
    }

    /// The record in `row` of `batch`, as JSON text; `None` when it is not what was compacted.
    pub(super) fn record(&self, batch: &RecordBatch, row: usize) -> Option<Vec<u8>> {
        let record = self.join(row, |name| batch.column_by_name(name))?;
        let crc = batch.column_by_name(CRC)?.as_primitive_opt::<UInt32Type>()?.value(row);
        (checksum(&record) == crc).then_some(record)
    }

    /// Puts the record in `row` together; `None` where a column has another type, or `more` is no JSON.
    fn join<'a>(&self, row: usize, column: impl Fn(&str) -> Option<&'a ArrayRef>) -> Option<Vec<u8>> {
        let more = column(MORE)?.as_string_opt::<i32>()?;
        let mut record: Map<String, Value> = match more.is_valid(row) {
            true => serde_json::from_str(more.value(row)).ok()?,
            false => Map::new(),
        };
        for spec in self.columns.iter().filter(|spec| !spec.copied) {
            // A part written by a version without the column keeps the value in `more`.
            let Some(values) = column(spec.name) else { continue };
            put(&mut record, spec.path, spec.value(values, row)?);
        }
        serde_json::to_vec(&record).ok()
    }
}

impl Column {
    /// The values of the column. They are taken out of the records, unless they are to stay there: values of another
    /// type stay too.
    fn take(&self, records: &mut [Map<String, Value>]) -> ArrayRef {
        let mut take = |fits: fn(&Value) -> bool| {
            let values: Vec<Option<Value>> =
                records.iter_mut().map(|record| take(record, self.path, self.copied, fits)).collect();
            values.into_iter()
        };
        match self.kind {
            Kind::Text => {
                let mut builder = StringBuilder::new();
                for value in take(Value::is_string) {
                    builder.append_value(value.as_ref().and_then(Value::as_str).unwrap_or_default());
                }
                Arc::new(builder.finish())
            }
            Kind::Number => {
                let mut builder = UInt64Builder::new();
                for value in take(Value::is_u64) {
                    builder.append_value(value.as_ref().and_then(Value::as_u64).unwrap_or_default());
                }
                Arc::new(builder.finish())
            }
            Kind::Small => {
                let mut builder = UInt32Builder::new();
                for value in take(|value| small(value).is_some()) {
                    builder.append_value(value.as_ref().and_then(small).unwrap_or_default());
                }
                Arc::new(builder.finish())
            }
            Kind::Signed => {
                let mut builder = Int32Builder::new();
                for value in take(|value| value.is_null() || signed(value).is_some()) {
                    builder.append_option(value.as_ref().and_then(signed));
                }
                Arc::new(builder.finish())
            }
            Kind::Flag => {
                let mut builder = BooleanBuilder::new();
                for value in take(Value::is_boolean) {
                    builder.append_value(value.as_ref().and_then(Value::as_bool).unwrap_or_default());
                }
                Arc::new(builder.finish())
            }
        }
    }

    /// The value in `row`; `None` when the column has another type.
    fn value(&self, values: &ArrayRef, row: usize) -> Option<Value> {
        if values.is_null(row) {
            return Some(Value::Null);
        }
        Some(match self.kind {
            Kind::Text => Value::from(values.as_string_opt::<i32>()?.value(row)),
            Kind::Number => Value::from(values.as_primitive_opt::<UInt64Type>()?.value(row)),
            Kind::Small => Value::from(values.as_primitive_opt::<UInt32Type>()?.value(row)),
            Kind::Signed => Value::from(values.as_primitive_opt::<Int32Type>()?.value(row)),
            Kind::Flag => Value::from(values.as_boolean_opt()?.value(row)),
        })
    }
}

fn small(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| number.try_into().ok())
}

fn signed(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|number| number.try_into().ok())
}

fn checksum(record: &[u8]) -> u32 {
    crc32fast::hash(record)
}

/// The value at `path` of `object` if it is there and `fits`. It is taken out, with objects that are empty then, or
/// copied if it `stays`.
fn take(
    object: &mut Map<String, Value>,
    path: &[&str],
    stays: bool,
    fits: fn(&Value) -> bool,
) -> Option<Value> {
    let (name, deeper) = path.split_first()?;
    let value = object.get_mut(*name)?;
    if deeper.is_empty() {
        return match (fits(value), stays) {
            (false, _) => None,
            (true, true) => Some(value.clone()),
            (true, false) => object.remove(*name),
        };
    }
    let inner = value.as_object_mut()?;
    let found = take(inner, deeper, stays, fits);
    if found.is_some() && inner.is_empty() {
        object.remove(*name);
    }
    found
}

/// Puts `value` at `path` of `object`, unless there is something already.
fn put(object: &mut Map<String, Value>, path: &[&str], value: Value) {
    let Some((name, deeper)) = path.split_first() else { return };
    if deeper.is_empty() {
        object.entry(*name).or_insert(value);
        return;
    }
    if let Value::Object(inner) = object.entry(*name).or_insert_with(|| Value::Object(Map::new())) {
        put(inner, deeper, value);
    }
}
