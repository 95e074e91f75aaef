//! JavaScript: repeated imports once, entry points called, and module syntax kept working beside `require`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::append::join;
use super::lex::{Backtick, Kind, Syntax, Token, closing, lex, whole_line, without};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "javascript", values: &[], splice, whole };

const SYNTAX: Syntax = Syntax {
    text_blocks: false,
    raw_strings: false,
    verbatim_strings: false,
    directives: false,
    backtick: Backtick::Template,
    regex: true,
};

/// The functions tests are written in.
const ENTRY_POINTS: [&str; 2] = ["demoTesting", "fullTesting"];

/// Gives a module what it would find as a plain script.
const COMMONJS_IN_MODULE: &str = "import { createRequire as createRequireForScript } from 'node:module';
const require = createRequireForScript(import.meta.url), module = { exports: {} }, exports = module.exports;
";

fn splice(solution: &str, tests: &str) -> Program {
    let known: BTreeSet<String> = imports(solution).into_iter().map(|import| import.text).collect();
    let repeated: Vec<_> =
        imports(tests).into_iter().filter(|import| known.contains(&import.text)).map(|i| i.range).collect();
    let mut source = join(solution, &without(tests, &repeated));
    let calls: String = uncalled(&source).iter().map(|name| format!("{name}();\n")).collect();
    if !calls.is_empty() {
        source = join(&source, &calls);
    }
    whole(&source)
}

fn whole(source: &str) -> Program {
    let tokens = lex(source, &SYNTAX);
    if !is_module(&tokens) {
        return Program { source: source.to_owned(), ..Program::default() };
    }
    let uses = |name: &str| tokens.iter().any(|token| token.is_word(name));
    let declares = |name: &str| {
        tokens
            .windows(2)
            .any(|pair| (is_binding(&pair[0]) || pair[0].is_word("function")) && pair[1].is_word(name))
    };
    let names = ["require", "module", "exports"];
    let source = if names.iter().any(|name| uses(name)) && !names.iter().any(|name| declares(name)) {
        format!("{COMMONJS_IN_MODULE}{source}")
    } else {
        source.to_owned()
    };
    Program { source, variant: Some("module"), ..Program::default() }
}

/// Whether the program has `import` or `export` declarations.
fn is_module(tokens: &[Token<'_>]) -> bool {
    (0..tokens.len()).any(|at| {
        let next = tokens.get(at + 1);
        // `import(...)` and `import.meta` are expressions, `.export` and `export:` are properties.
        let declares = match tokens[at].text {
            "import" => next.is_some_and(|n| n.kind != Kind::Mark || n.is_mark("{") || n.is_mark("*")),
            "export" => next.is_some_and(|n| n.kind == Kind::Word || n.is_mark("{") || n.is_mark("*")),
            _ => false,
        };
        declares
            && tokens[at].kind == Kind::Word
            && tokens[at].depth == 0
            && !(at > 0 && tokens[at - 1].is_mark("."))
    })
}

/// An import that binds names: an `import` declaration or a `const x = require("y")`.
struct Import {
    /// Its tokens, without spaces and with one kind of quotes.
    text: String,
    range: Range<usize>,
}

/// The imports that stand at the top level of `source`.
fn imports(source: &str) -> Vec<Import> {
    let tokens = lex(source, &SYNTAX);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = tokens[at].depth == 0 && (tokens[at].is_word("import") || is_binding(&tokens[at]));
        let length = if starts { import_length(&tokens[at..]) } else { None };
        let Some(length) = length else {
            at += 1;
            continue;
        };
        let statement = &tokens[at..at + length];
        let semicolon = tokens.get(at + length).is_some_and(|token| token.is_mark(";"));
        let last = if semicolon { at + length } else { at + length - 1 };
        let text = statement.iter().map(|token| token.text.replace('"', "'") + " ").collect();
        found.push(Import { text, range: whole_line(source, tokens[at].start..tokens[last].end()) });
        at = last + 1;
    }
    found
}

