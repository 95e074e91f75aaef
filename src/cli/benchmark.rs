//! `autocodegen benchmark`: benchmarks made of benchmarks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_select::take::take_record_batch;

use super::{printable, summary};
use crate::error::{Error, Result};
use crate::evaluation::benchmark::{Benchmark, Problem, Reading};
use crate::evaluation::compare::solvers;
use crate::evaluation::pipeline::COMPLETION;
use crate::evaluation::results::Evaluation;
use crate::evaluation::shots::Shots;
use crate::frame::records::RecordWriter;
use crate::frame::schema::{batch_of, column, columns_where};
use crate::sandbox::language::Languages;
use crate::text::template::Templates;

/// What can be made.
#[derive(clap::Subcommand)]
pub enum Command {
    /// The problems that at least some of the evaluated models solve, hardest first, with the number of models in `solved_by`.
    #[command(after_help = "Example:
  autocodegen benchmark lite runs/evaluate-acb-small runs/evaluate-acb-large --benchmark acb.jsonl --out lite.jsonl")]
    Lite(Lite),
    /// For base models: some problems of each language, each with solved ones before it in `shots` and the whole prompt in
    /// `completion_prompt`.
    #[command(after_help = "Example:
  autocodegen benchmark complete --benchmark acb.jsonl --per-language 50 --out complete.jsonl
  autocodegen evaluate --benchmark complete.jsonl --prompt completion --model base --base-url http://127.0.0.1:8000/v1")]
    Complete(Complete),
}

/// Arguments of `benchmark lite`.
#[derive(clap::Args)]
pub struct Lite {
    /// Folders that `evaluate` has written, one for each model.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The benchmark that they are evaluations of.
    #[arg(long, value_name = "FILE")]
    benchmark: PathBuf,
    /// Models that have to solve a problem.
    #[arg(long, value_name = "N", default_value_t = 2)]
    min_solvers: u64,
    /// Take at most this many problems.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// File to write: .jsonl (also .gz, .zst) or .parquet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Arguments of `benchmark complete`.
#[derive(clap::Args)]
pub struct Complete {
    /// JSONL or Parquet file of problems, or a folder of Parquet files.
    #[arg(long, value_name = "FILE")]
    benchmark: PathBuf,
    /// Most problems of a language.
    #[arg(long, value_name = "N", default_value_t = 50)]
    per_language: usize,
    /// Solved problems before each.
    #[arg(long, value_name = "N", default_value_t = 3)]
    shots: usize,
    /// Seed of the choice.
    #[arg(long, value_name = "N", default_value_t = 0)]
    shuffle_seed: u64,
    /// Prompt templates that replace the built-in one (completion).
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
    /// File to write: .jsonl (also .gz, .zst) or .parquet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Lite(args) => lite(args),
        Command::Complete(args) => complete(args),
    }
}

fn lite(args: &Lite) -> Result<u8> {
    let evaluations: Vec<Evaluation> =
        args.runs.iter().map(|run| Evaluation::read(run)).collect::<Result<_>>()?;
    for (evaluation, run) in evaluations.iter().zip(&args.runs) {
        if evaluation.pending() > 0 {
            let name = printable(&run.to_string_lossy());
            eprintln!("{name}: {} rows are pending and count as not solved", evaluation.pending());
        }
    }
    let solved = solvers(evaluations.iter().map(|evaluation| evaluation.scored.as_slice()));
    let (benchmark, problems) = problems(&args.benchmark)?;
    if !problems.iter().any(|problem| solved.contains_key(problem.id.as_str())) {
        return Err(Error::usage(format!("the runs are not of {}", args.benchmark.display()))
            .hint("give the benchmark that they were evaluated on"));
    }
    let count = |problem: &Problem| solved.get(problem.id.as_str()).copied().unwrap_or(0);
    let mut picked: Vec<&Problem> =
        problems.iter().filter(|problem| count(problem) >= args.min_solvers).collect();
    picked.sort_by_key(|problem| (count(problem), problem.row));
    picked.truncate(args.limit.unwrap_or(picked.len()));
    let solvers: ArrayRef =
        Arc::new(UInt64Array::from_iter_values(picked.iter().map(|problem| count(problem))));
    let rows: Vec<usize> = picked.iter().map(|problem| problem.row).collect();
    write(&args.out, &benchmark.rows()?, &rows, vec![("solved_by", solvers)])?;
    tell(&args.out, &picked, problems.len())
}

