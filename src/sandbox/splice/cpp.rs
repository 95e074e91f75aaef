//! C++: the solution without its `main`, then the tests, under the headers that both take for granted.

use std::ops::Range;

use super::append::join;
use super::lex::{Backtick, Kind, Syntax, Token, closing, lex, without};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "cpp", values: &["headers"], splice, whole };

const SYNTAX: Syntax = Syntax {
    text_blocks: false,
    raw_strings: true,
    verbatim_strings: false,
    directives: true,
    backtick: Backtick::Plain,
    regex: false,
};

const PRELUDE: &str = "#include <iostream>\nusing namespace std;\n";

fn splice(solution: &str, tests: &str) -> Program {
    let solution = match main_function(tests) {
        Some(_) => without(solution, main_function(solution).as_slice()),
        None => solution.to_owned(),
    };
    program(format!("{PRELUDE}{}", join(&solution, tests)))
}

fn whole(source: &str) -> Program {
    program(source.to_owned())
}

/// Sets of headers that are precompiled: the name of each in the language file, and what a program includes that gets it.
const PRECOMPILED: [(&str, &[&str]); 3] = [
    ("everything", &["bits/stdc++.h"]),
    ("containers", &["iostream", "string", "vector"]),
    ("streams", &["iostream"]),
];

/// What a program has to say, in part at least, that can tell whether `<future>` and `<filesystem>` are among its
/// headers. The names of the latter are in the namespace `filesystem`; those of the former that do not contain
/// `future` are `async`, `launch`, `packaged_task` and `promise`. `typeid` tells how many unnamed types came before.
const RARE: [&str; 7] = ["filesystem", "future", "async", "launch", "packaged_task", "promise", "typeid"];

/// What such a word can be put together with: pasted tokens, and a line that goes on in the next one, with space before
/// its end or not.
const JOINTS: [&str; 6] = ["##", "%:", "\\\n", "\\\r", "\\ ", "\\\t"];

/// `source`, to be compiled with those precompiled headers that it includes anyway, before all else.
fn program(source: String) -> Program {
    let tokens = lex(&source, &SYNTAX);
    let included = leading_headers(&tokens);
    let fits = |wanted: &&[&str]| wanted.iter().all(|header| included.iter().any(|known| known == header));
    let Some((set, _)) = PRECOMPILED.iter().find(|(_, wanted)| fits(wanted)) else {
        return Program { source, ..Program::default() };
    };
    let set = if *set == "everything" && is_usual(&source, &tokens) { "usual" } else { set };
    let values = vec![("headers", set.to_owned())];
    Program { source, variant: Some("precompiled"), values, ..Program::default() }
}

/// Whether nothing in `source` can tell if it has `<future>` and `<filesystem>`, which cost a quarter of compiling it.
fn is_usual(source: &str, tokens: &[Token<'_>]) -> bool {
    // Headers of other libraries include what they like: those that are in folders, or named as C++ headers often are.
    let is_foreign = |token: &Token<'_>| {
        let words: String = token.text.split_whitespace().collect();
        ["include", "import"].iter().any(|word| words.contains(word))
            && ["/", "\"", ".hh", ".hpp", ".hxx"].iter().any(|part| words.contains(part))
            && words != "#include<bits/stdc++.h>"
    };
    !RARE.iter().chain(&JOINTS).any(|part| source.contains(part))
        && !tokens.iter().any(|token| token.kind == Kind::Directive && is_foreign(token))
}

/// The standard headers that a program starts with: nothing stands before or between them that could change what they
/// mean.
fn leading_headers(tokens: &[Token<'_>]) -> Vec<String> {
    let mut headers = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let words: String = token.text.split_whitespace().collect();
        if let Some(header) = words.strip_prefix("#include<").and_then(|rest| rest.strip_suffix('>')) {
            headers.push(header.to_owned());
            at += 1;
        } else if ["using", "namespace", "std", ";"].iter().zip(&tokens[at..]).all(|(a, b)| *a == b.text) {
            at += 4;
        } else {
            break;
        }
    }
    headers
}

/// Where `int main(...) { ... }` stands in `source`.
pub(super) fn main_function(source: &str) -> Option<Range<usize>> {
    let tokens = lex(source, &SYNTAX);
    let name = (0..tokens.len()).find(|&at| {
        tokens[at].depth == 0
            && tokens[at].is_word("main")
            && tokens.get(at + 1).is_some_and(|next| next.is_mark("("))
    })?;
    let body = tokens[name..].iter().position(|token| token.depth == 0 && token.is_mark("{"))?;
    // A declaration without a body ends before any brace.
    if tokens[name..name + body].iter().any(|token| token.depth == 0 && token.is_mark(";")) {
        return None;
    }
    let end = tokens[closing(&tokens, name + body)].end();
    Some(tokens[statement_start(&tokens, name)].start..end)
}

/// The index of the first token of the statement that the token `at` belongs to.
fn statement_start(tokens: &[Token<'_>], at: usize) -> usize {
    let before = tokens[..at].iter().rposition(|token| {
        token.kind == Kind::Directive || token.is_mark(";") || token.is_mark("}") || token.is_mark("{")
    });
    before.map_or(0, |before| before + 1)
}
