//! Lua: a solution written as a module, and tests that load it with `require`, in one file.
//!
//! The solution's local functions are in the tests' scope as they are. What the module returns is given to `require`
//! under the names the tests ask for, unless there is a library of that name.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::append::join;
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "lua", values: &[], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    let tokens = lex(solution);
    let required = required(&lex(tests));
    let source = match module_return(&tokens) {
        Some(at) => {
            let start = tokens[at].start;
            let has_value = tokens.get(at + 1).is_some_and(|token| token.text != ";");
            let (head, tail) = (&solution[..start], &solution[start + "return".len()..]);
            let value = if has_value { "local solution__ =" } else { "local solution__" };
            join(&format!("{head}{value}{tail}"), &loaders(&required, |_| "solution__".to_owned(), tests))
        }
        None => {
            let functions = functions(&tokens);
            let table: Vec<_> = functions.iter().map(|name| format!("{name} = {name}")).collect();
            let value = |name: &str| {
                let (_, last) = name.rsplit_once('.').unwrap_or(("", name));
                if functions.contains(last) { last.to_owned() } else { format!("{{ {} }}", table.join(", ")) }
            };
            join(solution, &loaders(&required, value, tests))
        }
    };
    Program { source, ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// The tests up to their last `return`, after which nothing may follow.
pub(super) fn enclose(tests: &str) -> (Cow<'_, str>, &str) {
    let tokens = lex(tests);
    let (code, last) = tests.split_at(module_return(&tokens).map_or(tests.len(), |at| tokens[at].start));
    (code.into(), last)
}

/// The tests behind a line that makes `require` find each of `names`.
fn loaders(names: &BTreeSet<&str>, value: impl Fn(&str) -> String, tests: &str) -> String {
    let loader = |name: &&str| {
        format!(
            "if not package.loaded['{name}'] and not package.searchpath('{name}', package.path) and not \
             package.searchpath('{name}', package.cpath) then package.preload['{name}'] = function() return {} end end",
            value(name)
        )
    };
    let lines: Vec<_> = names.iter().map(loader).collect();
    if lines.is_empty() { tests.to_owned() } else { join(&lines.join(" "), tests) }
}

/// The modules that are asked for by plain names.
fn required<'a>(tokens: &[Token<'a>]) -> BTreeSet<&'a str> {
    let name = |at: usize| {
        let quoted = tokens.get(at).filter(|token| token.kind == Kind::Text)?;
        let name = quoted.text.trim_matches(['"', '\'']);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        (name.len() + 2 == quoted.text.len() && name.chars().all(is_plain)).then_some(name)
    };
    let is_open = |at: usize| tokens.get(at).is_some_and(|token| token.text == "(");
    let calls = (0..tokens.len()).filter(|&at| tokens[at].kind == Kind::Word && tokens[at].text == "require");
    calls.filter_map(|at| name(if is_open(at + 1) { at + 2 } else { at + 1 })).collect()
}

/// The functions declared outside of all blocks, by plain names.
fn functions<'a>(tokens: &[Token<'a>]) -> BTreeSet<&'a str> {
    let is_declared = |at: &usize| {
        tokens[*at].is_word("function")
            && tokens[*at].depth == 0
            && tokens.get(at + 1).is_some_and(|name| name.kind == Kind::Word)
            && tokens.get(at + 2).is_some_and(|open| open.text == "(")
    };
    (0..tokens.len()).filter(is_declared).map(|at| tokens[at + 1].text).collect()
}

/// The index of the `return` of the module itself.
fn module_return(tokens: &[Token<'_>]) -> Option<usize> {
    tokens.iter().position(|token| token.depth == 0 && token.is_word("return"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Text,
    Mark,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    start: usize,
    /// How many blocks and brackets are open around it; what opens and closes them stands outside.
    depth: usize,
}

impl Token<'_> {
    fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }
}

fn lex(source: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let (kind, length) = if let Some(comment) = rest.strip_prefix("--") {
            let comment = long_bracket(comment).map(|length| length + 2);
            at += comment.unwrap_or_else(|| rest.find('\n').unwrap_or(rest.len()));
            continue;
        } else if at == 0 && rest.starts_with('#') {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first == '"' || first == '\'' {
            (Kind::Text, quoted(rest, first))
        } else if let Some(length) = long_bracket(rest) {
            (Kind::Text, length)
        } else if first.is_alphanumeric() || first == '_' {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            (Kind::Word, rest.find(|c| !is_part(c)).unwrap_or(rest.len()))
        } else {
            (Kind::Mark, first.len_utf8())
        };
        let text = &rest[..length];
        let (opens, closes) = match kind {
            // `while` and `for` open with their `do`, `if` with its first `then`.
            Kind::Word => {
                (matches!(text, "function" | "do" | "if" | "repeat"), matches!(text, "end" | "until"))
            }
            Kind::Mark => (matches!(text, "(" | "[" | "{"), matches!(text, ")" | "]" | "}")),
            Kind::Text => (false, false),
        };
        depth = depth.saturating_sub(usize::from(closes));
        tokens.push(Token { kind, text, start: at, depth });
        depth += usize::from(opens);
        at += length;
    }
    tokens
}

/// The length of the string that `rest` starts with; to the end of the line when it does not end.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return offset,
            c if c == quote => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the `[[...]]` or `[==[...]==]` that `rest` starts with.
fn long_bracket(rest: &str) -> Option<usize> {
    let level = rest.strip_prefix('[')?.bytes().take_while(|byte| *byte == b'=').count();
    rest[1 + level..].strip_prefix('[')?;
    let end = format!("]{}]", "=".repeat(level));
    Some(rest.find(&end).map_or(rest.len(), |at| at + end.len()))
}
