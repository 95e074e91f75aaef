//! `autocodegen export`: a run's dataset as Parquet or JSONL.

use std::path::{Path, PathBuf};

use crate::analytics::predicate::rows_where;
use crate::engine::prompts::Prompts;
use crate::error::{Error, Result};
use crate::frame::dataset;
use crate::frame::export::{Picker, Shard, ShardWriter, shard_paths};
use crate::frame::part::{self, Scan};
use crate::frame::run_dir::RunDir;

/// Arguments of `export`.
#[derive(clap::Args)]
#[command(after_help = "Rows keep the order of the seeds. Each file appears when it is whole.

Examples:
  autocodegen export --format jsonl --out problems.jsonl
  autocodegen export --run runs/mine --format parquet --out problems.parquet --shards 4
      writes problems-00000-of-00004.parquet to problems-00003-of-00004.parquet
  autocodegen export --format jsonl --out go.jsonl.zst --where \"language = 'go' AND LENGTH(question) > 200\" --with-prompts")]
pub struct Args {
    /// Run directory.
    #[arg(long, value_name = "DIR", default_value = "runs/synthesize")]
    run: PathBuf,
    /// What is written. JSONL leaves nulls out.
    #[arg(long, value_enum)]
    format: Format,
    /// The file: .parquet, or .jsonl (.jsonl.gz and .jsonl.zst are compressed).
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Only rows for which this condition in SQL over the dataset's columns holds.
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Add the conversations that were sent, one column per prompt stage: solution_messages, tests_messages, ...
    #[arg(long)]
    with_prompts: bool,
    /// Write this many files of equal size, NAME-00000-of-00004.EXT and so on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    shards: u32,
    /// Replace files that are there already.
    #[arg(long)]
    force: bool,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Parquet,
    Jsonl,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let paths = targets(args)?;
    let run = RunDir::open_read_only(&args.run)?;
    let files = dataset::files(&run.dataset())?;
    let Some(first) = files.first() else {
        return Err(Error::usage(format!("{} has no dataset yet", args.run.display())).hint(
            "it is written when a run ends or is interrupted: run the same `autocodegen run` command again",
        ));
    };
    let mut schema = part::schema(first)?;
    let mut picker = None;
    let rows = match &args.condition {
        Some(condition) => {
            let rows = rows_where(&files, condition)?;
            let count = rows.len() as u64;
            picker = Some(Picker::new(rows));
            count
        }
        None => files.iter().map(|file| part::num_rows(file)).sum::<Result<u64>>()?,
    };
    let mut prompts = args.with_prompts.then(|| Prompts::open(&run)).transpose()?;
    if let Some(prompts) = &prompts {
        schema = prompts.schema(&schema)?;
    }
    let mut writer = ShardWriter::create(paths, rows, &schema)?;
    for batch in Scan::new(files, None) {
        let mut batch = batch?;
        if let Some(picker) = &mut picker {
            batch = picker.pick(&batch)?;
        }
        if let Some(prompts) = &mut prompts {
            batch = prompts.add(&batch)?;
        }
        writer.write(&batch)?;
    }
    report(&writer.finish()?)
}

/// The files to write.
fn targets(args: &Args) -> Result<Vec<PathBuf>> {
    let is_parquet = args.out.extension().is_some_and(|extension| extension == "parquet");
    if is_parquet != (args.format == Format::Parquet) {
        let (format, wanted) = match args.format {
            Format::Parquet => ("parquet", ".parquet"),
            Format::Jsonl => ("jsonl", ".jsonl, .jsonl.gz or .jsonl.zst"),
        };
        return Err(Error::usage(format!("--format {format} does not fit --out {}", args.out.display()))
            .hint(format!("a file of this format ends in {wanted}")));
    }
    let paths = shard_paths(&args.out, args.shards as usize);
    match paths.iter().find(|path| path.exists()) {
        Some(path) if !args.force => Err(Error::usage(format!("{} exists", path.display()))
            .hint("give another --out, or --force to replace it")),
        _ => Ok(paths),
    }
}

/// Says on stderr what was written.
fn report(shards: &[Shard]) -> Result<u8> {
    let size =
        |path: &Path| std::fs::metadata(path).map(|file| file.len()).map_err(|e| Error::io("read", path, e));
    for shard in shards {
        eprintln!("wrote {}: {} rows, {} bytes", shard.path.display(), shard.rows, size(&shard.path)?);
    }
    if shards.len() > 1 {
        let rows: u64 = shards.iter().map(|shard| shard.rows).sum();
        eprintln!("wrote {} files: {rows} rows", shards.len());
    }
    Ok(0)
}
