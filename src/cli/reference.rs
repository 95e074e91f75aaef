//! Records as the reference's scripts read and write them, to and from our columns.
//!
//! Ours: `language`, `text`, one column per result. Theirs: `lang` before the first extraction, `seed`, and after the
//! sandbox `{index, language, success, full_test_result, demo_test_result, original_data}`.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::frame::columns::{ColumnType, Columns, Kind, json_field};
use crate::frame::json_object::JsonObject;
use crate::frame::key::row_id;
use crate::frame::records::json_lines;
use crate::frame::schema::{Column, ID, LANGUAGE, TEXT, batch_of, column, columns_where, strings};
use crate::sandbox::job::{Outcome, Usage, Verdict};
use crate::sandbox::language::Languages;
use crate::stages::{MESSAGES, SUCCESS};

const ORIGINAL: &str = "original_data";
const SEED: &str = "seed";
const LANG: &str = "lang";
const INDEX: &str = "index";
const SOLUTION: &str = "canonical_solution";

/// What the reference's sandbox client adds to the original record for itself.
const SCRATCH: [&str; 3] = ["extracted_code", "_absolute_line_number", "_relative_line_number"];

/// Columns as our stages expect them, languages by the names of `languages` where those know them. `first_row` numbers
/// rows of a file that has no `index`.
///
/// # Errors
/// A row without a language, or a result that is not one.
pub fn read(batch: &RecordBatch, first_row: usize, languages: &Languages) -> Result<RecordBatch> {
    let has = |name: &str| batch.column_by_name(name).is_some();
    let rows = batch.num_rows();
    let mut columns = if has(ORIGINAL) {
        let results = columns_where(batch, |name| name != ORIGINAL && name != INDEX);
        let mut columns = original(batch)?;
        columns.retain(|(field, _)| !results.iter().any(|(result, _)| result.name() == field.name()));
        for (field, values) in results {
            if field.name().ends_with("_result") {
                columns.push(column(field.name(), verdicts(batch, field.name())?));
            } else {
                columns.push((field, values));
            }
        }
        columns
    } else {
        columns_where(batch, |_| true)
    };
    rename(&mut columns, LANG, LANGUAGE);
    rename(&mut columns, SEED, TEXT);
    for (_, values) in columns.iter_mut().filter(|(field, _)| field.name() == LANGUAGE) {
        if let Some(names) = values.as_any().downcast_ref::<StringArray>() {
            let canonical = |name| languages.get(name).map_or(name, |language| language.name.as_str());
            *values = Arc::new(names.iter().map(|name| name.map(canonical)).collect::<StringArray>());
        }
    }
    let normal = batch_of(rows, columns)?;
    let mut columns = columns_where(&normal, |_| true);
    if normal.column_by_name(INDEX).is_none() {
        let index = Int64Array::from_iter_values((first_row..first_row + rows).map(|row| row as i64));
        columns.insert(0, column(INDEX, Arc::new(index)));
    }
    if normal.column_by_name(ID).is_none() {
        let languages = strings(&normal, LANGUAGE)?;
        let texts = [TEXT, SOLUTION, "question"].iter().find_map(|name| strings(&normal, name).ok());
        let ids = (0..rows).map(|row| {
            let text = texts.map_or("", |texts| texts.value(row));
            row_id(languages.value(row), text, if texts.is_some() { 0 } else { (first_row + row) as u64 })
        });
        columns.push(column(ID, Arc::new(StringArray::from_iter_values(ids))));
    }
    batch_of(rows, columns)
}

/// Renames a column, unless one of the new name is there already.
fn rename(columns: &mut [Column], from: &str, to: &str) {
    if columns.iter().any(|(field, _)| field.name() == to) {
        return;
    }
    for (field, _) in columns.iter_mut().filter(|(field, _)| field.name() == from) {
        *field = Arc::new(field.as_ref().clone().with_name(to));
    }
}

/// The columns of `original_data`, typed as those of a JSONL file are.
fn original(batch: &RecordBatch) -> Result<Vec<Column>> {
    let bad = |error: &dyn std::fmt::Display| Error::usage(format!("`{ORIGINAL}` is not an object: {error}"));
    let objects: Vec<JsonObject<'_>> = strings(batch, ORIGINAL)?
        .iter()
        .map(|text| JsonObject::parse(text.unwrap_or("{}")).map_err(|error| bad(&error)))
        .collect::<Result<_>>()?;
    let mut columns = Columns::default();
    for (name, raw) in objects.iter().flat_map(JsonObject::iter) {
        if !SCRATCH.contains(&name) {
            let kind = Kind::of(raw).map_err(|error| bad(&error))?;
            columns.widen(name, &ColumnType::Learnt(kind));
        }
    }
    let typed = columns.iter().map(|(name, of)| {
        let values = of.array(objects.iter().map(|object| object.get(name)));
        (Arc::new(of.field(name)), values)
    });
    Ok(typed.collect())
}

/// Verdicts, as JSON text, of a column of the reference's results.
fn verdicts(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let verdicts = strings(batch, name)?.iter().map(|text| {
        let result: Value = serde_json::from_str(text.unwrap_or("null"))
            .map_err(|error| Error::usage(format!("`{name}` is not JSON: {error}")))?;
        serde_json::to_string(&verdict(&result)).map_err(|error| Error::usage(format!("`{name}`: {error}")))
    });
    Ok(Arc::new(StringArray::from_iter_values(verdicts.collect::<Result<Vec<_>>>()?)))
}

