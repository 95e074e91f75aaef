//! The command in a terminal: keys pressed, screens read.

use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::common;
use crate::pty::Pty;
use crate::run::{copy, dir, id, set_state};

fn open(run: &Path, rows: u16, columns: u16) -> Pty {
    let mut command = common::command(run, "view --run .");
    command.env_remove("NO_COLOR");
    Pty::start(command, rows, columns)
}

/// Nothing is left of the program on the terminal.
#[track_caller]
fn quits(mut pty: Pty, keys: &str, code: i32) {
    pty.press(keys);
    let left = pty.end();
    assert_eq!((left.code, left.changed.as_slice()), (code, [].as_slice()), "{}", left.screen);
    assert_eq!(left.screen.trim(), "");
}

#[test]
fn rows_are_filtered_searched_and_opened() {
    let Some(run) = dir() else { return };
    let mut pty = open(&run, 45, 170);
    let screen = pty.shows(&["small · done", "all 25 rows", "Say 0.0", "language_unknown", "? keys  q quit"]);
    assert!(screen.contains(&id(0)[..11]), "{screen}");

    pty.press("s");
    let screen = pty.shows(&[" stage ", "all stages", " dataset  ", "seed        ", "verify.keep      "]);
    let (dataset, verify) = (screen.find(" dataset  ").unwrap(), screen.rfind("verify.keep").unwrap());
    assert!(dataset < verify, "the most frequent comes first:\n{screen}");
    pty.press("jj\r");
    pty.shows(&["4 of 25 rows: stage solution.extract", "block_count"]);
    pty.until("the rejected alone", |screen| !screen.contains("RUNTIME_ERROR"));
    pty.press("r");
    pty.shows(&[" reason ", "all reasons", "block_count"]);
    pty.press("\u{1b}");
    pty.until("the list without the choice", |screen| !screen.contains("all reasons"));

    pty.press("c/SNIPPET-3 \r");
    pty.shows(&["2 of 25 rows: text SNIPPET-3", "RUNTIME_ERROR"]);
    pty.press("G\r");
    pty.shows(&["row 2 of 2", "verify.keep · RUNTIME_ERROR", "exit code 1", "── stderr ──"]);
    pty.shows(&["prompt · solution.reply 2/2", "── system ──", "You write shell."]);
    pty.shows(&["reply · solution.reply 2/2", "recorded · stop", "Sample 1."]);
    pty.shows(&["program · verify", "── tests ──", "output", "verdict"]);
    pty.press("\u{1b}[D[");
    pty.shows(&["reply · solution.reply 1/2", "Sample 0."]);
    pty.press("\u{1b}[D");
    pty.shows(&["── canonical_solution ──", "reason: RUNTIME_ERROR"]);
    pty.press("p");
    pty.shows(&["row 1 of 2", "dataset"]);
    pty.press("\u{1b}");
    pty.shows(&["2 of 25 rows"]);
    pty.press("c");
    pty.shows(&["all 25 rows"]);
    quits(pty, "q", 0);
}

#[test]
fn panes_become_fewer_as_the_terminal_becomes_smaller() {
    let Some(run) = dir() else { return };
    let mut pty = open(&run, 45, 170);
    pty.shows(&["all 25 rows", "Say 0.0"]);
    pty.press("\r");
    pty.shows(&["prompt · question.reply", "program · verify", "PASSED"]);
    pty.resize(30, 100);
    pty.shows(&["prompt · question.reply", "program · verify", "PASSED"]);
    pty.resize(16, 60);
    pty.shows(&[" prompt  reply  program  output  verdict", "prompt · question.reply"]);
    pty.until("the prompt alone", |screen| !screen.contains("program · verify"));
    pty.press("\t\t");
    pty.shows(&["program · verify", "say()"]);
    pty.resize(45, 170);
    pty.shows(&["prompt · question.reply", "program · verify", "PASSED"]);
    pty.press("z");
    pty.until("the program alone", |screen| {
        screen.contains("program · verify") && !screen.contains("prompt ·")
    });
    pty.press("?");
    pty.shows(&["these keys", "choose a stage"]);
    quits(pty, "q", 0);
}