fn complete(args: &Complete) -> Result<u8> {
    let (benchmark, problems) = problems(&args.benchmark)?;
    let templates = Templates::load(args.templates.as_deref())?;
    let shots = Shots::pick(&problems, Some(args.per_language), args.shots, args.shuffle_seed);
    let picked: Vec<&Problem> = shots.picked.iter().map(|at| &problems[*at]).collect();
    let prompts = picked.iter().zip(&shots.texts).map(|(problem, shots)| {
        let values = BTreeMap::from([("question", problem.question.as_str()), ("shots", shots)]);
        let values = values.into_iter().chain([("language", problem.language.as_str())]);
        let prompt = templates.render(COMPLETION, &problem.language, &values.collect::<BTreeMap<_, _>>())?;
        Ok(prompt.user)
    });
    let prompts: ArrayRef = Arc::new(StringArray::from(prompts.collect::<Result<Vec<String>>>()?));
    let texts: ArrayRef = Arc::new(StringArray::from(shots.texts.clone()));
    let rows: Vec<usize> = picked.iter().map(|problem| problem.row).collect();
    write(&args.out, &benchmark.rows()?, &rows, vec![("shots", texts), ("completion_prompt", prompts)])?;
    tell(&args.out, &picked, problems.len())
}

fn problems(path: &Path) -> Result<(Benchmark, Vec<Problem>)> {
    let (benchmark, languages) = (Benchmark::open(path)?, Languages::embedded()?);
    let mut problems = Vec::new();
    let mut useless = BTreeMap::new();
    for batch in benchmark.problems(&Reading { answer: None, asks: true }, &languages) {
        let (read, rejected) = batch?;
        problems.extend(read);
        for row in rejected {
            *useless.entry(row.reason).or_default() += 1;
        }
    }
    if !useless.is_empty() {
        eprintln!("{} rows are left out: {}", useless.values().sum::<u64>(), summary::top(&useless));
    }
    Ok((benchmark, problems))
}

/// Writes `rows` of `all`, with `added` columns in the place of those of the same name.
fn write(out: &Path, all: &RecordBatch, rows: &[usize], added: Vec<(&str, ArrayRef)>) -> Result<()> {
    let indices: UInt32Array = rows.iter().map(|row| u32::try_from(*row).ok()).collect();
    if indices.null_count() > 0 {
        return Err(Error::usage("the benchmark has more than 4 milliard rows"));
    }
    let picked = take_record_batch(all, &indices)
        .map_err(|error| Error::usage(format!("cannot pick rows of the benchmark: {error}")))?;
    let mut columns = columns_where(&picked, |name| !added.iter().any(|(new, _)| *new == name));
    columns.extend(added.into_iter().map(|(name, values)| column(name, values)));
    let mut writer = RecordWriter::create(out)?;
    writer.write(&batch_of(rows.len(), columns)?)?;
    writer.finish().map(drop)
}

fn tell(out: &Path, picked: &[&Problem], of: usize) -> Result<u8> {
    let mut languages = BTreeMap::new();
    for problem in picked {
        *languages.entry(problem.language.as_str()).or_insert(0_u64) += 1;
    }
    let each: Vec<String> = languages.iter().map(|(language, count)| format!("{language} {count}")).collect();
    let out = printable(&out.to_string_lossy());
    eprintln!("wrote {out}: {} of {of} problems: {}", picked.len(), each.join(", "));
    Ok(0)
}
