//! `autocodegen evaluate`: a model's answers to a benchmark, or answers that are there already, run and scored.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::batch::BatchArgs;
use super::drive::{Begun, Setup};
use super::money::MoneyArgs;
use super::options::{ModelArgs, SandboxArgs, SeedArgs};
use super::reuse::ReuseArgs;
use super::scores::{self, Format};
use super::telemetry::TelemetryArgs;
use super::{run, summary};
use crate::engine::partition_rows;
use crate::engine::run_file::{RunFile, SeedCounts, State};
use crate::error::{Error, Result};
use crate::evaluation::answers::{Answers, Kind};
use crate::evaluation::benchmark::{Benchmark, Reading};
use crate::evaluation::frame::{self, Layout, Source, Written};
use crate::evaluation::pipeline::{Asking, COMPLETION, NAME, OUTPUT, Shape};
use crate::evaluation::report::{Report, USUAL_K};
use crate::evaluation::results::Evaluation;
use crate::frame::ingest::ManifestEntry;
use crate::frame::key::Key;
use crate::sandbox::language::Languages;

/// Column with the reference solutions.
const CANONICAL: &str = "canonical_solution";

/// Where a base model's answer ends.
const STOP: [&str; 2] = ["[Code Solution End]", "\n[Problem]"];

/// Arguments of `evaluate`.
#[derive(clap::Args)]
#[command(
    after_help = "A benchmark has the columns question, canonical_solution, demo_test_func, full_test_func, language and perhaps difficulty
and category, or HumanEval's task_id, prompt, entry_point, test, canonical_solution; a run's dataset is one, too. Run the same command
again to resume. The per-row results are in the table `dataset` of --out.

Examples:
  autocodegen evaluate --benchmark runs/synthesize/dataset --solution-column canonical_solution
  OPENAI_API_KEY=... autocodegen evaluate --benchmark acb.jsonl --model deepseek-chat --base-url https://api.deepseek.com
  autocodegen evaluate --benchmark acb.jsonl --model m --base-url http://127.0.0.1:8000/v1 --samples 10 --k 1,5,10
  autocodegen evaluate --benchmark acb.jsonl --outputs answers.jsonl --solution-column output --format json
  autocodegen evaluate --benchmark humaneval.jsonl --outputs evalplus-samples.jsonl"
)]
pub struct Args {
    /// JSONL (plain, .gz, .zst) or Parquet file of problems, or a folder of Parquet files such as a run's `dataset`.
    #[arg(long, value_name = "FILE")]
    benchmark: PathBuf,
    /// Score the answers in this JSONL or Parquet file instead of asking a model. Rows belong to problems by task_id, problem_id or id,
    /// otherwise by their order; several rows of one problem are samples.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    outputs: Option<PathBuf>,
    /// Column with the answers: of --outputs (default: output, completion or solution), or else of the benchmark itself.
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    solution_column: Option<String>,
    /// What answers are: replies with the program in a fenced block, programs, or what follows the problem's prompt. Default: completions in
    /// a column `completion`, programs in `solution` and `canonical_solution`, replies in others.
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "model")]
    answers: Option<Kind>,
    /// How the model is asked: with the question, or with some solved problems before it, for base models.
    #[arg(long, value_enum, default_value_t = Prompt::Chat)]
    prompt: Prompt,
    /// Solved problems in a completion prompt.
    #[arg(long, value_name = "N", default_value_t = 3)]
    shots: usize,
    /// Seed of the choice of solved problems, and of the intervals.
    #[arg(long, value_name = "N", default_value_t = 0)]
    shuffle_seed: u64,
    /// Answers to ask for to each problem.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Times to ask, at most: after an answer that does not pass, again with what the sandbox said.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    rounds: u32,
    /// Values of k for pass@k. Default: 1, 5, 10 and 100, as far as there are samples.
    #[arg(long, value_name = "K", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    k: Vec<u32>,
    /// Count programs as passed that end before their tests have run to their end.
    #[arg(long)]
    lenient: bool,
    /// How the scores are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Folder for answers, verdicts and results. Default: runs/evaluate-<benchmark>-<model or file>.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prompt templates that replace the built-in ones (answer, completion, feedback), file by file.
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
    /// Install the toolchains that the benchmark needs and that are missing.
    #[arg(long)]
    install: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    batch: BatchArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    reuse: ReuseArgs,
    #[command(flatten)]
    money: MoneyArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// How the model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Prompt {
    /// A system prompt and the question.
    Chat,
    /// Solved problems, then the question.
    Completion,
}

