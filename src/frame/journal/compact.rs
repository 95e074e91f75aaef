//! Compaction: closed segments become parts of a table, which answers from then on.
//!
//! A part is written beside its name, synced, and given the name; then the segments in it are deleted. Killed before
//! that, the process leaves the segments; killed after it, segments that the part's name says it covers.

use std::sync::{Arc, PoisonError};

use super::Journal;
use super::closed::Closed;
use super::columns::Table;
use super::files::{Place, Span};
use super::part::{Part, PartWriter};
use crate::error::Result;

impl Journal {
    /// Compacts everything appended so far into `table`, a directory beside the journals', and deletes the segments.
    ///
    /// # Errors
    /// I/O errors, and a record that is no JSON object. What was not compacted is still in its segments.
    pub fn compact(&self, table: &'static Table) -> Result<()> {
        if self.syncer.is_none() {
            return Err(self.read_only());
        }
        let mut place = self.shared.place();
        let mut state = self.shared.lock();
        self.shared.refuse_after_failure(&state)?;
        if state.active.as_ref().is_some_and(|active| active.records > 0) {
            self.shared.close_segment(&mut state)?;
        }
        drop(state);
        let groups = groups(&self.shared.closed(), self.shared.limits.part_records);
        if groups.is_empty() {
            return Ok(());
        }
        place.choose(table)?;
        *self.shared.place.write().unwrap_or_else(PoisonError::into_inner) = place.clone();
        groups.into_iter().try_for_each(|span| self.replace(&place, table, span))
    }

    /// Makes one part of everything in `span`.
    fn replace(&self, place: &Place, table: &'static Table, span: Span) -> Result<()> {
        let Some(path) = place.part(span) else { return Err(self.read_only()) };
        let within =
            |closed: &Arc<Closed>| span.first <= closed.span().first && closed.span().last <= span.last;
        let mut writer = PartWriter::create(table, span, &path)?;
        let old: Vec<_> = self.shared.closed().iter().filter(|closed| within(closed)).cloned().collect();
        for closed in &old {
            closed.for_each(&mut |key, payload| writer.write(key, payload))?;
        }
        let part: Part = writer.finish(place)?;
        let mut closed = self.shared.closed.write().unwrap_or_else(PoisonError::into_inner);
        let at = closed.iter().take_while(|closed| !within(closed)).count();
        closed.retain(|closed| !within(closed));
        closed.insert(at, Arc::new(Closed::Part(part)));
        drop(closed);
        // Should the process die here, the part's name says that it has the rest.
        old.iter().try_for_each(|old| old.delete(place))
    }
}

/// What to make parts of: the segments, and the part before them if it is small.
fn groups(closed: &[Arc<Closed>], part_records: u64) -> Vec<Span> {
    let is_part = |closed: &Arc<Closed>| matches!(**closed, Closed::Part(_));
    let Some(first) = closed.iter().position(|closed| !is_part(closed)) else { return Vec::new() };
    let small = first.checked_sub(1).filter(|last| closed[*last].index().records < part_records / 4);
    let mut groups = Vec::new();
    let mut open: Option<(Span, u64)> = None;
    for closed in &closed[small.unwrap_or(first)..] {
        let span = closed.span();
        let (first, records) = open.take().map_or((span.first, 0), |(open, records)| (open.first, records));
        let group = (Span { first, last: span.last }, records + closed.index().records);
        if group.1 >= part_records {
            groups.push(group.0);
        } else {
            open = Some(group);
        }
    }
    groups.extend(open.map(|(span, _)| span));
    groups
}
