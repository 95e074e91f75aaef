//! The pass over a table that counts: row groups by all cores, each with counts of its own that are added up at the end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use rayon::prelude::*;

use super::histogram::Histogram;
use crate::error::{Error, Result};
use crate::frame::chunks::Chunks;

/// Most cells: what has more is no question about a few groups.
const MOST_CELLS: usize = 4_096;
/// Most combinations of one row group's distinct texts.
const MOST_COMBINATIONS: usize = 1 << 20;

/// What to count.
pub(super) struct Count {
    /// Columns of text whose combinations are the cells.
    pub(super) texts: Vec<String>,
    /// Columns of whole numbers, and whether their distribution is wanted.
    pub(super) numbers: Vec<(String, bool)>,
    /// Conditions that rows must fulfil.
    pub(super) conditions: Vec<Condition>,
}

/// A number compared with a constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    /// The column, by its place in [`Count::numbers`].
    pub(super) number: usize,
    /// How.
    pub(super) is: Comparison,
    /// With what.
    pub(super) than: i64,
}

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl Comparison {
    fn holds(self, value: i64, than: i64) -> bool {
        match self {
            Self::Less => value < than,
            Self::LessOrEqual => value <= than,
            Self::Equal => value == than,
            Self::NotEqual => value != than,
            Self::GreaterOrEqual => value >= than,
            Self::Greater => value > than,
        }
    }
}

/// One combination of texts, in the order of [`Count::texts`].
pub(super) type Texts = Vec<Option<String>>;

/// What was counted.
#[derive(Default)]
pub(super) struct Cells {
    places: HashMap<Texts, u32>,
    pub(super) cells: Vec<Cell>,
}

/// The rows with the same texts.
pub(super) struct Cell {
    pub(super) texts: Texts,
    pub(super) rows: u64,
    /// One for each of [`Count::numbers`].
    pub(super) numbers: Vec<Tally>,
}

/// What is known of the values of one column in one cell, nulls left out.
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) sum: i128,
    least: i64,
    most: i64,
    pub(super) histogram: Histogram,
}

impl Default for Tally {
    fn default() -> Self {
        Self { count: 0, sum: 0, least: i64::MAX, most: i64::MIN, histogram: Histogram::default() }
    }
}

impl Tally {
    /// The smallest and the largest value, if there is one.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        (self.count > 0).then_some((self.least, self.most))
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        self.histogram.merge(&other.histogram);
    }

    fn add(&mut self, value: i64) {
        self.count += 1;
        self.sum += i128::from(value);
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// Takes count, sum and range from the histogram.
    fn settle(&mut self) {
        let sorted = self.histogram.sorted();
        self.count = sorted.iter().map(|(_, times)| times).sum();
        self.sum = sorted.iter().map(|(value, times)| i128::from(*value) * i128::from(*times)).sum();
        if let (Some((least, _)), Some((most, _))) = (sorted.first(), sorted.last()) {
            (self.least, self.most) = (*least, *most);
        }
    }
}

/// Counts the rows of `files`.
///
/// # Errors
/// A file that does not read; more cells than there should be; a number beyond 64 bits.
pub(super) fn count(files: &[Chunks], count: &Count) -> Result<Vec<Cell>> {
    if files.iter().map(Chunks::rows).sum::<u64>() > u64::from(u32::MAX) {
        return Err(too_much());
    }
    let groups: Vec<(&Chunks, usize)> =
        files.iter().flat_map(|file| (0..file.len()).map(move |number| (file, number))).collect();
    let next = AtomicUsize::new(0);
    let workers = rayon::current_num_threads().max(1);
    let mut counted = (0..workers)
        .into_par_iter()
        .with_max_len(1)
        .map(|_| {
            let mut cells = Cells::default();
            while let Some((file, number)) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                file.read(*number, &mut |batch| cells.add(batch, count))?;
            }
            Ok(cells)
        })
        .collect::<Result<Vec<Cells>>>()?
        .into_iter();
    let mut all = counted.next().unwrap_or_default();
    for cells in counted {
        all.merge(cells, count)?;
    }
    for cell in &mut all.cells {
        for (tally, (_, spread)) in cell.numbers.iter_mut().zip(&count.numbers) {
            if *spread {
                tally.settle();
            }
        }
    }
    Ok(all.cells)
}

impl Cells {
    /// The place of the cell with these texts, which is made if it is not there.
    fn place(&mut self, texts: Texts, count: &Count) -> Result<u32> {
        if let Some(place) = self.places.get(&texts) {
            return Ok(*place);
        }
        if self.cells.len() == MOST_CELLS {
            return Err(too_much());
        }
        let place = self.cells.len() as u32;
        let numbers = count.numbers.iter().map(|_| Tally::default()).collect();
        self.places.insert(texts.clone(), place);
        self.cells.push(Cell { texts, rows: 0, numbers });
        Ok(place)
    }

    fn merge(&mut self, other: Self, count: &Count) -> Result<()> {
        for cell in other.cells {
            let place = self.place(cell.texts, count)? as usize;
            let mine = &mut self.cells[place];
            mine.rows += cell.rows;
            for (tally, more) in mine.numbers.iter_mut().zip(&cell.numbers) {
                tally.merge(more);
            }
        }
        Ok(())
    }

