//! Events in, screens out: no terminal, no files.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::termion::event::Key;

use super::detail::Known;
use super::draw::{Theme, draw, list_height};
use super::keys::KEYS;
use super::state::{Event, Failed, Overlay, State, Task};
use crate::analytics::rows::{Filter, Kinds, Listed, Record};
use crate::engine::trace::{Answered, Asked, Call, Visit};
use crate::llm::chat::{Message, Reply};
use crate::sandbox::job::Job;
use crate::stages::{Answer, Resource};

const HOSTILE: &str = "\u{1b}[2J\u{1b}]2;owned\u{7}\u{9b}5m\u{202e}\r";

fn listed(number: u64) -> Listed {
    let (stage, reason) =
        if number.is_multiple_of(3) { ("verify.keep", "WRONG_ANSWER") } else { ("dataset", "") };
    Listed {
        id: format!("row-{number}"),
        language: ["go", "python"][number as usize % 2].to_owned(),
        stage: stage.to_owned(),
        reason: reason.to_owned(),
        about: format!("about {number} {HOSTILE}"),
    }
}

fn known(number: u64) -> Known {
    let verdict = serde_json::json!({
        "outcome": "WRONG_ANSWER", "stdout": format!("out {number} {HOSTILE}"), "stderr": "", "exit_code": 1, "signal": null,
        "usage": { "wall_ms": 30, "cpu_ms": 20, "peak_rss_bytes": 1048576 }, "toolchain": "T 1", "isolation": "jail",
    });
    let answered = |answer| Some(Answered { attempts: 2, reused: true, answer });
    let message = Message { role: "user".into(), content: format!("please {number} {HOSTILE}") };
    let reply = Reply { output: format!("sure {HOSTILE}"), finish_reason: "stop".into(), ..Reply::default() };
    let prompt = Call {
        sample: 0,
        asked: Asked::Prompt(Arc::new([message])),
        answered: answered(Answer::Model(reply)),
    };
    let job = Job { source: format!("code {HOSTILE}"), tests: Some("check".into()), ..Job::default() };
    let program = |answered| Call { sample: 0, asked: Asked::Program(Box::new(job.clone())), answered };
    let verdict = answered(Answer::Sandbox(serde_json::from_value(verdict).unwrap()));
    let visit = |stage: &str, resource, calls| Visit { stage: stage.into(), resource, calls, own: 0 };
    Known {
        record: Record { listed: listed(number), columns: vec![("seed".into(), format!("a\nb {HOSTILE}"))] },
        visits: Ok(vec![
            visit("solution.reply", Resource::Model, vec![prompt]),
            visit("verify", Resource::Sandbox, vec![program(None), program(verdict)]),
            visit("question.reply", Resource::Model, vec![]),
        ]),
    }
}

/// A run of `rows` rows and what is on the screen of it.
struct Viewer {
    state: State,
    terminal: Terminal<TestBackend>,
    /// Tasks that were not done yet.
    waiting: Vec<Task>,
    /// Searches that were begun and stopped.
    searches: Vec<Task>,
    quit: Option<u8>,
}

impl Viewer {
    fn new(rows: u64, width: u16, height: u16) -> Self {
        let mut state = State::new(format!("run {HOSTILE}"), rows);
        let waiting = state.begin();
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut viewer = Self { state, terminal, waiting, searches: Vec::new(), quit: None };
        viewer.settle();
        viewer
    }

    fn send(&mut self, event: Event) {
        let tasks = self.state.update(event);
        self.waiting.extend(tasks);
    }

    /// Presses keys and does what they ask for, searches apart.
    fn press(&mut self, keys: &[Key]) {
        for key in keys {
            self.send(Event::Key(*key));
        }
        self.settle();
    }

    fn type_text(&mut self, text: &str) {
        self.press(&text.chars().map(Key::Char).collect::<Vec<_>>());
    }

