//! Rust: the solution and the tests; built as a test program when there are `#[test]` functions to run.

use super::append::join;
use super::lex::nested_comment_length;
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "rust", values: &["dynamic"], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    let (of_solution, of_tests) = (Entries::of(solution), Entries::of(tests));
    let is_test = of_tests.tests || (of_solution.tests && !of_tests.main);
    program(join(solution, tests), is_test)
}

fn whole(source: &str) -> Program {
    program(source.to_owned(), Entries::of(source).tests)
}

fn program(source: String, is_test: bool) -> Program {
    // A shared standard library allocates by itself, past an allocator of the program's own.
    let dynamic = if source.contains("global_allocator") { "no" } else { "yes" };
    let values = vec![("dynamic", dynamic.to_owned())];
    Program { source, variant: is_test.then_some("test"), values, ..Program::default() }
}

/// The ways to run a source.
#[derive(Default)]
struct Entries {
    /// It has functions that are tests.
    tests: bool,
    /// It has a `main`.
    main: bool,
}

impl Entries {
    fn of(source: &str) -> Self {
        let code: String = code_of(source).split_whitespace().collect::<Vec<_>>().join(" ");
        let tests = ["#[test]", "# [test]", "#[ test ]"].iter().any(|attribute| code.contains(attribute));
        let main = code.match_indices("fn main").any(|(at, found)| {
            let before = code[..at].chars().next_back();
            code[at + found.len()..].trim_start().starts_with('(')
                && before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        });
        Self { tests, main }
    }
}

/// `source` without its comments and without what stands in its strings.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            nested_comment_length(rest, "/*", "*/")
        } else if c == '"' {
            quoted_length(rest, '"')
        } else if let Some(length) = raw_string_length(rest).filter(|_| !after_word) {
            length
        } else if c == '\'' && !is_lifetime(rest) {
            quoted_length(rest, '\'')
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        // What was left out parts the words around it.
        code.push(' ');
        rest = &rest[length..];
    }
    code
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The length of the `r#"..."#` that `text` starts with.
fn raw_string_length(text: &str) -> Option<usize> {
    let marks = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let body = marks.trim_start_matches('#');
    let hashes = marks.len() - body.len();
    let body = body.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let after = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + after)
}

/// Whether the quote that `text` starts with opens a lifetime rather than a character.
fn is_lifetime(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    let first = after.next();
    first.is_some_and(|c| c.is_alphabetic() || c == '_') && after.next() != Some('\'')
}
