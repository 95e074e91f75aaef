//! `extract_json`: fields of the JSON that a model replied become columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::model::OUTPUT;
use super::registry::{Context, Spec};
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::strings;
use crate::text::json_reply::candidates;

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Fields of the object that become columns of the same names. A text becomes a column as it is, anything else as JSON
    /// text.
    #[serde(default)]
    fields: Vec<String>,
    /// Columns from deeper in the reply: a column's name and a JSON pointer, such as `/tests/0/input`.
    #[serde(default)]
    pointers: BTreeMap<String, String>,
    /// Those of the columns that may be missing or null. A row without any other is rejected.
    #[serde(default)]
    optional: Vec<String>,
    /// Columns that are not needed any more.
    #[serde(default)]
    drop: Vec<String>,
}

/// A column and where its value is.
struct Field {
    column: String,
    pointer: String,
    optional: bool,
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let refused =
        |what: String, hint: &str| Error::usage(format!("stage `{}`: {what}", spec.name)).hint(hint);
    let top = config
        .fields
        .iter()
        .map(|name| (name.clone(), format!("/{}", name.replace('~', "~0").replace('/', "~1"))));
    let fields: Vec<Field> = top
        .chain(config.pointers.clone())
        .map(|(column, pointer)| Field { optional: config.optional.contains(&column), column, pointer })
        .collect();
    let columns: Vec<String> = fields.iter().map(|field| field.column.clone()).collect();
    if columns.is_empty() {
        return Err(refused("it names no field".into(), "name fields of the reply in `fields`"));
    }
    if let Some(field) = fields.iter().find(|field| !field.pointer.starts_with('/')) {
        return Err(refused(
            format!("`{}` is no JSON pointer", field.pointer),
            "a pointer looks like `/tests/0/input`",
        ));
    }
    if let Some(stranger) = config.optional.iter().find(|name| !columns.contains(name)) {
        return Err(refused(
            format!("`optional` names `{stranger}`, which is no column of the stage"),
            &format!("its columns are {}", columns.join(", ")),
        ));
    }
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "extract_json",
        needs: vec![OUTPUT.into()],
        adds: columns,
        drops: [&[OUTPUT.to_owned()], config.drop.as_slice()].concat(),
        requests: None,
        fan_out: 1,
        depends: depends_on(format!(
            "{:?} {:?} {:?} {:?}",
            config.fields, config.pointers, config.optional, config.drop
        )),
        work: Work::Pure(Box::new(ExtractJson { fields })),
    })
}

struct ExtractJson {
    fields: Vec<Field>,
}

/// Texts of one row's columns, or why it is rejected: reason and detail.
type Texts = Result<Vec<Option<String>>, (&'static str, String)>;

impl ExtractJson {
    /// The columns of a reply: of the likeliest JSON in it that has all of them.
    fn read(&self, reply: &str) -> Texts {
        let found = candidates(reply).map_err(|why| ("json_invalid", why))?;
        let mut first = None;
        for value in &found {
            match self.columns(value) {
                Ok(texts) => return Ok(texts),
                Err(misfit) => first = first.or(Some(misfit)),
            }
        }
        Err(first.unwrap_or_else(|| ("json_invalid", "there is no JSON in it".to_owned())))
    }

    fn columns(&self, value: &Value) -> Texts {
        let text = |field: &Field| match value.pointer(&field.pointer) {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            None | Some(Value::Null) if field.optional => Ok(None),
            None | Some(Value::Null) => {
                Err(("field_missing", format!("the reply has no `{}`", field.pointer)))
            }
            Some(other) => Ok(Some(other.to_string())),
        };
        self.fields.iter().map(text).collect()
    }
}

impl Pure for ExtractJson {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let replies = strings(batch, OUTPUT)?;
        let read = |row| match replies.is_valid(row) {
            true => self.read(replies.value(row)),
            false => Err(("no_reply", "there is no reply".to_owned())),
        };
        let rows: Vec<Texts> = (0..batch.num_rows()).into_par_iter().map(read).collect();
        let mut columns: Vec<Vec<Option<String>>> = vec![Vec::with_capacity(rows.len()); self.fields.len()];
        let mut rejected = Vec::new();
        for (row, texts) in rows.into_iter().enumerate() {
            let texts = texts.unwrap_or_else(|(reason, detail)| {
                rejected.push(Rejection { row, reason: reason.to_owned(), detail });
                vec![None; self.fields.len()]
            });
            columns.iter_mut().zip(texts).for_each(|(column, text)| column.push(text));
        }
        let named = self.fields.iter().map(|field| field.column.clone());
        let columns = columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
        Ok(Change { add: named.zip(columns).collect(), rejected, ..Change::default() })
    }
}