fn verdict(result: &Value) -> Verdict {
    let response = &result["response"];
    let extensions = &response["response_extensions"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ms = |value: &Value| (value.as_f64().unwrap_or_default() * 1000.0).round() as u64;
    let stdout =
        if extensions["stdout"].is_string() { &extensions["stdout"] } else { &response["exec_cout"] };
    let outcome: Outcome =
        serde_json::from_value(response["exec_outcome"].clone()).unwrap_or(Outcome::InternalError);
    Verdict {
        outcome,
        stdout: text(stdout),
        stderr: text(&extensions["stderr"]),
        compile_message: text(&response["exec_compile_message"]),
        reason: String::new(),
        exit_code: extensions["exit_code"].as_i64().map(|code| code as i32),
        signal: None,
        truncated: false,
        invalid_utf8: false,
        limits: None,
        usage: Usage {
            wall_ms: ms(&extensions["exec_runtime"]),
            cpu_ms: ms(&extensions["process_cpu_time"]),
            peak_rss_bytes: extensions["process_peak_memory"].as_u64().unwrap_or_default(),
        },
        compile_usage: None,
        compile_reused: false,
        toolchain: String::new(),
        isolation: String::new(),
    }
}

/// The record after the last of the stages that ran, whose operator was `op`, as the reference writes it. `first_row`
/// rows were written before.
///
/// # Errors
/// A verdict that does not parse: not a result of the `run` operator.
pub fn write(batch: &RecordBatch, op: &str, first_row: usize) -> Result<RecordBatch> {
    let asks = matches!(op, "prompt" | "model");
    let mut columns = columns_where(batch, |name| asks || (name != MESSAGES && name != LANG));
    if op == "run" {
        return wrapped(batch, columns, first_row);
    }
    rename(&mut columns, TEXT, SEED);
    for (field, _) in columns.iter_mut().filter(|(field, _)| field.name() == MESSAGES) {
        *field = Arc::new(json_field(MESSAGES));
    }
    if asks && batch.column_by_name(SOLUTION).is_none() {
        rename(&mut columns, LANGUAGE, LANG);
    }
    batch_of(batch.num_rows(), columns)
}

/// `{index, language, success, ..._result, original_data}`. The outer index counts records from 1; the record's own stays
/// in `original_data`.
fn wrapped(batch: &RecordBatch, columns: Vec<Column>, first_row: usize) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let is_result = |name: &str| name.ends_with("_result");
    let (results, mut inner): (Vec<_>, Vec<_>) =
        columns.into_iter().partition(|(field, _)| is_result(field.name()) || field.name() == SUCCESS);
    rename(&mut inner, TEXT, SEED);
    let inner = batch_of(rows, inner)?;
    let ids = strings(&inner, ID)?.clone();
    let languages = strings(&inner, LANGUAGE)?.clone();
    let index = Int64Array::from_iter_values((first_row..first_row + rows).map(|row| row as i64 + 1));
    let mut columns = vec![column(INDEX, Arc::new(index))];
    columns.extend(columns_where(&inner, |name| [ID, LANGUAGE].contains(&name)));
    for (field, values) in results {
        let Some(texts) = values.as_any().downcast_ref::<StringArray>().filter(|_| is_result(field.name()))
        else {
            columns.push((field, values));
            continue;
        };
        let json = texts.iter().enumerate().map(|(row, text)| {
            let verdict: Verdict = serde_json::from_str(text.unwrap_or("null")).map_err(|error| {
                Error::usage(format!("`{}` of row {}: {error}", field.name(), ids.value(row)))
            })?;
            Ok(result(&verdict, languages.value(row), ids.value(row)).to_string())
        });
        let json = StringArray::from_iter_values(json.collect::<Result<Vec<_>>>()?);
        columns.push((Arc::new(json_field(field.name())), Arc::new(json)));
    }
    let lines = json_lines(&inner)
        .map_err(|error| Error::usage(format!("records cannot be written as JSON: {error}")))?;
    let original = StringArray::from_iter_values(String::from_utf8_lossy(&lines).lines());
    columns.push((Arc::new(json_field(ORIGINAL)), Arc::new(original)));
    batch_of(rows, columns)
}

/// One result as the reference's sandbox client records it. Times in seconds, memory in bytes.
fn result(verdict: &Verdict, language: &str, id: &str) -> Value {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let passed = verdict.outcome == Outcome::Passed;
    let outcome = verdict.outcome.name();
    let runtime_message = match (passed, verdict.stderr.as_str()) {
        (true, _) => "",
        (false, "") => &verdict.reason,
        (false, stderr) => stderr,
    };
    json!({
        "success": passed,
        "response": {
            "src_uid": id,
            "all_code": "",
            "exec_cout": verdict.stdout,
            "exec_outcome": outcome,
            "exec_compile_message": verdict.compile_message,
            "exec_runtime_message": runtime_message,
            "response_extensions": {
                "src_uid": id,
                "server_ip": "127.0.0.1",
                "language": language,
                "outcome": outcome,
                "exec_runtime": seconds(verdict.usage.wall_ms),
                "exit_code": verdict.exit_code,
                "signal": verdict.signal,
                "stdout": verdict.stdout,
                "stderr": verdict.stderr,
                "timeout": verdict.outcome == Outcome::TimeLimitExceeded,
                "process_cpu_time": seconds(verdict.usage.cpu_ms),
                "process_exec_time": seconds(verdict.usage.wall_ms),
                "process_peak_memory": verdict.usage.peak_rss_bytes,
                "toolchain": verdict.toolchain,
                "isolation": verdict.isolation,
            },
        },
        "status_code": 200,
    })
}
