//! Haskell: the pragmas and imports of both parts once and first, no module headers, one `main`.

use std::ops::Range;

use super::lex::nested_comment_length;
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "haskell", values: &[], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    let (solution, tests) = (Module::read(solution), Module::read(tests));
    let mut pragmas: Vec<&str> = Vec::new();
    let mut imports: Vec<&str> = Vec::new();
    for module in [&solution, &tests] {
        add_new(&mut pragmas, &module.pragmas);
        add_new(&mut imports, &module.imports);
    }
    imports.retain(|import| solution.name.is_none_or(|name| imported(import) != Some(name)));
    let mut source = String::new();
    for part in pragmas.iter().chain(&imports) {
        source.push_str(part);
        source.push('\n');
    }
    source.push('\n');
    let one_main = tests.defines_main();
    for declaration in solution.declarations.iter().filter(|text| !(one_main && is_of_main(text))) {
        source.push_str(declaration);
    }
    source.push('\n');
    source.extend(tests.declarations.iter().copied());
    Program { source, ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

fn add_new<'a>(known: &mut Vec<&'a str>, more: &[&'a str]) {
    for text in more {
        if !known.iter().any(|other| other.split_whitespace().eq(text.split_whitespace())) {
            known.push(text);
        }
    }
}

/// The module that an import names.
fn imported(import: &str) -> Option<&str> {
    let mut words = import.split_whitespace().skip(1).filter(|word| !matches!(*word, "qualified" | "safe"));
    let word = words.next()?;
    word.split('(').next()
}

/// Whether a declaration is the type or an equation of `main`.
fn is_of_main(declaration: &str) -> bool {
    declaration
        .trim_start()
        .strip_prefix("main")
        .is_some_and(|rest| [":", "=", "|"].iter().any(|mark| rest.trim_start().starts_with(mark)))
}

/// A source file taken apart.
#[derive(Default)]
struct Module<'a> {
    name: Option<&'a str>,
    /// Pragmas for the whole file.
    pragmas: Vec<&'a str>,
    imports: Vec<&'a str>,
    /// Everything else, in order and with the space between.
    declarations: Vec<&'a str>,
}

impl<'a> Module<'a> {
    fn read(source: &'a str) -> Self {
        let mut module = Self::default();
        for range in top_level(source) {
            let text = &source[range];
            let start = text.trim_start();
            // Only these may stand before the declarations, and only there.
            let at_top = module.declarations.iter().all(|text| is_comment_or_space(text));
            let starts_with = |word: &str| {
                start.strip_prefix(word).is_some_and(|rest| rest.starts_with(char::is_whitespace))
            };
            if at_top && is_file_pragma(start) {
                module.pragmas.push(text.trim_end());
            } else if at_top && starts_with("module") {
                module.name = start.split_whitespace().nth(1).and_then(|word| word.split('(').next());
            } else if at_top && starts_with("import") {
                module.imports.push(text.trim_end());
            } else {
                module.declarations.push(text);
            }
        }
        module
    }

    fn defines_main(&self) -> bool {
        self.declarations.iter().any(|text| is_of_main(text))
    }
}

fn is_file_pragma(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("{-#") else { return false };
    let word = rest.split_whitespace().next().unwrap_or_default().to_uppercase();
    word == "LANGUAGE" || word.starts_with("OPTIONS")
}

fn is_comment_or_space(text: &str) -> bool {
    let text = text.trim_start();
    text.is_empty() || text.starts_with("--") || (text.starts_with("{-") && !text.starts_with("{-#"))
}

/// What stands at the top level of `source`: from one first column that is code, or opens a comment, to the next.
fn top_level(source: &str) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    let (mut depth, mut at) = (0usize, 0);
    let mut in_header = false;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        let first_column = at == 0 || source[..at].ends_with('\n');
        if first_column && depth == 0 && !c.is_whitespace() && !in_header {
            starts.push(at);
            in_header = rest.starts_with("module ");
        }
        at += match c {
            '{' if rest.starts_with("{-") => nested_comment_length(rest, "{-", "-}"),
            '-' if is_line_comment(&source[..at], rest) => rest.find('\n').unwrap_or(rest.len()),
            '"' => text_length(rest),
            '\'' if !source[..at].ends_with(is_name_character) => character_length(rest),
            _ => {
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    // A header may go on in the first column, up to its `where`.
                    'w' if in_header && depth == 0 && rest.starts_with("where") => in_header = false,
                    _ => {}
                }
                c.len_utf8()
            }
        };
    }
    starts.dedup();
    let ends = starts.iter().copied().skip(1).chain([source.len()]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).map(|(start, end)| start..end).collect()
}

/// Two or more dashes that are no part of an operator.
fn is_line_comment(before: &str, rest: &str) -> bool {
    let is_symbol = |c: char| "!#$%&*+./<=>?@\\^|~:".contains(c);
    let after = rest.trim_start_matches('-');
    rest.len() - after.len() >= 2 && !after.starts_with(is_symbol) && !before.ends_with(is_symbol)
}

/// A string; one that is not closed ends with its line.
fn text_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            // A backslash at the end of a line goes on after the next backslash.
            '\n' if !escaped => return at,
            '\\' => escaped = !escaped,
            c if escaped && c.is_whitespace() => {}
            _ => escaped = false,
        }
    }
    text.len()
}

fn is_name_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '\''
}

/// A character, or the single quote of a type.
fn character_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((next, escaped))) => {
            let from = next + escaped.len_utf8();
            text[from..].char_indices().take(8).find(|(_, c)| *c == '\'').map_or(1, |(at, _)| from + at + 1)
        }
        (Some((_, c)), Some((at, '\''))) if c != '\'' => at + 1,
        _ => 1,
    }
}
