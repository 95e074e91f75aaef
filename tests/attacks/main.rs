//! Hostile programs: what each tries, what verdict came back, that the host is unharmed and that nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod bombs;
mod compilers;
mod files;
mod host;
mod kernel;
mod network;
mod processes;
mod reduced;
mod secrets;
mod weaker;
