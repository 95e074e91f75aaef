//! `cargo bench --bench kills [-- ROWS KILLS]`: one run over 100,000 rows, killed with SIGKILL at 100 seeded points and
//! started again each time. The server writes down every question and every answer it gave: nothing that was in the
//! journal at a kill may be asked again, no more answers may be lost than calls were in flight, and the dataset must
//! be that of a run that nobody killed. Ends with an error where that is not so.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/services/mod.rs"]
mod services;

use std::collections::HashSet;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use autocodegen::frame::journal::Journal;
use autocodegen::frame::key::Key;
use services::Services;

const ROWS: usize = 100_000;
const KILLS: usize = 100;
const IN_FLIGHT: usize = 64;

const PIPELINE: &str = r#"
name = "kills"
[[stage]]
name = "solution.prompt"
op = "prompt"
template = "solution"
[[stage]]
name = "solution.reply"
op = "model"
[[stage]]
name = "solution.extract"
op = "extract_blocks"
into = ["canonical_solution", "demo_test_func", "full_test_func"]
"#;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let (rows, kills) = (numbers.next().unwrap_or(ROWS), numbers.next().unwrap_or(KILLS));
    let folder = tempfile::tempdir().unwrap();
    let mut seeds = BufWriter::new(fs::File::create(folder.path().join("seeds.jsonl")).unwrap());
    for n in 0..rows {
        writeln!(seeds, r#"{{"text": "print({n})", "language": "python"}}"#).unwrap();
    }
    drop(seeds.into_inner().unwrap());
    fs::write(folder.path().join("kills.toml"), PIPELINE).unwrap();

    let started = Instant::now();
    let services = Services::start();
    assert!(command(folder.path(), &services, "straight").status().unwrap().success());
    let total = services.take_log().arrived.len();
    println!("{total} requests without a kill: {:.1} s", started.elapsed().as_secs_f64());

    let journal = folder.path().join("killed/journal/solution.reply");
    let started = Instant::now();
    let (mut known, mut asked, mut lost_most, mut met, mut verify) =
        (HashSet::new(), 0, 0, 0, Duration::ZERO);
    for point in 0..kills {
        let services = Services::start();
        let left = total - known.len();
        // On average the kills are spread evenly over what is left.
        let nth = 1 + seeded(point, "nth") % (2 * left / (kills - point)).max(1);
        let alarm = services.alarm_at(nth.min(left));
        let mut child = command(folder.path(), &services, "killed").spawn().unwrap();
        if alarm.recv_timeout(Duration::from_secs(60)).is_ok() {
            std::thread::sleep(Duration::from_micros((seeded(point, "wait") % 20_000) as u64));
        }
        child.kill().unwrap();
        met += usize::from(!child.wait().unwrap().success());
        let log = services.take_log();
        let checking = Instant::now();
        asked += log.arrived.len();
        let again = log.arrived.iter().filter(|arrival| known.contains(&arrival.key)).count();
        assert_eq!(again, 0, "kill {point}: asked again for what was in the journal");
        known = keys(&journal);
        let lost = log.answered.iter().filter(|(_, key)| !known.contains(key)).count();
        assert!(lost <= IN_FLIGHT, "kill {point}: {lost} answers lost");
        lost_most = lost_most.max(lost);
        verify += checking.elapsed();
    }
    let services = Services::start();
    assert!(command(folder.path(), &services, "killed").status().unwrap().success());
    let log = services.take_log();
    asked += log.arrived.len();
    assert!(log.arrived.iter().all(|arrival| !known.contains(&arrival.key)));
    let took = started.elapsed() - verify;
    let dataset = |run: &str| fs::read(folder.path().join(run).join("dataset/part-00000.parquet")).unwrap();
    assert!(dataset("straight") == dataset("killed"), "another dataset");
    println!(
        "{met} kills met a running process; {total} requests, {asked} asked: {} a second time because the answer was \
         in flight, at most {lost_most} lost at a kill ({IN_FLIGHT} in flight); 0 asked again that were in the \
         journal; same dataset; {:.1} s",
        asked - total,
        took.as_secs_f64()
    );
}

fn command(folder: &Path, services: &Services, out: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command
        .current_dir(folder)
        .args(["run", "kills.toml", "--quiet", "--seeds", "seeds.jsonl", "--out", out, "--model", "m"])
        .args(["--base-url", &services.model_url, "--in-flight", &IN_FLIGHT.to_string()])
        .env("AUTOCODEGEN_CACHE", "off")
        .env_remove("OPENAI_API_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn keys(journal: &Path) -> HashSet<Key> {
    let mut keys = HashSet::new();
    let visit = &mut |key, _: &[u8]| {
        assert!(keys.insert(key), "{key} was answered twice");
        Ok(())
    };
    Journal::open_read_only(journal).unwrap().for_each(visit).unwrap();
    keys
}

/// A number that depends on `point` and `what` alone.
fn seeded(point: usize, what: &str) -> usize {
    let key = Key::of(&[what.to_owned(), point.to_string()]);
    u32::from_le_bytes(key.as_bytes()[..4].try_into().unwrap()) as usize
}
