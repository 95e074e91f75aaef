//! Where every row of a run is: in its tables when it has ended, otherwise in the parts that its steps have made so far.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow_array::Array;

use super::parts::Parts;
use super::prompts::plan_of;
use super::run_file::{RunFile, State};
use crate::analytics::rows::{Listing, Place, Slice};
use crate::error::{Error, Result};
use crate::frame::dataset;
use crate::frame::ingest::SeedStore;
use crate::frame::part::Scan;
use crate::frame::run_dir::RunDir;
use crate::frame::schema::{ID, strings};
use crate::plan::Plan;

/// A run and its rows.
pub struct Listed {
    /// What `run.json` says.
    pub file: RunFile,
    /// The rows: the dataset in seed order, the rejected, those that wait.
    pub rows: Listing,
}

/// The rows of `run`, also of one that is under way or was killed: those are where they were when this was called.
///
/// # Errors
/// The seeds are not read yet; a file does not read.
pub fn listing(run: &RunDir) -> Result<Listed> {
    let file: RunFile = run.read_json()?.ok_or_else(|| {
        Error::usage(format!("{} has no run.json yet: its seeds are being read", run.path().display()))
            .hint("wait a moment, or run the same `autocodegen run` command again")
    })?;
    let mut slices = Vec::new();
    let whole = |files: Vec<PathBuf>, place: &Place| -> Result<Vec<Slice>> {
        files.into_iter().map(|file| Slice::whole(file, place.clone())).collect()
    };
    // Tables that a run under way has are those of an earlier one.
    let has_tables = file.state != State::Running;
    if has_tables {
        slices.extend(whole(dataset::files(&run.dataset())?, &Place::Dataset)?);
        slices.extend(whole(dataset::files(&run.rejected())?, &Place::Rejected)?);
    }
    if file.state != State::Done {
        let plan = plan_of(run, &file)?;
        let progress = Progress { parts: Parts { run }, plan: &plan, seeds: SeedStore::open(&run.seeds())? };
        let (mut finished, mut rejected, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        rejected.push(run.rejected_part("seed", 0)?);
        for n in 0..file.partitions() {
            let start = n as u64 * file.partition_rows as u64;
            let end = (start + file.partition_rows as u64).min(file.seeds.rows);
            progress.partition(n, start..end, &mut finished, &mut rejected, &mut waiting)?;
        }
        if !has_tables {
            rejected.retain(|path| path.exists());
            slices.extend(whole(finished, &Place::Dataset)?);
            slices.extend(whole(rejected, &Place::Rejected)?);
        }
        slices.extend(waiting);
    }
    Ok(Listed { file, rows: Listing::new(slices) })
}

/// What the steps of a run that is not done have made.
struct Progress<'a> {
    parts: Parts<'a>,
    plan: &'a Plan,
    seeds: SeedStore,
}

impl Progress<'_> {
    /// Adds the files of partition `n`, which is made of the seeds `seeds`, and the rows of it that wait.
    fn partition(
        &self,
        n: usize,
        seeds: Range<u64>,
        finished: &mut Vec<PathBuf>,
        rejected: &mut Vec<PathBuf>,
        waiting: &mut Vec<Slice>,
    ) -> Result<()> {
        let run = self.parts.run;
        let mut before = self.seeds.slices(seeds);
        for step in &self.plan.steps {
            let place = Place::Before(step.name.as_str().into());
            let Some(path) = self.parts.any(&step.name, n)? else {
                waiting.extend(slices(before, &place));
                return Ok(());
            };
            let left = run.rejected_part(&step.name, n as u64)?;
            if path != run.part(&step.name, n as u64)? {
                let files = [Some(path.clone()), Some(left.clone()).filter(|left| left.exists())];
                let through = ids_with_ancestors(files.into_iter().flatten().collect())?;
                for (file, ranges) in before {
                    let rows = others(&file, ranges, &through)?;
                    waiting.extend(slices(vec![(file, rows)], &place));
                }
            }
            rejected.push(left);
            let all = Slice::whole(path, place)?;
            before = vec![(all.file, all.rows)];
        }
        finished.extend(before.into_iter().map(|(path, _)| path));
        Ok(())
    }
}

type Rows = Vec<(PathBuf, Vec<Range<u64>>)>;

fn slices(rows: Rows, place: &Place) -> impl Iterator<Item = Slice> {
    rows.into_iter().map(|(file, rows)| Slice { file, rows, place: place.clone() })
}

/// The ids in `files`, and those of the rows that they were made of.
fn ids_with_ancestors(files: Vec<PathBuf>) -> Result<HashSet<String>> {
    let mut known = HashSet::new();
    for batch in Scan::new(files, Some(vec![ID.to_owned()])) {
        for id in strings(&batch?, ID)?.iter().flatten() {
            known.extend(id.match_indices('.').map(|(end, _)| id[..end].to_owned()));
            known.insert(id.to_owned());
        }
    }
    Ok(known)
}

/// The rows `ranges` of `file` whose ids are not `known`.
fn others(file: &Path, ranges: Vec<Range<u64>>, known: &HashSet<String>) -> Result<Vec<Range<u64>>> {
    let mut numbers = ranges.clone().into_iter().flatten();
    let mut others: Vec<Range<u64>> = Vec::new();
    for batch in crate::frame::part::pick(file, Some(&[ID]), &ranges)? {
        let batch = batch?;
        let ids = strings(&batch, ID)?;
        for (id, number) in (0..ids.len()).map(|row| ids.value(row)).zip(&mut numbers) {
            match others.last_mut() {
                _ if known.contains(id) => {}
                Some(last) if last.end == number => last.end += 1,
                _ => others.push(number..number + 1),
            }
        }
    }
    Ok(others)
}
