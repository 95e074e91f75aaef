//! `autocodegen report`: what is on the page, for runs of every kind; where it is written; and what hostile rows look like in a browser.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod contents;
mod fixture;
mod hostile;
mod writing;

#[path = "../chat_server/mod.rs"]
mod chat_server;
#[path = "../common/mod.rs"]
mod common;

use std::path::Path;

use common::{Ended, ended};

/// Runs `report` on the run directory `run`, with `args` besides.
fn report(run: &Path, args: &str) -> Ended {
    let mut command = common::command(run.parent().unwrap(), &format!("report {args}"));
    ended(command.arg("--run").arg(run).output().unwrap())
}

/// The page about the run directory `run`, which is not complained about.
#[track_caller]
fn page(run: &Path) -> String {
    let written = report(run, "");
    assert_eq!((written.code, written.stderr.as_str()), (0, ""), "{written:#?}");
    std::fs::read_to_string(run.join("report.html")).unwrap()
}
