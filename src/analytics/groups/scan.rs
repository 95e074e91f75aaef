//! The pass over a table that counts: row groups by all cores, each with counts of its own that are added up at the end.

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
#[derive(Default)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) sum: i128,
    /// Smallest and largest.
    pub(super) range: Option<(i64, i64)>,
    pub(super) histogram: Histogram,
}

impl Tally {
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.range = match (self.range, other.range) {
            (Some((low, high)), Some((lower, higher))) => Some((low.min(lower), high.max(higher))),
            (one, other) => one.or(other),
        };
        self.histogram.merge(&other.histogram);
    }

    fn add(&mut self, value: i64) {
        self.count += 1;
        self.sum += i128::from(value);
        let (low, high) = self.range.unwrap_or((value, value));
        self.range = Some((low.min(value), high.max(value)));
    }

    /// Takes count, sum and range from the histogram.
    fn settle(&mut self) {
        let sorted = self.histogram.sorted();
        self.count = sorted.iter().map(|(_, times)| times).sum();
        self.sum = sorted.iter().map(|(value, times)| i128::from(*value) * i128::from(*times)).sum();
        self.range = sorted.first().zip(sorted.last()).map(|(low, high)| (low.0, high.0));
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
        for place in places.iter().filter(|place| **place != NOWHERE) {
            self.cells[*place as usize].rows += 1;
        }
        for (at, (numbers, (_, spread))) in numbers.iter().zip(&count.numbers).enumerate() {
            for (row, place) in places.iter().enumerate().filter(|(_, place)| **place != NOWHERE) {
                let Some(value) = numbers.get(row) else { continue };
                let tally = &mut self.cells[*place as usize].numbers[at];
                if *spread {
                    tally.histogram.add(value);
                } else {
                    tally.add(value);
                }
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
struct Numbers {
    values: Vec<i64>,
    column: ArrayRef,
    nullable: bool,
}

impl Numbers {
    fn of(column: &ArrayRef) -> Result<Self> {
        let values = match column.data_type() {
            DataType::UInt64 => {
                let values = column.as_primitive::<UInt64Type>().values();
                if values.iter().any(|value| *value > i64::MAX as u64) {
                    return Err(too_much());
                }
                values.iter().map(|value| value.cast_signed()).collect()
            }
            DataType::Int64 => column.as_primitive::<Int64Type>().values().to_vec(),
            DataType::UInt32 => {
                column.as_primitive::<UInt32Type>().values().iter().map(|n| i64::from(*n)).collect()
            }
            DataType::Int32 => {
                column.as_primitive::<Int32Type>().values().iter().map(|n| i64::from(*n)).collect()
            }
            _ => return Err(too_much()),
        };
        Ok(Self { values, column: column.clone(), nullable: column.null_count() > 0 })
    }

    fn get(&self, row: usize) -> Option<i64> {
        (!self.nullable || self.column.is_valid(row)).then(|| self.values[row])
    }
}

/// The question is left to polars.
fn too_much() -> Error {
    Error::usage("this is not counted by cells")
}
