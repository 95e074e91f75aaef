//! The list of rows: which there are, which is selected, and the few that are in memory.

use std::collections::VecDeque;
use std::ops::Range;

use crate::analytics::rows::Listed;

/// Rows read at once.
pub const PAGE: usize = 64;
/// Pages kept.
const PAGES: usize = 32;

/// The rows that the filter leaves, and the place in them.
#[derive(Debug, Default)]
pub struct List {
    /// Rows of the run.
    pub total: u64,
    /// Numbers of the rows that the filter leaves, as far as they are found; `None` without a filter.
    pub found: Option<Vec<u64>>,
    /// Which of these is selected.
    pub cursor: usize,
    /// Which of these is in the first line.
    pub top: usize,
    /// Lines that show rows.
    pub height: usize,
    /// Counts filters: what is read for an earlier one is of no use.
    pub pass: u64,
    pages: VecDeque<(usize, Vec<Listed>)>,
    reading: Option<usize>,
}

impl List {
    /// All `total` rows of a run.
    pub fn new(total: u64) -> Self {
        Self { total, height: 1, ..Self::default() }
    }

    /// Number of rows that the filter leaves.
    pub fn len(&self) -> usize {
        self.found.as_ref().map_or(self.total as usize, Vec::len)
    }

    /// The number in the run of the `at`-th row.
    pub fn number(&self, at: usize) -> Option<u64> {
        match &self.found {
            None => Some(at as u64).filter(|number| *number < self.total),
            Some(found) => found.get(at).copied(),
        }
    }

    /// The `at`-th row, where it is in memory.
    pub fn row(&self, at: usize) -> Option<&Listed> {
        let (_, rows) = self.pages.iter().find(|(page, _)| *page == at / PAGE)?;
        rows.get(at % PAGE)
    }

    /// Begins again, with all rows or those that are yet to be found.
    pub fn restart(&mut self, filtered: bool) {
        self.found = filtered.then(Vec::new);
        self.pass += 1;
        (self.cursor, self.top, self.reading) = (0, 0, None);
        self.pages.clear();
    }

    /// Selects the row that is `by` further down, or up.
    pub fn step(&mut self, by: isize) {
        self.go(self.cursor.saturating_add_signed(by));
    }

    /// Selects the `at`-th row, or the last.
    pub fn go(&mut self, at: usize) {
        self.cursor = at.min(self.len().saturating_sub(1));
        self.scroll();
    }

    /// Sees to it that the selected row is in sight.
    pub fn scroll(&mut self) {
        let last_top = self.len().saturating_sub(self.height);
        let lowest = (self.cursor + 1).saturating_sub(self.height);
        self.top = self.top.clamp(lowest, self.cursor.max(lowest)).min(last_top);
    }

    /// The rows in sight.
    pub fn in_sight(&self) -> Range<usize> {
        self.top..(self.top + self.height).min(self.len())
    }

    /// The next page to read, with the numbers of its rows; one at a time.
    pub fn wanted(&mut self) -> Option<(usize, Vec<u64>)> {
        if self.reading.is_some() || self.in_sight().is_empty() {
            return None;
        }
        let sight = self.in_sight();
        let page = (sight.start / PAGE..=(sight.end - 1) / PAGE).find(|page| {
            let there = self.pages.iter().find(|(known, _)| known == page).map_or(0, |(_, rows)| rows.len());
            // A page that was read while rows were still being found may have room for more.
            there < PAGE.min(self.len() - page * PAGE)
        })?;
        self.reading = Some(page);
        let rows = page * PAGE..((page + 1) * PAGE).min(self.len());
        Some((page, rows.filter_map(|at| self.number(at)).collect()))
    }

    /// Reads again what could not be read.
    pub fn retry(&mut self) {
        self.reading = None;
    }

    /// Takes what was read of `page` for the filter `pass`.
    pub fn keep(&mut self, pass: u64, page: usize, rows: Vec<Listed>) {
        if pass != self.pass {
            return;
        }
        self.reading = None;
        self.pages.retain(|(known, _)| *known != page);
        self.pages.push_front((page, rows));
        self.pages.truncate(PAGES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(number: u64) -> Listed {
        let text = String::new;
        Listed { id: number.to_string(), language: text(), stage: text(), reason: text(), about: text() }
    }

    /// Reads whatever the list wants.
    fn read(list: &mut List) -> usize {
        let mut pages = 0;
        while let Some((page, numbers)) = list.wanted() {
            assert!(numbers.len() <= PAGE);
            list.keep(list.pass, page, numbers.into_iter().map(listed).collect());
            pages += 1;
        }
        pages
    }

    #[test]
    fn of_a_million_rows_only_those_near_the_selected_one_are_read_and_few_are_kept() {
        let mut list = List { height: 40, ..List::new(1_000_000) };
        assert_eq!(read(&mut list), 1);
        list.go(999_999);
        assert_eq!((list.top, read(&mut list)), (999_960, 1));
        assert_eq!(list.row(999_999).unwrap().id, "999999");
        for at in 0..200 {
            list.go(at * PAGE);
            read(&mut list);
        }
        assert!(list.pages.len() <= PAGES);
        assert!(list.row(list.cursor).is_some() && list.row(0).is_none());
    }

    #[test]
    fn the_selected_row_stays_in_sight() {
        let mut list = List { height: 10, ..List::new(100) };
        for (by, cursor, top) in [(5, 5, 0), (5, 10, 1), (-3, 7, 1), (-7, 0, 0), (-1, 0, 0), (500, 99, 90)] {
            list.step(by);
            assert_eq!((list.cursor, list.top), (cursor, top), "{by}");
        }
        list.height = 200;
        list.scroll();
        assert_eq!(list.in_sight(), 0..100);
    }

    #[test]
    fn a_page_grows_while_rows_are_found_and_what_an_earlier_filter_read_is_dropped() {
        let mut list = List { height: 10, ..List::new(100) };
        let (page, numbers) = list.wanted().unwrap();
        let stale = list.pass;
        list.restart(true);
        assert_eq!((list.len(), list.wanted()), (0, None));
        list.keep(stale, page, numbers.into_iter().map(listed).collect());
        assert_eq!(list.row(0), None);
        list.found = Some(vec![7]);
        assert_eq!(list.wanted(), Some((0, vec![7])));
        assert_eq!(list.wanted(), None, "one page at a time");
        list.keep(list.pass, 0, vec![listed(7)]);
        list.found = Some(vec![7, 9]);
        assert_eq!(list.wanted(), Some((0, vec![7, 9])));
    }
}
