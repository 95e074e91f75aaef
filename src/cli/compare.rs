//! `autocodegen compare`: evaluations side by side.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::scores::{Format, interval, interval_json, percent, rounded};
use super::{printable, summary, write_stdout};
use crate::error::{Error, Result};
use crate::evaluation::compare::{Comparison, compare};
use crate::evaluation::report::{Report, Scores};
use crate::evaluation::results::Evaluation;

/// Arguments of `compare`.
#[derive(clap::Args)]
#[command(
    after_help = "Pairs are compared on the problems that both have scored. The difference of their pass@1 comes with the 95 % interval of a
bootstrap over problems; p is that of McNemar's exact test on the first answers: small where a difference this lopsided is unlikely
between equally good models.

Example:
  autocodegen compare runs/evaluate-acb-small runs/evaluate-acb-large"
)]
pub struct Args {
    /// Folders that `evaluate` has written.
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    runs: Vec<PathBuf>,
    /// How the comparison is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Seed of the intervals.
    #[arg(long, value_name = "N", default_value_t = 0)]
    shuffle_seed: u64,
}

/// One evaluation and what it came to.
struct Entry<'a> {
    name: String,
    evaluation: &'a Evaluation,
    scores: Scores,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let evaluations: Vec<Evaluation> =
        args.runs.iter().map(|run| Evaluation::read(run)).collect::<Result<_>>()?;
    let entries = evaluations.iter().zip(&args.runs).map(|(evaluation, run)| {
        let report = Report::of(&evaluation.scored, &[1], 1, args.shuffle_seed);
        let scores = report.map(|report| report.all).ok_or_else(|| nothing(run))?;
        Ok(Entry { name: run.display().to_string(), evaluation, scores })
    });
    let entries: Vec<Entry<'_>> = entries.collect::<Result<_>>()?;
    let mut pairs = Vec::new();
    for (at, first) in entries.iter().enumerate() {
        for second in &entries[at + 1..] {
            let compared = compare(&first.evaluation.scored, &second.evaluation.scored, args.shuffle_seed);
            let compared = compared.ok_or_else(|| {
                Error::usage(format!("{} and {} have no problem in common", first.name, second.name))
                    .hint("compare evaluations of the same benchmark")
            })?;
            pairs.push((first, second, compared));
        }
    }
    for entry in &entries {
        let pending = entry.evaluation.pending();
        if pending > 0 {
            eprintln!("{}: {pending} rows are pending and not compared", printable(&entry.name));
        }
    }
    write_stdout(&match args.format {
        Format::Table => tables(&entries, &pairs),
        Format::Json => as_json(&entries, &pairs)?,
    })?;
    Ok(0)
}

fn nothing(run: &Path) -> Error {
    Error::usage(format!("{} has no scored answer", run.display()))
        .hint("run `autocodegen evaluate` with this --out again")
}

type Pair<'a> = (&'a Entry<'a>, &'a Entry<'a>, Comparison);

fn tables(entries: &[Entry<'_>], pairs: &[Pair<'_>]) -> String {
    let mut runs = summary::table(
        &["run", "answered by", "count", "passed", "pass@1", "95 % interval", "pending"],
        2..7,
    );
    for entry in entries {
        let rate = entry.scores.pass_at_1();
        runs.add_row([
            printable(&entry.name),
            printable(&entry.evaluation.file.answered_by),
            entry.scores.problems.to_string(),
            entry.scores.passed.to_string(),
            rate.map_or_else(String::new, |rate| percent(rate.value)),
            rate.map_or_else(String::new, |rate| interval(rate.interval)),
            entry.evaluation.pending().to_string(),
        ]);
    }
    let mut compared = summary::table(
        &["first", "second", "common", "difference", "95 % interval", "only first", "only second", "p"],
        2..8,
    );
    for (first, second, pair) in pairs {
        compared.add_row([
            printable(&first.name),
            printable(&second.name),
            pair.common.to_string(),
            format!("{:+.1}", 100.0 * (pair.first - pair.second)),
            interval(pair.interval),
            pair.only_first.to_string(),
            pair.only_second.to_string(),
            if pair.p < 0.0001 { format!("{:.1e}", pair.p) } else { format!("{:.4}", pair.p) },
        ]);
    }
    format!("{}\n\n{}\n", runs.trim_fmt(), compared.trim_fmt())
}

fn as_json(entries: &[Entry<'_>], pairs: &[Pair<'_>]) -> Result<String> {
    let runs: Vec<_> = entries
        .iter()
        .map(|entry| {
            let rate = entry.scores.pass_at_1();
            json!({
                "run": entry.name,
                "answered_by": entry.evaluation.file.answered_by,
                "n": entry.scores.problems,
                "passed": entry.scores.passed,
                "pass@1": rate.map(|rate| rounded(rate.value)),
                "pass@1_interval": rate.map(|rate| interval_json(rate.interval)),
                "pending": entry.evaluation.pending(),
            })
        })
        .collect();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(first, second, pair)| {
            json!({
                "first": first.name,
                "second": second.name,
                "common": pair.common,
                "pass@1": [rounded(pair.first), rounded(pair.second)],
                "difference": rounded(pair.first - pair.second),
                "interval": interval_json(pair.interval),
                "only_first": pair.only_first,
                "only_second": pair.only_second,
                "p": pair.p,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&json!({"runs": runs, "pairs": pairs}))
        .map_err(|error| Error::usage(format!("the comparison cannot be written as JSON: {error}")))?;
    Ok(text + "\n")
}
