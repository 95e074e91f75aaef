//! A small lexer for C-like languages: enough to tell code from strings and comments.
//!
//! It never fails: what it cannot make sense of becomes single-character marks, so any input, however broken,
//! gives tokens that lie in order within the source.

use std::ops::Range;

mod syntax;

pub use syntax::{Backtick, Syntax};

/// How nested `${ }` in template literals may be before the rest is taken as plain text.
const TEMPLATE_DEPTH: usize = 32;

/// The kind of a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An identifier or keyword.
    Word,
    /// A number.
    Number,
    /// A string, character, template or regular expression, with its quotes.
    Text,
    /// A preprocessor directive, to the end of its line.
    Directive,
    /// Any other single character.
    Mark,
}

/// A token of code. Space and comments are not tokens.
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

impl Token<'_> {
    /// Byte offset after its last character.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this word.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    /// Whether it is this character.
    pub fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }
}

/// The tokens of `source`.
pub fn lex<'a>(source: &'a str, syntax: &Syntax) -> Vec<Token<'a>> {
    let mut lexer = Lexer { source, syntax, at: 0 };
    let mut tokens = Vec::new();
    let mut depth = 0usize;
    while let Some((kind, range)) = lexer.next(tokens.last(), 0) {
        let text = &source[range.clone()];
        let is_mark = kind == Kind::Mark;
        if is_mark && matches!(text, ")" | "]" | "}") {
            depth = depth.saturating_sub(1);
        }
        tokens.push(Token { kind, text, start: range.start, depth });
        if is_mark && matches!(text, "(" | "[" | "{") {
            depth += 1;
        }
    }
    tokens
}

/// The index of the bracket that closes the one at `open`, or of the last token when none does.
pub fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let depth = tokens[open].depth;
    let after = tokens[open + 1..].iter().position(|token| token.depth <= depth);
    after.map_or(tokens.len() - 1, |offset| open + 1 + offset)
}

/// `source` without the bytes of `ranges`, which are in order and do not overlap.
pub fn without(source: &str, ranges: &[Range<usize>]) -> String {
    let mut kept = String::with_capacity(source.len());
    let mut at = 0;
    for range in ranges {
        kept.push_str(&source[at..range.start]);
        at = range.end;
    }
    kept.push_str(&source[at..]);
    kept
}

/// `range` grown over the spaces after it and one line end, when it starts its line; so that taking out a
/// statement takes out its line.
pub fn whole_line(source: &str, range: Range<usize>) -> Range<usize> {
    let line_start = source[..range.start].rfind('\n').map_or(0, |at| at + 1);
    if !source[line_start..range.start].trim().is_empty() {
        return range;
    }
    let rest = &source[range.end..];
    let end = rest.trim_start_matches([' ', '\t', '\r']);
    let Some(end) = end.strip_prefix('\n') else { return range };
    line_start..source.len() - end.len()
}

struct Lexer<'a, 'b> {
    source: &'a str,
    syntax: &'b Syntax,
    at: usize,
}

