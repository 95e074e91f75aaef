//! The state as cells of a terminal. Every text of a row passes through [`super::text`] before it gets here or here.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::choice::{Choice, Facet};
use super::draw_detail::draw_detail;
use super::keys::KEYS;
use super::state::{Overlay, State};
use super::text::{fit, line};

/// Lines of the list screen that show no rows: title, filter, heads of columns, messages.
const OTHER_LINES: u16 = 4;
/// Columns of the list, and how wide they are; the last takes what is left.
const COLUMNS: [(&str, usize); 5] =
    [("id", 12), ("language", 12), ("stage", 18), ("reason", 22), ("about, or why", 0)];

/// How things look.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Whether colours may be used.
    pub color: bool,
}

impl Theme {
    /// Heads and titles.
    pub fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is selected.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What matters less.
    pub fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Good or bad.
    pub fn verdict(self, passed: bool) -> Style {
        let color = if passed { Color::Green } else { Color::Red };
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// What is in front, or has the keys.
    pub fn front(self) -> Style {
        if self.color { Style::new().fg(Color::Cyan) } else { self.head() }
    }
}

/// How many rows the list shows on a terminal of `height` lines.
pub fn list_height(height: u16) -> usize {
    usize::from(height.saturating_sub(OTHER_LINES)).max(1)
}

/// Draws the whole screen.
pub fn draw(state: &mut State, frame: &mut Frame<'_>, theme: Theme) {
    let [title, body, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Line::from(line(&state.title)).style(theme.head()), title);
    match &mut state.detail {
        Some(detail) => draw_detail(detail, &state.list, frame, body, theme),
        None => list(state, frame, body, theme),
    }
    let width = usize::from(bottom.width);
    let keys = "? keys  q quit";
    let said = fit(&said(state), width.saturating_sub(keys.len() + 1));
    frame.render_widget(
        Line::from(vec![Span::raw(said), Span::raw(" "), Span::styled(keys, theme.faint())]),
        bottom,
    );
    match &state.overlay {
        Overlay::None | Overlay::Search(_) => {}
        Overlay::Help => help(frame, theme),
        Overlay::Choice(choice) => values(state, choice, frame, theme),
    }
}

/// The last line: what is being typed, went wrong, or is under way.
fn said(state: &State) -> String {
    if let Overlay::Search(typed) = &state.overlay {
        return format!("search: {}█", line(typed));
    }
    if let Some(message) = &state.message {
        return line(message);
    }
    match state.scanned {
        Some(scanned) => {
            let percent = scanned * 100 / state.list.total.max(1);
            format!("searching: {percent} %, {} found; Esc stops", state.list.len())
        }
        None if state.counting => "counting rows".to_owned(),
        None => String::new(),
    }
}

fn list(state: &State, frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let [filter, heads, rows] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Line::from(wanted(state)), filter);
    frame.render_widget(
        Line::from(columns(COLUMNS.map(|(name, _)| name), heads.width)).style(theme.head()),
        heads,
    );
    let list = &state.list;
    if list.len() == 0 && state.scanned.is_none() {
        frame.render_widget(Line::from("no rows").style(theme.faint()), rows);
    }
    for (at, y) in list.in_sight().zip(rows.y..rows.bottom()) {
        let place = Rect { y, height: 1, ..rows };
        let style = if at == list.cursor { theme.selected() } else { Style::new() };
        let text = match list.row(at) {
            None => fit("…", usize::from(place.width)),
            Some(row) => {
                let cells =
                    [&row.id, &row.language, &row.stage, &row.reason, &row.about].map(|cell| line(cell));
                columns(cells.each_ref().map(String::as_str), place.width)
            }
        };
        frame.render_widget(Line::from(text).style(style), place);
    }
}

/// One line of the list.
fn columns(cells: [&str; 5], width: u16) -> String {
    let mut line = String::new();
    let width = usize::from(width);
    for (at, cell) in cells.into_iter().enumerate() {
        match COLUMNS[at].1 {
            0 => line += cell,
            wide => line += &format!("{} ", fit(cell, wide)),
        }
    }
    fit(&line, width)
}

/// What rows are shown, and how many.
fn wanted(state: &State) -> String {
    let filter = &state.filter;
    let named = [
        ("language", &filter.language),
        ("stage", &filter.stage),
        ("reason", &filter.reason),
        ("text", &filter.text),
    ];
    let given = named.iter().filter_map(|(name, value)| Some(format!("{name} {}", line(value.as_ref()?))));
    let given: Vec<String> = given.collect();
    match given.is_empty() {
        true => format!("all {} rows", state.list.total),
        false => format!("{} of {} rows: {}", state.list.len(), state.list.total, given.join(", ")),
    }
}

fn help(frame: &mut Frame<'_>, theme: Theme) {
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, what)| match key.is_empty() {
            true => Line::from(*what).style(theme.head()),
            false => Line::from(format!("  {} {what}", fit(key, 26))),
        })
        .collect();
    front("keys", lines, 0, frame, theme);
}

fn values(state: &State, choice: &Choice, frame: &mut Frame<'_>, theme: Theme) {
    let values = state.values(choice.facet);
    let all = match choice.facet {
        Facet::Language => "all languages",
        Facet::Stage => "all stages",
        Facet::Reason => "all reasons",
    };
    let all = std::iter::once((all, None));
    let entries = all.chain(values.into_iter().map(|(value, rows)| (value, Some(rows))));
    let lines: Vec<Line<'_>> = entries
        .enumerate()
        .map(|(at, (value, rows))| {
            let rows = rows.map(|rows| rows.to_string()).unwrap_or_default();
            let text = format!(" {} {rows:>9} ", fit(&line(value), 32));
            Line::from(text).style(if at == choice.cursor { theme.selected() } else { Style::new() })
        })
        .collect();
    let counting = if state.counting { ", counting" } else { "" };
    front(&format!("{}{counting}", choice.facet.name()), lines, choice.cursor, frame, theme);
}

/// A box in the middle of the screen, scrolled so that the line `selected` is in sight.
fn front(title: &str, lines: Vec<Line<'_>>, selected: usize, frame: &mut Frame<'_>, theme: Theme) {
    let screen = frame.area();
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 4;
    let (width, height) = (width.min(screen.width), (lines.len() as u16 + 2).min(screen.height));
    let area = Rect {
        x: screen.x + (screen.width - width) / 2,
        y: screen.y + (screen.height - height) / 2,
        width,
        height,
    };
    let inside = usize::from(height.saturating_sub(2)).max(1);
    let scroll = (selected + 1).saturating_sub(inside) as u16;
    let block = Block::bordered().title(format!(" {title} ")).border_style(theme.front());
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block).scroll((scroll, 0)), area);
}
