//! Progress on stderr: bars on a terminal, a plain line now and then elsewhere, nothing with `--quiet`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::printable;
use crate::engine::events::{Event, Observer};
use crate::frame::ingest::ManifestEntry;
use crate::plan::Plan;
use crate::stages::Resource;

/// Plain lines come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Why rows are pending: by stage and cause, how many, and what the first one met.
pub type PendingCauses = BTreeMap<(String, &'static str), (u64, String, Option<String>)>;

/// Draws what the engine tells.
pub struct Progress {
    bars: Vec<(String, ProgressBar)>,
    /// The step, and so the bar, that each stage belongs to.
    steps: BTreeMap<String, usize>,
    plain: bool,
    last_line: Mutex<Instant>,
    model_in_flight: AtomicI64,
    sandbox_in_flight: AtomicI64,
    asked: AtomicU64,
    found: AtomicU64,
    reused_replies: AtomicU64,
    reused_verdicts: AtomicU64,
    retries: AtomicU64,
    waiting: Mutex<Option<(String, Instant)>>,
    pending: Mutex<PendingCauses>,
}

/// Whether bars are drawn: stderr is a terminal and nothing asked for quiet or plain output.
fn draws_bars(quiet: bool) -> bool {
    !quiet && std::io::stderr().is_terminal() && std::env::var_os("CI").is_none()
}

/// A bar over the bytes of the seed files.
pub fn ingest(manifest: &[ManifestEntry], quiet: bool) -> ProgressBar {
    if !draws_bars(quiet) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(manifest.iter().map(|entry| entry.size).sum());
    bar.with_style(style("seeds {bar:30} {bytes}/{total_bytes} {msg}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress {
    /// Progress of `plan` over `rows` seeds.
    pub fn new(plan: &Plan, rows: u64, quiet: bool) -> Self {
        let draws = draws_bars(quiet);
        let target = if draws { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let width = plan.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
        let bars = plan.steps.iter().map(|step| {
            let bar = all.add(ProgressBar::new(rows));
            bar.set_style(style(&format!("{{prefix:{width}}} {{bar:30}} {{pos}}/{{len}} {{msg}}")));
            bar.set_prefix(step.name.clone());
            (step.name.clone(), bar)
        });
        let stages = plan.steps.iter().enumerate();
        let steps = stages.flat_map(|(step, range)| {
            plan.stages[range.stages.clone()].iter().map(move |stage| (stage.name.to_string(), step))
        });
        Self {
            bars: bars.collect(),
            steps: steps.collect(),
            plain: !draws && !quiet,
            last_line: Mutex::new(Instant::now()),
            model_in_flight: AtomicI64::new(0),
            sandbox_in_flight: AtomicI64::new(0),
            asked: AtomicU64::new(0),
            found: AtomicU64::new(0),
            reused_replies: AtomicU64::new(0),
            reused_verdicts: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            waiting: Mutex::new(None),
            pending: Mutex::default(),
        }
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        for (_, bar) in &self.bars {
            bar.finish_and_clear();
        }
        if self.plain {
            eprintln!("{}", self.line());
        }
    }

    /// Why rows are pending.
    pub fn pending(&self) -> PendingCauses {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replies and verdicts that came from other runs or the cache.
    pub fn reused(&self) -> (u64, u64) {
        (self.reused_replies.load(Ordering::Relaxed), self.reused_verdicts.load(Ordering::Relaxed))
    }

    fn line(&self) -> String {
        let steps: Vec<String> = self
            .bars
            .iter()
            .map(|(name, bar)| format!("{name} {}/{}", bar.position(), bar.length().unwrap_or(0)))
            .collect();
        let mut line = format!("{} | {}", steps.join(", "), self.calls());
        if let Some(waiting) = self.waiting() {
            line.push_str(" | ");
            line.push_str(&waiting);
        }
        line
    }

    fn calls(&self) -> String {
        format!(
            "in flight: model {}, sandbox {}; asked {}, from the journal {}, reused {}, retries {}",
            self.model_in_flight.load(Ordering::Relaxed),
            self.sandbox_in_flight.load(Ordering::Relaxed),
            self.asked.load(Ordering::Relaxed),
            self.found.load(Ordering::Relaxed),
            self.reused().0 + self.reused().1,
            self.retries.load(Ordering::Relaxed)
        )
    }

    /// What the last retry waits for, while it does.
    fn waiting(&self) -> Option<String> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (what, until) = waiting.as_ref()?;
        let left = until.checked_duration_since(Instant::now())?;
        Some(format!("{what}: next try in {:.0} s", left.as_secs_f64().ceil()))
    }

    fn tell(&self) {
        if let Some((_, bar)) = self.bars.last()
            && !bar.is_hidden()
        {
            bar.set_message(
                self.calls() + &self.waiting().map(|waiting| format!(" | {waiting}")).unwrap_or_default(),
            );
        }
        if !self.plain {
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            eprintln!("{}", self.line());
        }
    }

    fn in_flight(&self, resource: Resource) -> &AtomicI64 {
        match resource {
            Resource::Model => &self.model_in_flight,
            Resource::Sandbox => &self.sandbox_in_flight,
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Stage { stage, tally, .. } => {
                // Rows that leave at any stage of a step never reach the steps after it.
                let gone = tally.rejected_rows() + tally.pending;
                if let Some(step) = self.steps.get(*stage) {
                    let (_, bar) = &self.bars[*step];
                    if bar.prefix() == **stage {
                        bar.inc(tally.rows_in);
                    }
                    for (_, bar) in &self.bars[step + 1..] {
                        bar.set_length(bar.length().unwrap_or(0).saturating_sub(gone));
                    }
                }
            }
            Event::Asking(resource) => {
                self.in_flight(*resource).fetch_add(1, Ordering::Relaxed);
            }
            Event::Asked(resource) => {
                self.in_flight(*resource).fetch_sub(1, Ordering::Relaxed);
                self.asked.fetch_add(1, Ordering::Relaxed);
            }
            Event::Found(_) => {
                self.found.fetch_add(1, Ordering::Relaxed);
            }
            Event::Reused(resource) => {
                let reused = match resource {
                    Resource::Model => &self.reused_replies,
                    Resource::Sandbox => &self.reused_verdicts,
                };
                reused.fetch_add(1, Ordering::Relaxed);
            }
            Event::Retry { stage, fault, wait } => {
                self.retries.fetch_add(1, Ordering::Relaxed);
                let what = format!("{stage}: {}", printable(&fault.message));
                *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((what, Instant::now() + *wait));
            }
            Event::Pending { stage, row, fault } => {
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                let first = || (0, format!("row {row}: {}", fault.message), fault.hint.clone());
                pending.entry(((*stage).to_owned(), fault.cause)).or_insert_with(first).0 += 1;
            }
        }
        self.tell();
    }
}
