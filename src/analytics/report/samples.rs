//! Rows of a table as the page shows them: a line to open, and the columns below it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::highlight;
use super::text::{cut, short, visible, whole};

/// Longest text of a column, characters.
const CELL: usize = 4_000;
/// Longest text of all columns of a row, characters.
const ROW: usize = 6_000;
/// Columns of a row that are shown.
const COLUMNS: usize = 40;
/// Longest name of a column, and longest line about a row, characters.
const LINE: usize = 160;

/// Columns that hold a program in the row's language.
const CODE: [&str; 9] = [
    "text",
    "seed",
    "program",
    "canonical_solution",
    "solution",
    "demo_test_func",
    "full_test_func",
    "demo_test_input",
    "full_test_input",
];

/// A row.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// The line that is always seen.
    pub line: String,
    /// What was wrong with it, in full.
    pub detail: Option<String>,
    /// Its columns.
    pub cells: Vec<Cell>,
    /// What is not shown of it.
    pub note: Option<String>,
}

/// A column of a row.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// Its text as HTML, highlighted.
    pub html: String,
    /// How much of it is shown, where that is not all.
    pub note: Option<String>,
}

impl Sample {
    /// A row of the dataset.
    pub fn kept(row: &Map<String, Value>) -> Self {
        let language = text(row, "language");
        let (cells, note) = cells(row, language);
        let line = ["id", "language", "difficulty", "category", "topic"].map(|name| text(row, name));
        Self { line: line_of(&line), detail: None, cells, note }
    }

    /// A row of the table `rejected`.
    pub fn rejected(row: &Map<String, Value>) -> Self {
        let language = text(row, "language");
        let record = text(row, "record");
        let (cells, note) = match serde_json::from_str(record) {
            Ok(Value::Object(record)) => cells(&record, language),
            // Input that never became a row, as it was.
            _ if record.is_empty() => (Vec::new(), None),
            _ => cells(&Map::from_iter([("record".to_owned(), Value::from(record))]), language),
        };
        let detail = text(row, "detail");
        let line = [text(row, "id"), language, text(row, "source"), detail];
        let detail = Some(cut(detail, CELL).0.to_owned()).filter(|detail| !detail.is_empty());
        Self { line: line_of(&line), detail, cells, note }
    }

    /// A file in `language`, up to `limit` characters of it.
    pub fn file(name: &str, text: &str, language: &str, limit: usize) -> Self {
        let (begin, all) = cut(text, limit);
        let cell = Cell {
            name: String::new(),
            html: highlight::code(&visible(begin), language),
            note: cut_note(begin, all),
        };
        Self { line: name.to_owned(), detail: None, cells: vec![cell], note: None }
    }
}

fn text<'a>(row: &'a Map<String, Value>, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn line_of(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    let line = short(&parts.join(" · "), LINE);
    if line.is_empty() { "a row".to_owned() } else { line }
}

/// The columns of a row, and what is left out of them.
fn cells(row: &Map<String, Value>, language: &str) -> (Vec<Cell>, Option<String>) {
    let told = |name: &str| ["id", "language"].contains(&name);
    let shown: Vec<_> = row.iter().filter(|(name, value)| !value.is_null() && !told(name)).collect();
    let mut room = ROW;
    let mut cells = Vec::new();
    for (name, value) in shown.iter().take(COLUMNS) {
        let (text, is_json) = match value {
            Value::String(text) => match as_json(text) {
                Some(pretty) => (pretty, true),
                None => (text.clone(), false),
            },
            Value::Array(_) | Value::Object(_) => (format!("{value:#}"), true),
            plain => (plain.to_string(), false),
        };
        let (begin, all) = cut(&text, CELL.min(room));
        room -= begin.chars().count();
        let seen = visible(begin);
        let html = match is_json {
            true => highlight::code(&seen, "json"),
            false if CODE.contains(&name.as_str()) && !seen.trim_start().starts_with("```") => {
                highlight::code(&seen, language)
            }
            false => highlight::prose(&seen, language),
        };
        cells.push(Cell { name: short(name, LINE), html, note: cut_note(begin, all) });
    }
    let more = shown.len().saturating_sub(COLUMNS);
    (cells, (more > 0).then(|| format!("and {} more columns", whole(more as f64))))
}

/// Says that only `begin` is shown of so many characters.
fn cut_note(begin: &str, all: Option<usize>) -> Option<String> {
    let shown = whole(begin.chars().count() as f64);
    all.map(|all| format!("cut: {shown} of {} characters", whole(all as f64)))
}

/// `text` indented, where it is an array or an object in JSON.
fn as_json(text: &str) -> Option<String> {
    let begins = text.trim_start().starts_with(['[', '{']);
    let value: Value = begins.then(|| serde_json::from_str(text).ok()).flatten()?;
    Some(format!("{value:#}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn long_rows_are_cut_and_say_so() {
        let long = "é".repeat(CELL + 1);
        let mut row = object(json!({"id": "7", "language": "go", "none": null}));
        for column in 0..COLUMNS + 2 {
            row.insert(format!("c{column}"), Value::from(long.as_str()));
        }
        let sample = Sample::kept(&row);
        assert_eq!(sample.line, "7 · go");
        assert_eq!(sample.cells.len(), COLUMNS);
        assert_eq!(sample.cells[0].html, "é".repeat(CELL));
        assert_eq!(sample.cells[0].note.as_deref(), Some("cut: 4,000 of 4,001 characters"));
        assert_eq!(sample.cells[COLUMNS - 1].note.as_deref(), Some("cut: 0 of 4,001 characters"));
        assert_eq!(sample.cells.iter().map(|cell| cell.html.chars().count()).sum::<usize>(), ROW);
        assert_eq!(sample.note.as_deref(), Some("and 2 more columns"));
    }

    #[test]
    fn code_json_and_prose_are_told_apart() {
        let row = object(json!({
            "language": "python", "text": "if <a>", "output": "if:\n```python\nif\n```", "critic": "[\"if\"]", "n": 1.5
        }));
        let html: Vec<String> = Sample::kept(&row).cells.into_iter().map(|cell| cell.html).collect();
        assert_eq!(html[0], "<span class=\"hk\">if</span> &lt;a&gt;");
        assert_eq!(html[1], "if:\n```python\n<span class=\"hk\">if</span>\n```");
        assert_eq!(html[2], "[\n  <span class=\"hs\">&quot;if&quot;</span>\n]");
        assert_eq!(html[3], "1.5");
    }

    #[test]
    fn input_that_never_was_a_row_is_shown_as_it_was() {
        let row = object(
            json!({"stage": "seed", "reason": "bad", "detail": "line 1", "source": "f:1", "record": "{oops"}),
        );
        let sample = Sample::rejected(&row);
        assert_eq!((sample.line.as_str(), sample.cells[0].html.as_str()), ("f:1 · line 1", "{oops"));
        let none = Sample::rejected(&object(json!({"record": null})));
        assert_eq!((none.line.as_str(), none.cells.len()), ("a row", 0));
    }
}