/// What is scored.
enum Scoring {
    Model,
    /// A file of answers.
    Outputs(PathBuf),
    /// A column of the benchmark.
    Column(String),
}

/// Runs the command; exit code 1 when rows are pending.
pub fn run(args: Args, quiet: bool) -> Result<u8> {
    let started = Instant::now();
    let languages = Languages::embedded()?;
    let scoring = args.scoring()?;
    let benchmark = Benchmark::open(&args.benchmark)?;
    let seeds = Seeds::plan(&args, &scoring, &benchmark, &languages)?;
    let out = args.out.clone().unwrap_or_else(|| args.default_out(&scoring));
    let (k, rounds, format, seed) = (args.k.clone(), args.rounds, args.format, args.shuffle_seed);
    let args = args.into_run();
    let setup = Setup::new(&args, seeds.shape.pipeline()?)?;
    let begun = Begun::new(&args, setup, &out, None, quiet)?;
    let dir = begun.dir.clone();
    let written = seeds.write(&benchmark, &languages, &dir.seeds(), &dir.rejected_part("seed", 0)?)?;
    let file = seeds.run_file(begun.earlier.as_ref(), &written);
    dir.write_json(&file)?;
    let ran = begun.drive(&args, file, &languages, quiet, started)?;
    let evaluation = Evaluation::of(&dir)?;
    let ks = if k.is_empty() { USUAL_K.to_vec() } else { k };
    let report = Report::of(&evaluation.scored, &ks, rounds, seed);
    let told = scores::Told {
        evaluation: &evaluation,
        report: report.as_ref(),
        written: &written,
        dir: &out,
        failed: matches!(&scoring, Scoring::Column(name) if name == CANONICAL),
    };
    told.print(format)?;
    summary::tell_pending(&ran.progress.pending());
    let pending = evaluation.pending();
    if pending > 0 {
        eprintln!("{pending} rows are pending and not scored; run the same command again to take them up");
    }
    match ran.outcome.stopped {
        Some(error) => Err(error),
        None => Ok(u8::from(pending > 0)),
    }
}

impl Args {
    fn scoring(&self) -> Result<Scoring> {
        match (&self.model.model, &self.outputs, &self.solution_column) {
            (Some(_), ..) => Ok(Scoring::Model),
            (None, Some(path), _) => Ok(Scoring::Outputs(path.clone())),
            (None, None, Some(column)) => Ok(Scoring::Column(column.clone())),
            (None, None, None) => Err(Error::usage("there is nothing to score").hint(
                "give --model NAME, --outputs FILE, or --solution-column canonical_solution to check the benchmark itself",
            )),
        }
    }

    fn default_out(&self, scoring: &Scoring) -> PathBuf {
        let stem = |path: &Path| match (path.file_stem(), path.parent().and_then(Path::file_name)) {
            // A run's dataset is known by its run.
            (Some(stem), Some(run)) if stem == "dataset" => run.to_string_lossy().into_owned(),
            (stem, _) => stem.unwrap_or_default().to_string_lossy().into_owned(),
        };
        let who = match scoring {
            Scoring::Model => self.model.model.clone().unwrap_or_default(),
            Scoring::Outputs(path) => stem(path),
            Scoring::Column(name) => name.clone(),
        };
        let name = format!("evaluate-{}-{who}", stem(&self.benchmark));
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        Path::new("runs").join(name.chars().map(plain).collect::<String>())
    }

    /// As the arguments of `run` that they stand for.
    fn into_run(mut self) -> run::Args {
        if self.prompt == Prompt::Completion && self.model.extra_body.is_none() {
            // A base model would go on with problems of its own.
            self.model.extra_body = Some(format!("{{\"stop\": {STOP:?}}}"));
        }
        run::Args {
            pipeline: String::new(),
            out: None,
            templates: self.templates,
            dry_run: None,
            install: self.install,
            partition_size: None,
            max_output_bytes: 16_384,
            decontaminate: Vec::new(),
            seeds: SeedArgs {
                seeds: Vec::new(),
                text_column: None,
                language_column: None,
                language: None,
                max_seed_bytes: usize::MAX,
                limit: None,
            },
            model: self.model,
            batch: self.batch,
            sandbox: self.sandbox,
            reuse: self.reuse,
            money: self.money,
            telemetry: self.telemetry,
            line: Vec::new(),
        }
    }
}

