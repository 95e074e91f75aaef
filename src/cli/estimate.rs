//! `autocodegen estimate`: what a run would cost, before it is begun or while it is half done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use tempfile::TempDir;

use super::{asking, money, pilot, printable, run, summary, write_stdout};
use crate::engine::counts::Counts;
use crate::engine::estimate::{
    Estimate, Figures, FirstPrompts, Observed, Question, Range, counted_with, estimate,
};
use crate::engine::run_file::RunFile;
use crate::engine::spending::{Cost, Prices};
use crate::error::{Error, Result};
use crate::frame::ingest::{SeedStore, ingest};
use crate::frame::journal::Journal;
use crate::frame::run_dir::RunDir;
use crate::llm::tokens::Tokenizer;
use crate::plan::Plan;
use crate::sandbox::language::Languages;
use crate::stages::registry::Context;
use crate::text::template::Templates;

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs: with the range of every number.
    Json,
}

/// Arguments of `estimate`: those of `run`, and how to reckon.
#[derive(clap::Args)]
#[command(
    after_help = "Nothing is sent without --pilot. With it, so many seeds, spread over the languages, go through the pipeline first.
Their answers are kept in the run directory, where `run` finds them: nothing is paid for twice.

Examples:
  autocodegen estimate --model gpt-4o-mini
  autocodegen estimate --seeds snippets.jsonl --model my-model --price-input 0.5 --price-output 2 --out runs/mine
  OPENAI_API_KEY=... autocodegen estimate --seeds snippets.jsonl --model gpt-4o-mini --out runs/mine --pilot 50"
)]
pub struct EstimateArgs {
    /// Really run this many seeds first, and reckon from what they cost.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pilot: Option<u32>,
    /// Form of the answer.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    run: run::Args,
}

/// Runs the command.
///
/// # Errors
/// Those of `run` before it begins, and with a pilot those of the pilot.
pub fn run(args: &EstimateArgs, quiet: bool) -> Result<u8> {
    let languages = Languages::embedded()?;
    let pipeline = args.run.model.pipeline(&args.run.pipeline)?;
    let templates = Arc::new(Templates::load(args.run.templates.as_deref())?);
    let sampling = args.run.model.sampling(&pipeline.model)?;
    let context = Context {
        templates: &templates,
        sampling: &sampling,
        sandbox: None,
        max_output_bytes: args.run.max_output_bytes,
        decontaminate: Some(&args.run.decontaminate),
    };
    let plan = Plan::build(&pipeline, &context)?;
    run::check_decontaminates(&plan, &args.run.decontaminate)?;
    let asking = asking::asking(&plan, &pipeline, &sampling.model)?;
    let prices = args.run.money.prices(&asking, &sampling.model)?;
    let out = args.run.out.clone().unwrap_or_else(|| Path::new("runs").join(&pipeline.name));

    let temp =
        TempDir::new().map_err(|error| Error::io("create a folder in", &std::env::temp_dir(), error))?;
    let options = args.run.seeds.options(temp.path(), &pipeline.input, plan.reserved_columns())?;
    let frame = temp.path().join("seeds");
    ingest(&options, &languages, &frame, &temp.path().join("rejected.parquet"), &mut |_, _| {})?;
    let seeds = SeedStore::open(&frame)?;
    let columns: Vec<String> = seeds.schema().fields().iter().map(|field| field.name().clone()).collect();
    plan.check(&columns)?;

    if let Some(rows) = args.pilot {
        pilot::run(&args.run, &pipeline, &context, &seeds, &out, rows as usize, quiet)?;
    }
    let (counts, spent) = at_hand(&out)?;
    let observed = replies_at_hand(&out, &asking::names(&asking))?;
    let answer = estimate(&Question {
        plan: &plan,
        first: FirstPrompts::count(&plan, &seeds, Tokenizer::of(&sampling.model))?,
        counts: &counts,
        observed: &observed,
        figures: &Figures::bundled()?,
        prices: &prices,
        model_parallel: args.run.model.limits.in_flight as usize,
        sandbox_parallel: sandbox_parallel(args),
    })?;
    match args.format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&answer)
                .map_err(|error| Error::environment(format!("the estimate: {error}")))?;
            write_stdout(&(json + "\n"))?;
        }
        Format::Table => write_stdout(&table(&answer, seeds.rows(), &sampling.model, &prices, &spent))?,
    }
    Ok(0)
}

