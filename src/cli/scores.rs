//! Scores, printed: tables for people, one JSON object for programs.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::Table;
use serde_json::{Map, Value, json};

use super::{printable, summary, write_stdout};
use crate::engine::spending::Prices;
use crate::error::{Error, Result};
use crate::evaluation::frame::Written;
use crate::evaluation::report::{Rate, Report, Scores};
use crate::evaluation::results::{Evaluation, Scored};
use crate::stats::Interval;

/// Most characters of what the sandbox said about an answer in a table, for its first and its last line each.
const SAID: usize = 80;

/// How scores are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables.
    Table,
    /// One object.
    Json,
}

/// What is told of an evaluation.
pub struct Told<'a> {
    /// Its results.
    pub evaluation: &'a Evaluation,
    /// Their scores, where there are any.
    pub report: Option<&'a Report>,
    /// What was to be scored.
    pub written: &'a Written,
    /// Where it is.
    pub dir: &'a Path,
    /// Whether every answer that does not pass is listed.
    pub failed: bool,
}

impl Told<'_> {
    /// Prints the scores to stdout, and to stderr what could not be scored and why.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn print(&self, format: Format) -> Result<()> {
        write_stdout(&match format {
            Format::Json => self.json()?,
            Format::Table => self.tables(),
        })?;
        let useless: u64 = self.written.useless.values().sum();
        if useless > 0 {
            let reasons = summary::top(&self.written.useless);
            eprintln!("{useless} rows cannot be scored: {reasons}; they are in the table `rejected`");
        }
        if self.written.unanswered > 0 {
            eprintln!("{} problems have no answer and are not scored", self.written.unanswered);
        }
        Ok(())
    }

    fn failures(&self) -> impl Iterator<Item = &Scored> {
        self.evaluation.scored.iter().filter(|row| self.failed && !row.passed)
    }

    fn tables(&self) -> String {
        let mut text = String::new();
        match self.report {
            None => text += "no answer is scored yet\n",
            Some(report) => {
                text +=
                    &format!("{}\n", groups("language", &report.by_language, Some(&report.all)).trim_fmt());
                for (name, scores) in
                    [("difficulty", &report.by_difficulty), ("category", &report.by_category)]
                {
                    if !scores.is_empty() {
                        text += &format!("\n{}\n", groups(name, scores, None).trim_fmt());
                    }
                }
                if report.rounds.len() > 1 {
                    text += &format!("\n{}\n", rounds(&report.rounds).trim_fmt());
                }
            }
        }
        if self.failures().next().is_some() {
            text += &format!("\n{}\n", failures(self.failures()).trim_fmt());
        }
        let file = &self.evaluation.file;
        text += "\n";
        text += &format!("answers  {}\n", printable(&file.answered_by));
        text += &format!("sandbox  {}\n", printable(&file.sandbox));
        text += &format!("time     {:.1} s\n", file.wall_ms as f64 / 1000.0);
        let paid = file.cost.spending.tokens(None);
        if paid.total() > 0 {
            let prices: &Prices = &file.cost.prices;
            text += &format!("cost     {}\n", super::money::spent(paid, file.cost.usd, prices));
        }
        text + &format!("results  {}\n", printable(&self.dir.join("dataset").to_string_lossy()))
    }

    fn json(&self) -> Result<String> {
        let mut object = match self.report {
            None => Map::from_iter([("n".to_owned(), json!(0)), ("pass@1".to_owned(), Value::Null)]),
            Some(report) => {
                let mut object = scores_json(&report.all);
                for (name, groups) in [
                    ("by_language", &report.by_language),
                    ("by_difficulty", &report.by_difficulty),
                    ("by_category", &report.by_category),
                ] {
                    let groups =
                        groups.iter().map(|(name, scores)| (name.clone(), scores_json(scores).into()));
                    object.insert(name.to_owned(), Value::Object(groups.collect()));
                }
                let rounds: Vec<Value> = report.rounds.iter().map(rate_json).collect();
                object.insert("rounds".to_owned(), rounds.into());
                object.insert("outcomes".to_owned(), json!(report.outcomes));
                object
            }
        };
        object.insert("pending".to_owned(), self.evaluation.pending().into());
        object.insert("unanswered".to_owned(), self.written.unanswered.into());
        object.insert("not_scorable".to_owned(), json!(self.written.useless));
        if self.failed {
            let failed = self.failures().map(|row| {
                json!({"id": row.id, "language": row.language, "outcome": row.outcome, "message": row.message})
            });
            object.insert("failed".to_owned(), failed.collect());
        }
        let text = serde_json::to_string_pretty(&object)
            .map_err(|error| Error::usage(format!("the scores cannot be written as JSON: {error}")))?;
        Ok(text + "\n")
    }
}

