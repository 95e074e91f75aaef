//! One row: which of its stages and calls is shown, and in which pane one is.

use super::panes::{Pane, of_record, of_stage};
use crate::analytics::rows::Record;
use crate::engine::trace::{Answered, Visit};
use crate::sandbox::job::Outcome;
use crate::stages::Answer;

/// What is known of a row.
#[derive(Debug)]
pub struct Known {
    /// Its columns.
    pub record: Record,
    /// The steps that ask and what they asked for it, or why that is not known.
    pub visits: Result<Vec<Visit>, String>,
}

/// The open row.
#[derive(Debug)]
pub struct Detail {
    /// Its number in the run.
    pub number: u64,
    /// `None` while it is being read.
    pub known: Option<Known>,
    /// 0 for the row's columns, n + 1 for its n-th stage; `None` before anything was chosen.
    pub stage: Option<usize>,
    /// Which call of each stage is shown.
    pub chosen: Vec<usize>,
    /// The panes of the stage.
    pub panes: Vec<Pane>,
    /// The pane that keys scroll.
    pub focus: usize,
    /// Whether that pane has the screen to itself.
    pub zoomed: bool,
}

impl Detail {
    /// The row `number`, which is yet to be read. `like` is the row that was open before: stage and pane stay.
    pub fn open(number: u64, like: Option<&Self>) -> Self {
        let (stage, focus, zoomed) = like.map_or((None, 0, false), |old| (old.stage, old.focus, old.zoomed));
        Self { number, known: None, stage, chosen: Vec::new(), panes: Vec::new(), focus, zoomed }
    }

    /// Shows what was read: the stage that is chosen, or else the last that the row came to.
    pub fn show(&mut self, known: Known) {
        let visits = known.visits.as_deref().unwrap_or_default();
        self.chosen = visits.iter().map(telling).collect();
        let last = visits.iter().rposition(|visit| !visit.calls.is_empty()).map_or(0, |at| at + 1);
        self.stage = Some(self.stage.unwrap_or(last).min(visits.len()));
        self.known = Some(known);
        self.fill();
    }

    /// The stage that is shown: see [`Detail::stage`].
    pub fn at(&self) -> usize {
        self.stage.unwrap_or(0)
    }

    /// The stages after the row's own columns.
    pub fn stages(&self) -> &[Visit] {
        self.known.as_ref().and_then(|known| known.visits.as_deref().ok()).unwrap_or_default()
    }

    /// Goes to the stage `by` further right, or left.
    pub fn step(&mut self, by: isize) {
        if self.known.is_some() {
            self.stage = Some(self.at().saturating_add_signed(by).min(self.stages().len()));
            self.fill();
        }
    }

    /// Shows the call of the stage that is `by` further on, round and round.
    pub fn turn(&mut self, by: isize) {
        let Some(at) = self.at().checked_sub(1) else { return };
        let calls = self.stages().get(at).map_or(0, |visit| visit.calls.len());
        if calls > 1 {
            self.chosen[at] = (self.chosen[at] as isize + by).rem_euclid(calls as isize) as usize;
            self.fill();
        }
    }

    /// Goes to the next pane, or the one before.
    pub fn cycle(&mut self, by: isize) {
        let panes = self.panes.len().max(1) as isize;
        self.focus = (self.focused() as isize + by).rem_euclid(panes) as usize;
    }

    /// The pane that keys scroll: the row's columns are in a single one.
    pub fn focused(&self) -> usize {
        self.focus.min(self.panes.len().saturating_sub(1))
    }

    /// Scrolls the pane to a line.
    pub fn scroll(&mut self, line: impl Fn(usize) -> usize) {
        let focused = self.focused();
        if let Some(pane) = self.panes.get_mut(focused) {
            pane.scroll = line(pane.scroll);
        }
    }

    fn fill(&mut self) {
        let Some(known) = &self.known else { return };
        self.panes = match (self.at().checked_sub(1), &known.visits) {
            (Some(at), Ok(visits)) => of_stage(visits, at, &self.chosen),
            _ => vec![of_record(&known.record)],
        };
    }
}

/// The call to show first: the sample that the row was made of, or the first program that did not pass.
fn telling(visit: &Visit) -> usize {
    let failed = |answered: &Option<Answered>| match answered.as_ref().map(|answered| &answered.answer) {
        Some(Answer::Sandbox(verdict)) => verdict.outcome != Outcome::Passed,
        _ => false,
    };
    visit.calls.iter().position(|call| failed(&call.answered)).unwrap_or(visit.own)
}