fn sandbox_parallel(args: &EstimateArgs) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    args.run.sandbox.sandbox_jobs.unwrap_or(cores)
}

/// What became of the rows that have been through the pipeline in `out`, in its own run or its pilot, whichever saw more;
/// and what was spent there.
fn at_hand(out: &Path) -> Result<(Counts, Cost)> {
    let mut best: Option<RunFile> = None;
    for dir in [out.to_owned(), pilot::dir(out)] {
        if !RunDir::is_run(&dir) {
            continue;
        }
        let Some(file) = RunDir::open_read_only(&dir)?.read_json::<RunFile>()? else { continue };
        let decided = |file: &RunFile| {
            let tallies = file.counts.0.values().flat_map(BTreeMap::values);
            tallies.map(|tally| tally.kept + tally.rejected_rows()).sum::<u64>()
        };
        if best.as_ref().is_none_or(|best| decided(&file) > decided(best)) {
            best = Some(file);
        }
    }
    Ok(best.map(|file| (file.counts, file.cost)).unwrap_or_default())
}

/// What the journals in `out` say of the stages `asking`.
fn replies_at_hand(out: &Path, asking: &[Arc<str>]) -> Result<BTreeMap<String, Observed>> {
    let mut observed = BTreeMap::new();
    if !RunDir::is_run(out) {
        return Ok(observed);
    }
    let run = RunDir::open_read_only(out)?;
    for stage in asking {
        let journal: PathBuf = run.journal(stage)?;
        observed.insert(stage.to_string(), Observed::of(&Journal::open_read_only(&journal)?)?);
    }
    Ok(observed)
}

fn table(answer: &Estimate, seeds: u64, model: &str, prices: &Prices, spent: &Cost) -> String {
    let header = ["stage", "requests", "prompt tokens", "reply tokens", "USD", "hours", "reckoned from"];
    let mut table = summary::table(&header, 1..6);
    let usd = |of: fn(&Range) -> f64, usd: &Option<Range>| match usd {
        Some(usd) => format!("{:.4}", of(usd)),
        None => "unknown".to_owned(),
    };
    let likely: fn(&Range) -> f64 = |range| range.likely;
    for stage in &answer.stages {
        let of_model = |text: String| if stage.model { text } else { String::new() };
        table.add_row([
            stage.stage.clone(),
            format!("{:.0}", stage.requests.likely),
            of_model(format!("{:.0}", stage.prompt_tokens.likely)),
            of_model(format!("{:.0}", stage.completion_tokens.likely)),
            of_model(usd(likely, &stage.usd)),
            format!("{:.3}", stage.hours.likely),
            stage.basis.clone(),
        ]);
    }
    type Of = fn(&Range) -> f64;
    let totals: [(&str, Of); 3] =
        [("all, likely", likely), ("at least", |range| range.low), ("at most", |range| range.high)];
    for (name, of) in totals {
        table.add_row([
            name.to_owned(),
            String::new(),
            format!("{:.0}", of(&answer.prompt_tokens)),
            format!("{:.0}", of(&answer.completion_tokens)),
            usd(of, &answer.usd),
            format!("{:.3}", of(&answer.hours)),
            String::new(),
        ]);
    }
    let price = match prices.values().next() {
        Some(price) => format!(
            "{} USD per million tokens of prompts, {} of replies ({})",
            price.input,
            price.output,
            printable(&price.source)
        ),
        None => format!("not known for `{}`: see --price-input and --pricing", printable(model)),
    };
    let mut text = format!(
        "{}\n\nseeds    {seeds}, of which {:.0} ({:.0} to {:.0}) become problems\nprice    {price}\ntokens   counted with {}\n",
        table.trim_fmt(),
        answer.rows.likely,
        answer.rows.low,
        answer.rows.high,
        counted_with(model)
    );
    let tokens = spent.spending.tokens(None);
    if tokens.total() > 0 {
        let usd = spent.spending.usd(None, prices);
        text += &format!("spent    {} tokens of these already: {}\n", tokens.total(), money::usd(usd));
    }
    text
}
