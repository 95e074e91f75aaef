//! Jails made ahead of the jobs that will need them.
//!
//! Most of the time a jail takes is the kernel's: namespaces, mounts, waiting until no core looks at an old version of
//! them. None of it depends on the program, so it is done before there is one. Every jail still serves one step.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::OpenOptions;
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seccompiler::BpfProgram;

use super::cgroup::{Cgroups, Group};
use super::fork_server::ForkServers;
use super::init::{self, Tree};
use super::jail::{Jail, Kind};
use super::landlock;
use super::protocol::{Level, Surroundings};
use super::seccomp;
use super::sys;
use super::template::Templates;

/// First of the host user ids that jobs run as when the launcher is root: a range that systems, containers and
/// sub-user-id files leave alone.
const FIRST_JOB_ID: u32 = 0x7000_0000;
/// Ids for the jobs of one launcher.
const IDS_PER_LAUNCHER: u32 = 1024;
/// Launchers that run at the same time and whose pids agree in these bits would share ids.
const LAUNCHER_BITS: u32 = 0x3_ffff;
/// Kinds of jails that spares are kept of: those most recently asked for.
const KINDS: usize = 4;
/// Most spares of a kind.
const MOST_SPARES: usize = 4;
/// After this time without a request no spares are kept.
const IDLE: Duration = Duration::from_millis(500);

/// Makes jails.
pub(super) struct Pool {
    /// `None` without namespaces.
    templates: Option<Templates>,
    cgroups: Option<Cgroups>,
    filter: BpfProgram,
    pub(super) scratch: PathBuf,
    null: OwnedFd,
    /// This process, for inits to see whether it lives.
    own: OwnedFd,
    root: bool,
    /// Whether this kernel has Landlock.
    landlock: bool,
    /// How many spares of each kind.
    wanted: usize,
    slots: BTreeSet<u32>,
    groups: u64,
    spares: Vec<Spare>,
    fork_servers: ForkServers,
    /// The last kinds asked for, the last one first.
    kinds: VecDeque<Wanted>,
    last_request: Instant,
    /// Inits that have nothing to do but end, and what goes with them.
    leaving: HashMap<Pid, Option<Group>>,
}

/// A jail whose init waits for its order.
pub(super) struct Ready {
    pub pid: Pid,
    /// Where the init takes its order and answers.
    pub channel: OwnedFd,
    pub group: Option<Group>,
}

/// The first jail of a job, and the number that tells the job from all that run at the same time.
pub(super) struct First {
    pub slot: u32,
    pub jail: Ready,
}

/// A kind of jail that was asked for.
struct Wanted {
    surroundings: Surroundings,
    /// Whether it was asked for more than once of late: spares for every kind would mostly be made in vain.
    again: bool,
}

struct Spare {
    surroundings: Surroundings,
    first: First,
}

impl Pool {
    pub(super) fn new(level: Level, scratch: PathBuf, cores: u32) -> Result<Self> {
        // Both read the host's /proc, before any template is entered.
        let cgroups = Cgroups::claim();
        let templates = match level {
            Level::Namespaces => Some(Templates::new(scratch.clone())?),
            Level::Reduced => None,
        };
        sys::set_dumpable(false)?;
        Ok(Self {
            templates,
            cgroups,
            filter: seccomp::filter(level),
            scratch,
            null: OpenOptions::new().read(true).open("/dev/null")?.into(),
            own: sys::own_pidfd()?,
            root: nix::unistd::geteuid().is_root(),
            landlock: landlock::is_supported(),
            wanted: usize::try_from(cores).unwrap_or(1).min(MOST_SPARES),
            slots: BTreeSet::new(),
            groups: 0,
            spares: Vec::new(),
            fork_servers: ForkServers::default(),
            kinds: VecDeque::new(),
            last_request: Instant::now(),
            leaving: HashMap::new(),
        })
    }

    /// What is in force, for people and verdicts.
    pub(super) fn isolation(&self) -> String {
        let level = match (&self.templates, self.landlock) {
            (Some(_), _) => "namespaces",
            (None, true) => "reduced+landlock",
            (None, false) => "reduced+no-landlock",
        };
        let limits = self.cgroups.as_ref().map_or("rlimits", Cgroups::name);
        format!("{level}+{limits}+seccomp")
    }

    pub(super) fn has_namespaces(&self) -> bool {
        self.templates.is_some()
    }

    /// The id that a slot's programs run as in the launcher's eyes, where it may choose.
    pub(super) fn owner(&self, slot: u32) -> Option<u32> {
        let only_root_of_namespace = self.templates.as_ref().is_some_and(Templates::in_user_namespace);
        let own = (std::process::id() & LAUNCHER_BITS) * IDS_PER_LAUNCHER;
        (self.root && !only_root_of_namespace).then_some(FIRST_JOB_ID + own + slot % IDS_PER_LAUNCHER)
    }

    pub(super) fn take_slot(&mut self) -> u32 {
        let slot = (0..).find(|slot| !self.slots.contains(slot)).unwrap_or(0);
        self.slots.insert(slot);
        slot
    }

    pub(super) fn free_slot(&mut self, slot: u32) {
        self.slots.remove(&slot);
    }

    /// Takes note that a job has ended.
    pub(super) fn closed(&mut self, surroundings: &Surroundings, slot: u32) {
        self.free_slot(slot);
        // Writable folders are for preparing something once.
        if !surroundings.view.writable.is_empty()
            && let Some(templates) = &mut self.templates
        {
            templates.forget(&surroundings.view);
        }
    }

