//! `autocodegen export`: a dataset as files that benchmarks, trainers and hubs read.

use std::io::Write;
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use parquet::basic::{Compression, ZstdLevel};

use crate::analytics::predicate::rows_where;
use crate::engine::prompts::Prompts;
use crate::engine::provenance;
use crate::error::{Error, Result};
use crate::frame::atomic::{self, NewDir};
use crate::frame::dataset;
use crate::frame::export::card::{CARD, Card, SplitFacts};
use crate::frame::export::{self, Chosen, Container, FORMATS, Format, Options, Shard, SplitWriter, Splits};
use crate::frame::part::{self, Scan};
use crate::frame::records::WriteOptions;
use crate::frame::run_dir::RunDir;

/// Arguments of `export`.
#[derive(clap::Args)]
#[command(after_help = "Rows keep the order of the seeds. Files appear when all of them are whole.

Examples:
  autocodegen export --format jsonl --out problems.jsonl
  autocodegen export --format acb --out benchmark.jsonl
  autocodegen export --format trl-sft --out sft.parquet --split train=0.95,test=0.05
      writes sft-train.parquet and sft-test.parquet
  autocodegen export --run runs/mine --format hf --out hub/problems --split train=0.9,test=0.1 --shards 4
      writes hub/problems/data/train-00000-of-00004.parquet and so on, and hub/problems/README.md
  autocodegen export --format jsonl --out go.jsonl.zst --where \"language = 'go' AND LENGTH(question) > 200\" --with-prompts")]
pub struct Args {
    /// Run directory.
    #[arg(long, value_name = "DIR", default_value = "runs/synthesize")]
    run: PathBuf,
    /// A Parquet file, or a folder of them, instead of a run's dataset.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["run", "with_prompts"])]
    dataset: Option<PathBuf>,
    /// What is written.
    #[arg(long, value_parser = formats())]
    format: &'static Format,
    /// The file: .parquet, or .jsonl (.jsonl.gz and .jsonl.zst are compressed); for `hf` the folder.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Only rows for which this condition in SQL over the dataset's columns holds.
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Cut into parts by a hash of the problem's id, so that all that was made of one seed is in one part; each part is
    /// written to files of its own.
    #[arg(long, value_name = "NAME=FRACTION,...")]
    split: Option<Splits>,
    /// Add the conversations that were sent, one column per prompt stage: solution_messages, tests_messages, ...
    #[arg(long)]
    with_prompts: bool,
    /// System message of the conversations (trl-sft, trl-preference, verl, openai-finetune).
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// What trl-preference prefers to the failed sample [default: canonical].
    #[arg(long, value_enum)]
    chosen: Option<Chosen>,
    /// What verl finds the reward function by [default: autocodegen].
    #[arg(long, value_name = "NAME")]
    data_source: Option<String>,
    /// Write this many files of equal size, NAME-00000-of-00004.EXT and so on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    shards: u32,
    /// Parquet: most rows of a row group; it is also full at 32 MiB.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    row_group_size: Option<u32>,
    /// Parquet: zstd, zstd:LEVEL (1 to 22), snappy or none [default: zstd].
    #[arg(long, value_name = "CODEC", value_parser = codec)]
    compression: Option<Compression>,
    /// Replace files that are there already.
    #[arg(long, alias = "force")]
    overwrite: bool,
}

fn formats() -> impl TypedValueParser<Value = &'static Format> {
    let values = FORMATS.iter().map(|format| PossibleValue::new(format.name).help(format.about));
    PossibleValuesParser::new(values)
        .try_map(|name| Format::named(&name).ok_or_else(|| format!("there is no format `{name}`")))
}

