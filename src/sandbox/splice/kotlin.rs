//! Kotlin: imports of both parts once and first, after file annotations; no package.

use super::lex::{Kind, Syntax, Token, lex, whole_line, without};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "kotlin", values: &[], splice, whole };

const SYNTAX: Syntax = Syntax { text_blocks: true, ..Syntax::PLAIN };

fn splice(solution: &str, tests: &str) -> Program {
    combine(&[Unit::read(solution), Unit::read(tests)])
}

/// A package would only change the name of the script's class.
fn whole(source: &str) -> Program {
    combine(&[Unit::read(source)])
}

fn combine(units: &[Unit]) -> Program {
    let mut head: Vec<&str> = Vec::new();
    let annotations = units.iter().flat_map(|unit| &unit.annotations);
    for line in annotations.chain(units.iter().flat_map(|unit| &unit.imports)) {
        if !head.contains(&line.as_str()) {
            head.push(line);
        }
    }
    let mut source: String = head.iter().map(|line| format!("{line}\n")).collect();
    for unit in units {
        if !source.is_empty() {
            source.push('\n');
        }
        source.push_str(unit.body.trim_matches('\n'));
        source.push('\n');
    }
    Program { source, ..Program::default() }
}

/// A source file taken apart.
struct Unit {
    /// `@file:...`, in order.
    annotations: Vec<String>,
    /// `import a.b.C as D`, in order.
    imports: Vec<String>,
    body: String,
}

impl Unit {
    fn read(source: &str) -> Self {
        let tokens = lex(source, &SYNTAX);
        let mut unit = Self { annotations: Vec::new(), imports: Vec::new(), body: String::new() };
        let mut removed = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            if token.depth > 0 || !starts_statement(source, &tokens, at) {
                continue;
            }
            let line = &tokens[at..at + line_length(source, &tokens[at..])];
            let end = line[line.len() - 1].end();
            if (token.is_word("import") || token.is_word("package")) && is_qualified_name(&line[1..]) {
                if token.is_word("import") {
                    unit.imports.push(source[token.start..end].to_owned());
                }
            } else if token.is_mark("@") && line.get(1).is_some_and(|next| next.is_word("file")) {
                unit.annotations.push(source[token.start..end].to_owned());
            } else {
                continue;
            }
            let separator = tokens.get(at + line.len()).filter(|next| next.is_mark(";"));
            removed.push(whole_line(source, token.start..separator.map_or(end, Token::end)));
        }
        unit.body = without(source, &removed);
        unit
    }
}

/// Whether the token is the first of its line, or follows a semicolon.
fn starts_statement(source: &str, tokens: &[Token<'_>], at: usize) -> bool {
    let Some(previous) = at.checked_sub(1).map(|at| &tokens[at]) else { return true };
    previous.is_mark(";") || source[previous.end()..tokens[at].start].contains('\n')
}

/// The number of tokens up to the end of the first one's line or a semicolon.
fn line_length(source: &str, tokens: &[Token<'_>]) -> usize {
    let ends =
        |pair: &[Token<'_>]| pair[1].is_mark(";") || source[pair[0].end()..pair[1].start].contains('\n');
    tokens.windows(2).position(ends).map_or(tokens.len(), |last| last + 1)
}

/// `a.b.*`, `a.b.C as D`: words and dots only.
fn is_qualified_name(tokens: &[Token<'_>]) -> bool {
    let belongs = |t: &Token<'_>| t.kind == Kind::Word || [".", "*", "`"].iter().any(|mark| t.is_mark(mark));
    tokens.first().is_some_and(|first| first.kind == Kind::Word || first.is_mark("`"))
        && tokens.iter().all(belongs)
}
