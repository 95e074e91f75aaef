//! What a process and its descendants use, read from `/proc`.
//!
//! Inside a pid namespace an orphan's new parent is the namespace's init, so the descendants of an init are all
//! processes of its jail.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A sample of a process tree.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// User and system time of living processes and of dead ones that were waited for, ms.
    pub cpu_ms: u64,
    /// Resident memory of all living processes, bytes; shared pages count once per process.
    pub rss_bytes: u64,
    /// The longest that a living thread was ready to run but had no core, ms. Not the sum: the threads of one
    /// program also wait for each other.
    pub waited_ms: u64,
    /// Whether a living thread is running or ready to run.
    pub ready: bool,
}

impl Sample {
    /// The larger of each figure, and the later state.
    pub(super) fn at_least(self, other: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.max(other.cpu_ms),
            rss_bytes: self.rss_bytes.max(other.rss_bytes),
            waited_ms: self.waited_ms.max(other.waited_ms),
            ready: other.ready,
        }
    }
}

/// Samples `root` and its descendants. Processes that end meanwhile count as far as they were seen.
pub(super) fn sample(root: Pid) -> Sample {
    let ticks_per_second = sysconf(libc::_SC_CLK_TCK, 100);
    let page = sysconf(libc::_SC_PAGESIZE, 4096);
    let mut total = Sample::default();
    for pid in descendants(root) {
        if let Some((ticks, pages)) = stat(pid) {
            total.cpu_ms += ticks * 1000 / ticks_per_second;
            total.rss_bytes += pages * page;
        }
        for thread in threads(pid) {
            total.ready |= stat_fields(&format!("{pid}/task/{thread}")).is_some_and(|s| s.starts_with('R'));
            let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap_or_default();
            // Time on a core, time waiting for one (both ns), number of turns.
            let waited = text.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok());
            total.waited_ms = total.waited_ms.max(waited.unwrap_or(0) / 1_000_000);
        }
    }
    total
}

/// Kills `root` and all its descendants, `root` last: while it lives, orphans come to it and stay findable.
pub(super) fn kill_all(root: Pid) {
    // A tree that forks as fast as it is killed is bounded by its process limit and loses the race in a few rounds.
    for _ in 0..1000 {
        let living = living_descendants(root);
        if living.is_empty() {
            break;
        }
        for pid in living {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    let _ = kill(root, Signal::SIGKILL);
}

/// What runs below `root`.
pub(super) fn living_descendants(root: Pid) -> Vec<Pid> {
    descendants(root).into_iter().filter(|&pid| pid != root && !is_zombie(pid)).collect()
}

/// `root` and everything below it.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        for thread in threads(pid) {
            let children =
                fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
        }
    }
    found
}

fn threads(pid: Pid) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The fields of a process's or thread's `stat` after the command name, which may itself hold spaces and parentheses.
fn stat_fields(process: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(") ").map(|(_, fields)| fields.to_owned())
}

/// CPU ticks (own and waited-for children's) and resident pages.
fn stat(pid: Pid) -> Option<(u64, u64)> {
    let fields = stat_fields(&pid.to_string())?;
    let field = |index: usize| fields.split(' ').nth(index)?.parse::<u64>().ok();
    // Counted from the state, which is field 3 of proc(5): utime 14 to cstime 17, rss 24.
    let ticks = (11..=14).map(|index| field(index).unwrap_or(0)).sum();
    Some((ticks, field(21)?))
}

fn is_zombie(pid: Pid) -> bool {
    stat_fields(&pid.to_string()).is_none_or(|fields| fields.starts_with('Z'))
}

fn sysconf(name: libc::c_int, default: u64) -> u64 {
    // SAFETY: sysconf takes an integer and has no effects.
    u64::try_from(unsafe { libc::sysconf(name) }).ok().filter(|&value| value > 0).unwrap_or(default)
}
