//! Which seeds a pilot takes.

use std::collections::BTreeMap;

use arrow_array::{RecordBatch, UInt64Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;

use crate::error::{Error, Result};
use crate::frame::ingest::SeedStore;
use crate::frame::key::Key;
use crate::frame::schema::{ID, LANGUAGE, strings};

/// Seeds looked through at a time.
const ROWS: usize = 1024;

/// `wanted` rows of `seeds`: of each language its share, but at least one, and always the same ones, so that a second pilot
/// asks nothing new and a larger one only what is new.
///
/// # Errors
/// Seeds that do not read.
pub fn sample(seeds: &SeedStore, wanted: usize) -> Result<RecordBatch> {
    // By language, every row's rank and position.
    let mut ranked: BTreeMap<String, Vec<(Key, u64)>> = BTreeMap::new();
    let starts = (0..seeds.rows()).step_by(ROWS);
    for start in starts.clone() {
        let batch = seeds.read(start, ROWS)?;
        let ids = strings(&batch, ID)?;
        for (row, language) in strings(&batch, LANGUAGE)?.iter().enumerate() {
            let rank = Key::of(&["pilot", ids.value(row)]);
            let ranked = ranked.entry(language.unwrap_or_default().to_owned()).or_default();
            ranked.push((rank, start + row as u64));
        }
    }
    let mut chosen: Vec<u64> = Vec::new();
    let sizes: Vec<usize> = ranked.values().map(Vec::len).collect();
    for (rows, share) in ranked.into_values().zip(shares(&sizes, wanted)) {
        let mut rows = rows;
        rows.sort_unstable();
        chosen.extend(rows.into_iter().take(share).map(|(_, at)| at));
    }
    chosen.sort_unstable();
    let mut batches = Vec::new();
    for start in starts {
        let end = start + ROWS as u64;
        let here: Vec<u64> =
            chosen.iter().filter(|at| (start..end).contains(at)).map(|at| at - start).collect();
        if !here.is_empty() {
            let batch = seeds.read(start, ROWS)?;
            batches.push(take_record_batch(&batch, &UInt64Array::from(here)).map_err(unfit)?);
        }
    }
    concat_batches(&seeds.schema(), &batches).map_err(unfit)
}

fn unfit(error: arrow_schema::ArrowError) -> Error {
    Error::environment(format!("cannot take a pilot's rows from the seeds: {error}"))
}

/// How many of `wanted` each group of `sizes` gets: its share rounded down but at least one, and what is left over goes to
/// those that rounding cost most.
fn shares(sizes: &[usize], wanted: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum();
    if wanted >= all {
        return sizes.to_vec();
    }
    let exact = |size: usize| size as f64 * wanted as f64 / all as f64;
    let mut shares: Vec<usize> = sizes.iter().map(|size| (exact(*size) as usize).max(1).min(*size)).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|a, b| exact(sizes[*b]).fract().total_cmp(&exact(sizes[*a]).fract()).then(a.cmp(b)));
    let mut left = wanted.saturating_sub(shares.iter().sum());
    for at in order.into_iter().cycle().take(sizes.len() * 2) {
        if left > 0 && shares[at] < sizes[at] {
            shares[at] += 1;
            left -= 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_its_share_and_at_least_one() {
        assert_eq!(shares(&[900, 90, 10], 10), [9, 1, 1]);
        assert_eq!(shares(&[9, 9, 9, 9, 9, 9], 20), [4, 4, 3, 3, 3, 3]);
        assert_eq!(shares(&[5, 5], 100), [5, 5]);
        assert_eq!(shares(&[5, 0], 1), [1, 0]);
        assert_eq!(shares(&[], 3), [0; 0]);
    }
}
