//! Progress on stderr: bars on a terminal, a plain line now and then elsewhere, nothing with `--quiet`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{money, printable};
use crate::engine::events::{Event, Observer};
use crate::engine::metrics::{Metrics, StageCalls};
use crate::error::Tokens;
use crate::frame::ingest::ManifestEntry;
use crate::llm::Model;
use crate::plan::Plan;
use crate::stages::Resource;

/// Plain lines come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How often is looked at what the model waits for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bars are drawn anew at most this often.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Why rows are pending: by stage and cause, how many, and what the first one met.
pub type PendingCauses = BTreeMap<(String, &'static str), (u64, String, Option<String>)>;

/// Draws what the engine tells.
pub struct Progress {
    bars: Vec<(String, ProgressBar)>,
    /// The step, and so the bar, that each stage belongs to.
    steps: BTreeMap<String, usize>,
    rows: u64,
    plain: bool,
    metrics: Arc<Metrics>,
    last_told: Mutex<Instant>,
    found: AtomicU64,
    reused_replies: AtomicU64,
    reused_verdicts: AtomicU64,
    waiting: Mutex<Option<(String, Instant)>>,
    /// What the model calls wait for, if they do.
    model_waits: Mutex<Option<String>>,
    /// The global stage that reads rows, and how many it has.
    deciding: Mutex<Option<(String, u64)>>,
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
    /// Progress of `plan` over `rows` seeds; `metrics` knows what calls come to.
    pub fn new(plan: &Plan, rows: u64, quiet: bool, metrics: Arc<Metrics>) -> Self {
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
            rows,
            plain: !draws && !quiet,
            metrics,
            last_told: Mutex::new(Instant::now()),
            found: AtomicU64::new(0),
            reused_replies: AtomicU64::new(0),
            reused_verdicts: AtomicU64::new(0),
            waiting: Mutex::new(None),
            model_waits: Mutex::new(None),
            deciding: Mutex::default(),
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
        for more in [self.deciding(), self.speeds(), self.spent(), self.waiting()].into_iter().flatten() {
            line.push_str(" | ");
            line.push_str(&more);
        }
        line
    }

    fn calls(&self) -> String {
        let (mut model, mut sandbox, mut asked, mut retries) = (0, 0, 0, 0);
        for calls in self.metrics.now() {
            *(if calls.model { &mut model } else { &mut sandbox }) += calls.in_flight;
            asked += calls.answered + calls.failed;
            retries += calls.retries.values().sum::<u64>();
        }
        let found = self.found.load(Ordering::Relaxed);
        format!(
            "in flight: model {model}, sandbox {sandbox}; asked {asked}, from the journal {found}, reused {}, retries {retries}",
            self.reused().0 + self.reused().1,
        )
    }

    /// Looks every second whether the calls of `model` wait for something, and tells: nothing else happens meanwhile that
    /// would. With `lines` also where no bars are drawn.
    pub fn watch(self: &Arc<Self>, model: Option<Arc<dyn Model>>, lines: bool) {
        let Some(model) = model else { return };
        let lines = lines && !draws_bars(false);
        let progress = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut told: Option<Instant> = None;
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(progress) = progress.upgrade() else { return };
                let waits = model.status().and_then(|status| status.waits_for());
                let waits = waits.map(|waits| format!("model: {}", printable(&waits)));
                if let Some(waits) = &waits
                    && lines
                    && told.is_none_or(|told| told.elapsed() >= LINE_EVERY)
                {
                    eprintln!("{waits}");
                    told = Some(Instant::now());
                }
                *progress.model_waits.lock().unwrap_or_else(PoisonError::into_inner) = waits;
                progress.tell();
            }
        });
    }

    /// What calls wait for: the model's endpoints, or the last retry, while it does.
    /// How fast each stage that is being asked is answered.
    fn speeds(&self) -> Option<String> {
        let busy = self.metrics.now().into_iter().filter(|calls| calls.in_flight > 0 && calls.answered > 0);
        let speeds: Vec<String> = busy.map(|calls| format!("{} {}", calls.stage, speed(&calls))).collect();
        (!speeds.is_empty()).then(|| speeds.join(", "))
    }

    /// How far the global stage is that reads rows, while one does.
    fn deciding(&self) -> Option<String> {
        let deciding = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        deciding.as_ref().map(|(stage, rows)| format!("{stage} decides, {rows} rows read"))
    }

    /// What the run directory has spent, once it has spent anything.
    fn spent(&self) -> Option<String> {
        let (tokens, usd) = self.metrics.spent();
        (tokens != Tokens::default())
            .then(|| format!("spent {} tokens, cost {}", tokens.total(), money::usd(usd)))
    }

    /// What the last retry waits for, while it does.
    fn waiting(&self) -> Option<String> {
        if let Some(waits) = self.model_waits.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Some(waits);
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (what, until) = waiting.as_ref()?;
        let left = until.checked_duration_since(Instant::now())?;
        Some(format!("{what}: next try in {:.0} s", left.as_secs_f64().ceil()))
    }

    fn tell(&self) {
        let draws = self.bars.last().is_some_and(|(_, bar)| !bar.is_hidden());
        if !draws && !self.plain {
            return;
        }
        {
            let mut last = self.last_told.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() < if draws { DRAW_EVERY } else { LINE_EVERY } {
                return;
            }
            *last = Instant::now();
        }
        match draws {
            true => self.draw(),
            false => eprintln!("{}", self.line()),
        }
    }

    fn draw(&self) {
        for calls in self.metrics.now() {
            if let Some((_, bar)) = self.steps.get(&calls.stage).and_then(|step| self.bars.get(*step)) {
                bar.set_message(format!("{} in flight, {}", calls.in_flight, speed(&calls)));
            }
        }
        if let Some((_, bar)) = self.bars.last() {
            let below = [self.deciding(), Some(self.calls()), self.spent(), self.waiting()];
            let below: Vec<String> = below.into_iter().flatten().collect();
            let own = self.metrics.now().into_iter().find(|calls| calls.stage == bar.prefix());
            let own = own.map(|calls| format!("{} in flight, {}\n", calls.in_flight, speed(&calls)));
            bar.set_message(own.unwrap_or_default() + &below.join(" | "));
        }
    }
}

