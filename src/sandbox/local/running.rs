//! A step that runs: what it has used, when it goes over a limit, how it ended.

use std::io::{Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::Group;
use super::process_tree;
use super::protocol::{Exceeded, Limits, Report, Word, receive};

/// Shortest time between two looks at a step.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
/// Longest time between two looks, however far the step is from its limits.
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// The same where memory is not limited by the kernel but by looking.
const MEMORY_LOOK: Duration = Duration::from_millis(20);
/// How many times its wall limit a step may wait for a core before that is a fault of the sandbox.
const PATIENCE: u64 = 4;

/// A step whose init lives. Dropping it removes its control group.
pub(super) struct Running {
    pub step: u64,
    pub work: u64,
    /// The step's init.
    pub pid: Pid,
    pub limits: Limits,
    /// `None` where there are no control groups.
    pub group: Option<Group>,
    /// Where the init answers.
    pub channel: OwnedFd,
    /// Whether an answer is still awaited there.
    pub listening: bool,
    /// What it has answered.
    pub word: Option<Word>,
    /// The step's mount namespace, which comes with the answer where another step follows.
    pub tree: Option<OwnedFd>,
    /// Its work folder, which comes with that.
    pub left: Option<OwnedFd>,
    /// Memory of its control group that is none of the program's, bytes.
    pub packed: u64,
    /// Whether killing the init kills all of the step.
    pub in_namespaces: bool,
    pub started: Instant,
    /// When to look next.
    pub next_look: Instant,
    pub exceeded: Option<Exceeded>,
    /// The most that samples of the process tree have shown.
    pub sampled: process_tree::Sample,
    pub waiting: Waiting,
}

/// How long a step has been ready to run without getting a core, as far as looks can tell: between two looks that
/// both find one of its threads ready, what of the time the step did not use. Unlike what the kernel counts for each
/// thread, it does not vanish with short-lived children. A step that sleeps is rarely found ready twice in a row:
/// whatever part of its time it works, less than a sixth of all its time is taken for waiting.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    total: Duration,
    /// When the last look was that found it ready, and the CPU time it had used then, ms.
    ready: Option<(Instant, u64)>,
}

impl Waiting {
    /// Takes note of a look.
    fn note(&mut self, now: Instant, ready: bool, cpu_ms: u64) {
        if let (Some((before, used)), true) = (self.ready, ready) {
            let used = Duration::from_millis(cpu_ms.saturating_sub(used));
            self.total += now.saturating_duration_since(before).saturating_sub(used);
        }
        self.ready = ready.then_some((now, cpu_ms));
    }
}

impl Running {
    /// Ends the step if it is over a limit, and plans the next look. `cores` is how many this machine has.
    pub(super) fn look(&mut self, cores: u32) {
        let limits = self.limits;
        let now = Instant::now();
        // The first look comes before the program has begun.
        let sample = self.exceeded.is_none() && now.saturating_duration_since(self.started) >= SHORTEST_LOOK;
        if sample {
            self.sampled = self.sampled.at_least(process_tree::sample(self.pid));
        }
        let (cpu_ms, memory_over) = match &self.group {
            // Once the kernel has had to kill, what is left of the program only drags on.
            Some(group) => (group.cpu_ms().unwrap_or(0), group.oom_kills().is_ok_and(|kills| kills > 0)),
            None => (self.sampled.cpu_ms, self.sampled.rss_bytes > limits.memory_bytes),
        };
        if sample {
            self.waiting.note(now, self.sampled.ready, cpu_ms);
        }
        let wall_over = now >= self.wall_end();
        if cpu_ms > limits.cpu_ms {
            self.end(Exceeded::Cpu);
        } else if memory_over {
            self.end(Exceeded::Memory);
        } else if wall_over {
            self.end(Exceeded::Wall);
        }
        self.plan_look(cpu_ms, cores);
    }

    /// When wall time is over. What the step has waited for a core is the machine's time, not the program's, and is
    /// added, up to [`PATIENCE`] times the limit: a busy machine makes a run longer, it does not change its verdict.
    fn wall_end(&self) -> Instant {
        let waited = self.waited_ms().min(self.limits.wall_ms.saturating_mul(PATIENCE));
        self.started + Duration::from_millis(self.limits.wall_ms.saturating_add(waited))
    }

    /// How long the step was ready to run but had no core, ms.
    fn waited_ms(&self) -> u64 {
        let seen = u64::try_from(self.waiting.total.as_millis()).unwrap_or(u64::MAX);
        self.sampled.waited_ms.max(seen)
    }

