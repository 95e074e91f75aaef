//! Swift: the solution and the tests; Foundation is imported for the mathematics that programs take for granted.

use super::append::join;
use super::lex::{Kind, Syntax, Token, lex};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "swift", values: &[], splice, whole };

const SYNTAX: Syntax = Syntax { text_blocks: true, ..Syntax::PLAIN };

/// Functions that no program has without an import.
const MATHEMATICS: [&str; 19] = [
    "acos", "asin", "atan", "atan2", "cbrt", "ceil", "cos", "exp", "floor", "fmod", "hypot", "log", "log10",
    "log2", "pow", "round", "sin", "sqrt", "tan",
];

/// Modules that bring them.
const MODULES: [&str; 3] = ["Foundation", "Glibc", "Darwin"];

fn splice(solution: &str, tests: &str) -> Program {
    let joined = join(solution, tests);
    let source = if needs_import(&joined) { format!("import Foundation\n{joined}") } else { joined };
    Program { source, ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

fn needs_import(source: &str) -> bool {
    let tokens = lex(source, &SYNTAX);
    let imported = tokens
        .windows(2)
        .any(|pair| pair[0].is_word("import") && MODULES.iter().any(|module| pair[1].is_word(module)));
    !imported && (0..tokens.len()).any(|at| is_call(&tokens, at))
}

/// Whether the token `at` is the name of a mathematical function that is called, not a method or definition.
fn is_call(tokens: &[Token<'_>], at: usize) -> bool {
    let called = tokens.get(at + 1).is_some_and(|next| next.is_mark("("));
    let own = at > 0 && (tokens[at - 1].is_mark(".") || tokens[at - 1].is_word("func"));
    tokens[at].kind == Kind::Word && MATHEMATICS.contains(&tokens[at].text) && called && !own
}
