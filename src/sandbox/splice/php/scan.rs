//! PHP source in pieces: text for the output, tags, and in the code words, marks, strings and comments.

/// What a piece of source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text outside of tags.
    Text,
    /// `<?php` with the white-space character after it, or `<?=`.
    Open,
    /// `?>` with the line end after it.
    Close,
    /// An identifier, keyword, variable or number.
    Word,
    /// Any other character of code.
    Mark,
    /// A string, here-document included.
    Quoted,
    /// A comment.
    Comment,
}

/// A piece of source. Pieces follow one another without gaps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub start: usize,
}

/// The pieces of `source`, which starts outside of tags. Never fails: what does not end ends with the source.
pub(super) fn scan(source: &str) -> Vec<Piece<'_>> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut in_code = false;
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let (kind, length) = if in_code { code(rest) } else { text(rest) };
        in_code = match kind {
            Kind::Open => true,
            Kind::Close => false,
            _ => in_code,
        };
        pieces.push(Piece { kind, text: &rest[..length], start: at });
        at += length;
    }
    pieces
}

/// The piece that `rest`, outside of tags and not empty, starts with.
fn text(rest: &str) -> (Kind, usize) {
    match open_tag(rest) {
        Some(length) => (Kind::Open, length),
        None => {
            let tag = rest.match_indices("<?").find(|(at, _)| open_tag(&rest[*at..]).is_some());
            (Kind::Text, tag.map_or(rest.len(), |(at, _)| at))
        }
    }
}

fn open_tag(rest: &str) -> Option<usize> {
    if rest.starts_with("<?=") {
        return Some(3);
    }
    let word = rest.get(..5).filter(|word| word.eq_ignore_ascii_case("<?php"))?;
    let after = &rest[word.len()..];
    match after.chars().next() {
        None => Some(5),
        Some('\r') if after.starts_with("\r\n") => Some(7),
        Some(c) if c.is_ascii_whitespace() => Some(6),
        Some(_) => None,
    }
}

/// The piece of code that `rest`, not empty, starts with.
fn code(rest: &str) -> (Kind, usize) {
    let Some(first) = rest.chars().next() else { return (Kind::Mark, 0) };
    if let Some(after) = rest.strip_prefix("?>") {
        let line_end = if after.starts_with("\r\n") { 2 } else { usize::from(after.starts_with('\n')) };
        return (Kind::Close, 2 + line_end);
    }
    if rest.starts_with("//") || (first == '#' && !rest.starts_with("#[")) {
        // A closing tag ends such a comment, too.
        let end = rest.find('\n').into_iter().chain(rest.find("?>")).min();
        return (Kind::Comment, end.unwrap_or(rest.len()));
    }
    if let Some(comment) = rest.strip_prefix("/*") {
        return (Kind::Comment, comment.find("*/").map_or(rest.len(), |at| at + 4));
    }
    if first == '"' || first == '\'' || first == '`' {
        return (Kind::Quoted, quoted(rest, first));
    }
    if let Some(length) = here_document(rest) {
        return (Kind::Quoted, length);
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    if is_part(first) {
        return (Kind::Word, rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
    }
    (Kind::Mark, first.len_utf8())
}

/// The length of a string, which may span lines.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a `<<<WORD` string up to and with the word that ends it.
fn here_document(rest: &str) -> Option<usize> {
    let name = rest.strip_prefix("<<<")?.trim_start_matches([' ', '\t']);
    let name = name.strip_prefix(['"', '\'']).unwrap_or(name);
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let word = &name[..name.find(|c| !is_part(c)).unwrap_or(name.len())];
    if word.is_empty() {
        return None;
    }
    let mut at = rest.find('\n')? + 1;
    for line in rest[at..].split_inclusive('\n') {
        let text = line.trim_start_matches([' ', '\t']);
        if text.strip_prefix(word).is_some_and(|after| !after.starts_with(is_part)) {
            return Some(at + line.len() - text.len() + word.len());
        }
        at += line.len();
    }
    Some(rest.len())
}
