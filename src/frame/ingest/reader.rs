//! The inputs read one after the other, in waves of a few megabytes that are parsed on all cores.

use std::sync::mpsc::SyncSender;

use arrow_array::RecordBatch;

use super::block::{Block, Checks};
use super::inputs::{Format, Input};
use super::jsonl::JsonlInput;
use super::parquet::ParquetInput;
use super::sources::{self, SourceInput};
use super::{Languages, SeedOptions};
use crate::error::Result;
use crate::frame::columns::Columns;
use crate::frame::lines::{LineChunk, LineChunks};

/// A wave is sent on when it holds this much.
const WAVE_BYTES: usize = 8 << 20;
/// Source files parsed as one chunk.
const SOURCES: usize = 16;

/// All inputs, looked at once and ready to be read.
pub(super) struct Reader<'a> {
    options: &'a SeedOptions,
    languages: &'a dyn Languages,
    inputs: Vec<(&'a Input, Prepared<'a>)>,
}

enum Prepared<'a> {
    Jsonl(JsonlInput),
    Parquet(ParquetInput),
    Source(SourceInput<'a>),
}

/// A piece of input.
pub(super) enum Chunk<'r> {
    Lines(&'r JsonlInput, LineChunk),
    /// With the number of the batch's first row, from 1.
    Rows(&'r ParquetInput, RecordBatch, u64),
    Sources(Vec<SourceInput<'r>>),
}

/// Chunks to parse together, in order.
#[derive(Default)]
pub(super) struct Wave<'r> {
    pub(super) chunks: Vec<Chunk<'r>>,
    size: usize,
    /// Bytes of input read up to here.
    pub(super) read: u64,
}

type Waves<'r> = SyncSender<Result<Wave<'r>>>;

impl<'a> Reader<'a> {
    /// Looks at every input; `columns` becomes wide enough for the Parquet ones.
    pub(super) fn new(
        options: &'a SeedOptions,
        languages: &'a dyn Languages,
        inputs: &'a [Input],
        columns: &mut Columns,
    ) -> Result<Self> {
        let checks = Checks::new(options, languages);
        let mut prepared = Vec::with_capacity(inputs.len());
        for input in inputs {
            let how = match &input.format {
                Format::Jsonl => Prepared::Jsonl(JsonlInput::probe(&input.path, options)?),
                Format::Parquet => {
                    let parquet = ParquetInput::probe(&input.path, options)?;
                    parquet.widen(columns, &checks);
                    Prepared::Parquet(parquet)
                }
                Format::Source { language, shown } => {
                    Prepared::Source(SourceInput { input, language, shown })
                }
            };
            prepared.push((input, how));
        }
        Ok(Self { options, languages, inputs: prepared })
    }

    /// Sends all inputs, or all up to an error, or as much as is wanted at the other end.
    pub(super) fn send<'r>(&'r self, to: &Waves<'r>) {
        let mut outbox = Outbox { to, wave: Wave::default(), open: true };
        let mut done = 0;
        for (input, how) in &self.inputs {
            if let Err(error) = outbox.put(input, how, done) {
                // Nobody listens any more if this is not taken: the pass has ended by itself.
                let _ = to.send(Err(error));
                return;
            }
            done += input.size;
            outbox.wave.read = done;
            if !outbox.open {
                return;
            }
        }
        outbox.send();
    }

    /// The records of a chunk.
    pub(super) fn parse<'c>(&self, chunk: &'c Chunk<'_>) -> Result<Block<'c>> {
        let mut checks = Checks::new(self.options, self.languages);
        match chunk {
            Chunk::Lines(jsonl, lines) => Ok(jsonl.parse(lines, &mut checks)),
            Chunk::Rows(parquet, batch, first) => parquet.parse(batch, *first, &mut checks),
            Chunk::Sources(files) => sources::parse(files, self.options.max_seed_bytes, &checks),
        }
    }
}

/// Where the wave that is being filled goes.
struct Outbox<'s, 'r> {
    to: &'s Waves<'r>,
    wave: Wave<'r>,
    /// Whether anybody still wants waves.
    open: bool,
}

impl<'r> Outbox<'_, 'r> {
    fn put(&mut self, input: &Input, how: &'r Prepared<'_>, done: u64) -> Result<()> {
        match how {
            Prepared::Jsonl(jsonl) => {
                let mut chunks = LineChunks::open(&input.path)?;
                while let Some(chunk) = chunks.next().transpose()? {
                    let size = chunk.size();
                    self.add(Chunk::Lines(jsonl, chunk), size, done + chunks.bytes_read().min(input.size));
                    if !self.open {
                        break;
                    }
                }
            }
            Prepared::Parquet(parquet) => {
                let mut first = 1;
                for batch in parquet.batches()? {
                    let batch = batch?;
                    let (size, rows) = (batch.get_array_memory_size(), batch.num_rows() as u64);
                    self.add(Chunk::Rows(parquet, batch, first), size, done);
                    first += rows;
                    if !self.open {
                        break;
                    }
                }
            }
            Prepared::Source(source) => {
                let size = usize::try_from(input.size).unwrap_or(usize::MAX).min(WAVE_BYTES);
                match self.wave.chunks.last_mut() {
                    Some(Chunk::Sources(files)) if files.len() < SOURCES => {
                        files.push(*source);
                        self.wave.size += size;
                        if self.wave.size >= WAVE_BYTES {
                            self.send();
                        }
                    }
                    _ => self.add(Chunk::Sources(vec![*source]), size, done),
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, chunk: Chunk<'r>, size: usize, read: u64) {
        self.wave.chunks.push(chunk);
        self.wave.size += size;
        self.wave.read = read;
        if self.wave.size >= WAVE_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        let wave = std::mem::take(&mut self.wave);
        self.wave.read = wave.read;
        self.open = self.to.send(Ok(wave)).is_ok();
    }
}
