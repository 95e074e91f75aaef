//! Which key does what.

use ratatui::termion::event::Key;

use super::choice::{Choice, Facet};
use super::state::{Overlay, State, Task};
use crate::analytics::rows::Filter;

/// Keys and what they do, for people; an empty key is a heading.
pub const KEYS: [(&str, &str); 19] = [
    ("", "list"),
    ("↑ ↓ j k, PgUp PgDn, g G", "select a row"),
    ("Enter", "open it"),
    ("l, s, r", "filter by language, stage, reason"),
    ("/", "search ids, snippets, questions, programs"),
    ("Esc", "stop a search"),
    ("c", "all rows again"),
    ("", "row"),
    ("← →", "choose a stage"),
    ("Tab, Shift-Tab", "choose a pane"),
    ("↑ ↓ j k, PgUp PgDn, g G", "scroll it"),
    ("z", "the pane alone, or all again"),
    ("[ ]", "the call before or after: samples, tests, repairs"),
    ("p n", "the row before or after"),
    ("Esc, Backspace", "back to the list"),
    ("", "everywhere"),
    ("?", "these keys"),
    ("q", "quit"),
    ("Ctrl-C", "quit, with exit code 130"),
];

/// Longest text to search for, characters.
const MOST_TYPED: usize = 200;

impl State {
    /// What a key does.
    pub(super) fn key(&mut self, key: Key) -> Vec<Task> {
        match key {
            Key::Ctrl('c') => return vec![Task::Quit(130)],
            // Esc and a key that came close behind it look like this.
            Key::Alt(c) => {
                let next = match c {
                    '\u{1b}' => Key::Esc,
                    '\r' => Key::Char('\n'),
                    c => Key::Char(c),
                };
                return [self.key(Key::Esc), self.key(next)].concat();
            }
            _ => {}
        }
        if self.message.take().is_some() {
            self.list.retry();
        }
        match std::mem::take(&mut self.overlay) {
            Overlay::Search(typed) => self.search_key(key, typed),
            Overlay::Choice(choice) => self.choice_key(key, choice),
            Overlay::Help if key == Key::Char('q') => vec![Task::Quit(0)],
            Overlay::Help => Vec::new(),
            Overlay::None => match key {
                Key::Char('q') => vec![Task::Quit(0)],
                Key::Char('?') => {
                    self.overlay = Overlay::Help;
                    Vec::new()
                }
                key if self.detail.is_some() => self.detail_key(key),
                key => self.list_key(key),
            },
        }
    }

    fn list_key(&mut self, key: Key) -> Vec<Task> {
        let page = self.list.height as isize;
        match key {
            Key::Up | Key::Char('k') => self.list.step(-1),
            Key::Down | Key::Char('j') => self.list.step(1),
            Key::PageUp => self.list.step(-page),
            Key::PageDown | Key::Char(' ') => self.list.step(page),
            Key::Home | Key::Char('g') => self.list.go(0),
            Key::End | Key::Char('G') => self.list.go(usize::MAX),
            Key::Char('\n') | Key::Right => return self.open(),
            Key::Char('/') => self.overlay = Overlay::Search(self.filter.text.clone().unwrap_or_default()),
            Key::Char('l') => self.offer(Facet::Language),
            Key::Char('s') => self.offer(Facet::Stage),
            Key::Char('r') => self.offer(Facet::Reason),
            Key::Char('c') => return self.want(Filter::default()),
            Key::Esc if self.scanned.is_some() => return self.stop_finding(),
            _ => {}
        }
        Vec::new()
    }

    fn offer(&mut self, facet: Facet) {
        let wanted = facet.of(&mut self.filter).clone();
        let at = self.values(facet).iter().position(|(value, _)| Some(*value) == wanted.as_deref());
        self.overlay = Overlay::Choice(Choice { facet, cursor: at.map_or(0, |at| at + 1) });
    }

    fn search_key(&mut self, key: Key, mut typed: String) -> Vec<Task> {
        match key {
            Key::Esc => return Vec::new(),
            Key::Char('\n') => {
                let text = Some(typed).filter(|typed| !typed.is_empty());
                return self.want(Filter { text, ..self.filter.clone() });
            }
            Key::Backspace => drop(typed.pop()),
            Key::Ctrl('u') => typed.clear(),
            Key::Char(c) if !c.is_control() && typed.chars().count() < MOST_TYPED => typed.push(c),
            _ => {}
        }
        self.overlay = Overlay::Search(typed);
        Vec::new()
    }

    fn choice_key(&mut self, key: Key, mut choice: Choice) -> Vec<Task> {
        let last = self.values(choice.facet).len();
        choice.cursor = match key {
            Key::Esc => return Vec::new(),
            Key::Char('\n') => {
                let value = choice
                    .cursor
                    .checked_sub(1)
                    .and_then(|at| self.values(choice.facet).get(at).map(|(value, _)| (*value).to_owned()));
                return self.choose(choice.facet, value);
            }
            Key::Up | Key::Char('k') => choice.cursor.saturating_sub(1),
            Key::Down | Key::Char('j') => (choice.cursor + 1).min(last),
            Key::PageUp => choice.cursor.saturating_sub(10),
            Key::PageDown => (choice.cursor + 10).min(last),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            _ => choice.cursor,
        };
        self.overlay = Overlay::Choice(choice);
        Vec::new()
    }

    fn detail_key(&mut self, key: Key) -> Vec<Task> {
        let page = self.list.height;
        let Some(detail) = &mut self.detail else { return Vec::new() };
        match key {
            Key::Esc | Key::Backspace => self.detail = None,
            Key::Left | Key::Char('h') => detail.step(-1),
            Key::Right | Key::Char('l') => detail.step(1),
            Key::Char('\t') => detail.cycle(1),
            Key::BackTab => detail.cycle(-1),
            Key::Up | Key::Char('k') => detail.scroll(|line| line.saturating_sub(1)),
            Key::Down | Key::Char('j') => detail.scroll(|line| line.saturating_add(1)),
            Key::PageUp => detail.scroll(|line| line.saturating_sub(page)),
            Key::PageDown | Key::Char(' ') => detail.scroll(|line| line.saturating_add(page)),
            Key::Home | Key::Char('g') => detail.scroll(|_| 0),
            Key::End | Key::Char('G') => detail.scroll(|_| usize::MAX),
            Key::Char('z' | '\n') => detail.zoomed = !detail.zoomed,
            Key::Char('[') => detail.turn(-1),
            Key::Char(']') => detail.turn(1),
            Key::Char('n' | 'p') => {
                self.list.step(if key == Key::Char('n') { 1 } else { -1 });
                return self.open();
            }
            _ => {}
        }
        Vec::new()
    }
}
