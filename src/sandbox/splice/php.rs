//! PHP: one program under one opening tag, whatever tags the solution and the tests stand in.

use std::borrow::Cow;

use super::{Program, Splicer};

mod scan;
use scan::{Kind, Piece, scan};

pub(super) const SPLICER: Splicer = Splicer { name: "php", values: &[], splice, whole };

/// Tells that the tests end the process; closed by a parenthesis.
const EXIT: &str = "\\TestsOfProgram::exit(";

fn splice(solution: &str, tests: &str) -> Program {
    let solution = if has_code(solution) { solution.to_owned() } else { format!("<?php\n{solution}") };
    let mut source = without_closing_tag(&solution);
    source.push('\n');
    let pieces = scan(&source);
    // Text for the output ends the solution: the tests need a tag of their own.
    let in_text = pieces.last().is_some_and(|piece| matches!(piece.kind, Kind::Text | Kind::Close));
    let body = without_strict_types(without_opening_tag(tests));
    if in_text {
        source.push_str("<?php\n");
    }
    source.push_str(&body);
    Program { source, ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// The tests without tags around them, their exits announced.
pub(super) fn enclose(tests: &str) -> (Cow<'_, str>, &str) {
    let opened = format!("<?php\n{}", without_opening_tag(tests));
    let mut code = with_exits_told(&without_closing_tag(&opened));
    code.drain(.."<?php\n".len());
    (code.into(), "")
}

fn has_code(source: &str) -> bool {
    scan(source).iter().any(|piece| piece.kind == Kind::Open)
}

/// `source` without the closing tag, and nothing but space after it, that it ends with.
fn without_closing_tag(source: &str) -> String {
    let pieces = scan(source);
    let mut last = pieces.as_slice();
    while let [rest @ .., piece] = last
        && piece.kind == Kind::Text
        && piece.text.trim().is_empty()
    {
        last = rest;
    }
    let [before @ .., close] = last else { return source.to_owned() };
    if close.kind != Kind::Close {
        return source.to_owned();
    }
    let mut code = source[..close.start].to_owned();
    // The tag ends a statement; so does what ends most statements.
    let end = before.iter().rev().find(|piece| piece.kind != Kind::Comment && !piece.text.trim().is_empty());
    let is_open = |piece: &Piece<'_>| {
        piece.kind == Kind::Quoted || !piece.text.trim_end().ends_with([';', '}', ':', '{'])
    };
    if end.is_some_and(|piece| piece.kind != Kind::Open && is_open(piece)) {
        code.push_str("\n;");
    }
    code
}

/// The code behind the opening tag that `source` starts with; all of it when it starts with code.
fn without_opening_tag(source: &str) -> &str {
    let code = source.trim_start_matches('\u{feff}').trim_start();
    match scan(code).as_slice() {
        [tag, ..] if tag.kind == Kind::Open && tag.text.trim_end() != "<?=" => &code[tag.text.len()..],
        _ => source,
    }
}

/// `body` without `declare(strict_types=1);`, which only a program's first statement may be.
fn without_strict_types(body: &str) -> String {
    let opened = format!("<?php\n{body}");
    let pieces = scan(&opened);
    for (at, piece) in pieces.iter().enumerate() {
        if piece.kind != Kind::Word || !piece.text.eq_ignore_ascii_case("declare") {
            continue;
        }
        let statement: Vec<_> = pieces[at..]
            .iter()
            .filter(|piece| piece.kind != Kind::Comment && !piece.text.trim().is_empty())
            .take(7)
            .collect();
        let is_strict_types = statement.get(2).is_some_and(|word| word.text == "strict_types");
        if let Some(end) = statement.iter().find(|piece| piece.text == ";").filter(|_| is_strict_types) {
            let before = &opened["<?php\n".len()..piece.start];
            return format!("{before}{}", &opened[end.start + 1..]);
        }
    }
    body.to_owned()
}

/// `code` with `exit` and `die` as they were, the status they are given passed on by [`EXIT`].
fn with_exits_told(code: &str) -> String {
    let pieces = scan(code);
    let significant: Vec<_> = pieces
        .iter()
        .filter(|piece| piece.kind != Kind::Comment && !piece.text.chars().all(char::is_whitespace))
        .collect();
    let mut inserted: Vec<(usize, String)> = Vec::new();
    for (at, piece) in significant.iter().enumerate() {
        let is_exit =
            piece.kind == Kind::Word && ["exit", "die"].iter().any(|w| piece.text.eq_ignore_ascii_case(w));
        let before = at.checked_sub(1).map_or("", |before| significant[before].text);
        // A member or a declaration of this name.
        if !is_exit || before.ends_with('>') || before.ends_with(':') || before == "function" {
            continue;
        }
        match significant.get(at + 1) {
            Some(open) if open.text == "(" => {
                let mut depth = 0usize;
                let close = significant[at + 1..].iter().find(|piece| {
                    depth += usize::from(piece.text == "(");
                    depth -= usize::from(piece.text == ")" && piece.kind == Kind::Mark && depth > 0);
                    depth == 0
                });
                if let Some(close) = close {
                    inserted.push((open.start + 1, EXIT.to_owned()));
                    inserted.push((close.start, ")".to_owned()));
                }
            }
            _ => inserted.push((piece.start + piece.text.len(), format!("({EXIT}))"))),
        }
    }
    inserted.sort_by_key(|(at, _)| *at);
    let mut told = String::with_capacity(code.len());
    let mut at = 0;
    for (position, text) in inserted {
        told.push_str(&code[at..position]);
        told.push_str(&text);
        at = position;
    }
    told.push_str(&code[at..]);
    told
}
