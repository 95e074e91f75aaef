//! One row as cells of a terminal: its stages, and the panes of one of them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};
use unicode_width::UnicodeWidthStr;

use super::detail::Detail;
use super::draw::Theme;
use super::list::List;
use super::panes::Pane;
use super::text::line;

/// From this width on all panes are side by side.
const WIDE: u16 = 160;
/// From this width and height on they are in two columns; below, one has the screen.
const MEDIUM: (u16, u16) = (90, 20);
/// Lines of the verdict beside other panes.
const VERDICT_LINES: u16 = 10;

/// Draws the open row into `area`.
pub fn draw_detail(detail: &mut Detail, list: &List, frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let [about, stages, body] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let place = format!("row {} of {}", list.cursor + 1, list.len());
    let Some(known) = &detail.known else {
        frame.render_widget(Line::from(format!("{place}: reading")), about);
        return;
    };
    let row = &known.record.listed;
    let facts = [&row.id, &row.language, &row.stage, &row.reason].map(|text| line(text));
    let mut told = format!(
        "{place}: {}",
        facts.into_iter().filter(|fact| !fact.is_empty()).collect::<Vec<_>>().join(" · ")
    );
    if !row.reason.is_empty() && !row.about.is_empty() {
        told += &format!(": {}", line(&row.about));
    }
    frame.render_widget(Line::from(told), about);
    match &known.visits {
        Err(why) => frame.render_widget(Line::from(line(why)).style(theme.verdict(false)), stages),
        Ok(_) => frame.render_widget(tabs(detail, stages.width, theme), stages),
    }
    let focused = detail.focused();
    let narrow = body.width < MEDIUM.0 || body.height < MEDIUM.1;
    if detail.zoomed || narrow || detail.panes.len() == 1 {
        let mut body = body;
        if detail.panes.len() > 1 {
            let [names, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(body);
            frame.render_widget(names_of(detail, focused, theme), names);
            body = rest;
        }
        if let Some(open) = detail.panes.get_mut(focused) {
            pane(open, true, frame, body, theme);
        }
        return;
    }
    for (at, (open, area)) in detail.panes.iter_mut().zip(places(body)).enumerate() {
        pane(open, at == focused, frame, area, theme);
    }
}

/// Where prompt, reply, program, output and verdict are.
fn places(body: Rect) -> [Rect; 5] {
    let with_verdict = [Constraint::Min(0), Constraint::Length(VERDICT_LINES)];
    if body.width >= WIDE {
        let [prompt, reply, program, rest] = Layout::horizontal([Constraint::Fill(1); 4]).areas(body);
        let [output, verdict] = Layout::vertical(with_verdict).areas(rest);
        return [prompt, reply, program, output, verdict];
    }
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(body);
    let [prompt, reply] = Layout::vertical([Constraint::Fill(1); 2]).areas(left);
    let [rest, verdict] = Layout::vertical(with_verdict).areas(right);
    let [program, output] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(rest);
    [prompt, reply, program, output, verdict]
}

/// The row and its stages; those it did not come to are faint. Where they do not fit, those around the one that is shown.
fn tabs(detail: &Detail, width: u16, theme: Theme) -> Line<'static> {
    let mut tabs = vec![(" row ".to_owned(), Style::new())];
    for visit in detail.stages() {
        let style = if visit.calls.is_empty() { theme.faint() } else { Style::new() };
        tabs.push((format!(" {} ", line(&visit.stage)), style));
    }
    let at = detail.at();
    tabs[at].1 = theme.selected();
    let widths: Vec<usize> = tabs.iter().map(|(name, _)| name.width()).collect();
    let from = (0..=at).find(|from| widths[*from..=at].iter().sum::<usize>() <= usize::from(width));
    let shown = tabs.into_iter().skip(from.unwrap_or(at));
    Line::from(shown.map(|(name, style)| Span::styled(name, style)).collect::<Vec<_>>())
}

/// The names of the panes, where only one is shown.
fn names_of(detail: &Detail, focused: usize, theme: Theme) -> Line<'static> {
    let names = detail.panes.iter().enumerate().map(|(at, pane)| {
        let name = pane.title.split(' ').next().unwrap_or_default();
        Span::styled(format!(" {name} "), if at == focused { theme.selected() } else { Style::new() })
    });
    Line::from(names.collect::<Vec<_>>())
}

fn pane(pane: &mut Pane, has_keys: bool, frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let border = if has_keys { theme.front() } else { Style::new() };
    let text = pane.passed.map_or(Style::new(), |passed| theme.verdict(passed));
    let (width, height) = (area.width.saturating_sub(2), area.height.saturating_sub(2));
    let lines: Vec<Line<'_>> =
        pane.lines(width.into(), height.into()).iter().map(|line| Line::from(line.clone())).collect();
    let shown = pane.scroll + lines.len();
    let mut block = Block::bordered().title(format!(" {} ", pane.title)).border_style(border);
    if has_keys {
        block = block.title_style(theme.head());
    }
    if shown - pane.scroll < pane.len() {
        block = block.title_bottom(Line::from(format!(" {shown}/{} ", pane.len())).right_aligned());
    }
    frame.render_widget(Paragraph::new(lines).style(text).block(block), area);
}
