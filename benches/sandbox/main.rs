//! How fast are jobs in jails? Per language: jobs/s and latencies of small distinct programs, beside the same programs
//! run plainly, without isolation, by the reference's command, in the same run on the same cores.
//!
//! `cargo bench --bench sandbox [-- ROW... --seconds S --jobs N --jailed]`: `S` seconds (6) per figure, `N` programs at
//! once (as many as there are cores), `--jailed` without the plain runs. Plain and jailed runs take turns, so that a busy machine slows both.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod rows;

use std::fs;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Outcome};
use autocodegen::sandbox::language::{Language, Languages};
use autocodegen::sandbox::local::{LAUNCHER_ARGUMENT, LocalSandbox, Options, launcher_main};
use autocodegen::sandbox::toolchain::{self, Toolchain};
use rows::{ROWS, Row, TRUE};
use tokio::process::Command;

/// Plain and jailed runs change places this often.
const TURNS: u32 = 3;

fn main() -> ExitCode {
    // Before anything starts a thread: the launcher forks.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == LAUNCHER_ARGUMENT) {
        return launcher_main();
    }
    let arguments = Arguments::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&arguments));
    ExitCode::SUCCESS
}

struct Arguments {
    rows: Vec<String>,
    time: Duration,
    jobs: usize,
    plain: bool,
}

impl Arguments {
    fn read() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut arguments = Self { rows: Vec::new(), time: Duration::from_secs(6), jobs: cores, plain: true };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|word| word.parse::<f64>().ok()).expect("a number");
            match word.as_str() {
                "--seconds" => arguments.time = Duration::from_secs_f64(number()),
                "--jobs" => arguments.jobs = number() as usize,
                "--jailed" => arguments.plain = false,
                // Cargo's own.
                "--bench" => {}
                row => {
                    assert!(ROWS.iter().any(|known| known.name == row), "no row is called {row}");
                    arguments.rows.push(row.to_owned());
                }
            }
        }
        arguments
    }
}

async fn measure(arguments: &Arguments) {
    let mut languages: Vec<_> = Languages::embedded().unwrap().iter().cloned().collect();
    languages.push(Language::parse("benches/sandbox", TRUE).unwrap());
    let languages = Languages::new(languages).unwrap();
    let options =
        Options { languages: Some(languages.clone()), jobs: Some(arguments.jobs), ..Options::default() };
    let sandbox = LocalSandbox::start(options).unwrap();
    println!("{}, {} at once; times in ms", sandbox.describe(), arguments.jobs);
    println!(
        "{:12} {:>28} {:>37}",
        "", "---------- plain ----------", "-------------- jailed --------------"
    );
    println!(
        "{:12} {:>8} {:>8} {:>10} {:>8} {:>8} {:>8} {:>10}  ratio (target)",
        "row", "/s", "p50", "alone p50", "/s", "p50", "p99", "alone p50"
    );
    for row in
        ROWS.iter().filter(|row| arguments.rows.is_empty() || arguments.rows.iter().any(|r| r == row.name))
    {
        let found = languages.get(row.language).map(toolchain::find);
        match found {
            None => println!("{:12} skipped: no such language", row.name),
            Some(Err(missing)) => println!("{:12} skipped: {missing}", row.name),
            Some(Ok((_, toolchain))) => measure_row(row, &toolchain, &sandbox, arguments).await,
        }
    }
}

