//! What takes time, on threads of its own: the keys never wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::detail::Known;
use super::state::{Event, Failed, Task};
use crate::analytics::rows::{Filter, Listing};
use crate::engine::trace::{Trace, Visit};
use crate::error::{Error, Result};
use crate::frame::run_dir::RunDir;

/// Least time between two reports of progress.
const REPORT: Duration = Duration::from_millis(100);

/// Does tasks and reports by events.
#[derive(Clone)]
pub struct Background {
    shared: Arc<Shared>,
    events: Sender<Event>,
}

struct Shared {
    run: std::path::PathBuf,
    rows: Listing,
    /// Opened for the first row that is looked at.
    trace: OnceLock<Trace>,
    /// The filter that rows are being found for; a search for another stops.
    pass: AtomicU64,
}

impl Background {
    /// For the run in `run`, whose rows are `rows`.
    pub fn new(run: &std::path::Path, rows: Listing, events: Sender<Event>) -> Self {
        let shared = Shared { run: run.to_owned(), rows, trace: OnceLock::new(), pass: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), events }
    }

    /// Begins `task`.
    pub fn begin(&self, task: Task) {
        match task {
            Task::Quit(_) => {}
            Task::StopFinding => self.shared.pass.store(u64::MAX, Ordering::Relaxed),
            Task::Count => self.spawn(Failed::Reading, |this| {
                this.tell(Event::Counted(this.shared.rows.kinds()?));
                Ok(())
            }),
            Task::Page { pass, page, numbers } => self.spawn(Failed::Reading, move |this| {
                let rows = this.shared.rows.read(&numbers)?;
                this.tell(Event::Page { pass, page, rows });
                Ok(())
            }),
            Task::Find { pass, filter } => {
                self.shared.pass.store(pass, Ordering::Relaxed);
                self.spawn(Failed::Finding(pass), move |this| this.find(pass, &filter));
            }
            Task::Detail { number } => self.spawn(Failed::Detail(number), move |this| {
                let record = this.shared.rows.record(number)?;
                let visits = this.visits(&record.listed.id).map_err(|error| error.to_string());
                this.tell(Event::Detail { number, known: Box::new(Known { record, visits }) });
                Ok(())
            }),
        }
    }

    fn spawn(&self, what: Failed, work: impl FnOnce(&Self) -> Result<()> + Send + 'static) {
        let this = self.clone();
        let run = move || {
            let worked = catch_unwind(AssertUnwindSafe(|| work(&this)));
            let defect = |_| Err(Error::environment("a thread panicked; this is a defect of autocodegen"));
            if let Err(error) = worked.unwrap_or_else(defect) {
                this.tell(Event::Failed { what, why: error.to_string() });
            }
        };
        if let Err(error) = std::thread::Builder::new().name("view".into()).spawn(run) {
            self.tell(Event::Failed { what, why: format!("cannot start a thread: {error}") });
        }
    }

    /// Nobody listens any more only when the command is about to end.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn find(&self, pass: u64, filter: &Filter) -> Result<()> {
        let (mut numbers, mut looked_at) = (Vec::new(), 0);
        let mut reported = Instant::now();
        let is_wanted = || self.shared.pass.load(Ordering::Relaxed) == pass;
        self.shared.rows.find(filter, &mut |progress| {
            numbers.extend_from_slice(progress.found);
            looked_at = progress.scanned;
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                let numbers = std::mem::take(&mut numbers);
                self.tell(Event::Found { pass, scanned: looked_at, numbers, done: false });
            }
            is_wanted()
        })?;
        if is_wanted() {
            self.tell(Event::Found { pass, scanned: looked_at, numbers, done: true });
        }
        Ok(())
    }

    fn visits(&self, id: &str) -> Result<Vec<Visit>> {
        if id.is_empty() {
            return Ok(Vec::new());
        }
        let trace = match self.shared.trace.get() {
            Some(trace) => trace,
            None => {
                let opened = Trace::open(RunDir::open_read_only(&self.shared.run)?)?;
                self.shared.trace.get_or_init(|| opened)
            }
        };
        trace.row(id)
    }
}