    /// Takes the init's answer, if there is one.
    pub(super) fn listen(&mut self) {
        self.listening = false;
        // An init that ends without an answer is told from how it ended.
        if let Ok(Some((word, fds))) = receive(self.channel.as_fd()) {
            self.word = Some(word);
            let mut fds = fds.into_iter();
            (self.tree, self.left) = (fds.next(), fds.next());
        }
    }

    /// The tree cannot use more than `cores` times the time that passes: looking sooner is pointless.
    pub(super) fn plan_look(&mut self, cpu_ms: u64, cores: u32) {
        let now = Instant::now();
        let cpu_left = Duration::from_millis(self.limits.cpu_ms.saturating_sub(cpu_ms)) / cores.max(1);
        let longest = if self.group.is_some() { LONGEST_LOOK } else { MEMORY_LOOK };
        let next = now + cpu_left.clamp(SHORTEST_LOOK, longest);
        self.next_look = match self.exceeded {
            None => next.min(self.wall_end()),
            // Ended already; without namespaces a process may have slipped through.
            Some(_) => now + longest,
        };
    }

    /// Ends the step's whole tree. The first reason given is the one reported.
    pub(super) fn end(&mut self, why: Exceeded) {
        self.exceeded.get_or_insert(why);
        if self.in_namespaces {
            // Killing a pid namespace's init kills all in it.
            let _ = kill(self.pid, Signal::SIGKILL);
        } else {
            process_tree::kill_all(self.pid);
        }
    }

    /// The most memory the program held, bytes, where the kernel tells.
    fn peak_bytes(&self, group: &Group) -> Option<u64> {
        Some(group.peak_bytes()?.saturating_sub(self.packed))
    }

    /// How the step ended. `usage` is what its init and the init's children used, where the init has been waited for.
    ///
    /// # Errors
    /// The sandbox itself failed: the program could not be started, or its figures cannot be read.
    pub(super) fn report(&self, usage: Option<&libc::rusage>) -> Result<Report> {
        let wall_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let init_cpu_ms = match &self.word {
            Some(Word::Ended { init_cpu_ms, .. }) => *init_cpu_ms,
            Some(Word::Failed { .. }) | None => 0,
        };
        let (cpu_ms, oom_kills, peak) = match &self.group {
            Some(group) => {
                (group.cpu_ms()?.saturating_sub(init_cpu_ms), group.oom_kills()?, self.peak_bytes(group))
            }
            // A killed init has not waited for its children: only samples tell what they used.
            None => {
                let waited_for = usage.map_or(0, |u| timeval_ms(u.ru_utime) + timeval_ms(u.ru_stime));
                (waited_for.max(self.sampled.cpu_ms), 0, None)
            }
        };
        if let Some(group) = &self.group
            && oom_kills > 0
            && !group.reached_memory_limit()?
        {
            return Err(Error::other("the machine ran out of memory, not the job"));
        }
        if let Some(Word::Failed { message }) = &self.word
            && oom_kills == 0
        {
            return Err(Error::other(message.clone()));
        }
        let peak_process = usage.map_or(0, |usage| u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024);
        let mut exceeded = self.exceeded;
        let (exit_code, signal) = match self.word {
            Some(Word::Ended { status, .. }) if libc::WIFEXITED(status) => {
                (Some(libc::WEXITSTATUS(status)), None)
            }
            Some(Word::Ended { status, .. }) => (None, Some(libc::WTERMSIG(status))),
            _ if exceeded.is_some() || oom_kills > 0 => (None, Some(libc::SIGKILL)),
            _ => return Err(Error::other("the jail's init ended without a word")),
        };
        if cpu_ms > self.limits.cpu_ms {
            exceeded.get_or_insert(Exceeded::Cpu);
        }
        Ok(Report {
            exit_code,
            signal,
            exceeded,
            oom_kills,
            wall_ms,
            cpu_ms,
            peak_rss_bytes: peak.unwrap_or(self.sampled.rss_bytes.max(peak_process)),
            waited_ms: self.waited_ms(),
        })
    }
}

fn timeval_ms(time: libc::timeval) -> u64 {
    u64::try_from(time.tv_sec * 1000 + time.tv_usec / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_between_ready_looks_that_was_not_used_is_waiting() {
        let (start, mut waiting) = (Instant::now(), Waiting::default());
        let at = |ms| start + Duration::from_millis(ms);
        waiting.note(at(0), true, 0);
        waiting.note(at(100), true, 30);
        assert_eq!(waiting.total.as_millis(), 70);
        // It slept in between, or afterwards.
        waiting.note(at(200), false, 30);
        waiting.note(at(300), true, 30);
        assert_eq!(waiting.total.as_millis(), 70);
        // Two threads on two cores use more than the time that passes.
        waiting.note(at(400), true, 230);
        assert_eq!(waiting.total.as_millis(), 70);
    }
}