fn groups(name: &str, groups: &BTreeMap<String, Scores>, all: Option<&Scores>) -> Table {
    let scores = || groups.values().chain(all);
    let samples = scores().any(|scores| scores.answers != scores.problems);
    let demo = scores().any(|scores| scores.demo.is_some());
    let mut ks: Vec<u32> = scores().flat_map(|scores| scores.pass_at.keys().copied()).collect();
    ks.sort_unstable();
    ks.dedup();
    let mut header = vec![name.to_owned(), "count".to_owned()];
    header.extend(samples.then(|| "answers".to_owned()));
    header.push("passed".to_owned());
    for k in &ks {
        header.extend([format!("pass@{k}"), "95 % interval".to_owned()]);
    }
    header.extend(demo.then(|| "demo".to_owned()));
    header.push("full".to_owned());
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = summary::table(&header, 1..header.len());
    let rows = groups.iter().map(|(name, scores)| (name.as_str(), scores));
    for (name, scores) in rows.chain(all.map(|all| ("all", all))) {
        let mut row = vec![printable(name), scores.problems.to_string()];
        row.extend(samples.then(|| scores.answers.to_string()));
        row.push(scores.passed.to_string());
        for k in &ks {
            let rate = scores.pass_at.get(k);
            row.extend([
                rate.map_or_else(String::new, |rate| percent(rate.value)),
                rate.map_or_else(String::new, |rate| interval(rate.interval)),
            ]);
        }
        let share = |rate: Option<&Rate>| rate.map_or_else(String::new, |rate| percent(rate.value));
        row.extend(demo.then(|| share(scores.demo.as_ref())));
        row.push(share(Some(&scores.full)));
        table.add_row(row);
    }
    table
}

fn rounds(rounds: &[Rate]) -> Table {
    let mut table = summary::table(&["after round", "pass@1", "95 % interval"], 0..3);
    for (n, rate) in rounds.iter().enumerate() {
        table.add_row([(n + 1).to_string(), percent(rate.value), interval(rate.interval)]);
    }
    table
}

fn failures<'a>(rows: impl Iterator<Item = &'a Scored>) -> Table {
    let mut table = summary::table(&["did not pass", "language", "outcome", "because"], 0..0);
    for row in rows {
        let because = said(&row.message);
        table.add_row([&row.id, &row.language, &row.outcome, &because].map(|text| printable(text)));
    }
    table
}

/// What the sandbox said, in a line: why, and how the program's or compiler's own words end.
fn said(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let cut = |line: &str| line.chars().take(SAID).collect::<String>();
    let lines: Vec<&str> = lines.collect();
    match lines.as_slice() {
        [first, .., last] if !first.contains(last) => format!("{}: {}", cut(first), cut(last)),
        lines => lines.first().map_or_else(String::new, |line| cut(line)),
    }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// An interval of shares, in per cent.
pub fn interval(interval: Interval) -> String {
    format!("{:.1} to {:.1}", 100.0 * interval.low, 100.0 * interval.high)
}

/// An interval as JSON: `[low, high]`.
pub fn interval_json(interval: Interval) -> Value {
    json!([rounded(interval.low), rounded(interval.high)])
}

/// `value` to nine digits: what is beyond is rounding.
pub fn rounded(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

fn rate_json(rate: &Rate) -> Value {
    json!({"rate": rounded(rate.value), "interval": interval_json(rate.interval)})
}

fn scores_json(scores: &Scores) -> Map<String, Value> {
    let first = scores.pass_at_1();
    let by_k = |value: &dyn Fn(&Rate) -> Value| -> Value {
        let by_k = scores.pass_at.iter().map(|(k, rate)| (k.to_string(), value(rate)));
        Value::Object(by_k.collect())
    };
    let fields = [
        ("n", json!(scores.problems)),
        ("answers", json!(scores.answers)),
        ("passed", json!(scores.passed)),
        ("pass@1", json!(first.map(|rate| rounded(rate.value)))),
        ("pass@1_interval", first.map_or(Value::Null, |rate| interval_json(rate.interval))),
        ("pass@k", by_k(&|rate| json!(rounded(rate.value)))),
        ("pass@k_intervals", by_k(&|rate| interval_json(rate.interval))),
        ("demo", scores.demo.as_ref().map_or(Value::Null, rate_json)),
        ("full", rate_json(&scores.full)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
