//! A small reader of Lisp: enough to tell top-level forms from strings and comments.
//!
//! It never fails: what is not closed extends to the end of the source, a bracket that closes nothing is an atom.

use std::ops::Range;

/// A token of Lisp. Space and comments are not tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// As it stands in the source.
    pub text: &'a str,
    /// Byte offset of its first character.
    pub start: usize,
    /// How many brackets are open around it; brackets themselves stand outside.
    pub depth: usize,
}

/// The kind of a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An opening bracket.
    Open,
    /// A closing bracket.
    Close,
    /// A string.
    Text,
    /// A line that names the language: `#lang racket`.
    Language,
    /// A symbol, number, character or a prefix such as a quote.
    Atom,
}

impl Token<'_> {
    /// Byte offset after its last character.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this symbol, in upper or lower case.
    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Atom && self.text.eq_ignore_ascii_case(symbol)
    }
}

/// The tokens of `source`.
pub fn read(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut depth = 0;
    loop {
        at = past_space_and_comments(source, at);
        let Some(first) = source[at..].chars().next() else { return tokens };
        let (kind, end) = token(source, at, first, depth);
        if kind == Kind::Close {
            depth -= 1;
        }
        tokens.push(Token { kind, text: &source[at..end], start: at, depth });
        if kind == Kind::Open {
            depth += 1;
        }
        at = end;
    }
}

/// The top-level lists of `tokens`, as ranges of tokens with both brackets; quoted ones are data, not forms.
pub fn forms(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let is_quoted = |at: usize| {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        before.is_some_and(|before| matches!(before.text, "'" | "`" | "," | "#" | "#;"))
    };
    let opens = (0..tokens.len()).filter(|&at| tokens[at].depth == 0 && tokens[at].kind == Kind::Open);
    opens.filter(|&open| !is_quoted(open)).map(|open| open..closing(tokens, open) + 1).collect()
}

/// The lists directly inside the list `form`.
pub fn clauses(tokens: &[Token<'_>], form: &Range<usize>) -> Vec<Range<usize>> {
    let depth = tokens[form.start].depth + 1;
    let opens = form.clone().filter(|&at| tokens[at].depth == depth && tokens[at].kind == Kind::Open);
    opens.map(|open| open..closing(tokens, open) + 1).collect()
}

/// The bytes of a range of tokens, which is not empty.
pub fn bytes(tokens: &[Token<'_>], range: &Range<usize>) -> Range<usize> {
    tokens[range.start].start..tokens[range.end - 1].end()
}

/// The index of the bracket that closes the one at `open`, or of the last token when none does.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let depth = tokens[open].depth;
    let close = |token: &Token<'_>| token.depth == depth && token.kind == Kind::Close;
    tokens[open..].iter().position(close).map_or(tokens.len() - 1, |offset| open + offset)
}

fn token(source: &str, at: usize, first: char, depth: usize) -> (Kind, usize) {
    let rest = &source[at..];
    let alone = at + first.len_utf8();
    match first {
        '(' | '[' | '{' => (Kind::Open, alone),
        ')' | ']' | '}' if depth > 0 => (Kind::Close, alone),
        '"' => (Kind::Text, past_quoted(source, alone, '"')),
        '#' if rest.starts_with("#lang ") || rest.starts_with("#!r") => {
            (Kind::Language, at + rest.find(['\n', '\r']).unwrap_or(rest.len()))
        }
        '#' if rest.starts_with("#\\") => {
            let named = at + 2;
            let single = source[named..].chars().next().map_or(named, |c| named + c.len_utf8());
            (Kind::Atom, single.max(past_symbol(source, single)))
        }
        // The datum after it is a comment; it is read like any other.
        '#' if rest.starts_with("#;") => (Kind::Atom, at + 2),
        '#' if rest.starts_with("#<<") => (Kind::Text, past_here_text(source, at)),
        c if is_symbol_character(c) => (Kind::Atom, past_symbol(source, at).max(alone)),
        _ => (Kind::Atom, alone),
    }
}

fn is_symbol_character(c: char) -> bool {
    !c.is_whitespace() && !"()[]{}\"';`,".contains(c)
}

/// Past the symbol at `at`; `|text|` within it may hold anything.
fn past_symbol(source: &str, mut at: usize) -> usize {
    while let Some(c) = source[at..].chars().next().filter(|c| is_symbol_character(*c)) {
        at += c.len_utf8();
        match c {
            '|' => at = past_quoted(source, at, '|'),
            '\\' => at += source[at..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
    }
    at
}

/// Past the text that starts at `at` and ends with `quote`.
fn past_quoted(source: &str, at: usize, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in source[at..].char_indices() {
        if c == quote && !escaped {
            return at + offset + quote.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    source.len()
}

/// Past `#<<END`, the lines after it, and a line `END`.
fn past_here_text(source: &str, at: usize) -> usize {
    let mut lines = source[at + 3..].split_inclusive('\n');
    let Some(end) = lines.next() else { return source.len() };
    let mut past = at + 3 + end.len();
    for line in lines {
        past += line.len();
        if line.trim_end_matches('\n') == end.trim_end_matches('\n') {
            break;
        }
    }
    past
}

fn past_space_and_comments(source: &str, mut at: usize) -> usize {
    loop {
        let rest = source[at..].trim_start();
        at = source.len() - rest.len();
        if rest.starts_with(';') || rest.starts_with("#!/") || rest.starts_with("#! ") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("#|") {
            at = past_block_comment(source, at);
        } else {
            return at;
        }
    }
}

/// Past `#| ... |#`, which nests.
fn past_block_comment(source: &str, at: usize) -> usize {
    let bytes = source.as_bytes();
    let mut depth = 0usize;
    let mut at = at;
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"#|" => depth += 1,
            b"|#" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    source.len()
}
