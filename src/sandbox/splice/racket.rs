//! Racket and Scheme: one `#lang` line, and the solution's modules made visible.

use std::ops::Range;

use super::append::join;
use super::lex::{whole_line, without};
use super::sexp::{Kind, Token, forms, read};
use super::{Program, Splicer};

pub(super) const RACKET: Splicer =
    Splicer { name: "racket", values: &[], splice: |solution, tests| splice(solution, tests, false), whole };
pub(super) const SCHEME: Splicer =
    Splicer { name: "scheme", values: &[], splice: |solution, tests| splice(solution, tests, true), whole };

const DEFAULT: &str = "#lang racket";

/// Submodules that tools look for, not the program.
const OF_TOOLS: [&str; 5] = ["test", "main", "reader", "configure-runtime", "doc"];

/// `checked`: whether tests count on rackunit without requiring it.
fn splice(solution: &str, tests: &str, checked: bool) -> Program {
    let (solution_language, solution) = take_language(solution);
    let (tests_language, tests) = take_language(tests);
    let language = match (solution_language, tests_language) {
        // The larger of the two has all that the other has.
        (Some("#lang racket/base"), Some(DEFAULT)) => DEFAULT,
        (Some(language), _) | (None, Some(language)) => language,
        (None, None) => DEFAULT,
    };
    let rackunit = if checked && needs_rackunit(&solution, &tests) { "(require rackunit)\n" } else { "" };
    let modules: String =
        modules(&solution).iter().map(|name| format!("\n(require (submod \".\" {name}))")).collect();
    let source = format!("{language}\n{rackunit}{}", join(&(solution + &modules), &tests));
    Program { source, ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// The `#lang` line of `source`, and `source` without it.
fn take_language(source: &str) -> (Option<&str>, String) {
    let tokens = read(source);
    let is_language = |token: &&Token<'_>| token.kind == Kind::Language && token.depth == 0;
    let Some(line) = tokens.iter().find(is_language) else { return (None, source.to_owned()) };
    let range = whole_line(source, line.start..line.end());
    (Some(line.text.trim_end()), without(source, &[range]))
}

/// The names of the modules inside `source` that it does not require itself.
fn modules(source: &str) -> Vec<&str> {
    let tokens = read(source);
    let forms = forms(&tokens);
    let heads =
        |form: &Range<usize>, name: &str| tokens.get(form.start + 1).is_some_and(|head| head.is_symbol(name));
    let required: Vec<_> = forms.iter().filter(|form| heads(form, "require")).collect();
    let is_required = |name: &str| {
        required.iter().any(|form| tokens[(*form).clone()].iter().any(|token| token.is_symbol(name)))
    };
    let named = forms.iter().filter(|form| heads(form, "module"));
    let names = named.filter_map(|form| tokens[form.clone()].get(2)).filter(|name| name.kind == Kind::Atom);
    names.map(|name| name.text).filter(|name| !OF_TOOLS.contains(name) && !is_required(name)).collect()
}

/// Whether the program uses rackunit's checks, neither requiring rackunit nor defining them itself.
fn needs_rackunit(solution: &str, tests: &str) -> bool {
    let is_check = |token: &Token<'_>| {
        token.kind == Kind::Atom && (token.text.starts_with("check-") || token.text == "test-case")
    };
    let tests = read(tests);
    let used = tests.iter().any(is_check);
    let all: Vec<_> = read(solution).into_iter().chain(tests).collect();
    let required = all.iter().any(|token| token.is_symbol("rackunit"));
    // `(define (check-it x)` or `(define check-it`.
    let defined = all
        .windows(3)
        .any(|three| three[0].text.starts_with("define") && (is_check(&three[1]) || is_check(&three[2])));
    used && !required && !defined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_line_is_code_not_text() {
        let text = "; #lang a\n#| #lang b |#\n\"#lang c\"\n#lang racket/base \n(f)";
        assert_eq!(
            take_language(text),
            (Some("#lang racket/base"), text.replace("#lang racket/base \n", ""))
        );
        assert_eq!(take_language("(f '(#lang a))").0, None);
    }
}
