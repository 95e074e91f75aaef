//! C#: usings of both parts once and first; methods and types that the tests must see are public; an entry that runs
//! `Main`, or `RunTests` where there is no `Main`.

use super::lex::{Kind, Syntax, Token, closing, lex, whole_line, without};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "csharp", values: &["entry"], splice, whole };

const SYNTAX: Syntax = Syntax { directives: true, verbatim_strings: true, ..Syntax::PLAIN };

/// The method that runs the tests of a program without a `Main`.
const TESTS: &str = "RunTests";

fn splice(solution: &str, tests: &str) -> Program {
    combine(&[Unit::read(&publish(solution)), Unit::read(tests)])
}

fn whole(source: &str) -> Program {
    combine(&[Unit::read(source)])
}

/// One program of the units; the last entry counts.
fn combine(units: &[Unit]) -> Program {
    let mut usings: Vec<&str> = Vec::new();
    for using in units.iter().flat_map(|unit| &unit.usings) {
        if !usings.contains(&using.as_str()) {
            usings.push(using);
        }
    }
    let mut source: String = usings.iter().map(|using| format!("{using}\n")).collect();
    for unit in units {
        if !source.is_empty() {
            source.push('\n');
        }
        source.push_str(unit.body.trim_matches('\n'));
        source.push('\n');
    }
    let named = |unit: &Unit, name: &str| unit.methods.iter().find(|(method, _)| method == name).cloned();
    let entry = |unit: &Unit| named(unit, "Main").or_else(|| named(unit, TESTS));
    let (method, class) = units.iter().rev().find_map(entry).unwrap_or_default();
    Program { source, values: vec![("entry", format!("{class}:{method}"))], ..Program::default() }
}

/// A source file taken apart.
struct Unit {
    /// `using A.B;`, `using static A.B;`, `using C = A.B;`, in order.
    usings: Vec<String>,
    body: String,
    /// Static methods that may be the entry, each with the full name of its class.
    methods: Vec<(String, String)>,
}

impl Unit {
    fn read(source: &str) -> Self {
        let tokens = lex(source, &SYNTAX);
        let mut unit = Self { usings: Vec::new(), body: String::new(), methods: methods(&tokens) };
        let mut removed = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let starts = at == 0 || ends_statement(&tokens[at - 1]);
            if token.depth > 0 || !starts || !token.is_word("using") {
                continue;
            }
            let Some(length) = tokens[at..].iter().position(|token| token.is_mark(";")) else { break };
            let directive = &tokens[at + 1..at + length];
            let range = token.start..tokens[at + length].end();
            if is_using_directive(directive) {
                unit.usings.push(source[range.clone()].to_owned());
                removed.push(whole_line(source, range));
            }
        }
        unit.body = without(source, &removed);
        unit
    }
}

fn ends_statement(token: &Token<'_>) -> bool {
    token.is_mark(";") || token.is_mark("}") || token.kind == Kind::Directive
}

