//! Answers written out: for people (table, Markdown) or for programs (JSON, CSV, Parquet).
//!
//! What rows say comes from models and programs. In the formats for people, characters that could drive a terminal
//! or reorder text are escaped; the formats for programs keep every value as it is.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use polars::error::PolarsResult;
use polars::prelude::{AnyValue, Column, CsvWriter, DataFrame, ParquetWriter, SerWriter};
use serde_json::{Map, Value};

use super::message;
use crate::error::{Error, Result};

/// How tables look: a rule under the header, and nothing else to get in the way of the rows.
pub const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Longest text in a cell of a table, characters.
const CELL_CHARS: usize = 60;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people; long texts are cut.
    Table,
    /// A JSON array of objects.
    Json,
    /// Comma-separated values with a header line.
    Csv,
    /// A Markdown table.
    Markdown,
    /// A Parquet file.
    Parquet,
}

/// `frame` in `format`.
///
/// # Errors
/// A column has a type that the format cannot express.
pub fn render(frame: &mut DataFrame, format: Format) -> Result<Vec<u8>> {
    let written = match format {
        Format::Table => table(frame),
        Format::Markdown => markdown(frame),
        Format::Json => json(frame),
        Format::Csv => csv(frame),
        Format::Parquet => parquet(frame),
    };
    written.map_err(|error| {
        let format = format!("{format:?}").to_lowercase();
        Error::usage(format!("the answer cannot be written as {format}: {}", message(&error)))
            .hint("choose another --format, or cast the column in the query")
    })
}

/// Not by polars' own writer, which panics at types such as decimals.
fn json(frame: &DataFrame) -> PolarsResult<Vec<u8>> {
    let mut text = b"[".to_vec();
    for row in 0..frame.height() {
        text.extend(if row == 0 { "\n" } else { ",\n" }.bytes());
        text.extend(Value::Object(json_row(frame, row)?).to_string().bytes());
    }
    text.extend("\n]\n".bytes());
    Ok(text)
}

/// The row of `frame` as an object.
pub(super) fn json_row(frame: &DataFrame, row: usize) -> PolarsResult<Map<String, Value>> {
    let columns = frame.columns().iter();
    columns.map(|column| Ok((column.name().to_string(), json_value(&column.get(row)?)))).collect()
}

/// `value` in JSON. What JSON has no type for is its text; numbers that are not finite are null.
fn json_value(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => Value::from(*value),
        AnyValue::String(text) => Value::from(*text),
        AnyValue::StringOwned(text) => Value::from(text.as_str()),
        AnyValue::Float32(number) => Value::from(*number),
        AnyValue::Float64(number) => Value::from(*number),
        AnyValue::List(values) => values.iter().map(|value| json_value(&value)).collect(),
        AnyValue::Struct(_, _, fields) => {
            let members = fields.iter().zip(value._iter_struct_av());
            Value::Object(
                members.map(|(field, value)| (field.name().to_string(), json_value(&value))).collect(),
            )
        }
        whole if whole.is_integer() => match (whole.extract::<i64>(), whole.extract::<u64>()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(whole.to_string()),
        },
        other => Value::from(other.to_string()),
    }
}

