//! JavaScript and TypeScript: repeated imports once, entry points called, and module syntax kept working beside `require`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::append::join;
use super::lex::{Backtick, Kind, Syntax, Token, closing, lex, whole_line, without};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "javascript", values: &[], splice, whole };

/// TypeScript is compiled to what a plain script can be; only what a script cannot say needs a module.
pub(super) const TYPESCRIPT: Splicer =
    Splicer { name: "typescript", values: &[], splice: splice_typescript, whole: whole_typescript };

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

/// Hands a promise to what tells that the tests have run to their end; closed by a parenthesis.
const TRACK: &str = "testsOfProgram.track(";

/// Gives a module what it would find as a plain script.
const COMMONJS_IN_MODULE: &str = "import { createRequire as createRequireForScript } from 'node:module';
const require = createRequireForScript(import.meta.url), module = { exports: {} }, exports = module.exports;
";

fn splice(solution: &str, tests: &str) -> Program {
    whole(&join_once(solution, tests))
}

fn splice_typescript(solution: &str, tests: &str) -> Program {
    whole_typescript(&join_once(solution, tests))
}

/// The solution, and the tests without the imports that it has already, with calls of what nothing calls.
fn join_once(solution: &str, tests: &str) -> String {
    let known: BTreeSet<String> = imports(solution).into_iter().map(|import| import.text).collect();
    let repeated: Vec<_> =
        imports(tests).into_iter().filter(|import| known.contains(&import.text)).map(|i| i.range).collect();
    with_calls(join(solution, &without(tests, &repeated)))
}

/// `source` and calls of its entry points that nothing calls.
fn with_calls(source: String) -> String {
    let calls: String = uncalled(&source).iter().map(|name| format!("{name}();\n")).collect();
    if calls.is_empty() { source } else { join(&source, &calls) }
}

/// The tests with all their calls, and with what their asynchronous functions give back handed to `data/harness`,
/// which looks whether it settles.
pub(super) fn enclose(tests: &str) -> (Cow<'_, str>, &str) {
    let tests = with_calls(tests.to_owned());
    let tokens = lex(&tests, &SYNTAX);
    let mut inserted: Vec<(usize, &str)> = Vec::new();
    for call in async_calls(&tokens) {
        inserted.push((tokens[call.start].start, TRACK));
        inserted.push((tokens[call.end - 1].end(), ")"));
    }
    inserted.sort_by_key(|(at, _)| *at);
    let mut tracked = String::with_capacity(tests.len());
    let mut at = 0;
    for (position, text) in inserted {
        tracked.push_str(&tests[at..position]);
        tracked.push_str(text);
        at = position;
    }
    tracked.push_str(&tests[at..]);
    (tracked.into(), "")
}

/// The tokens of every asynchronous function.
fn async_functions(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let starts = (0..tokens.len()).filter(|&at| tokens[at].is_word("async"));
    let end = |start: usize| {
        let depth = tokens[start].depth;
        let inside = |offset: &usize| tokens[start + offset].depth >= depth;
        let end_of_statement = (1..tokens.len() - start).find(|offset| {
            !inside(offset) || (tokens[start + offset].depth == depth && tokens[start + offset].is_mark(";"))
        });
        let end = end_of_statement.map_or(tokens.len(), |offset| start + offset);
        // A body in braces ends before its statement does; an expression does not.
        let parameters = (start + 1..end).find(|&at| tokens[at].is_mark("(") && tokens[at].depth == depth);
        let after = parameters.map_or(start + 2, |open| closing(tokens, open) + 1);
        body_brace(tokens, after).map_or(end, |brace| closing(tokens, brace) + 1)
    };
    starts.map(|start| start..end(start)).collect()
}

/// The tokens of every call of an asynchronous function of `tokens`: `f(...)`, `(async () => {...})(...)`.
fn async_calls(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let is_word = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is_word(word));
    let is_mark = |at: usize, mark: &str| tokens.get(at).is_some_and(|token| token.is_mark(mark));
    let names: BTreeSet<&str> = (0..tokens.len())
        .filter_map(|at| {
            if is_word(at, "async") && is_word(at + 1, "function") {
                tokens.get(at + 2).filter(|name| name.kind == Kind::Word)
            } else if is_binding(&tokens[at]) && is_mark(at + 2, "=") && is_word(at + 3, "async") {
                tokens.get(at + 1)
            } else {
                None
            }
        })
        .map(|name| name.text)
        .collect();
    let mut calls = Vec::new();
    for at in 0..tokens.len() {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let starts_statement =
            before.is_none_or(|token| [";", "{", "}"].iter().any(|mark| token.is_mark(mark)));
        let arguments = if tokens[at].kind == Kind::Word && names.contains(tokens[at].text) {
            let is_other = before.is_some_and(|token| token.is_word("function") || token.is_mark("."));
            // A body after the parentheses: a method of this name.
            let is_method = |open: usize| is_mark(closing(tokens, open) + 1, "{");
            (!is_other && is_mark(at + 1, "(") && !is_method(at + 1)).then_some(at + 1)
        } else if tokens[at].is_mark("(") && is_word(at + 1, "async") && starts_statement {
            Some(closing(tokens, at) + 1).filter(|&open| is_mark(open, "("))
        } else {
            None
        };
        if let Some(open) = arguments {
            calls.push(at..closing(tokens, open) + 1);
        }
    }
    calls
}

fn whole(source: &str) -> Program {
    let tokens = lex(source, &SYNTAX);
    if is_module(&tokens) { module(source, &tokens) } else { script(source) }
}

fn whole_typescript(source: &str) -> Program {
    let tokens = lex(source, &SYNTAX);
    let follows = |at: usize, text: &str| tokens.get(at).is_some_and(|next| next.text == text);
    let of_functions = async_functions(&tokens);
    let needs_module = (0..tokens.len()).any(|at| {
        let is_name = follows(at + 1, ":") || (at > 0 && tokens[at - 1].is_mark("."));
        let in_function = of_functions.iter().any(|function| function.contains(&at));
        let awaits = tokens[at].is_word("await") && !is_name && !in_function;
        let asks_for_url = tokens[at].is_word("import") && follows(at + 1, ".") && follows(at + 2, "meta");
        awaits || asks_for_url
    });
    if needs_module { module(source, &tokens) } else { script(source) }
}

fn script(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

fn module(source: &str, tokens: &[Token<'_>]) -> Program {
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
    let after = if first.is_mark("(") { closing(tokens, parameters) + 1 } else { parameters + 1 };
    body_brace(tokens, after)
}

/// The index of the brace that opens a function's body; `after` is where its parameters have ended. TypeScript may
/// say the type of its result first.
fn body_brace(tokens: &[Token<'_>], after: usize) -> Option<usize> {
    let depth = tokens.get(after)?.depth;
    let mut at = after;
    while let Some(token) = tokens.get(at).filter(|token| token.depth >= depth && !token.is_mark(";")) {
        let of_type = at > after && ["<", "|", "&", ":", ","].iter().any(|mark| tokens[at - 1].is_mark(mark));
        if token.is_mark("=") && tokens.get(at + 1).is_some_and(|next| next.is_mark(">")) {
            return tokens.get(at + 2).filter(|brace| brace.is_mark("{")).map(|_| at + 2);
        }
        if token.is_mark("{") && !of_type {
            return Some(at);
        }
        // Without a type, a body follows at once.
        if at == after && !token.is_mark(":") {
            return None;
        }
        let opens = ["(", "[", "{"].iter().any(|mark| token.is_mark(mark));
        at = if opens { closing(tokens, at) + 1 } else { at + 1 };
    }
    None
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
