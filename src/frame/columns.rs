//! Columns learnt from JSON values: a column's type widens from value to value and never narrows.
//!
//! Objects, arrays and columns of mixed types are kept as JSON text. Their field says so in its metadata
//! ([`is_json_text`]), and writers of JSON put such text back as the value it was.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, new_null_array};
use arrow_cast::cast;
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{ArrowError, DataType, Field};

const JSON_TEXT: &str = "json_text";

/// Whether the strings of this field are JSON texts.
pub fn is_json_text(field: &Field) -> bool {
    field.metadata().contains_key(JSON_TEXT)
}

/// A nullable field whose strings are JSON texts.
pub fn json_field(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata(HashMap::from([(JSON_TEXT.into(), "true".into())]))
}

/// What a JSON value is, as far as a column's type goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null` only.
    Null,
    /// `true`, `false`.
    Bool,
    /// An integer that a float holds exactly.
    SmallInt,
    /// Any other 64-bit integer.
    Int,
    /// A number with a fraction or an exponent.
    Float,
    /// A string.
    Text,
    /// Objects, arrays, numbers no machine type holds, and mixtures.
    Json,
}

impl Kind {
    /// The kind of one JSON value; `raw` is valid JSON without space around it.
    ///
    /// # Errors
    /// A string with a lone surrogate, which no Unicode text holds.
    pub fn of(raw: &str) -> Result<Self, serde_json::Error> {
        if raw.contains("\\ud") || raw.contains("\\uD") {
            serde_json::from_str::<serde_json::Value>(raw)?;
        }
        Ok(match raw.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'"') => Self::Text,
            Some(b'{' | b'[') | None => Self::Json,
            Some(_) => Self::of_number(raw),
        })
    }

    fn of_number(raw: &str) -> Self {
        // An integer cannot say -0.
        let integer = raw != "-0" && !raw.contains(['.', 'e', 'E']);
        match (raw.parse::<i64>(), raw.parse::<f64>()) {
            (Ok(value), _) if integer && value.unsigned_abs() <= 1 << 53 => Self::SmallInt,
            (Ok(_), _) if integer => Self::Int,
            (Err(_), Ok(_)) if integer => Self::Json,
            (_, Ok(value)) if value.is_finite() => Self::Float,
            _ => Self::Json,
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (one, two) if one == two => one,
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (Self::SmallInt, Self::Int) | (Self::Int, Self::SmallInt) => Self::Int,
            (Self::SmallInt, Self::Float) | (Self::Float, Self::SmallInt) => Self::Float,
            _ => Self::Json,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::SmallInt | Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Null | Self::Text | Self::Json => DataType::Utf8,
        }
    }

    /// The array of these JSON values; `None` and `null` become null. No value is of a wider kind.
    fn array<'a>(self, values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
        let values = values.map(|raw| raw.filter(|raw| *raw != "null"));
        match self {
            Self::Bool => Arc::new(values.map(|raw| raw.map(|raw| raw == "true")).collect::<BooleanArray>()),
            Self::SmallInt | Self::Int => {
                Arc::new(values.map(|raw| raw.and_then(|raw| raw.parse().ok())).collect::<Int64Array>())
            }
            Self::Float => {
                Arc::new(values.map(|raw| raw.and_then(|raw| raw.parse().ok())).collect::<Float64Array>())
            }
            Self::Json => Arc::new(values.collect::<StringArray>()),
            Self::Null | Self::Text => Arc::new(
                values
                    .map(|raw| raw.and_then(|raw| serde_json::from_str::<String>(raw).ok()))
                    .collect::<StringArray>(),
            ),
        }
    }
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnType {
    /// Learnt from JSON values.
    Learnt(Kind),
    /// Given by a Parquet file, kept as long as nothing else wants to be in the column.
    Given(DataType),
}