/// Strings as they are, any other value as JSON.
fn text_of(value: &AnyValue<'_>) -> String {
    match json_value(value) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn csv(frame: &DataFrame) -> PolarsResult<Vec<u8>> {
    let columns = frame.columns().iter().map(plain).collect::<PolarsResult<_>>()?;
    let mut text = Vec::new();
    CsvWriter::new(&mut text).finish(&mut DataFrame::new(frame.height(), columns)?)?;
    Ok(text)
}

/// `column` as text, unless CSV writes its type: polars refuses dates, lists and others.
fn plain(column: &Column) -> PolarsResult<Column> {
    let of = column.dtype();
    if of.is_primitive_numeric() || of.is_bool() || of.is_string() || of.is_null() {
        return Ok(column.clone());
    }
    let texts = (0..column.len()).map(|row| {
        let value = column.get(row)?;
        Ok((!value.is_null()).then(|| text_of(&value)))
    });
    Ok(Column::new(column.name().clone(), texts.collect::<PolarsResult<Vec<_>>>()?))
}

fn parquet(frame: &mut DataFrame) -> PolarsResult<Vec<u8>> {
    let mut file = Vec::new();
    ParquetWriter::new(&mut file).finish(frame)?;
    Ok(file)
}

fn table(frame: &DataFrame) -> PolarsResult<Vec<u8>> {
    let mut table = Table::new();
    let names = frame.columns().iter().map(|column| shown(column.name(), Some(CELL_CHARS)));
    table.load_style(STYLE).set_header(names.collect::<Vec<_>>());
    for (at, column) in frame.columns().iter().enumerate() {
        if let Some(aligned) = table.column_mut(at).filter(|_| is_number(column)) {
            aligned.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in 0..frame.height() {
        table.add_row(cells(frame, row, Some(CELL_CHARS))?);
    }
    Ok(format!("{}\n", table.trim_fmt()).into_bytes())
}

fn markdown(frame: &DataFrame) -> PolarsResult<Vec<u8>> {
    let mut text = String::new();
    let mut line = |cells: Vec<String>| {
        text.push_str("| ");
        text.push_str(&cells.join(" | "));
        text.push_str(" |\n");
    };
    let escaped = |cell: String| cell.replace('\\', "\\\\").replace('|', "\\|").replace('<', "\\<");
    line(frame.columns().iter().map(|column| escaped(shown(column.name(), None))).collect());
    let rule = |column: &Column| if is_number(column) { "---:" } else { "---" }.to_owned();
    line(frame.columns().iter().map(rule).collect());
    for row in 0..frame.height() {
        line(cells(frame, row, None)?.into_iter().map(escaped).collect());
    }
    Ok(text.into_bytes())
}

fn is_number(column: &Column) -> bool {
    column.dtype().is_primitive_numeric()
}

fn cells(frame: &DataFrame, row: usize, limit: Option<usize>) -> PolarsResult<Vec<String>> {
    frame.columns().iter().map(|column| column.get(row).map(|value| cell(&value, limit))).collect()
}

fn cell(value: &AnyValue<'_>, limit: Option<usize>) -> String {
    match value {
        AnyValue::Null => String::new(),
        AnyValue::String(text) => shown(text, limit),
        AnyValue::StringOwned(text) => shown(text, limit),
        AnyValue::Float32(number) => trimmed(f64::from(*number)),
        AnyValue::Float64(number) => trimmed(*number),
        other => shown(&text_of(other), limit),
    }
}

/// `number` with at most three decimals, or in scientific notation where that would say nothing.
fn trimmed(number: f64) -> String {
    let size = number.abs();
    if !number.is_finite() {
        number.to_string()
    } else if number != 0.0 && !(0.001..1e15).contains(&size) {
        format!("{number:.3e}")
    } else {
        let text = format!("{number:.3}");
        let short = text.trim_end_matches('0').trim_end_matches('.');
        if short == "-0" { "0".to_owned() } else { short.to_owned() }
    }
}

/// `text` on one line, cut after about `limit` characters, with what could drive a terminal escaped.
fn shown(text: &str, limit: Option<usize>) -> String {
    let mut safe = String::new();
    let mut chars = 0;
    for c in text.chars() {
        let before = safe.len();
        if hides(c) {
            safe.extend(c.escape_default());
            chars += safe.len() - before;
        } else {
            safe.push(c);
            chars += 1;
        }
        if limit.is_some_and(|limit| chars > limit) {
            safe.truncate(before);
            safe.push('…');
            break;
        }
    }
    safe
}

/// `text` with the characters escaped that are `hostile`; line breaks and tabs stay.
pub fn escape_where(text: &str, hostile: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && c != '\t' && hostile(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether `c` drives a terminal, is not seen, or changes the direction of the text around it.
pub(super) fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_trimmed() {
        let shown = [12.0, 0.5, 33.333_333, -0.0, 0.0001, 1e20, f64::NAN].map(trimmed);
        assert_eq!(shown, ["12", "0.5", "33.333", "0", "1.000e-4", "1.000e20", "NaN"]);
    }

    #[test]
    fn text_is_cut_and_cannot_drive_the_terminal() {
        assert_eq!(shown("a\u{1b}[2J\n\u{202e}b", None), "a\\u{1b}[2J\\n\\u{202e}b");
        assert_eq!(shown("é".repeat(60).as_str(), Some(60)), "é".repeat(60));
        assert_eq!(shown("é".repeat(61).as_str(), Some(60)), "é".repeat(60) + "…");
        assert!(shown("\u{1b}".repeat(1000).as_str(), Some(60)).chars().count() <= 61);
    }
}
