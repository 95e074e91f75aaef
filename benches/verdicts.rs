//! Do verdicts depend on the weather? Every probe of every installed language, and the programs of JSONL files given
//! as arguments (`language`, and `code` with `tests`, or `source`), three rounds (or `--rounds N`) one at a time and as
//! many with eight times more jobs at once than there are cores.
//!
//! Prints how many verdicts differ from the first round's; at most 0.1 % may.
//! `cargo bench --bench verdicts [-- --rounds N FILE.jsonl...]`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use autocodegen::error::Fault;
use autocodegen::sandbox::Sandbox;
use autocodegen::sandbox::job::{Job, Outcome};
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LAUNCHER_ARGUMENT, LocalSandbox, Options, launcher_main};
use futures::stream::{self, StreamExt};
use serde_json::Value;

const ROUNDS: usize = 3;
const OVERLOAD: usize = 8;
const TARGET_PERCENT: f64 = 0.1;

fn main() -> ExitCode {
    // Before anything starts a thread: the launcher forks.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == LAUNCHER_ARGUMENT) {
        return launcher_main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
    ExitCode::SUCCESS
}

async fn measure() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds").skip(1);
    let rounds = arguments.next().map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let cores = std::thread::available_parallelism().unwrap().get();
    let files: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument.ends_with(".jsonl")).collect();
    let jobs =
        installed(probes().into_iter().chain(files.iter().flat_map(|file| programs(file))).collect()).await;
    println!("{} programs, {rounds} rounds each way, {cores} cores", jobs.len());
    let mut first: Vec<Option<Outcome>> = vec![None; jobs.len()];
    for (way, at_once) in [("one at a time", 1), ("overloaded", OVERLOAD * cores)] {
        for round in 1..=rounds {
            let started = Instant::now();
            let answers = run_all(&jobs, at_once).await;
            let (mut flips, mut faults) = (0, BTreeMap::<&str, usize>::new());
            for ((name, answer), expected) in jobs.iter().map(|(name, _)| name).zip(&answers).zip(&mut first)
            {
                match answer {
                    Err(fault) => *faults.entry(fault.cause).or_default() += 1,
                    Ok(outcome) => {
                        let expected = *expected.get_or_insert(*outcome);
                        if expected != *outcome {
                            flips += 1;
                            println!("  {name}: {} instead of {}", outcome.name(), expected.name());
                        }
                    }
                }
            }
            let percent = 100.0 * f64::from(flips) / jobs.len() as f64;
            println!(
                "{way} ({at_once} at once), round {round}: {flips} flips = {percent:.2} % (target: at most \
                 {TARGET_PERCENT} %), faults {faults:?}, {:.0} s",
                started.elapsed().as_secs_f64()
            );
        }
    }
}

async fn run_all(jobs: &[(String, Job)], at_once: usize) -> Vec<Result<Outcome, Fault>> {
    let sandbox = LocalSandbox::start(Options { jobs: Some(at_once), ..Options::default() }).unwrap();
    let run = |(_, job): &(String, Job)| {
        let (sandbox, job) = (&sandbox, job.clone());
        async move { sandbox.run(&job).await.map(|verdict| verdict.outcome) }
    };
    let runs: Vec<_> = jobs.iter().map(run).collect();
    stream::iter(runs).buffered(at_once).collect().await
}

/// Those whose toolchain is here.
async fn installed(jobs: Vec<(String, Job)>) -> Vec<(String, Job)> {
    let languages = Languages::embedded().unwrap();
    let found: Vec<&str> = languages
        .iter()
        .filter(|language| autocodegen::sandbox::toolchain::find(language).is_ok())
        .map(|language| language.name.as_str())
        .collect();
    jobs.into_iter().filter(|(_, job)| found.contains(&job.language.as_str())).collect()
}

fn probes() -> Vec<(String, Job)> {
    let languages = Languages::embedded().unwrap();
    let of = |language: &autocodegen::sandbox::language::Language| -> Vec<_> {
        let named = |(name, probe): (&str, &autocodegen::sandbox::language::Probe)| {
            (format!("{} {name}", language.name), probe.job(language))
        };
        language.probe.iter().map(named).collect()
    };
    languages.iter().flat_map(of).collect()
}

/// The programs of one file.
fn programs(file: &str) -> Vec<(String, Job)> {
    let languages = Languages::embedded().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let job = |(index, line): (usize, &str)| {
        let row: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let language = languages.get(&field("language")?)?;
        let source = field("code").or_else(|| field("source"))?;
        let job = Job {
            language: language.name.clone(),
            source,
            tests: field("tests"),
            strict: true,
            ..Job::default()
        };
        Some((format!("{file} line {}", index + 1), job))
    };
    text.lines().enumerate().filter_map(job).collect()
}
