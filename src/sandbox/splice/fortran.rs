//! Fortran: the solution without its main program when the tests have one, then the tests.

use std::ops::Range;

use super::append::join;
use super::lex::without;
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "fortran", values: &[], splice, whole };

/// Constructs of statements; `end` with one of these words ends no program unit.
const CONSTRUCTS: [&str; 12] = [
    "if",
    "do",
    "select",
    "type",
    "where",
    "forall",
    "associate",
    "block",
    "enum",
    "critical",
    "team",
    "structure",
];

/// Words that may stand before `function` or `subroutine`.
const PREFIXES: [&str; 11] = [
    "pure",
    "elemental",
    "impure",
    "recursive",
    "module",
    "integer",
    "real",
    "logical",
    "character",
    "complex",
    "double",
];

fn splice(solution: &str, tests: &str) -> Program {
    let removed = main_program(tests).and_then(|_| main_program(solution));
    Program { source: join(&without(solution, removed.as_slice()), tests), ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// Where the unit that starts with a `program` statement stands in `source`.
fn main_program(source: &str) -> Option<Range<usize>> {
    let mut depth = 0usize;
    let mut start = None;
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match statement(&words) {
            Statement::Start => {
                if depth == 0 && words.first() == Some(&"program") {
                    start = Some(at);
                }
                depth += 1;
            }
            Statement::End => {
                depth = depth.saturating_sub(1);
                if let (0, Some(start)) = (depth, start) {
                    return Some(start..at + line.len());
                }
            }
            Statement::Other => {}
        }
        at += line.len();
    }
    None
}

/// The words and marks of a line, lower case, without comment; a string is the mark `'`.
fn words(line: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_word = false;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let is_word = c.is_alphanumeric() || c == '_';
        match c {
            '!' => break,
            '\'' | '"' => {
                characters.by_ref().find(|end| *end == c);
                found.push("'".to_owned());
            }
            c if c.is_whitespace() => {}
            c if is_word && in_word => {
                if let Some(word) = found.last_mut() {
                    word.extend(c.to_lowercase());
                }
            }
            c => found.push(c.to_lowercase().collect()),
        }
        in_word = is_word;
    }
    found
}

enum Statement {
    /// Opens a program unit, procedure or interface.
    Start,
    /// Closes one.
    End,
    Other,
}

fn statement(words: &[&str]) -> Statement {
    let second = words.get(1).copied().unwrap_or_default();
    match words {
        ["end"] => Statement::End,
        ["end", next, ..] if ["=", "(", "%", ";"].contains(next) => Statement::Other,
        ["end", next, ..] if CONSTRUCTS.contains(next) => Statement::Other,
        ["end", ..] => Statement::End,
        [
            "endprogram" | "endmodule" | "endsubmodule" | "endsubroutine" | "endfunction" | "endinterface",
            ..,
        ] => Statement::End,
        ["endprocedure", ..] => Statement::End,
        // A variable may have any of these names.
        [_, "=" | "%", ..] => Statement::Other,
        ["program" | "interface" | "submodule", ..] | ["abstract", "interface", ..] => Statement::Start,
        ["block", "data", ..] => Statement::Start,
        ["module", ..] if second == "procedure" => Statement::Other,
        ["module", name] if !PREFIXES.contains(name) && *name != "function" && *name != "subroutine" => {
            Statement::Start
        }
        [first, ..] if is_procedure(first, words) => Statement::Start,
        _ => Statement::Other,
    }
}

/// Whether a statement that starts with `first` declares a procedure: only prefixes, with what is in their brackets,
/// stand before its keyword.
fn is_procedure(first: &str, words: &[&str]) -> bool {
    if !PREFIXES.contains(&first) && !["function", "subroutine", "type", "class"].contains(&first) {
        return false;
    }
    let mut depth = 0usize;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            "function" | "subroutine" => {
                return words.get(at + 1).is_some_and(|name| name.starts_with(char::is_alphabetic));
            }
            "precision" | "type" | "class" | "*" => {}
            word if PREFIXES.contains(&word) || word.chars().all(|c| c.is_ascii_digit()) => {}
            _ => return false,
        }
    }
    false
}
