//! Jobs in jails on this machine.
//!
//! Three processes take part, each trusting only the ones before it:
//!
//! 1. the *supervisor* ([`LocalSandbox`]): async, threaded, knows languages and verdicts, never forks a jail;
//! 2. the *launcher* ([`launcher_main`]): the same executable started with an empty environment, single-threaded,
//!    forks jails, enforces limits, knows nothing of languages;
//! 3. a *jail* per step: an init that reaps, and the step's program, which is hostile. Inits are forked, and their
//!    jails made, before there is a job for them where possible (`pool`).
//!
//! Where a language has a fork server (`fork_server`), jails may also be forked from a process in which its interpreter
//! has started; the launcher starts that process, and the inits it forks are the launcher's children like all others.
//!
//! A job is a private work folder (a tmpfs) and steps (compile, run) that share nothing but that folder: each
//! step has namespaces of its own. Supervisor and launcher speak `protocol` over a socket pair; program
//! output goes straight from the jail into the supervisor's pipes.
//!
//! This is the one place of the crate where `unsafe` is allowed: raw system calls that no safe wrapper covers,
//! and `fork` in the launcher, which is sound because the launcher has a single thread.
#![allow(unsafe_code)]

mod cgroup;
mod fork_server;
mod init;
mod jail;
mod judge;
mod landlock;
mod launcher;
mod pack;
mod pool;
mod process_tree;
mod protocol;
mod running;
mod seccomp;
mod supervisor;
mod sys;
mod template;
mod workspace;

pub use launcher::launcher_main;
pub use supervisor::{Isolation, LocalSandbox, Options, identity};

/// The hidden first argument that turns the executable into a launcher.
pub const LAUNCHER_ARGUMENT: &str = "__launcher";
