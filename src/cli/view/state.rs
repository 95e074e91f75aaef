//! What is on the screen, and what each event makes of it. Nothing here reads files or waits: that is asked for as tasks.

use ratatui::termion::event::Key;

use super::choice::{Choice, Facet};
use super::detail::{Detail, Known};
use super::list::List;
use crate::analytics::rows::{Filter, Kinds, Listed};

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// The terminal has another size now.
    Resized,
    /// The process was asked to end.
    Interrupted,
    /// Rows were counted by kind.
    Counted(Kinds),
    /// A page of rows was read for the filter `pass`.
    Page { pass: u64, page: usize, rows: Vec<Listed> },
    /// More rows were found for the filter `pass`.
    Found { pass: u64, scanned: u64, numbers: Vec<u64>, done: bool },
    /// A row was read.
    Detail { number: u64, known: Box<Known> },
    /// Something could not be done.
    Failed { what: Failed, why: String },
}

/// What could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// Reading a page, or counting.
    Reading,
    /// Finding rows for the filter of this number.
    Finding(u64),
    /// Reading the row of this number.
    Detail(u64),
}

/// Something to do in the background, or the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Count rows by kind.
    Count,
    /// Read these rows.
    Page { pass: u64, page: usize, numbers: Vec<u64> },
    /// Find the rows that the filter leaves; whatever is being found for another is dropped.
    Find { pass: u64, filter: Filter },
    /// Stop finding.
    StopFinding,
    /// Read one row.
    Detail { number: u64 },
    /// End with this exit code.
    Quit(u8),
}

/// What is in front of everything else.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Overlay {
    /// Nothing.
    #[default]
    None,
    /// The keys.
    Help,
    /// A text to search for, being typed.
    Search(String),
    /// Values of the filter to choose from.
    Choice(Choice),
}

/// What is on the screen.
#[derive(Debug)]
pub struct State {
    /// Run, pipeline and how far it has come.
    pub title: String,
    /// The list of rows.
    pub list: List,
    /// Which rows are wanted.
    pub filter: Filter,
    /// Rows looked at, while rows are being found.
    pub scanned: Option<u64>,
    /// Number of rows by language, stage and reason.
    pub kinds: Kinds,
    /// Whether they are still being counted.
    pub counting: bool,
    /// The row that is open, over the list.
    pub detail: Option<Detail>,
    /// What is in front.
    pub overlay: Overlay,
    /// Something to say until the next key.
    pub message: Option<String>,
    /// Whether a row is being read, and which one is wanted after it.
    reading: Option<Option<u64>>,
}

impl State {
    /// The list of a run of `total` rows.
    pub fn new(title: String, total: u64) -> Self {
        Self {
            title,
            list: List::new(total),
            filter: Filter::default(),
            scanned: None,
            kinds: Kinds::new(),
            counting: true,
            detail: None,
            overlay: Overlay::None,
            message: None,
            reading: None,
        }
    }

    /// What there is to do first.
    pub fn begin(&mut self) -> Vec<Task> {
        let mut tasks = vec![Task::Count];
        tasks.extend(self.page());
        tasks
    }

    /// Makes room for `height` rows in the list.
    pub fn resize(&mut self, height: usize) -> Option<Task> {
        self.list.height = height.max(1);
        self.list.scroll();
        self.page()
    }

    /// What `event` makes of the screen, and what there is to do.
    pub fn update(&mut self, event: Event) -> Vec<Task> {
        let mut tasks = match event {
            Event::Key(key) => self.key(key),
            Event::Resized => Vec::new(),
            Event::Interrupted => vec![Task::Quit(130)],
            Event::Counted(kinds) => {
                (self.kinds, self.counting) = (kinds, false);
                Vec::new()
            }
            Event::Page { pass, page, rows } => {
                self.list.keep(pass, page, rows);
                Vec::new()
            }
            Event::Found { pass, scanned, numbers, done } => {
                self.found(pass, scanned, numbers, done);
                Vec::new()
            }
            Event::Detail { number, known } => self.read(number, Ok(*known)),
            Event::Failed { what, why } => self.failed(what, why),
        };
        tasks.extend(self.page());
        tasks
    }

    /// Wants the rows that `filter` leaves.
    pub fn want(&mut self, filter: Filter) -> Vec<Task> {
        if filter == self.filter {
            return Vec::new();
        }
        self.list.restart(!filter.is_empty());
        self.scanned = (!filter.is_empty()).then_some(0);
        self.filter = filter.clone();
        match self.scanned {
            None => vec![Task::StopFinding],
            Some(_) => vec![Task::Find { pass: self.list.pass, filter }],
        }
    }

    /// Wants rows with this value of `facet`, or any.
    pub fn choose(&mut self, facet: Facet, value: Option<String>) -> Vec<Task> {
        let mut filter = self.filter.clone();
        *facet.of(&mut filter) = value;
        self.want(filter)
    }

    /// Stops finding rows; those found so far stay.
    pub fn stop_finding(&mut self) -> Vec<Task> {
        let scanned = self.scanned.take().unwrap_or(0);
        let (found, total) = (self.list.len(), self.list.total);
        self.message = Some(format!("stopped after {scanned} of {total} rows: {found} found"));
        // What is still on its way belongs to the stopped search.
        vec![Task::StopFinding]
    }

    /// Opens the selected row, or the one that is selected now in place of the one that is open.
    pub fn open(&mut self) -> Vec<Task> {
        let Some(number) = self.list.number(self.list.cursor) else { return Vec::new() };
        if self.detail.as_ref().is_some_and(|open| open.number == number) {
            return Vec::new();
        }
        self.detail = Some(Detail::open(number, self.detail.as_ref()));
        match &mut self.reading {
            // One at a time: whoever leafs through rows wants the last.
            Some(next) => {
                *next = Some(number);
                Vec::new()
            }
            None => {
                self.reading = Some(None);
                vec![Task::Detail { number }]
            }
        }
    }

    fn page(&mut self) -> Option<Task> {
        let (page, numbers) = self.list.wanted()?;
        Some(Task::Page { pass: self.list.pass, page, numbers })
    }

    fn found(&mut self, pass: u64, scanned: u64, numbers: Vec<u64>, done: bool) {
        if pass != self.list.pass || self.scanned.is_none() {
            return;
        }
        if let Some(found) = &mut self.list.found {
            found.extend(numbers);
        }
        self.scanned = (!done).then_some(scanned);
    }

    fn read(&mut self, number: u64, known: Result<Known, String>) -> Vec<Task> {
        let next = self.reading.take().flatten();
        if let Some(detail) = self.detail.as_mut().filter(|detail| detail.number == number) {
            match known {
                Ok(known) => detail.show(known),
                Err(why) => {
                    self.detail = None;
                    self.message = Some(why);
                }
            }
        }
        match next.filter(|next| *next != number) {
            Some(number) => {
                self.reading = Some(None);
                vec![Task::Detail { number }]
            }
            None => Vec::new(),
        }
    }

    fn failed(&mut self, what: Failed, why: String) -> Vec<Task> {
        match what {
            Failed::Detail(number) => return self.read(number, Err(why)),
            Failed::Finding(pass) if pass != self.list.pass => return Vec::new(),
            Failed::Finding(_) => self.scanned = None,
            Failed::Reading => self.counting = false,
        }
        self.message = Some(why);
        Vec::new()
    }
}
