//! `cargo bench --bench soak [-- COUNT]`: 20,000 jobs by default, probes of every installed language and attacks mixed;
//! each must get its known verdict, and nothing may be left or grow. Ends with an error where that is not so.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use autocodegen::sandbox::job::{Job, LimitOverrides, Outcome};
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::{Sandbox, run_with_retries};
use futures::stream::{self, StreamExt};

const DEFAULT_COUNT: usize = 20_000;
/// A probe that takes longer than this counts as dear and runs once in so many jobs.
const CHEAP: Duration = Duration::from_millis(300);
const DEAR_EVERY: usize = 100;
/// What resident memory may grow by between a tenth of the jobs and all of them.
const GROWTH_BYTES: u64 = 24 << 20;

/// Hostile programs in python, and what may come of them.
const ATTACKS: [(&str, &[Outcome]); 10] = [
    ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n", &[TIME, MEMORY]),
    ("x = []\nwhile True: x.append(bytearray(1 << 20))\n", &[MEMORY]),
    ("import mmap\nx = mmap.mmap(-1, 1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1\n", &[MEMORY]),
    (
        "try:\n    for n in range(200): open(f'/tmp/{n}', 'wb').write(b'x' * (1 << 20))\nexcept OSError: pass\n",
        &[Outcome::Passed],
    ),
    (
        "import os\nfor _ in range(500):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\n",
        &[Outcome::Passed],
    ),
    (
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass\n    os._exit(0)\n",
        &[Outcome::Passed],
    ),
    (
        "import os, signal\ntry: os.kill(-1, signal.SIGKILL)\nexcept ProcessLookupError: pass\nos.kill(os.getpid(), signal.SIGSTOP)\n",
        &[TIME],
    ),
    (
        "import os\nfor n in range(300): os.pipe()\nfor n in range(20): os.fork() or os._exit(0)\n",
        &[Outcome::Passed],
    ),
    ("import os\nfor _ in range(24): os.write(1, b'y' * 65536)\nos._exit(7)\n", &[Outcome::RuntimeError]),
    (
        "import os\nfor name in 'abc':\n    if os.fork() == 0:\n        while True:\n            open(name, 'w').close()\n            os.rename(name, name * 2)\n",
        &[Outcome::Passed],
    ),
];
const TIME: Outcome = Outcome::TimeLimitExceeded;
const MEMORY: Outcome = Outcome::MemoryLimitExceeded;

/// A job and the outcomes that are right for it.
struct Known {
    name: String,
    job: Job,
    expected: Vec<Outcome>,
}

/// What must not grow.
#[derive(Debug, Clone)]
struct Footprint {
    supervisor_rss: u64,
    launcher_rss: u64,
    supervisor_fds: usize,
    launcher_fds: usize,
    left: Vec<String>,
}

fn main() {
    let count = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(DEFAULT_COUNT);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(soak(count));
}

async fn soak(count: usize) {
    let scratch = tempfile::tempdir().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let sandbox = LocalSandbox::start(Options {
        launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()),
        scratch: Some(scratch.path().to_owned()),
        ..Options::default()
    })
    .unwrap();
    let (cheap, dear) = known(&sandbox).await;
    println!("{}: {} cheap programs, {} dear ones", sandbox.describe(), cheap.len(), dear.len());
    let pick = |n: usize| match n % DEAR_EVERY {
        0 if !dear.is_empty() => &dear[n / DEAR_EVERY % dear.len()],
        _ => &cheap[(n.wrapping_mul(0x9e37_79b9) >> 7) % cheap.len()],
    };

    let launcher = sandbox.launcher_pid();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    let (mut seconds, mut footprints) = (0.0, Vec::new());
    for range in [0..count / 10, count / 10..count] {
        let started = Instant::now();
        let mut answers = stream::iter(range)
            .map(|n| {
                let (known, sandbox) = (pick(n), &sandbox);
                async move { (known, sandbox.run(&known.job).await) }
            })
            .buffer_unordered(2 * sandbox.capacity());
        while let Some((known, answer)) = answers.next().await {
            let what = match answer {
                Ok(verdict) if known.expected.contains(&verdict.outcome) => verdict.outcome.name().to_owned(),
                Ok(verdict) => {
                    wrong.push(format!("{}: {} {}", known.name, verdict.outcome.name(), verdict.reason));
                    "wrong".to_owned()
                }
                Err(fault) => {
                    eprintln!("fault: {}: {fault}", known.name);
                    format!("fault {}", fault.cause)
                }
            };
            *outcomes.entry(what).or_default() += 1;
        }
        seconds += started.elapsed().as_secs_f64();
        footprints.push(footprint(&sandbox).await);
    }
    let (late, early) = (footprints.pop().unwrap(), footprints.pop().unwrap());
    println!("{count} jobs in {seconds:.0} s: {:.1}/s", count as f64 / seconds);
    println!("{outcomes:?}");
    println!("after {}: {early:?}\nafter {count}: {late:?}", count / 10);

    assert!(wrong.is_empty(), "wrong verdicts: {wrong:#?}");
    assert_eq!(sandbox.launcher_pid(), launcher, "the launcher had to be replaced");
    // Compilers stay until the sandbox goes.
    assert!(late.left.len() <= early.left.len(), "left: {:?}", late.left);
    assert!(late.supervisor_fds <= early.supervisor_fds, "descriptors of the supervisor");
    assert!(late.launcher_fds <= early.launcher_fds, "descriptors of the launcher");
    assert!(late.supervisor_rss <= early.supervisor_rss + GROWTH_BYTES, "memory of the supervisor");
    assert!(late.launcher_rss <= early.launcher_rss + GROWTH_BYTES, "memory of the launcher");
    drop(sandbox);
    assert_eq!(left_of(launcher), Vec::<String>::new());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "temporary folders");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    println!("nothing is left");
}

