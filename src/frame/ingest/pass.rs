//! One reading of all inputs: repeats are dropped, columns learnt, rows written as long as they fit.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use rayon::prelude::*;

use super::block::{Block, Own, Record, Rejection, Seed, shown};
use super::reader::{Reader, Wave};
use super::writer::{RejectedWriter, SeedWriter};
use super::{Ingested, MAX_OWN_COLUMNS};
use crate::error::{Error, Result};
use crate::frame::columns::{ColumnType, Columns};
use crate::frame::schema;

/// How a pass ended.
pub(super) enum Passed {
    /// Everything is written and in place.
    Complete(Ingested),
    /// Values came that did not fit what was written: nothing is in place. These columns fit all of them.
    Widened(Columns),
}

/// Reads everything `reader` has, starting with `columns`.
pub(super) fn run(
    reader: &Reader<'_>,
    columns: Columns,
    limit: Option<u64>,
    seed_dir: &Path,
    rejected_file: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Passed> {
    let mut pass = Pass {
        reader,
        columns,
        limit: limit.unwrap_or(u64::MAX),
        seed_dir,
        seeds: None,
        rejected: RejectedWriter::create(rejected_file)?,
        outgrown: false,
        seen: HashSet::default(),
        counts: Counts::default(),
    };
    std::thread::scope(|scope| {
        let (to, from) = sync_channel(1);
        scope.spawn(move || reader.send(&to));
        // `from` is dropped on return, which is how the reading thread learns that no more is wanted.
        pass.take_all(from, progress)
    })?;
    pass.finish()
}

struct Pass<'a> {
    reader: &'a Reader<'a>,
    columns: Columns,
    limit: u64,
    seed_dir: &'a Path,
    seeds: Option<(SchemaRef, SeedWriter)>,
    rejected: RejectedWriter,
    /// Something did not fit what is already written: from here on columns are only learnt.
    outgrown: bool,
    seen: HashSet<u128, BuildHasherDefault<KeyHasher>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    rows: u64,
    duplicates: u64,
    rejected: u64,
    rejected_by_reason: BTreeMap<String, u64>,
    by_language: BTreeMap<Arc<str>, u64>,
    first_rejection: Option<String>,
}

impl Pass<'_> {
    fn take_all(
        &mut self,
        from: Receiver<Result<Wave<'_>>>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        for wave in from {
            let wave = wave?;
            self.take(&wave)?;
            progress(self.counts.rows, wave.read);
            if self.counts.rows >= self.limit {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, wave: &Wave<'_>) -> Result<()> {
        let blocks: Vec<Block> =
            wave.chunks.par_iter().map(|chunk| self.reader.parse(chunk)).collect::<Result<_>>()?;
        let mut kept = Vec::with_capacity(blocks.len());
        for mut block in blocks {
            let rows = self.admit(&mut block)?;
            kept.push((block, rows));
        }
        kept.retain(|(_, rows)| !rows.is_empty());
        if self.outgrown || kept.is_empty() {
            return Ok(());
        }
        let (schema, seeds) = match &mut self.seeds {
            Some(seeds) => seeds,
            None => {
                let schema = schema_of(&self.columns);
                let writer = SeedWriter::create(self.seed_dir, schema.clone())?;
                self.seeds.insert((schema, writer))
            }
        };
        let columns = &self.columns;
        let batches = kept
            .par_iter()
            .map(|(block, rows)| block.batch(rows, schema, columns))
            .collect::<Result<_, _>>()
            .map_err(|error| Error::usage(format!("cannot bring the seeds' columns together: {error}")))?;
        seeds.push(batches)
    }

    /// Decides which records of a block are kept, by position; writes the rejected ones.
    fn admit(&mut self, block: &mut Block<'_>) -> Result<Vec<usize>> {
        let mut kept = Vec::new();
        let mut rejections = Vec::new();
        let records = std::mem::take(&mut block.records);
        for record in records {
            if self.counts.rows >= self.limit {
                break;
            }
            let record = match record {
                Record::Seed(seed) if self.seen.contains(&number(&seed)) => {
                    self.counts.duplicates += 1;
                    continue;
                }
                Record::Seed(seed) => self.learn(&seed, &block.own).map(|()| seed),
                Record::Rejected(rejection) => Err(rejection),
            };
            match record {
                Ok(seed) => {
                    self.seen.insert(number(&seed));
                    self.counts.rows += 1;
                    *self.counts.by_language.entry(seed.language.clone()).or_default() += 1;
                    kept.push(block.records.len());
                    block.records.push(Record::Seed(seed));
                }
                Err(rejection) => {
                    self.counts.reject(&rejection);
                    rejections.push(rejection);
                }
            }
        }
        if !rejections.is_empty() {
            self.rejected.push(&rejections)?;
        }
        Ok(kept)
    }

    /// Makes the columns wide enough for a seed's own values.
    fn learn(&mut self, seed: &Seed<'_>, own: &Own<'_>) -> Result<(), Rejection> {
        // The columns of Parquet inputs are there from the beginning.
        let Own::Values { names, values } = own else { return Ok(()) };
        let values = &values[seed.own.clone()];
        let new = values.iter().filter(|(name, ..)| self.columns.position(&names[*name]).is_none()).count();
        if new > 0 && self.columns.len() + new > MAX_OWN_COLUMNS {
            return Err(Rejection {
                source: seed.source.clone(),
                reason: "too_many_columns",
                detail: format!("the record would bring the seeds to more than {MAX_OWN_COLUMNS} columns"),
                language: Some(seed.language.clone()),
                record: shown(seed.written.as_bytes()),
            });
        }
        for (name, kind, _) in values {
            let changed = self.columns.widen(&names[*name], &ColumnType::Learnt(*kind));
            self.outgrown |= changed && self.seeds.is_some();
        }
        Ok(())
    }

    fn finish(self) -> Result<Passed> {
        let Counts { rows, duplicates, rejected, rejected_by_reason, by_language, first_rejection } =
            self.counts;
        let Some((schema, seeds)) = self.seeds else {
            let mut message = format!("there is no usable seed: {rejected} records were rejected");
            for (reason, count) in &rejected_by_reason {
                message.push_str(&format!(", {count} {reason}"));
            }
            if let Some(first) = first_rejection {
                message.push_str(&format!("; the first one: {first}"));
            }
            return Err(Error::usage(message).hint("look at the inputs, --text-column and --language"));
        };
        if self.outgrown {
            return Ok(Passed::Widened(self.columns));
        }
        self.rejected.finish()?;
        seeds.finish()?;
        let by_language = by_language.into_iter().map(|(name, count)| (name.to_string(), count)).collect();
        Ok(Passed::Complete(Ingested {
            rows,
            duplicates,
            rejected,
            rejected_by_reason,
            by_language,
            schema,
            files: 0,
            bytes: 0,
        }))
    }
}

impl Counts {
    fn reject(&mut self, rejection: &Rejection) {
        self.rejected += 1;
        *self.rejected_by_reason.entry(rejection.reason.into()).or_default() += 1;
        self.first_rejection.get_or_insert_with(|| format!("{}: {}", rejection.source, rejection.detail));
    }
}

fn schema_of(columns: &Columns) -> SchemaRef {
    let ours =
        [schema::ID, schema::LANGUAGE, schema::TEXT].map(|name| Field::new(name, DataType::Utf8, true));
    Arc::new(Schema::new(ours.into_iter().chain(columns.fields()).collect::<Vec<_>>()))
}

fn number(seed: &Seed<'_>) -> u128 {
    u128::from_le_bytes(*seed.key.as_bytes())
}

/// Keys are hashes already: any 64 bits of one do.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