/// The rows that are to be made, and what they are made of.
struct Seeds {
    shape: Shape<'static>,
    reading: Reading,
    layout: Layout,
    answers: Option<Answers>,
    answered_by: String,
    manifest: Vec<ManifestEntry>,
}

impl Seeds {
    fn plan(args: &Args, scoring: &Scoring, benchmark: &Benchmark, languages: &Languages) -> Result<Self> {
        let continues = benchmark.continues();
        let mut reading = Reading { answer: None, asks: matches!(scoring, Scoring::Model) };
        let mut manifest = benchmark.manifest()?;
        let mut answers = None;
        let (answer, column) = match scoring {
            Scoring::Model => (OUTPUT, None),
            Scoring::Column(name) if !benchmark.has(name) => {
                return Err(Error::usage(format!("the benchmark has no column `{name}`"))
                    .hint("name its column of answers, or give the file they are in with --outputs"));
            }
            Scoring::Column(name) if name == CANONICAL => (CANONICAL, Some(name.clone())),
            Scoring::Column(name) => {
                reading.answer = Some(name.clone());
                (OUTPUT, Some(name.clone()))
            }
            Scoring::Outputs(path) => {
                let mut problems = Vec::new();
                for batch in benchmark.problems(&reading, languages) {
                    problems.extend(batch?.0);
                }
                let file = Answers::open(path, args.solution_column.as_deref(), &problems)?;
                manifest.push(file.manifest()?);
                let column = file.column.clone();
                answers = Some(file);
                (OUTPUT, Some(column))
            }
        };
        let usual = column.as_deref().map_or(Kind::Reply, |name| Kind::of(name, continues));
        let asking = matches!(scoring, Scoring::Model).then(|| Asking {
            template: if args.prompt == Prompt::Completion { COMPLETION } else { "answer" },
            samples: args.samples,
            rounds: args.rounds,
        });
        let shape = Shape {
            asking,
            answer,
            kind: args.answers.unwrap_or(usual),
            demo: benchmark.has_demo(),
            continues,
            strict: !args.lenient,
        };
        let shots = asking.filter(|asking| asking.template == COMPLETION);
        let layout = Layout {
            demo: shape.demo,
            continues,
            outputs: asking.is_none() && answer == OUTPUT,
            shots: shots.map(|_| (args.shots, args.shuffle_seed)),
        };
        let answered_by = match scoring {
            Scoring::Model => String::new(),
            Scoring::Outputs(path) => path.display().to_string(),
            Scoring::Column(name) => name.clone(),
        };
        Ok(Self { shape, reading, layout, answers, answered_by, manifest })
    }

    fn write(
        &self,
        benchmark: &Benchmark,
        languages: &Languages,
        seeds: &Path,
        rejected: &Path,
    ) -> Result<Written> {
        let source = match &self.answers {
            Some(answers) => Source::Answers(answers),
            None if self.reading.answer.is_some() => Source::Column,
            None => Source::Problems,
        };
        frame::write(benchmark, &self.reading, &source, self.layout, languages, seeds, rejected)
    }

    /// `run.json` of an evaluation of `written` rows; partitions stay those of an earlier one of the same rows.
    fn run_file(&self, earlier: Option<&RunFile>, written: &Written) -> RunFile {
        let answers = self.answers.as_ref().map(|answers| &answers.column);
        let seed_options = Key::of(&[format!("{:?} {:?} {answers:?}", self.reading, self.layout)]);
        let same = |file: &&RunFile| file.manifest == self.manifest && file.seed_options == seed_options;
        let file = match earlier.filter(same) {
            Some(earlier) => earlier.clone(),
            None => RunFile {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pipeline: NAME.to_owned(),
                fingerprints: Vec::new(),
                templates: None,
                model: Default::default(),
                answered_by: String::new(),
                sandbox: String::new(),
                manifest: self.manifest.clone(),
                seed_options,
                partition_rows: partition_rows(written.rows(), None),
                seeds: SeedCounts::default(),
                state: State::Running,
                counts: Default::default(),
                cost: earlier.map(|file| file.cost.clone()).unwrap_or_default(),
                calls: Vec::new(),
                wall_ms: 0,
            },
        };
        let seeds = SeedCounts {
            rows: written.rows(),
            duplicates: 0,
            rejected: written.useless.clone(),
            by_language: written.by_language.clone(),
        };
        RunFile { seeds, answered_by: self.answered_by.clone(), state: State::Running, ..file }
    }
}