/// The number of tokens, semicolon excluded, of the import that `tokens` starts with.
fn import_length(tokens: &[Token<'_>]) -> Option<usize> {
    let (first, rest) = tokens.split_first()?;
    let names = rest
        .iter()
        .take_while(|t| t.kind == Kind::Word || (t.kind == Kind::Mark && "{},*:".contains(t.text)));
    let names = names.count();
    if first.is_word("import") {
        return rest.get(names).filter(|path| path.kind == Kind::Text).map(|_| names + 2);
    }
    // `require` is not among the names: an equals sign ends them.
    let [equals, require, open, path, close, ..] = rest.get(names..)? else { return None };
    let is_require = is_binding(first)
        && equals.is_mark("=")
        && require.is_word("require")
        && open.is_mark("(")
        && path.kind == Kind::Text
        && close.is_mark(")");
    let ends = rest.get(names + 5).is_none_or(|next| !next.is_mark(".") && !next.is_mark(","));
    (is_require && ends).then_some(names + 6)
}

/// The entry points that are defined but that nothing calls.
fn uncalled(source: &str) -> Vec<&'static str> {
    let tokens = lex(source, &SYNTAX);
    let functions = functions(&tokens);
    let reached = reached(&tokens, &functions);
    let entry_points = ENTRY_POINTS.into_iter();
    entry_points.filter(|name| functions.contains_key(name) && !reached.contains(name)).collect()
}

/// The functions declared at the top level, with the tokens they consist of.
fn functions<'a>(tokens: &[Token<'a>]) -> BTreeMap<&'a str, Range<usize>> {
    let mut functions = BTreeMap::new();
    for at in 0..tokens.len().saturating_sub(1) {
        let name = &tokens[at + 1];
        if tokens[at].depth == 0
            && name.kind == Kind::Word
            && let Some(body) = function_body(tokens, at)
        {
            functions.insert(name.text, at..closing(tokens, body) + 1);
        }
    }
    functions
}

/// The index of the brace that opens the body of the function whose declaration starts at `at`:
/// `function f() {`, `const f = function () {`, `const f = () => {`, `const f = x => {`.
fn function_body(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let mut parameters = at + 2;
    if is_binding(&tokens[at]) {
        tokens.get(at + 2).filter(|equals| equals.is_mark("="))?;
        parameters = at + 3;
        for keyword in ["async", "function"] {
            parameters += usize::from(tokens.get(parameters)?.is_word(keyword));
        }
    } else if !tokens[at].is_word("function") {
        return None;
    }
    let first = tokens.get(parameters)?;
    let mut body = if first.is_mark("(") { closing(tokens, parameters) + 1 } else { parameters + 1 };
    if tokens.get(body)?.is_mark("=") && tokens.get(body + 1)?.is_mark(">") {
        body += 2;
    }
    tokens.get(body)?.is_mark("{").then_some(body)
}

fn is_binding(token: &Token<'_>) -> bool {
    ["const", "let", "var"].iter().any(|keyword| token.is_word(keyword))
}

/// The functions that run when the program does: those called outside all of them, and those that these call.
fn reached<'a>(tokens: &[Token<'a>], functions: &BTreeMap<&'a str, Range<usize>>) -> BTreeSet<&'a str> {
    let mut calls: BTreeMap<Option<&str>, BTreeSet<&'a str>> = BTreeMap::new();
    for at in 0..tokens.len().saturating_sub(1) {
        let token = &tokens[at];
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let is_call = token.kind == Kind::Word
            && tokens[at + 1].is_mark("(")
            && !before.is_some_and(|before| before.is_word("function") || before.is_mark("."));
        if is_call {
            let caller = functions.iter().find(|(_, range)| range.contains(&at)).map(|(name, _)| *name);
            calls.entry(caller).or_default().insert(token.text);
        }
    }
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<Option<&str>> = vec![None];
    while let Some(caller) = waiting.pop() {
        for callee in calls.get(&caller).into_iter().flatten() {
            if reached.insert(*callee) {
                waiting.push(Some(callee));
            }
        }
    }
    reached
}