    fn settle(&mut self) {
        let height = self.terminal.size().unwrap().height;
        self.waiting.extend(self.state.resize(list_height(height)));
        while !self.waiting.is_empty() {
            let event = match self.waiting.remove(0) {
                Task::Quit(code) => {
                    self.quit = Some(code);
                    continue;
                }
                task @ (Task::Find { .. } | Task::StopFinding) => {
                    self.searches.push(task);
                    continue;
                }
                Task::Count => {
                    let mut kinds = Kinds::new();
                    for number in 0..self.state.list.total {
                        let row = listed(number);
                        *kinds.entry([row.language, row.stage, row.reason]).or_default() += 1;
                    }
                    Event::Counted(kinds)
                }
                Task::Page { pass, page, numbers } => {
                    Event::Page { pass, page, rows: numbers.into_iter().map(listed).collect() }
                }
                Task::Detail { number } => Event::Detail { number, known: Box::new(known(number)) },
            };
            self.send(event);
        }
    }

    fn screen(&mut self) -> String {
        let state = &mut self.state;
        self.terminal.draw(|frame| draw(state, frame, Theme { color: false })).unwrap();
        let screen = self.terminal.backend().to_string();
        assert!(!screen.chars().any(|c| c.is_control() && c != '\n'), "{screen:?}");
        assert!(!screen.contains('\u{202e}'));
        screen
    }

    #[track_caller]
    fn shows(&mut self, words: &[&str]) -> String {
        let screen = self.screen();
        for word in words {
            assert!(screen.contains(word), "`{word}` is missing:\n{screen}");
        }
        screen
    }
}

#[test]
fn a_list_of_a_million_rows_shows_those_around_the_selected_one() {
    let mut viewer = Viewer::new(1000, 120, 24);
    viewer.state.list.total = 1_000_000;
    viewer.shows(&["all 1000000 rows", "row-0 ", "row-19 ", "? keys  q quit"]);
    viewer.press(&[Key::End]);
    let screen = viewer.shows(&["row-999999 ", "row-999980 "]);
    assert!(!screen.contains("row-0 "));
    viewer.press(&[Key::PageUp, Key::Up, Key::Home, Key::Down]);
    viewer.shows(&["row-0 ", "about 1 \\u{1b}[2J"]);
    assert_eq!(viewer.state.list.cursor, 1);
}

#[test]
fn values_to_filter_by_are_counted_and_one_is_chosen() {
    let mut viewer = Viewer::new(30, 120, 24);
    viewer.press(&[Key::Char('s')]);
    viewer.shows(&[
        "all stages",
        "dataset                                 20",
        "verify.keep                             10",
    ]);
    viewer.press(&[Key::Down, Key::Down, Key::Char('\n')]);
    let filter = Filter { stage: Some("verify.keep".into()), ..Filter::default() };
    let pass = viewer.state.list.pass;
    assert_eq!(viewer.searches, [Task::Find { pass, filter: filter.clone() }]);
    viewer.shows(&["0 of 30 rows: stage verify.keep", "searching: 0 %"]);
    // Only what the rest of the filter leaves is offered.
    viewer.press(&[Key::Char('r')]);
    viewer.shows(&["all reasons", "WRONG_ANSWER                            10"]);
    viewer.press(&[Key::Esc, Key::Char('l'), Key::Down, Key::Char('\n')]);
    let filter = Filter { language: Some("go".into()), ..filter };
    assert_eq!(viewer.searches.last(), Some(&Task::Find { pass: pass + 1, filter }));
    viewer.press(&[Key::Char('c')]);
    assert_eq!(viewer.searches.last(), Some(&Task::StopFinding));
    viewer.shows(&["all 30 rows", "row-0 "]);
}