/// Whether this stands between `using` and the semicolon of a directive, not of a declaration or statement.
fn is_using_directive(tokens: &[Token<'_>]) -> bool {
    let mut names = tokens;
    if let [first, rest @ ..] = names
        && first.is_word("static")
    {
        names = rest;
    }
    // An alias may stand for a generic type; a variable has a type before its name.
    if let [alias, equals, rest @ ..] = names
        && alias.kind == Kind::Word
        && equals.is_mark("=")
    {
        return !rest.is_empty();
    }
    !names.is_empty()
        && names.iter().all(|token| token.kind == Kind::Word || token.is_mark("."))
        && names.windows(2).all(|pair| (pair[0].kind == Kind::Word) != (pair[1].kind == Kind::Word))
}

/// The static methods called `Main` or [`TESTS`], each with the full name of its class.
fn methods(tokens: &[Token<'_>]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut file_namespace = String::new();
    for (at, token) in tokens.iter().enumerate() {
        open.retain(|(end, _)| *end >= at);
        if token.is_word("namespace") || is_type(tokens, at) {
            let name = qualified_name(&tokens[at + 1..]);
            let after = &tokens[at + 1..];
            let body =
                after.iter().position(|t| t.depth == token.depth && (t.is_mark("{") || t.is_mark(";")));
            match body.map(|offset| at + 1 + offset) {
                Some(start) if tokens[start].is_mark("{") => {
                    let separator = if token.is_word("namespace") { '.' } else { '+' };
                    open.push((closing(tokens, start), format!("{name}{separator}")));
                }
                Some(_) if token.is_word("namespace") => file_namespace = format!("{name}."),
                _ => {}
            }
        }
        let is_entry = (token.is_word("Main") || token.is_word(TESTS))
            && tokens.get(at + 1).is_some_and(|next| next.is_mark("("))
            && tokens[..at]
                .iter()
                .rev()
                .take_while(|t| t.depth == token.depth && !ends_statement(t) && !t.is_mark("{"))
                .any(|t| t.is_word("static"));
        if is_entry {
            let class: String = open.iter().map(|(_, name)| name.as_str()).collect();
            found.push((token.text.to_owned(), format!("{file_namespace}{}", class.trim_end_matches('+'))));
        }
    }
    found
}

/// Whether the token at `at` starts a type's declaration.
fn is_type(tokens: &[Token<'_>], at: usize) -> bool {
    ["class", "struct", "interface", "record"].iter().any(|keyword| tokens[at].is_word(keyword))
        && tokens.get(at + 1).is_some_and(|name| name.kind == Kind::Word)
        && (at == 0 || !(tokens[at - 1].is_mark(":") || tokens[at - 1].is_mark(",")))
}

/// `A.B` at the start of `tokens`.
fn qualified_name(tokens: &[Token<'_>]) -> String {
    let part = |token: &&Token<'_>| token.kind == Kind::Word || token.is_mark(".");
    let mut name = String::new();
    for token in tokens.iter().take_while(part) {
        if token.kind == Kind::Word && !name.is_empty() && !name.ends_with('.') {
            break;
        }
        name.push_str(token.text);
    }
    name
}

/// The solution with `public` before its static methods that do not say who may call them: the tests are another
/// class.
fn publish(source: &str) -> String {
    let tokens = lex(source, &SYNTAX);
    let mut published = String::with_capacity(source.len());
    let mut at = 0;
    // Of each open brace, whether it is a type's.
    let mut open: Vec<bool> = Vec::new();
    let mut declares_type = false;
    for (index, token) in tokens.iter().enumerate() {
        let previous = index.checked_sub(1).map(|index| &tokens[index]);
        let starts = previous.is_some_and(|t| ends_statement(t) || t.is_mark("{") || t.is_mark("]"));
        if starts && open.last() == Some(&true) && token.is_word("static") && is_method(&tokens[index..]) {
            published.push_str(&source[at..token.start]);
            published.push_str("public ");
            at = token.start;
        }
        match token.text {
            "{" if token.kind == Kind::Mark => open.push(std::mem::take(&mut declares_type)),
            "}" if token.kind == Kind::Mark => drop(open.pop()),
            ";" if token.kind == Kind::Mark => declares_type = false,
            _ => declares_type |= is_type(&tokens, index),
        }
    }
    published.push_str(&source[at..]);
    published
}

/// Whether a member that starts with `static` is a method: a name and parameters come before any body or value. A
/// static constructor has no type before its name and takes no modifier.
fn is_method(tokens: &[Token<'_>]) -> bool {
    let depth = tokens[0].depth;
    let Some(open) = tokens.iter().position(|token| token.depth == depth && token.is_mark("(")) else {
        return false;
    };
    let before = &tokens[1..open];
    let is_local_or_type = |token: &Token<'_>| {
        ["class", "struct", "event", "delegate", "readonly", "using"].iter().any(|word| token.is_word(word))
            || ["=", ";", "{", "}"].iter().any(|mark| token.is_mark(mark))
    };
    if before.is_empty() {
        // The type is a tuple: `static (int, int) Name(`.
        let after = &tokens[closing(tokens, open)..];
        return after.get(1).is_some_and(|name| name.kind == Kind::Word)
            && after.get(2).is_some_and(|t| t.is_mark("("));
    }
    before.len() >= 2 && !before.iter().any(is_local_or_type)
}
