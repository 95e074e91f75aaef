//! `view` on a real run, in a real terminal; and the rows and traces that it shows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod rows;
mod run;
mod terminal;
mod trace;

#[path = "../common/mod.rs"]
mod common;
#[path = "../pty/mod.rs"]
mod pty;
