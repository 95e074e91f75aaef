//! What `run` prints when it ends: the funnel, and how many seeds of each language became problems.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::{CellAlignment, Table};

use super::progress::PendingCauses;
use super::{money, printable, write_stdout};
use crate::analytics::output::STYLE;
use crate::engine::run_file::RunFile;
use crate::error::Result;
use crate::plan::Plan;

/// Reasons named per stage in the funnel.
const REASONS: usize = 3;

/// Prints the run's result to stdout, and what is pending and why to stderr.
pub fn print(
    plan: &Plan,
    file: &RunFile,
    dir: &Path,
    pending: &PendingCauses,
    reused: (u64, u64),
    bundled: bool,
) -> Result<()> {
    let mut text = format!(
        "{}\n\n{}\n\nmodel    {}\nsandbox  {}\ntime     {:.1} s\ndataset  {}\n",
        funnel(plan, file).trim_fmt(),
        by_language(plan, file).trim_fmt(),
        printable(&file.answered_by),
        printable(&file.sandbox),
        file.wall_ms as f64 / 1000.0,
        printable(&dir.join("dataset").to_string_lossy())
    );
    let paid = file.cost.spending.tokens(None);
    if !bundled && paid.total() > 0 {
        text += &format!("cost     {}\n", money::spent(paid, file.cost.usd, &file.cost.prices));
    }
    if reused != (0, 0) {
        text.push_str(&format!(
            "reused   {} replies and {} verdicts of equal requests, from other runs or the cache: not asked again\n",
            reused.0, reused.1
        ));
    }
    if bundled {
        text.push_str(
            "\nThese replies were written for the quickstart; no model was asked. For a real one:\n  \
             OPENAI_API_KEY=... autocodegen run --seeds FILE_OR_FOLDER --model NAME --base-url URL --out runs/mine\n",
        );
    }
    write_stdout(&text)?;
    tell_pending(pending);
    let pending = file.counts.pending();
    if pending > 0 {
        eprintln!("{pending} rows are pending; run the same command again to take them up");
    }
    Ok(())
}

/// Says on stderr why rows are pending.
pub fn tell_pending(pending: &PendingCauses) {
    for ((stage, cause), (rows, first, hint)) in pending {
        let plural = if *rows == 1 { "row is" } else { "rows are" };
        eprintln!("pending: {rows} {plural} waiting at {stage} ({cause}); the first: {}", printable(first));
        if let Some(hint) = hint {
            eprintln!("hint: {}", printable(hint));
        }
    }
}

/// A table whose columns from `numbers` on are numbers.
pub fn table(header: &[&str], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header);
    for at in numbers {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn funnel(plan: &Plan, file: &RunFile) -> Table {
    // Only of use where a stage makes several rows of one.
    let spawns = plan.stages.iter().any(|stage| stage.fan_out > 1);
    let spawned = |rows: u64| spawns.then(|| rows.to_string());
    let mut header = vec!["stage", "in"];
    header.extend(spawns.then_some("spawned"));
    header.extend(["kept", "rejected", "pending", "tokens", "busy", "rejected because"]);
    let mut table = table(&header, 1..header.len() - 1);
    let seeds = &file.seeds;
    let read = seeds.rows + seeds.duplicates + seeds.rejected.values().sum::<u64>();
    let mut reasons = seeds.rejected.clone();
    if seeds.duplicates > 0 {
        reasons.insert("duplicate".into(), seeds.duplicates);
    }
    let mut row = vec!["seeds".to_owned(), read.to_string()];
    row.extend(spawned(0));
    row.extend([
        seeds.rows.to_string(),
        reasons.values().sum::<u64>().to_string(),
        "0".to_owned(),
        String::new(),
        String::new(),
        top(&reasons),
    ]);
    table.add_row(row);
    for stage in &plan.stages {
        let tally = file.counts.stage(&stage.name);
        let tokens = tally.prompt_tokens + tally.completion_tokens;
        let mut row = vec![stage.name.to_string(), tally.rows_in.to_string()];
        row.extend(spawned(tally.spawned));
        row.extend([
            tally.kept.to_string(),
            tally.rejected_rows().to_string(),
            tally.pending.to_string(),
            if tokens > 0 { tokens.to_string() } else { String::new() },
            if tally.busy_ms > 0 { format!("{:.1} s", tally.busy_ms as f64 / 1000.0) } else { String::new() },
            top(&tally.rejected),
        ]);
        table.add_row(row);
    }
    table
}

/// The most frequent reasons, with their rows.
pub fn top(reasons: &BTreeMap<String, u64>) -> String {
    let mut reasons: Vec<(&String, &u64)> = reasons.iter().collect();
    reasons.sort_by_key(|(reason, rows)| (std::cmp::Reverse(**rows), (*reason).clone()));
    let named: Vec<String> =
        reasons.iter().take(REASONS).map(|(reason, rows)| format!("{} {rows}", printable(reason))).collect();
    let more = if reasons.len() > REASONS { ", ..." } else { "" };
    named.join(", ") + more
}

fn by_language(plan: &Plan, file: &RunFile) -> Table {
    let translated = plan.translates();
    let first = if translated.is_some() { "translations" } else { "seeds" };
    let mut table = table(&["language", first, "problems", "pass rate"], 1..4);
    let empty = BTreeMap::new();
    let last = plan.stages.last().and_then(|stage| file.counts.0.get(&*stage.name)).unwrap_or(&empty);
    let mut sum = (0, 0, 0);
    let mut row = |language: &str, seeds: u64, spawned: u64, problems: u64| {
        let rows = seeds + spawned;
        let rate = if rows == 0 { 0.0 } else { 100.0 * problems as f64 / rows as f64 };
        table.add_row([language.to_owned(), seeds.to_string(), problems.to_string(), format!("{rate:.1} %")]);
    };
    // Rows that are translated are told by the languages they were translated to.
    let after =
        translated.and_then(|at| plan.stages.get(at + 1)).and_then(|stage| file.counts.0.get(&*stage.name));
    let arrived: BTreeMap<String, u64> = match translated {
        None => file.seeds.by_language.clone(),
        Some(_) => {
            let tallies = after.into_iter().flatten();
            tallies.map(|(language, tally)| (language.clone(), tally.rows_in)).collect()
        }
    };
    let counted = plan.stages.iter().skip(translated.map_or(0, |at| at + 1));
    let counted: Vec<_> = counted.filter_map(|stage| file.counts.0.get(&*stage.name)).collect();
    for (language, seeds) in &arrived {
        let problems = last.get(language).map_or(0, |tally| tally.kept);
        // Each of a seed's rows can become a problem.
        let tallies = counted.iter().filter_map(|stage| stage.get(language));
        let spawned = tallies.map(|tally| tally.spawned).sum();
        row(language, *seeds, spawned, problems);
        sum = (sum.0 + seeds, sum.1 + spawned, sum.2 + problems);
    }
    row("all", sum.0, sum.1, sum.2);
    table
}