/// Answers and tokens a second, and how long answers take.
fn speed(calls: &StageCalls) -> String {
    let tokens = match calls.model {
        true => format!(", {:.0} tokens/s", calls.tokens_per_s),
        false => String::new(),
    };
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let (p50, p99) = (seconds(calls.p50_ms), seconds(calls.p99_ms));
    format!("{:.1}/s{tokens}, p50 {p50:.1} s, p99 {p99:.1} s", calls.answers_per_s)
}

impl Observer for Progress {
    fn restart(&self) {
        for (_, bar) in &self.bars {
            bar.set_length(self.rows);
            bar.set_position(0);
        }
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Deciding { stage, rows } => {
                let mut deciding = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
                match deciding.as_mut().filter(|(name, _)| name == stage) {
                    Some((_, so_far)) => *so_far += rows,
                    None => *deciding = Some(((*stage).to_owned(), *rows)),
                }
            }
            Event::Stage { stage, tally, .. } => {
                self.deciding
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take_if(|(name, _)| name == stage);
                // Rows that leave at any stage of a step never reach the steps after it; those it makes do.
                let gone = tally.rejected_rows() + tally.pending;
                if let Some(step) = self.steps.get(*stage) {
                    let (_, bar) = &self.bars[*step];
                    if bar.prefix() == **stage {
                        bar.inc(tally.rows_in);
                    }
                    for (_, bar) in &self.bars[step + 1..] {
                        bar.set_length((bar.length().unwrap_or(0) + tally.spawned).saturating_sub(gone));
                    }
                }
            }
            Event::Asking { .. } | Event::Asked { .. } => {}
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
