//! Java: imports of both parts once and first, no package, no public top-level types; JUnit tests or a `main`.

use super::lex::{Backtick, Kind, Syntax, Token, closing, lex, whole_line, without};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "java", values: &["main"], splice, whole };

const SYNTAX: Syntax = Syntax {
    text_blocks: true,
    raw_strings: false,
    verbatim_strings: false,
    directives: false,
    backtick: Backtick::Plain,
    regex: false,
};

/// The most tokens between a type's keyword and its body that are looked at.
const MAX_HEADER: usize = 1000;

fn splice(solution: &str, tests: &str) -> Program {
    combine(&[Unit::read(solution), Unit::read(tests)])
}

fn whole(source: &str) -> Program {
    combine(&[Unit::read(source)])
}

/// One program of the units; the last one decides how it is run, when it can.
fn combine(units: &[Unit]) -> Program {
    let packages: Vec<_> = units.iter().filter_map(|unit| unit.package.as_deref()).collect();
    let mut imports: Vec<&str> = Vec::new();
    for import in units.iter().flat_map(|unit| &unit.imports) {
        if !imports.contains(&import.as_str()) && !packages.iter().any(|package| is_from(import, package)) {
            imports.push(import);
        }
    }
    let mut source: String = imports.iter().map(|import| format!("import {import};\n")).collect();
    for unit in units {
        if !source.is_empty() {
            source.push('\n');
        }
        source.push_str(unit.body.trim_matches('\n'));
        source.push('\n');
    }
    let entry = units.iter().rev().find_map(|unit| unit.entry.as_ref());
    match entry {
        Some(Entry::Tests) => Program { source, variant: Some("test"), ..Program::default() },
        Some(Entry::Main(class)) => {
            Program { source, values: vec![("main", class.clone())], ..Program::default() }
        }
        None => Program { source, values: vec![("main", "Main".to_owned())], ..Program::default() },
    }
}

/// Whether `import` names a type of `package`, which is one file with us now.
fn is_from(import: &str, package: &str) -> bool {
    import
        .strip_prefix(package)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|name| !name.contains('.'))
}

/// How a compilation unit wants to be run.
enum Entry {
    /// It has JUnit tests.
    Tests,
    /// This class has a `main`.
    Main(String),
}

/// A source file taken apart.
struct Unit {
    package: Option<String>,
    /// What stands between `import` and the semicolon, in order.
    imports: Vec<String>,
    body: String,
    entry: Option<Entry>,
}

impl Unit {
    fn read(source: &str) -> Self {
        let tokens = lex(source, &SYNTAX);
        let mut unit = Self { package: None, imports: Vec::new(), body: String::new(), entry: None };
        let mut removed = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let token = &tokens[at];
            let starts = token.depth == 0 && (at == 0 || ends_statement(&tokens[at - 1]));
            if starts
                && (token.is_word("import") || token.is_word("package"))
                && let Some(length) = declaration_length(&tokens[at..])
            {
                let name = qualified_name(&tokens[at + 1..at + length - 1]);
                if token.is_word("import") {
                    unit.imports.push(name);
                } else {
                    unit.package = Some(name);
                }
                let range = token.start..tokens[at + length - 1].end();
                removed.push(whole_line(source, range));
                at += length;
                continue;
            }
            if token.depth == 0 && is_access_modifier(token) {
                let end = tokens.get(at + 1).map_or(token.end(), |next| next.start);
                removed.push(token.start..end);
            }
            at += 1;
        }
        unit.body = without(source, &removed);
        unit.entry = entry(&tokens);
        unit
    }
}

fn ends_statement(token: &Token<'_>) -> bool {
    token.is_mark(";") || token.is_mark("}")
}

fn is_access_modifier(token: &Token<'_>) -> bool {
    ["public", "protected", "private"].iter().any(|modifier| token.is_word(modifier))
}

/// The number of tokens of the import or package declaration that `tokens` starts with, its semicolon included;
/// `None` when it is not one.
fn declaration_length(tokens: &[Token<'_>]) -> Option<usize> {
    let end = tokens.iter().position(|token| token.is_mark(";"))?;
    let named = tokens[1..end].iter().all(|t| t.kind == Kind::Word || t.is_mark(".") || t.is_mark("*"));
    (named && end > 1).then_some(end + 1)
}

/// `a.b.C` or `static a.b.C.*` without the spaces and comments it may be written with.
fn qualified_name(tokens: &[Token<'_>]) -> String {
    let mut name = String::new();
    for token in tokens {
        name.push_str(token.text);
        if token.is_word("static") {
            name.push(' ');
        }
    }
    name
}

fn entry(tokens: &[Token<'_>]) -> Option<Entry> {
    let annotations = ["Test", "ParameterizedTest", "RepeatedTest", "TestFactory", "TestTemplate"];
    let has_tests = tokens
        .windows(2)
        .any(|pair| pair[0].is_mark("@") && annotations.iter().any(|annotation| pair[1].is_word(annotation)));
    if has_tests {
        return Some(Entry::Tests);
    }
    let types = (0..tokens.len()).filter(|&at| {
        tokens[at].depth == 0
            && ["class", "interface", "enum", "record"].iter().any(|k| tokens[at].is_word(k))
    });
    types.filter_map(|at| main_class(tokens, at)).next_back().map(Entry::Main)
}

/// The name of the type declared at `at`, when it has a static `main`.
fn main_class(tokens: &[Token<'_>], at: usize) -> Option<String> {
    let name = tokens.get(at + 1).filter(|token| token.kind == Kind::Word)?;
    let mut header = tokens[at..].iter().take(MAX_HEADER);
    let open = at + header.position(|token| token.depth == 0 && token.is_mark("{"))?;
    let body = &tokens[open..closing(tokens, open)];
    let is_main = |name: usize| {
        body[name].depth == 1
            && body[name].is_word("main")
            && body.get(name + 1).is_some_and(|next| next.is_mark("("))
            && body[..name].iter().rev().take_while(|t| t.kind == Kind::Word).any(|t| t.is_word("static"))
    };
    (0..body.len()).any(is_main).then(|| name.text.to_owned())
}
