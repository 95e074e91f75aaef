//! Dart: the directives (`import` and its kin) of both parts once and first, then the solution, then the tests.

use super::lex::{Syntax, lex};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "dart", values: &[], splice, whole };

const SYNTAX: Syntax = Syntax { text_blocks: true, ..Syntax::PLAIN };

fn splice(solution: &str, tests: &str) -> Program {
    let (of_solution, solution) = directives(solution);
    let (of_tests, tests) = directives(tests);
    let mut kept: Vec<&str> = Vec::new();
    for directive in of_solution.into_iter().chain(of_tests) {
        if !kept.contains(&directive) {
            kept.push(directive);
        }
    }
    let mut source: String = kept.iter().map(|directive| format!("{directive}\n")).collect();
    source.push_str(&format!("{solution}\n{tests}"));
    Program { source, ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// The directives that `source` starts with, and what follows them. There can be none further on.
fn directives(source: &str) -> (Vec<&str>, &str) {
    let tokens = lex(source, &SYNTAX);
    let mut found = Vec::new();
    let (mut at, mut end) = (0, 0);
    while let Some(first) = tokens.get(at)
        && ["import", "export", "library"].iter().any(|word| first.is_word(word))
        && let Some(length) = tokens[at..].iter().position(|token| token.is_mark(";"))
    {
        end = tokens[at + length].end();
        found.push(&source[first.start..end]);
        at += length + 1;
    }
    (found, &source[end..])
}