#[test]
fn a_search_shows_its_progress_and_keys_work_meanwhile() {
    let mut viewer = Viewer::new(1000, 120, 24);
    viewer.type_text("/needlex");
    viewer.press(&[Key::Backspace]);
    viewer.shows(&["search: needle█"]);
    viewer.press(&[Key::Char('\n')]);
    let pass = viewer.state.list.pass;
    viewer.send(Event::Found { pass, scanned: 500, numbers: vec![3, 7], done: false });
    viewer.settle();
    viewer.shows(&["2 of 1000 rows: text needle", "searching: 50 %, 2 found; Esc stops", "row-3 ", "row-7 "]);
    viewer.press(&[Key::Down, Key::Char('\n')]);
    viewer.shows(&["row 2 of 2: row-7"]);
    viewer.send(Event::Found { pass, scanned: 700, numbers: vec![600], done: false });
    viewer.press(&[Key::Esc]);
    viewer.shows(&["3 of 1000 rows", "row-600 ", "searching: 70 %"]);
    viewer.press(&[Key::Esc]);
    assert_eq!(viewer.searches.last(), Some(&Task::StopFinding));
    viewer.shows(&["stopped after 700 of 1000 rows: 3 found"]);
    // What was on its way comes too late, as does what was found for an earlier filter.
    viewer.send(Event::Found { pass, scanned: 800, numbers: vec![750], done: true });
    viewer.shows(&["3 of 1000 rows"]);
    viewer.type_text("/x\n");
    viewer.send(Event::Found { pass, scanned: 900, numbers: vec![1], done: true });
    viewer.send(Event::Failed { what: Failed::Finding(pass), why: "old".into() });
    viewer.shows(&["0 of 1000 rows: text needlex", "searching: 0 %"]);
    let pass = viewer.state.list.pass;
    viewer.send(Event::Found { pass, scanned: 1000, numbers: vec![], done: true });
    viewer.shows(&["0 of 1000 rows: text needlex", "no rows"]);
}

#[test]
fn a_row_is_shown_with_all_of_a_stage_side_by_side() {
    let mut viewer = Viewer::new(30, 180, 30);
    viewer.press(&[Key::Char('\n')]);
    // The last stage that it came to, and there the program that did not pass.
    viewer.shows(&[
        "row 1 of 30: row-0 · go · verify.keep · WRONG_ANSWER: about 0",
        "prompt · solution.reply",
        "please 0 \\u{1b}[2J",
        "reply · solution.reply",
        "2 attempts · reused",
        "sure ",
        "program · verify 2/2",
        "── tests ──",
        "out 0 \\u{1b}[2J",
        "exit code 1",
        "0.02 s CPU, 0.03 s wall, 1.0 MiB",
    ]);
    viewer.press(&[Key::Char(']')]);
    viewer.shows(&["program · verify 1/2", "not in this run"]);
    viewer.press(&[Key::Right]);
    viewer.shows(&["prompt · question.reply", "the row did not get here", "program · verify 1/2"]);
    viewer.press(&[Key::Left, Key::Left, Key::Left, Key::Left]);
    viewer.shows(&["── seed ──", "b \\u{1b}[2J"]);
    viewer.press(&[Key::Char('n'), Key::Char('n')]);
    viewer.shows(&["row 3 of 30: row-2 · go · dataset", "── seed ──"]);
    viewer.press(&[Key::Esc]);
    viewer.shows(&["all 30 rows"]);
    assert_eq!(viewer.state.list.cursor, 2);
}

#[test]
fn panes_are_stacked_and_then_one_at_a_time_where_there_is_little_room() {
    for (width, height, together) in [(200, 50, true), (100, 30, true), (80, 30, false), (100, 15, false)] {
        let mut viewer = Viewer::new(30, width, height);
        viewer.press(&[Key::Char('\n')]);
        let screen = viewer.shows(&["prompt · solution.reply"]);
        assert_eq!(screen.contains("program · verify"), together, "{screen}");
        viewer.press(&[Key::BackTab]);
        viewer.shows(&["verdict", "WRONG_ANSWER"]);
        viewer.press(&[Key::Char('z')]);
        assert!(!viewer.screen().contains("program · verify"));
    }
    // However small: nothing but no panic is promised.
    for (width, height) in [(1, 1), (2, 2), (3, 10), (10, 3), (25, 5)] {
        let mut viewer = Viewer::new(30, width, height);
        for keys in ["?", "\u{1b}", "s", "\u{1b}", "/x", "\n", "c", "\n", "\t", "z", "G"] {
            let key = |c| if c == '\u{1b}' { Key::Esc } else { Key::Char(c) };
            viewer.press(&keys.chars().map(key).collect::<Vec<_>>());
            viewer.screen();
        }
    }
}