/// The probes of installed languages and the attacks, told apart by how long one run takes.
async fn known(sandbox: &LocalSandbox) -> (Vec<Known>, Vec<Known>) {
    let (mut cheap, mut dear) = (Vec::new(), Vec::new());
    for language in Languages::embedded().unwrap().iter() {
        for (name, probe) in language.probe.iter() {
            let mut job = probe.job(language);
            if probe.outcome == TIME {
                job.limits.cpu_ms = Some(200);
            }
            // The first run may prepare files.
            if let Err(fault) = run_with_retries(sandbox, &job).await {
                println!("without {}: {fault}", language.name);
                break;
            }
            let started = Instant::now();
            let _ = sandbox.run(&job).await;
            let known =
                Known { name: format!("{} {name}", language.name), job, expected: vec![probe.outcome] };
            let list = if started.elapsed() <= CHEAP { &mut cheap } else { &mut dear };
            list.push(known);
        }
    }
    for (number, (source, expected)) in ATTACKS.into_iter().enumerate() {
        let limits = LimitOverrides {
            cpu_ms: Some(200),
            wall_ms: Some(if expected == [TIME] { 600 } else { 20_000 }),
            memory_bytes: Some(64 << 20),
            pids: Some(32),
            file_bytes: Some(16 << 20),
            ..LimitOverrides::default()
        };
        let job = Job { language: "python".into(), source: source.into(), limits, ..Job::default() };
        cheap.push(Known { name: format!("attack {number}"), job, expected: expected.to_vec() });
    }
    (cheap, dear)
}

/// Taken while no job runs, and none has for so long that fork servers and jails made ahead are ended.
async fn footprint(sandbox: &LocalSandbox) -> Footprint {
    let launcher = sandbox.launcher_pid();
    tokio::time::sleep(Duration::from_secs(35)).await;
    Footprint {
        supervisor_rss: rss("self"),
        launcher_rss: rss(&launcher.to_string()),
        supervisor_fds: count_fds("self"),
        launcher_fds: count_fds(&launcher.to_string()),
        left: left_of(launcher),
    }
}

fn rss(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn count_fds(process: &str) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Processes and control groups of the launcher's jobs.
fn left_of(launcher: u32) -> Vec<String> {
    let mut left = Vec::new();
    let first_user = 0x7000_0000 + (launcher & 0x3_ffff) * 1024;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        let of_job = entry.metadata().is_ok_and(|data| (first_user..first_user + 1024).contains(&data.uid()));
        if of_job || parent == Some(launcher.to_string().as_str()) {
            left.push(stat.split_once(") ").map_or_else(String::new, |(name, _)| format!("{name})")));
        }
    }
    groups(Path::new("/sys/fs/cgroup"), &format!("autocodegen-{launcher}"), &mut left);
    left
}

/// Groups below the launcher's own.
fn groups(folder: &Path, own: &str, left: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if folder.ends_with(own) {
                left.push(entry.path().display().to_string());
            }
            groups(&entry.path(), own, left);
        }
    }
}
