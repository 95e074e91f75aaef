//! Tokens of Pascal: enough to find where declarations and routines begin and end. It never fails.

/// The kind of a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier or keyword.
    Word,
    /// `{$...}`.
    Directive,
    /// A string, or a single other character.
    Other,
}

/// A token of code; space and comments are not tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Byte offset of its first character.
    pub start: usize,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is one of these words; upper and lower case are the same.
    pub(super) fn is_word(&self, words: &[&str]) -> bool {
        self.kind == Kind::Word && words.iter().any(|word| self.text.eq_ignore_ascii_case(word))
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Other && self.text == mark
    }
}

pub(super) fn lex(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        let past = |end: &str| rest.find(end).map_or(rest.len(), |found| found + end.len());
        let (kind, length) = match c {
            c if c.is_whitespace() => (None, c.len_utf8()),
            '{' if rest.starts_with("{$") => (Some(Kind::Directive), past("}")),
            '{' => (None, past("}")),
            '(' if rest.starts_with("(*$") => (Some(Kind::Directive), past("*)")),
            '(' if rest.starts_with("(*") => (None, past("*)")),
            '/' if rest.starts_with("//") => (None, past("\n")),
            '\'' => (Some(Kind::Other), text_length(rest)),
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                (Some(Kind::Word), end)
            }
            c => (Some(Kind::Other), c.len_utf8()),
        };
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: &rest[..length], start: at });
        }
        at += length;
    }
    tokens
}

/// A string; one that is not closed ends with its line.
fn text_length(text: &str) -> usize {
    let end = text.char_indices().skip(1).find(|(_, c)| matches!(c, '\'' | '\n'));
    end.map_or(text.len(), |(at, c)| if c == '\'' { at + 1 } else { at })
}