#[test]
fn a_pane_is_scrolled_to_its_end_and_not_beyond() {
    let mut viewer = Viewer::new(30, 80, 24);
    let mut long = known(0);
    let lines: Vec<String> = (0..500).map(|n| format!("line {n}.")).collect();
    long.record.columns = vec![("seed".into(), lines.join("\n"))];
    viewer.send(Event::Key(Key::Char('\n')));
    viewer.waiting.clear();
    viewer.send(Event::Detail { number: 0, known: Box::new(long) });
    viewer.press(&[Key::Left, Key::Left, Key::Left]);
    viewer.shows(&["line 0.", "/501"]);
    viewer.press(&[Key::Char('G'), Key::Char('j'), Key::Char('j')]);
    viewer.shows(&["line 499.", "line 482."]);
    viewer.press(&[Key::Char('k')]);
    let screen = viewer.shows(&["line 498."]);
    assert!(!screen.contains("line 499."));
    viewer.press(&[Key::Char('g')]);
    viewer.shows(&["── seed ──"]);
}

#[test]
fn whoever_leafs_through_rows_gets_the_last_and_one_is_read_at_a_time() {
    let mut viewer = Viewer::new(30, 120, 24);
    for key in [Key::Char('\n'), Key::Char('n'), Key::Char('n'), Key::Char('n')] {
        viewer.send(Event::Key(key));
    }
    assert_eq!(viewer.waiting, [Task::Detail { number: 0 }]);
    viewer.shows(&["row 4 of 30: reading"]);
    viewer.waiting.clear();
    viewer.send(Event::Detail { number: 0, known: Box::new(known(0)) });
    viewer.shows(&["row 4 of 30: reading"]);
    assert_eq!(viewer.waiting, [Task::Detail { number: 3 }]);
    viewer.settle();
    viewer.shows(&["row 4 of 30: row-3"]);
    // One that cannot be read leads back to the list, which says why.
    viewer.send(Event::Key(Key::Char('n')));
    viewer.waiting.clear();
    viewer.send(Event::Failed { what: Failed::Detail(4), why: format!("damaged {HOSTILE}") });
    viewer.shows(&["all 30 rows", "damaged \\u{1b}[2J"]);
}

#[test]
fn rows_that_could_not_be_read_are_read_again_at_the_next_key() {
    let mut viewer = Viewer::new(1000, 120, 24);
    viewer.send(Event::Key(Key::End));
    let wanted = std::mem::take(&mut viewer.waiting);
    assert!(matches!(wanted[..], [Task::Page { page: 15, .. }]), "{wanted:?}");
    viewer.send(Event::Failed { what: Failed::Reading, why: "the run has gone on".into() });
    assert_eq!(viewer.waiting, [], "not at once: it would fail for ever");
    viewer.shows(&["the run has gone on"]);
    viewer.press(&[Key::Char('k')]);
    viewer.shows(&["row-998 "]);
}

#[test]
fn what_is_not_known_of_a_row_is_said_and_the_row_is_shown_all_the_same() {
    let mut viewer = Viewer::new(30, 120, 24);
    viewer.send(Event::Key(Key::Char('\n')));
    viewer.waiting.clear();
    let unknown = Known { visits: Err(format!("no seed {HOSTILE}")), ..known(0) };
    viewer.send(Event::Detail { number: 0, known: Box::new(unknown) });
    viewer.press(&[Key::Right, Key::Left, Key::Char('\t')]);
    viewer.shows(&["no seed \\u{1b}[2J", "── seed ──"]);
}

#[test]
fn keys_are_shown_and_quit() {
    let mut viewer = Viewer::new(30, 120, 30);
    viewer.press(&[Key::Char('?')]);
    let screen = viewer.screen();
    assert!(KEYS.iter().all(|(_, what)| screen.contains(what)), "{screen}");
    viewer.press(&[Key::Char('j')]);
    assert_eq!((&viewer.state.overlay, viewer.state.list.cursor), (&Overlay::None, 0));
    // Esc and a key close behind it come as one.
    viewer.press(&[Key::Char('s'), Key::Alt('\r'), Key::Alt('\u{1b}')]);
    viewer.shows(&["all 30 rows"]);
    viewer.press(&[Key::Char('q')]);
    assert_eq!(viewer.quit, Some(0));
    for event in [Event::Key(Key::Ctrl('c')), Event::Interrupted] {
        viewer.send(event);
        viewer.settle();
        assert_eq!(viewer.quit.take(), Some(130));
    }
}
