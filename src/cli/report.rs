//! `autocodegen report`: one page about a run.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use super::saved::SavedCommand;
use super::write_stdout;
use crate::analytics::report::{About, Score, Scores, bytes, duration, page, whole};
use crate::engine::run_file::{RunFile, State};
use crate::error::{Error, Result};
use crate::evaluation::report::{Report, Scores as Scored};
use crate::evaluation::results::Evaluation;
use crate::frame::atomic;
use crate::frame::run_dir::RunDir;

/// Name of the page in the run directory.
const FILE: &str = "report.html";
/// Input files that are listed.
const INPUTS: usize = 20;

/// Arguments of `report`.
#[derive(clap::Args)]
#[command(
    after_help = "The page is one HTML file without scripts, to be read, printed or sent: funnel, pass rates, difficulty and category, cost, latency,
why rows left with rows to open, and the configuration. It shows text of rows, and file names.

Examples:
  autocodegen report --run runs/mine                            # writes runs/mine/report.html
  autocodegen report --run runs/mine --out mine.html"
)]
pub struct Args {
    /// Run directory.
    #[arg(long, value_name = "DIR", default_value = "runs/synthesize")]
    run: PathBuf,
    /// File to write; report.html in the run directory unless given, which is replaced by a new one.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file given with --out.
    #[arg(long, requires = "out")]
    overwrite: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let run = RunDir::open_read_only(&args.run)?;
    let out = args.out.clone().unwrap_or_else(|| run.path().join(FILE));
    if out.is_dir() {
        return Err(
            Error::usage(format!("{} is a directory", out.display())).hint("give --out the name of a file")
        );
    }
    if args.out.is_some() && !args.overwrite && out.symlink_metadata().is_ok() {
        return Err(Error::usage(format!("{} is there already", out.display()))
            .hint("give another --out, or --overwrite to replace it"));
    }
    let html = page(&run, &about(&run)?)?;
    atomic::write_file(&out, |file| {
        file.write_all(html.as_bytes()).map_err(|error| Error::io("write", &out, error))
    })?;
    write_stdout(&format!("wrote {}: {} bytes\n", super::printable(&out.display().to_string()), html.len()))?;
    Ok(0)
}

/// What the page tells that is in no table.
fn about(run: &RunDir) -> Result<About> {
    let path = std::fs::canonicalize(run.path()).unwrap_or_else(|_| run.path().to_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(file) = run.read_json::<RunFile>()? else {
        let notices = vec!["The run has not begun: there is no run.json yet.".to_owned()];
        return Ok(About { name, notices, ..About::default() });
    };
    let scores = if file.pipeline == crate::evaluation::pipeline::NAME { scores(run)? } else { Vec::new() };
    Ok(About {
        name,
        pipeline: file.pipeline.clone(),
        notices: notices(&file),
        facts: facts(&file),
        scores,
        configuration: configuration(run, &file),
        pipeline_file: pipeline_file(run)?,
    })
}

fn notices(file: &RunFile) -> Vec<String> {
    let pending = file.counts.pending();
    match file.state {
        State::Done => Vec::new(),
        State::Running => vec![
            "The run is under way, or was killed: figures are those of the last time that it ended."
                .to_owned(),
        ],
        State::Pending => vec![format!(
            "{} rows are pending: they have no answer yet. Running the same command again takes them up.",
            whole(pending as f64)
        )],
    }
}

fn facts(file: &RunFile) -> Vec<(String, String)> {
    let state = match file.state {
        State::Done => "done",
        State::Running => "under way",
        State::Pending => "rows pending",
    };
    let mut facts = vec![("state".to_owned(), state.to_owned())];
    if file.wall_ms > 0 {
        facts.push(("time of the last run".to_owned(), duration(file.wall_ms as f64)));
    }
    facts
}

/// The scores of an evaluation, as `evaluate` tells them.
fn scores(run: &RunDir) -> Result<Vec<Scores>> {
    let evaluation = Evaluation::of(run)?;
    let Some(report) = Report::of(&evaluation.scored, &[1], 1, 0) else { return Ok(Vec::new()) };
    let score = |name: &str, scored: &Scored| {
        let rate = scored.pass_at_1()?;
        let interval = (rate.interval.low, rate.interval.high);
        Some(Score {
            name: name.to_owned(),
            problems: scored.problems,
            passed: scored.passed,
            rate: rate.value,
            interval,
        })
    };
    let groups = [
        ("language", &report.by_language),
        ("difficulty", &report.by_difficulty),
        ("category", &report.by_category),
    ];
    let groups = groups.into_iter().filter(|(_, groups)| !groups.is_empty()).map(|(by, groups)| Scores {
        by: by.to_owned(),
        groups: groups.iter().filter_map(|(name, scored)| score(name, scored)).collect(),
    });
    let mut scores: Vec<Scores> = groups.collect();
    if let Some(first) = scores.first_mut() {
        first.groups.extend(score("all", &report.all));
    }
    Ok(scores)
}

/// How the run was made. The page leaves secrets out.
fn configuration(run: &RunDir, file: &RunFile) -> Vec<(String, String)> {
    let mut rows = vec![("autocodegen".to_owned(), file.version.clone())];
    let mut add = |what: &str, value: String| {
        if !value.is_empty() {
            rows.push((what.to_owned(), value));
        }
    };
    add("pipeline", file.pipeline.clone());
    add("answered by", file.answered_by.clone());
    add("model and sampling", serde_json::to_string(&file.model).unwrap_or_default());
    add("sandbox", file.sandbox.clone());
    if let Ok(saved) = SavedCommand::of(run.path()) {
        add("last command", format!("autocodegen {}", saved.arguments.join(" ")));
    }
    let seeds = &file.seeds;
    let rejected: u64 = seeds.rejected.values().sum();
    add(
        "seeds",
        format!("{} rows, {} exact repeats dropped, {rejected} rejected", seeds.rows, seeds.duplicates),
    );
    for input in file.manifest.iter().take(INPUTS) {
        add("input", format!("{}, {}", input.path, bytes(input.size)));
    }
    if file.manifest.len() > INPUTS {
        add("input", format!("and {} more files", file.manifest.len() - INPUTS));
    }
    add("rows of a partition", file.partition_rows.to_string());
    add("templates", file.templates.map(|hash| hash.to_string()).unwrap_or_default());
    for (step, fingerprint) in &file.fingerprints {
        add("fingerprint", format!("{step} {fingerprint}"));
    }
    rows
}

fn pipeline_file(run: &RunDir) -> Result<Option<String>> {
    let path = run.pipeline();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}