    /// The first jail of a job with namespaces: a spare, or one made now.
    pub(super) fn take(&mut self, surroundings: &Surroundings) -> Result<First> {
        self.last_request = Instant::now();
        // Spares would hold on to folders that are about to be published or removed.
        if surroundings.view.writable.is_empty() {
            let known = self.kinds.iter().position(|kind| kind.surroundings == *surroundings);
            let again = known.and_then(|index| self.kinds.remove(index)).is_some();
            self.kinds.push_front(Wanted { surroundings: surroundings.clone(), again });
            if again && let Some(templates) = &mut self.templates {
                self.fork_servers.want(surroundings, templates.get(&surroundings.view)?, &self.own);
            }
            if self.kinds.len() > KINDS
                && let Some(gone) = self.kinds.pop_back()
            {
                self.discard_spares(|spare| spare.surroundings == gone.surroundings);
            }
        }
        match self.spares.iter().position(|spare| spare.surroundings == *surroundings) {
            Some(index) => Ok(self.spares.remove(index).first),
            None => self.first(surroundings),
        }
    }

    fn first(&mut self, surroundings: &Surroundings) -> Result<First> {
        let slot = self.take_slot();
        match self.make(surroundings, slot, None) {
            Ok(jail) => Ok(First { slot, jail }),
            Err(error) => {
                self.free_slot(slot);
                Err(error)
            }
        }
    }

    /// A jail for a job's next step, or for its first where `tree` is on the host.
    pub(super) fn make(
        &mut self,
        surroundings: &Surroundings,
        slot: u32,
        tree: Option<Tree<'_>>,
    ) -> Result<Ready> {
        let owner = self.owner(slot);
        self.groups += 1;
        let group = self.cgroups.as_ref().map(|cgroups| cgroups.create(self.groups)).transpose()?;
        let joins = group.as_ref().map_or_else(|| Ok(Vec::new()), Group::joins)?;
        if tree.is_none()
            && let Some((pid, channel)) = self.fork_servers.fork(surroundings, owner, &joins)
        {
            return Ok(Ready { pid, channel, group });
        }
        let tree = match (tree, &mut self.templates) {
            (Some(tree), _) => tree,
            (None, Some(templates)) => Tree::Template(templates.get(&surroundings.view)?),
            (None, None) => return Err(Error::other("no template without namespaces")),
        };
        let jail = Jail {
            filter: &self.filter,
            joins: &joins,
            null: &self.null,
            launcher: &self.own,
            elsewhere: surroundings.elsewhere,
            interpreter: None,
            kind: match tree {
                Tree::Host(_) => Kind::Reduced { id: owner, landlock: self.landlock },
                Tree::Template(_) | Tree::Before(_) => Kind::Namespaces { id: owner },
            },
        };
        let (pid, channel) = init::spawn(&jail, tree, surroundings)?;
        Ok(Ready { pid, channel, group })
    }

    /// When there is something to do without a request: now, later, or never.
    pub(super) fn next_change(&self) -> Option<Instant> {
        if self.kind_to_spare().is_some() {
            return Some(self.last_request);
        }
        let spares = (!self.spares.is_empty()).then(|| self.last_request + IDLE);
        spares.into_iter().chain(self.fork_servers.next_end()).min()
    }

    fn kind_to_spare(&self) -> Option<&Surroundings> {
        let count = |kind: &Surroundings| self.spares.iter().filter(|s| s.surroundings == *kind).count();
        let mut often = self.kinds.iter().filter(|kind| kind.again).map(|kind| &kind.surroundings);
        often.find(|kind| count(kind) < self.wanted)
    }

    /// Makes a spare, or ends all of them when none has been needed for a while.
    pub(super) fn change(&mut self) {
        self.fork_servers.end_idle();
        if self.last_request.elapsed() >= IDLE {
            self.kinds.clear();
            self.discard_spares(|_| true);
        } else if let Some(surroundings) = self.kind_to_spare().cloned() {
            match self.first(&surroundings) {
                Ok(first) => self.spares.push(Spare { surroundings, first }),
                // The next job will be told, when it fails for it, too.
                Err(_) => self.kinds.retain(|kind| kind.surroundings != surroundings),
            }
        }
    }

    fn discard_spares(&mut self, which: impl Fn(&Spare) -> bool) {
        let (discarded, kept) = std::mem::take(&mut self.spares).into_iter().partition(which);
        self.spares = kept;
        for Spare { first, .. } in discarded {
            self.free_slot(first.slot);
            self.discard(first.jail);
        }
    }

    /// Ends a jail that is not needed.
    pub(super) fn discard(&mut self, jail: Ready) {
        // It has no program yet, so this is all of it.
        let _ = kill(jail.pid, Signal::SIGKILL);
        self.leaving.insert(jail.pid, jail.group);
    }

    /// Takes care of an init that is about to end.
    pub(super) fn see_off(&mut self, pid: Pid, group: Option<Group>) {
        self.leaving.insert(pid, group);
    }

    /// Takes note that an init has ended and been waited for.
    pub(super) fn ended(&mut self, pid: Pid) {
        if self.leaving.remove(&pid).is_some() || self.fork_servers.ended(pid) {
            return;
        }
        if let Some(index) = self.spares.iter().position(|spare| spare.first.jail.pid == pid) {
            let spare = self.spares.remove(index);
            self.free_slot(spare.first.slot);
            // Another would fare no better; a job that needs one will be told why.
            self.kinds.retain(|kind| kind.surroundings != spare.surroundings);
        }
    }

    /// Whether inits or fork servers are still to be waited for; ends the spares.
    pub(super) fn is_leaving(&mut self) -> bool {
        self.kinds.clear();
        self.discard_spares(|_| true);
        self.fork_servers.is_leaving() || !self.leaving.is_empty()
    }

    /// The folder for the files of jobs without namespaces.
    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }
}