impl ColumnType {
    /// The type of a column of a Parquet file.
    pub fn of_field(field: &Field) -> Self {
        match field.data_type() {
            DataType::Utf8 if is_json_text(field) => Self::Learnt(Kind::Json),
            DataType::Null => Self::Learnt(Kind::Null),
            given => Self::Given(given.clone()),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Learnt(kind) => *kind,
            Self::Given(DataType::Boolean) => Kind::Bool,
            Self::Given(
                DataType::Int8
                | DataType::Int16
                | DataType::Int32
                | DataType::UInt8
                | DataType::UInt16
                | DataType::UInt32,
            ) => Kind::SmallInt,
            Self::Given(DataType::Int64) => Kind::Int,
            Self::Given(DataType::Float32 | DataType::Float64) => Kind::Float,
            Self::Given(given) if is_string(given) => Kind::Text,
            Self::Given(_) => Kind::Json,
        }
    }

    fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (one, two) if one == two => one.clone(),
            (Self::Learnt(Kind::Null), other) | (other, Self::Learnt(Kind::Null)) => other.clone(),
            (one, two) => Self::Learnt(one.kind().join(two.kind())),
        }
    }

    /// The Arrow field of a column of this type.
    pub fn field(&self, name: &str) -> Field {
        match self {
            Self::Given(given) => Field::new(name, given.clone(), true),
            Self::Learnt(kind) => {
                let field = Field::new(name, kind.data_type(), true);
                match kind {
                    Kind::Json => json_field(name),
                    _ => field,
                }
            }
        }
    }

    /// The array of these JSON values in a column of this type; `None` and `null` become null.
    ///
    /// No value may be of a wider kind than the column.
    pub fn array<'a>(&self, values: impl ExactSizeIterator<Item = Option<&'a str>>) -> ArrayRef {
        match self {
            Self::Learnt(kind) => kind.array(values),
            // Anything but nulls would have turned the type into a learnt one.
            Self::Given(given) => new_null_array(given, values.len()),
        }
    }

    /// `array` of type `from` as it is in a column of this type, which is at least as wide.
    ///
    /// # Errors
    /// A value has no counterpart: an Arrow type that JSON cannot express.
    pub fn convert(&self, from: &Self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            same if same == from => Ok(array.clone()),
            Self::Learnt(Kind::Json) => json_texts(array),
            Self::Learnt(kind) => cast(array, &kind.data_type()),
            Self::Given(given) => cast(array, given),
        }
    }
}

/// Whether this Arrow type is text, dictionaries of text included.
pub fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_string(values),
        _ => false,
    }
}

/// The values of `array` as JSON texts.
///
/// # Errors
/// A type that JSON cannot express.
pub fn json_texts(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(Field::new("value", array.data_type().clone(), true));
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(&field, array, &options)?;
    let mut texts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        texts.push(match encoder.is_null(row) {
            true => None,
            false => {
                let mut text = Vec::new();
                encoder.encode(row, &mut text);
                Some(String::from_utf8(text).map_err(|error| ArrowError::JsonError(error.to_string()))?)
            }
        });
    }
    Ok(Arc::new(StringArray::from(texts)))
}

/// Named columns in the order they were first seen.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    columns: Vec<(String, ColumnType)>,
    positions: HashMap<String, usize>,
}

impl Columns {
    /// Number of columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the column `name` is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// Makes the column `name` wide enough for `of`, adding it if it is new. Whether anything changed.
    pub fn widen(&mut self, name: &str, of: &ColumnType) -> bool {
        match self.position(name) {
            Some(at) => self.widen_at(at, of),
            None => {
                self.positions.insert(name.to_owned(), self.columns.len());
                self.columns.push((name.to_owned(), of.clone()));
                true
            }
        }
    }

    /// Makes the column at `at` wide enough for `of`. Whether anything changed.
    pub fn widen_at(&mut self, at: usize, of: &ColumnType) -> bool {
        let column = &mut self.columns[at].1;
        let joined = column.join(of);
        let changed = joined != *column;
        *column = joined;
        changed
    }

    /// Names and types.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ColumnType)> {
        self.columns.iter().map(|(name, of)| (name.as_str(), of))
    }

    /// The Arrow fields.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.iter().map(|(name, of)| of.field(name))
    }
}