impl<'a> Lexer<'a, '_> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// The next token after `previous`, inside `nesting` template literals.
    fn next(&mut self, previous: Option<&Token<'_>>, nesting: usize) -> Option<(Kind, Range<usize>)> {
        self.skip_space_and_comments();
        let start = self.at;
        let first = self.rest().chars().next()?;
        let kind = match first {
            '#' if self.syntax.directives && self.starts_line() => {
                self.directive();
                Kind::Directive
            }
            '"' if self.syntax.text_blocks && self.rest().starts_with("\"\"\"") => {
                self.at += 3;
                self.text_block();
                Kind::Text
            }
            '@' if self.syntax.verbatim_strings && self.verbatim_string() => Kind::Text,
            '"' | '\'' => {
                self.quoted(first);
                Kind::Text
            }
            '`' if self.syntax.backtick == Backtick::Raw => {
                self.past("`", 1);
                Kind::Text
            }
            '`' if self.syntax.backtick == Backtick::Template => {
                self.template(nesting);
                Kind::Text
            }
            '/' if self.syntax.regex && regex_may_follow(previous) && self.regex() => Kind::Text,
            c if c.is_ascii_digit() => {
                self.number();
                Kind::Number
            }
            c if is_word_character(c) => self.word(),
            c => {
                self.at += c.len_utf8();
                Kind::Mark
            }
        };
        Some((kind, start..self.at))
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            let rest = self.rest().trim_start();
            self.at = self.source.len() - rest.len();
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.past("*/", 2);
            } else {
                return;
            }
        }
    }

    /// Moves past the next `end` found `skip` bytes on, or to the end of the source.
    fn past(&mut self, end: &str, skip: usize) {
        let from = self.at + skip;
        self.at = self.source[from..].find(end).map_or(self.source.len(), |at| from + at + end.len());
    }

    fn starts_line(&self) -> bool {
        let line_start = self.source[..self.at].rfind('\n').map_or(0, |at| at + 1);
        self.source[line_start..self.at].trim().is_empty()
    }

    /// To the end of the line, continued lines included, or to a comment on it.
    fn directive(&mut self) {
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\n' => return,
                '/' if self.rest().starts_with("//") || self.rest().starts_with("/*") => return,
                '"' => self.quoted('"'),
                '\\' => self.escape(),
                c => self.at += c.len_utf8(),
            }
        }
    }

    /// Past a backslash and the character, or line end, after it.
    fn escape(&mut self) {
        let mut characters = self.rest().chars();
        characters.next();
        let after = characters.as_str();
        let skipped =
            if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        self.at = self.source.len() - after.len() + skipped;
    }

    /// From an opening quote to the closing one, or to the end of the line when there is none.
    fn quoted(&mut self, quote: char) {
        self.at += quote.len_utf8();
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\\' => self.escape(),
                '\n' => return,
                c => {
                    self.at += c.len_utf8();
                    if c == quote {
                        return;
                    }
                }
            }
        }
    }

    /// Past `@"..."` or `@$"..."`; stays where it is when neither begins here.
    fn verbatim_string(&mut self) -> bool {
        let Some(start) = ["@\"", "@$\""].iter().find(|start| self.rest().starts_with(**start)) else {
            return false;
        };
        self.at += start.len();
        loop {
            self.past("\"", 0);
            if !self.rest().starts_with('"') {
                return true;
            }
            self.at += 1;
        }
    }

    fn text_block(&mut self) {
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\\' => self.escape(),
                '"' if self.rest().starts_with("\"\"\"") => {
                    self.at += 3;
                    return;
                }
                c => self.at += c.len_utf8(),
            }
        }
    }

    fn template(&mut self, nesting: usize) {
        self.at += 1;
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\\' => self.escape(),
                '`' => {
                    self.at += 1;
                    return;
                }
                '$' if nesting < TEMPLATE_DEPTH && self.rest().starts_with("${") => {
                    self.at += 2;
                    self.template_code(nesting + 1);
                }
                c => self.at += c.len_utf8(),
            }
        }
    }

    /// Past the code of a `${code}`, its closing brace included.
    fn template_code(&mut self, nesting: usize) {
        let mut open = 1usize;
        let mut previous: Option<Token<'a>> = None;
        while let Some((kind, range)) = self.next(previous.as_ref(), nesting) {
            let token = Token { kind, text: &self.source[range.clone()], start: range.start, depth: 0 };
            if token.is_mark("{") {
                open += 1;
            } else if token.is_mark("}") {
                open -= 1;
                if open == 0 {
                    return;
                }
            }
            previous = Some(token);
        }
    }

    /// Past a regular expression; stays where it is when the line ends first.
    fn regex(&mut self) -> bool {
        let mut in_class = false;
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => return false,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '[' => in_class = true,
                ']' => in_class = false,
                '/' if !in_class => {
                    self.at += offset + 1;
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    fn number(&mut self) {
        while let Some(c) = self.rest().chars().next() {
            let mut after = self.rest().chars().skip(1);
            let separator = c == '\'' && after.next().is_some_and(char::is_alphanumeric);
            if !(is_word_character(c) || c == '.' || separator) {
                return;
            }
            self.at += c.len_utf8();
        }
    }

    fn word(&mut self) -> Kind {
        let rest = self.rest();
        let length = rest.find(|c| !is_word_character(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        self.at += length;
        if self.syntax.raw_strings
            && matches!(word, "R" | "LR" | "uR" | "UR" | "u8R")
            && self.rest().starts_with('"')
            && let Some(open) = self.rest().find('(').filter(|&open| open <= 17)
        {
            let end = format!("){}\"", &self.rest()[1..open]);
            self.past(&end, open + 1);
            return Kind::Text;
        }
        Kind::Word
    }
}

fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Whether a slash after `previous` opens a regular expression rather than divides.
fn regex_may_follow(previous: Option<&Token<'_>>) -> bool {
    let Some(previous) = previous else { return true };
    match previous.kind {
        Kind::Word => matches!(
            previous.text,
            "return"
                | "typeof"
                | "case"
                | "in"
                | "of"
                | "delete"
                | "void"
                | "throw"
                | "new"
                | "else"
                | "do"
                | "instanceof"
                | "yield"
                | "await"
        ),
        Kind::Mark => !matches!(previous.text, ")" | "]"),
        Kind::Number | Kind::Text | Kind::Directive => false,
    }
}

/// The length of the comment that `text` starts with, where comments nest; one that is not closed takes all.
pub fn nested_comment_length(text: &str, open: &str, close: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with(open) {
            depth += 1;
            at += open.len();
        } else if text[at..].starts_with(close) {
            depth -= 1;
            at += close.len();
            if depth == 0 {
                return at;
            }
        } else {
            at += c.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
