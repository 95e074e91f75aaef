//! Common Lisp: tests in a package of their own must see what the solution defines, exported or not.
//!
//! Where the tests define their package, the solution is put into it, and the package answers to the name of the
//! solution's too. Where they are in a package that is there already, the solution's symbols are imported into it.

use std::ops::Range;

use super::append::join;
use super::lex::{whole_line, without};
use super::sexp::{Kind, Token, bytes, clauses, forms, read};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "common_lisp", values: &[], splice, whole };

/// The package that programs start in.
const USER: &str = "CL-USER";

fn splice(solution: &str, tests: &str) -> Program {
    let source = match (Text::read(solution), Text::read(tests)) {
        (Some(solution), Some(tests)) => merge(&solution, &tests),
        _ => None,
    };
    Program { source: source.unwrap_or_else(|| join(solution, tests)), ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// A text that is in one package.
struct Text<'a> {
    source: &'a str,
    tokens: Vec<Token<'a>>,
    /// The name of its package, and the form that says so.
    package: (String, Option<Range<usize>>),
    /// The `defpackage` forms.
    definitions: Vec<Range<usize>>,
}

impl<'a> Text<'a> {
    /// `None` when the text changes its package on its way.
    fn read(source: &'a str) -> Option<Self> {
        let tokens = read(source);
        let forms = forms(&tokens);
        let headed = |name: &'static str| {
            let tokens = &tokens;
            forms.iter().filter(move |form| is_headed(tokens, form, name)).cloned()
        };
        let definitions: Vec<_> = headed("defpackage").collect();
        let entered: Vec<_> = headed("in-package").collect();
        let package = match entered.as_slice() {
            [] => (USER.to_owned(), None),
            [form] => (designated(&tokens, form.start + 2)?, Some(form.clone())),
            _ => return None,
        };
        Some(Self { source, tokens, package, definitions })
    }

    /// The definition of `package`.
    fn definition(&self, package: &str) -> Option<&Range<usize>> {
        self.definitions
            .iter()
            .find(|form| designated(&self.tokens, form.start + 2).is_some_and(|name| name == package))
    }

    fn bytes(&self, form: &Range<usize>) -> Range<usize> {
        bytes(&self.tokens, form)
    }
}

/// The program, where one text after the other would not do.
fn merge(solution: &Text<'_>, tests: &Text<'_>) -> Option<String> {
    let (package, entering) = (&tests.package.0, tests.package.1.as_ref()?);
    let from = &solution.package.0;
    if package == from {
        return None;
    }
    let entered = tests.bytes(entering).end;
    let (head, rest) = tests.source.split_at(entered);
    let Some(definition) = tests.definition(package) else {
        return Some(format!("{}\n{head}\n{}{rest}", solution.source, importing(from)));
    };
    if tests.bytes(definition).end > entered || solution.definitions.len() > 1 {
        return None;
    }
    let own = solution.definition(from);
    let gone = solution.package.1.iter().chain(own).map(|form| {
        let range = solution.bytes(form);
        whole_line(solution.source, range)
    });
    let mut gone: Vec<_> = gone.collect();
    gone.sort_by_key(|range| range.start);
    let head = redefined(head, tests, definition, from, &taken_over(solution, own, from));
    Some(format!("{head}\n{}{rest}", without(solution.source, &gone)))
}

/// Makes what the package `from` defines visible in the current one, except where that has the name already.
fn importing(from: &str) -> String {
    let from = from.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "(cl:do-symbols (cl-user::s \"{from}\") \
         (cl:when (cl:and (cl:eq (cl:symbol-package cl-user::s) (cl:find-package \"{from}\")) \
         (cl:not (cl:find-symbol (cl:symbol-name cl-user::s)))) (cl:import cl-user::s)))"
    )
}

/// What the tests' package takes over from the definition of the solution's: its name and its clauses.
fn taken_over(solution: &Text<'_>, definition: Option<&Range<usize>>, name: &str) -> String {
    let Some(definition) = definition else { return String::new() };
    let tokens = &solution.tokens;
    let once = [":documentation", ":size"];
    let clauses = clauses(tokens, definition).into_iter();
    let clauses = clauses.filter(|clause| {
        !tokens.get(clause.start + 1).is_some_and(|head| once.iter().any(|o| head.is_symbol(o)))
    });
    let clauses: String =
        clauses.map(|clause| format!("\n  {}", &solution.source[solution.bytes(&clause)])).collect();
    format!("\n  (:nicknames \"{}\"){clauses}", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `head` of the tests, their package defined without the package `from` and with `more` clauses.
fn redefined(head: &str, tests: &Text<'_>, definition: &Range<usize>, from: &str, more: &str) -> String {
    let tokens = &tests.tokens;
    let mut gone = Vec::new();
    for clause in clauses(tokens, definition) {
        let Some(keyword) = tokens.get(clause.start + 1) else { continue };
        let names = |at: usize| designated(tokens, at).is_some_and(|name| name == from);
        if keyword.is_symbol(":use") {
            let members = (clause.start + 2..clause.end).filter(|&at| names(at));
            gone.extend(members.map(|at| tests.bytes(&(at..at + 1))));
        } else if keyword.is_symbol(":import-from") && names(clause.start + 2) {
            gone.push(tests.bytes(&clause));
        }
    }
    let close = tests.bytes(definition).end - 1;
    let before = without(&head[..close], &gone);
    format!("{before}{more}{}", &head[close..])
}

fn is_headed(tokens: &[Token<'_>], form: &Range<usize>, name: &str) -> bool {
    tokens.get(form.start + 1).is_some_and(|head| {
        let plain = head.text.rsplit(':').next().unwrap_or(head.text);
        head.kind == Kind::Atom && plain.eq_ignore_ascii_case(name)
    })
}

/// The name of the package that the token `at` designates: `:name`, `#:name`, `name`, `"NAME"`.
fn designated(tokens: &[Token<'_>], at: usize) -> Option<String> {
    let token = tokens.get(at)?;
    let name = match token.kind {
        Kind::Text => token.text.trim_matches('"').to_owned(),
        Kind::Atom => token.text.trim_start_matches('#').trim_start_matches(':').to_uppercase(),
        _ => return None,
    };
    let name = if name == "COMMON-LISP-USER" { USER.to_owned() } else { name };
    (!name.is_empty()).then_some(name)
}