async fn measure_row(row: &Row, toolchain: &Toolchain, sandbox: &LocalSandbox, arguments: &Arguments) {
    let folders: Vec<_> = (0..arguments.jobs).map(|_| tempfile::tempdir().unwrap()).collect();
    let plain = async |worker: usize| run_plain(row, toolchain, folders[worker].path()).await;
    let jailed = async |_| run_jailed(row, sandbox).await;
    // The first run of each also fills caches, and says whether there is anything to measure.
    let plain_works = arguments.plain && plain(0).await;
    if !jailed(0).await {
        return;
    }
    let (mut plain_all, mut jailed_all) = (Times::default(), Times::default());
    let (mut plain_alone, mut jailed_alone) = (Times::default(), Times::default());
    let (turn, short) = (arguments.time / TURNS, arguments.time / TURNS / 2);
    for _ in 0..TURNS {
        if plain_works {
            plain_all.add(arguments.jobs, turn, &plain).await;
            plain_alone.add(1, short, &plain).await;
        }
        jailed_all.add(arguments.jobs, turn, &jailed).await;
        jailed_alone.add(1, short, &jailed).await;
    }
    let ratio = match (plain_works, row.target) {
        (false, _) => "no plain command".to_owned(),
        (true, Some(target)) => format!("{:.2} ({target})", jailed_all.rate() / plain_all.rate()),
        (true, None) => format!(
            "{:.2} (alone: plain {:+.1} ms)",
            jailed_all.rate() / plain_all.rate(),
            jailed_alone.quantile(0.5) - plain_alone.quantile(0.5)
        ),
    };
    println!(
        "{:12} {:8.1} {:8.1} {:10.1} {:8.1} {:8.1} {:8.1} {:10.1}  {ratio}",
        row.name,
        plain_all.rate(),
        plain_all.quantile(0.5),
        plain_alone.quantile(0.5),
        jailed_all.rate(),
        jailed_all.quantile(0.5),
        jailed_all.quantile(0.99),
        jailed_alone.quantile(0.5),
    );
}

/// What the runs of one kind took.
#[derive(Default)]
struct Times {
    each: Vec<Duration>,
    all: Duration,
}

impl Times {
    /// Repeats `run` for `time`, by `workers` at once.
    async fn add(&mut self, workers: usize, time: Duration, run: &impl AsyncFn(usize) -> bool) {
        let started = Instant::now();
        let loops = (0..workers).map(async |worker| {
            let mut took = Vec::new();
            while took.is_empty() || started.elapsed() < time {
                let before = Instant::now();
                assert!(run(worker).await);
                took.push(before.elapsed());
            }
            took
        });
        self.each.extend(futures::future::join_all(loops).await.into_iter().flatten());
        self.all += started.elapsed();
    }

    fn rate(&self) -> f64 {
        self.each.len() as f64 / self.all.as_secs_f64()
    }

    /// In ms.
    fn quantile(&self, quantile: f64) -> f64 {
        let mut sorted = self.each.clone();
        sorted.sort_unstable();
        let index = (quantile * sorted.len() as f64) as usize;
        sorted
            .get(index.min(sorted.len().saturating_sub(1)))
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }
}

/// The program with a number that no run has had, of this bench or one before.
fn distinct(source: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Small enough for a 32-bit integer of any language.
    source.replace("@@", &((now % 100_000 * 10_000 + number) % 2_000_000_000).to_string())
}

async fn run_jailed(row: &Row, sandbox: &LocalSandbox) -> bool {
    let job = Job { language: row.language.to_owned(), source: distinct(row.source), ..Job::default() };
    match sandbox.run(&job).await {
        Ok(verdict) if verdict.outcome == Outcome::Passed => true,
        Ok(verdict) => {
            println!("{:12} failed: {verdict:?}", row.name);
            false
        }
        Err(fault) => {
            println!("{:12} skipped: {fault}", row.name);
            false
        }
    }
}

/// Writes the program and runs the reference's commands; false when they cannot be run.
async fn run_plain(row: &Row, toolchain: &Toolchain, folder: &Path) -> bool {
    let file = folder.join(row.file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    if row.language == "rust" {
        fs::write(folder.join("Cargo.toml"), "[package]\nname = \"test\"\nedition = \"2021\"\n").unwrap();
    }
    fs::write(file, distinct(row.source)).unwrap();
    for command in row.plain {
        let command: Vec<String> = command.iter().map(|&argument| argument.to_owned()).collect();
        let command = toolchain.expand(&command, row.file);
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]).current_dir(folder).stdin(Stdio::null());
        match process.output().await {
            Ok(output) if output.status.success() => {}
            _ => return false,
        }
    }
    true
}