fn codec(text: &str) -> Result<Compression, String> {
    let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
    match (name, level) {
        ("zstd", None) => Ok(Compression::ZSTD(ZstdLevel::default())),
        ("zstd", Some(level)) => level
            .parse()
            .ok()
            .and_then(|level| ZstdLevel::try_new(level).ok())
            .map(Compression::ZSTD)
            .ok_or_else(|| format!("`{level}` is no level of zstd: 1 to 22")),
        ("snappy", None) => Ok(Compression::SNAPPY),
        ("none", None) => Ok(Compression::UNCOMPRESSED),
        _ => Err("it is zstd, zstd:LEVEL, snappy or none".into()),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    args.check()?;
    let source = Source::open(args)?;
    let splits = args.split.clone().unwrap_or_default();
    let mut columns = part::schema(&source.files[0])?;
    args.format.check(&columns)?;
    let picked = args.condition.as_ref().map(|sql| rows_where(&source.files, sql)).transpose()?;
    let mut prompts = None;
    if let Some(run) = source.run.as_ref().filter(|_| args.with_prompts) {
        let opened = Prompts::open(run)?;
        columns = opened.schema(&columns)?;
        prompts = Some(opened);
    }
    let shape = (args.format.shape)(&columns, &args.options());
    let selection = export::select(&source.files, &columns, picked, &splits, args.format, shape.as_ref())?;

    let folder =
        (args.format.container == Container::Folder).then(|| NewDir::create(&args.out)).transpose()?;
    let targets = args.targets(&splits, folder.as_ref().map_or(&args.out, |folder| folder.dir()));
    let parts = splits.names().zip(targets).zip(&selection.rows);
    let parts = parts.map(|((name, paths), rows)| (name.to_owned(), paths, *rows)).collect();
    let options = WriteOptions {
        explicit_nulls: args.format.explicit_nulls,
        row_group_rows: args.row_group_size.map(|rows| rows as usize),
        compression: args.compression,
    };
    let mut writer = SplitWriter::create(shape.as_ref(), parts, &options)?;
    let mut first = 0;
    for batch in Scan::new(source.files.clone(), None) {
        let batch = batch?;
        let to = selection.to.get(first..first + batch.num_rows()).ok_or_else(|| {
            Error::environment("the table grew while it was exported").hint("export it again")
        })?;
        first += batch.num_rows();
        match &mut prompts {
            None => writer.write(&batch, to)?,
            Some(prompts) => {
                let (batch, to) = export::selected(&batch, to)?;
                writer.write(&prompts.add(&batch)?, &to)?;
            }
        }
    }
    let closed = writer.close()?;
    let placed = closed.into_iter().map(|shards| shards.place()).collect::<Result<Vec<_>>>()?;
    let written = measured(placed)?;
    if let Some(folder) = folder {
        let facts = facts(&splits, &written);
        args.write_card(&source, &shape.schema(), &facts, folder.dir())?;
        folder.place()?;
    }
    args.report(&splits, &written);
    for (why, rows) in &selection.left_out {
        eprintln!("left out {rows} rows: {why}");
    }
    if let Some(name) = args.format.optional.iter().find(|name| columns.column_with_name(name).is_none()) {
        eprintln!("the dataset has no `{name}`: it is null");
    }
    Ok(0)
}

/// A file of an export and its size, bytes.
type Written = (Shard, u64);

fn measured(splits: Vec<Vec<Shard>>) -> Result<Vec<Vec<Written>>> {
    let size = |shard: Shard| {
        let file = std::fs::metadata(&shard.path).map_err(|error| Error::io("read", &shard.path, error))?;
        Ok((shard, file.len()))
    };
    splits.into_iter().map(|shards| shards.into_iter().map(size).collect()).collect()
}

fn facts(splits: &Splits, written: &[Vec<Written>]) -> Vec<SplitFacts> {
    let facts = splits.shares().iter().zip(written).map(|((name, share), shards)| SplitFacts {
        name: name.clone(),
        share: *share,
        rows: shards.iter().map(|(shard, _)| shard.rows).sum(),
        bytes: shards.iter().map(|(_, bytes)| bytes).sum(),
    });
    facts.collect()
}

/// What is exported.
struct Source {
    /// The run, unless a dataset was given by itself.
    run: Option<RunDir>,
    /// Its files; there is one at least.
    files: Vec<PathBuf>,
}

impl Source {
    fn open(args: &Args) -> Result<Self> {
        let (run, files) = match &args.dataset {
            Some(path) if path.is_dir() => (None, dataset::files(path)?),
            Some(path) => (None, vec![path.clone()]),
            None => {
                let run = RunDir::open_read_only(&args.run)?;
                let files = dataset::files(&run.dataset())?;
                (Some(run), files)
            }
        };
        let source = Self { run, files };
        match (source.files.is_empty(), &args.dataset) {
            (false, _) => source.with_equal_columns(),
            (true, Some(path)) => Err(Error::usage(format!("{} has no Parquet files", path.display()))
                .hint("give a Parquet file or a folder of them")),
            (true, None) => Err(Error::usage(format!("{} has no dataset yet", args.run.display())).hint(
                "it is written when a run ends or is interrupted: run the same `autocodegen run` command again",
            )),
        }
    }

    fn with_equal_columns(self) -> Result<Self> {
        let first = part::schema(&self.files[0])?;
        for file in &self.files[1..] {
            if part::schema(file)? != first {
                return Err(Error::usage(format!(
                    "{} has other columns than {}",
                    file.display(),
                    self.files[0].display()
                ))
                .hint("export them one by one"));
            }
        }
        Ok(self)
    }
}

impl Args {
    fn options(&self) -> Options {
        Options {
            system: self.system.clone(),
            chosen: self.chosen.unwrap_or_default(),
            data_source: self.data_source.clone().unwrap_or_else(|| "autocodegen".into()),
        }
    }

    /// Refuses arguments that do not go together, and to replace what is there.
    fn check(&self) -> Result<()> {
        let format = self.format;
        let is_parquet = self.out.extension().is_some_and(|extension| extension == "parquet");
        let (fits, wanted) = match format.container {
            Container::Parquet => (is_parquet, ".parquet"),
            Container::Lines => (!is_parquet, ".jsonl, .jsonl.gz or .jsonl.zst"),
            Container::Any | Container::Folder => (true, ""),
        };
        if !fits {
            return Err(Error::usage(format!(
                "--format {} does not fit --out {}",
                format.name,
                self.out.display()
            ))
            .hint(format!("a file of this format ends in {wanted}")));
        }
        let given = [
            ("system", self.system.is_some()),
            ("chosen", self.chosen.is_some()),
            ("data-source", self.data_source.is_some()),
        ];
        if let Some((name, _)) = given.iter().find(|(name, given)| *given && !format.options.contains(name)) {
            return Err(Error::usage(format!("--{name} means nothing to --format {}", format.name))
                .hint("leave it out"));
        }
        if self.with_prompts && !format.whole {
            return Err(Error::usage(format!("--format {} has no room for prompts", format.name))
                .hint("--with-prompts goes with parquet, jsonl and hf"));
        }
        let writes_parquet = is_parquet || format.container == Container::Folder;
        if !writes_parquet && (self.row_group_size.is_some() || self.compression.is_some()) {
            return Err(Error::usage("--row-group-size and --compression are for Parquet")
                .hint("JSON lines are compressed by their ending: .jsonl.zst or .jsonl.gz"));
        }
        let splits = self.split.clone().unwrap_or_default();
        let targets = match format.container {
            Container::Folder => vec![self.out.clone()],
            _ => self.targets(&splits, &self.out).concat(),
        };
        match targets.iter().find(|path| path.exists()) {
            Some(path) if !self.overwrite => Err(Error::usage(format!("{} exists", path.display()))
                .hint("give another --out, or --overwrite to replace it")),
            Some(folder) if format.container == Container::Folder => export::check_replaceable(folder),
            _ => Ok(()),
        }
    }

    /// The files of each split; `at` is the file, or the folder, that is written.
    fn targets(&self, splits: &Splits, at: &Path) -> Vec<Vec<PathBuf>> {
        let shards = self.shards as usize;
        let files = |name: &str| match self.format.container {
            Container::Folder => export::hub_paths(at, name, shards),
            _ if self.split.is_none() => export::shard_paths(at, shards),
            _ => export::shard_paths(&export::split_path(at, name), shards),
        };
        splits.names().map(files).collect()
    }

    fn write_card(
        &self,
        source: &Source,
        schema: &SchemaRef,
        splits: &[SplitFacts],
        dir: &Path,
    ) -> Result<()> {
        let origin = source.run.as_ref().map(provenance::origin).transpose()?;
        let name = self.out.file_name().unwrap_or_default().to_string_lossy();
        let condition = self.condition.as_deref();
        let card = Card { name: &name, splits, schema, condition, origin: origin.as_ref() };
        let path = dir.join(CARD);
        atomic::write_file(&path, |file| {
            file.write_all(card.render().as_bytes()).map_err(|error| Error::io("write", &path, error))
        })
    }

    /// Says on stderr what was written.
    fn report(&self, splits: &Splits, written: &[Vec<Written>]) {
        let mut rows = 0;
        for (shard, bytes) in written.iter().flatten() {
            let path = match self.format.container {
                Container::Folder => self.out.join("data").join(shard.path.file_name().unwrap_or_default()),
                _ => shard.path.clone(),
            };
            eprintln!("wrote {}: {} rows, {bytes} bytes", path.display(), shard.rows);
            rows += shard.rows;
        }
        if self.format.container == Container::Folder {
            eprintln!("wrote {}", self.out.join(CARD).display());
        }
        let files = written.iter().flatten().count();
        if files > 1 {
            eprintln!("wrote {files} files: {rows} rows");
        }
        if !splits.is_single() {
            for part in facts(splits, written).iter().filter(|part| part.rows == 0) {
                eprintln!("the split `{}` has no rows", part.name);
            }
        }
    }
}