#[test]
fn text_of_rows_never_drives_the_terminal() {
    let Some(run) = dir() else { return };
    let mut pty = open(&run, 45, 170);
    // Titles and bells would be asked for; a cleared screen would lack what stood above.
    pty.shows(&["all 25 rows", "\\u{1b}]2;owned\\u{7}\\u{1b}[2J", "tlh"]);
    for keys in ["l", "\u{1b}", "r", "\u{1b}", "/\u{1b}[2J\u{1b}", "\u{1b}", "\r"] {
        pty.press(keys);
        pty.shows(&["? keys  q quit"]);
    }
    pty.shows(&["prompt · ", "\\u{202e}dlrow\\u{2066}\\u{8}\\r"]);
    for _ in 0..4 {
        pty.press("\u{1b}[D");
        pty.shows(&["\\u{1b}"]);
    }
    pty.press("\u{1b}[F");
    let screen = pty.screen();
    assert_eq!(pty.asked(), [] as [String; 0]);
    assert!(!screen.chars().any(|c| c.is_control() && c != '\n'), "{screen:?}");
    let raw = String::from_utf8_lossy(&pty.raw).into_owned();
    for hostile in ["\u{1b}]", "\u{1b}[41m", "\u{9b}", "\u{202e}", "\u{2066}", "\u{7}"] {
        assert!(!raw.contains(hostile), "{hostile:?}");
    }
    quits(pty, "q", 0);
}

#[test]
fn the_terminal_is_given_back_on_every_way_out() {
    let Some(run) = dir() else { return };
    let start = || {
        let mut pty = open(&run, 24, 80);
        pty.shows(&["all 25 rows", "? keys"]);
        pty
    };
    quits(start(), "\u{3}", 130);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let pty = start();
        pty.signal(signal);
        quits(pty, "", 130);
    }
}

#[test]
fn colours_are_for_those_who_want_them() {
    let Some(run) = dir() else { return };
    let drawn = |no_color: &str| {
        let mut command = common::command(&run, "view --run .");
        command.env("NO_COLOR", no_color);
        let mut pty = Pty::start(command, 45, 170);
        pty.shows(&["all 25 rows", "Say 0.0"]);
        pty.press("\r");
        pty.shows(&["PASSED"]);
        let raw = String::from_utf8_lossy(&pty.raw).into_owned();
        quits(pty, "q", 0);
        raw
    };
    // Green and cyan as termion writes them.
    let colored = |raw: &str| ["\u{1b}[38;5;2m", "\u{1b}[38;5;6m"].map(|color| raw.contains(color));
    assert_eq!((colored(&drawn("")), colored(&drawn("1"))), ([true, true], [false, false]));
}

#[test]
fn without_a_terminal_it_says_what_to_do_instead() {
    let Some(run) = dir() else { return };
    let piped = common::command(&run, "view --run .").stdout(Stdio::piped()).output().unwrap();
    let ended = common::ended(piped);
    ended.says(2, &["needs a terminal", "autocodegen query"]);
    assert_eq!(ended.stdout, "");
    common::ended(common::command(&run, "view --run stages").output().unwrap())
        .says(2, &["not a run directory"]);
}

#[test]
fn a_run_under_way_can_be_looked_at() {
    let Some(copied) = copy() else { return };
    let run = copied.path().join("run");
    set_state(&run, "running");
    std::fs::remove_file(run.join("stages/question.reply/part-00000.parquet")).unwrap();
    let mut pty = open(&run, 45, 170);
    pty.shows(&["under way, or killed", "all 25 rows", "question.reply     pending"]);
    pty.press("s");
    pty.shows(&["all stages", "question.reply"]);
    quits(pty, "\u{1b}q", 0);
}