    fn add(&mut self, batch: &RecordBatch, count: &Count) -> Result<()> {
        let column = |name: &String| {
            batch.column_by_name(name).ok_or_else(|| Error::usage(format!("there is no column `{name}`")))
        };
        let texts = count.texts.iter().map(|name| Codes::of(column(name)?)).collect::<Result<Vec<_>>>()?;
        let numbers =
            count.numbers.iter().map(|(name, _)| Numbers::of(column(name)?)).collect::<Result<Vec<_>>>()?;
        let mut places = self.places_of(&texts, batch.num_rows(), count)?;
        for condition in &count.conditions {
            let numbers = &numbers[condition.number];
            for (row, place) in places.iter_mut().enumerate() {
                let holds = numbers.get(row).is_some_and(|value| condition.is.holds(value, condition.than));
                if !holds {
                    *place = NOWHERE;
                }
            }
        }
        for place in &places {
            if let Some(cell) = self.cells.get_mut(*place as usize) {
                cell.rows += 1;
            }
        }
        for (at, (numbers, (_, spread))) in numbers.iter().zip(&count.numbers).enumerate() {
            let cells = &mut self.cells;
            let mut add = |place: u32, value: i64| {
                // There is no cell at NOWHERE.
                let Some(cell) = cells.get_mut(place as usize) else { return };
                let tally = &mut cell.numbers[at];
                if *spread { tally.histogram.add(value) } else { tally.add(value) }
            };
            match numbers.column.nulls() {
                None => places.iter().zip(&*numbers.values).for_each(|(place, value)| add(*place, *value)),
                Some(_) => places
                    .iter()
                    .enumerate()
                    .filter_map(|(row, place)| Some((place, numbers.get(row)?)))
                    .for_each(|(place, value)| add(*place, value)),
            }
        }
        Ok(())
    }

    /// The cell of each row. Combinations of the batch's distinct texts are looked up once each.
    fn places_of(&mut self, texts: &[Codes], rows: usize, count: &Count) -> Result<Vec<u32>> {
        let mut combinations = 1_usize;
        let mut combined = vec![0_u32; rows];
        for text in texts {
            combinations = combinations.saturating_mul(text.values.len());
            if combinations > MOST_COMBINATIONS {
                return Err(too_much());
            }
            for (all, code) in combined.iter_mut().zip(&text.codes) {
                *all = *all * text.values.len() as u32 + code;
            }
        }
        let mut known = vec![NOWHERE; combinations];
        for combined in &mut combined {
            let combination = *combined as usize;
            if known[combination] == NOWHERE {
                let mut rest = combination;
                let mut cell: Texts = Vec::with_capacity(texts.len());
                for text in texts.iter().rev() {
                    cell.push(text.values[rest % text.values.len()].clone());
                    rest /= text.values.len();
                }
                cell.reverse();
                known[combination] = self.place(cell, count)?;
            }
            *combined = known[combination];
        }
        Ok(combined)
    }
}

/// No cell.
const NOWHERE: u32 = u32::MAX;

/// A column of text as numbers of its distinct values; the last of them is null.
struct Codes {
    codes: Vec<u32>,
    values: Vec<Option<String>>,
}

impl Codes {
    fn of(column: &ArrayRef) -> Result<Self> {
        let dictionary = column.as_dictionary_opt::<Int32Type>();
        let values = dictionary.and_then(|dictionary| dictionary.values().as_string_opt::<i32>());
        let (Some(dictionary), Some(values)) = (dictionary, values) else { return Err(too_much()) };
        if values.len() > MOST_CELLS {
            return Err(too_much());
        }
        let null = values.len() as u32;
        let codes = match dictionary.nulls() {
            None => dictionary.keys().values().iter().map(|key| *key as u32).collect(),
            Some(_) => dictionary.keys().iter().map(|key| key.map_or(null, |key| key as u32)).collect(),
        };
        let values = values.iter().map(|value| value.map(str::to_owned)).chain([None]).collect();
        Ok(Self { codes, values })
    }
}

/// A column of whole numbers.
struct Numbers<'a> {
    values: Cow<'a, [i64]>,
    column: &'a ArrayRef,
}

impl<'a> Numbers<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        let values = match column.data_type() {
            DataType::Int64 => Cow::Borrowed(&**column.as_primitive::<Int64Type>().values()),
            DataType::UInt64 => {
                let values = column.as_primitive::<UInt64Type>().values();
                if values.iter().fold(0, |all, value| all | value) > i64::MAX as u64 {
                    return Err(too_much());
                }
                values.iter().map(|value| value.cast_signed()).collect()
            }
            DataType::UInt32 => {
                column.as_primitive::<UInt32Type>().values().iter().map(|n| i64::from(*n)).collect()
            }
            DataType::Int32 => {
                column.as_primitive::<Int32Type>().values().iter().map(|n| i64::from(*n)).collect()
            }
            _ => return Err(too_much()),
        };
        Ok(Self { values, column })
    }

    fn get(&self, row: usize) -> Option<i64> {
        self.column.is_valid(row).then(|| self.values[row])
    }
}

/// The question is left to polars.
fn too_much() -> Error {
    Error::usage("this is not counted by cells")
}
