//! What a program printed, read as words, numbers, texts and containers.

use std::borrow::Cow;
use std::collections::HashMap;

use super::number::Number;

/// Brackets nested deeper than this are plain characters.
const MAX_DEPTH: usize = 64;

/// What may stand directly before a bracket and only says what kind of container it opens.
const SEQUENCE_NAMES: &[&str] = &[
    "List",
    "Vector",
    "Array",
    "ArrayList",
    "ArrayBuffer",
    "Seq",
    "IndexedSeq",
    "ArraySeq",
    "Tuple",
    "c",
    "list",
    "deque",
    "#",
    "'",
    "vector",
];
const SET_NAMES: &[&str] = &[
    "Set",
    "HashSet",
    "ListSet",
    "TreeSet",
    "SortedSet",
    "BTreeSet",
    "MapSet.new",
    "Set.new",
    "frozenset",
    "#set",
];
const MAP_NAMES: &[&str] = &[
    "Map",
    "HashMap",
    "ListMap",
    "TreeMap",
    "SortedMap",
    "BTreeMap",
    "Dict",
    "OrderedDict",
    "defaultdict",
    "%",
    "#hash",
    "#hasheq",
    "#hasheqv",
];

/// What kind of container its name says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Brackets alone.
    Unnamed,
    Set,
    Map,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What<'a> {
    /// Anything without a meaning of its own; also a bracket without a partner.
    Word,
    Number(Number),
    /// A boolean, null or a number that is none, by its common name.
    Literal(&'static str),
    /// In quotes, with escapes resolved.
    Text(Cow<'a, str>),
    Comma,
    /// `:`, `=`, `=>` or `->`.
    Separator,
    Newline,
    Container {
        nodes: Vec<Node<'a>>,
        kind: Kind,
        braces: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node<'a> {
    pub(super) what: What<'a>,
    /// Byte range in the text.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Blanks before it, since the token before or the line's beginning.
    pub(super) gap: usize,
}

enum Token<'a> {
    Leaf(What<'a>),
    Open,
    Close,
}

struct Placed<'a> {
    token: Token<'a>,
    start: usize,
    end: usize,
    gap: usize,
}

/// The nodes of `text`, without newlines at both ends.
pub(super) fn read(text: &str) -> Vec<Node<'_>> {
    let tokens = tokens(text);
    let partners = partners(text, &tokens);
    let mut nodes = build(text, tokens, &partners);
    while nodes.last().is_some_and(|node| node.what == What::Newline) {
        nodes.pop();
    }
    let first = nodes.iter().position(|node| node.what != What::Newline).unwrap_or(0);
    nodes.drain(..first);
    nodes
}

fn tokens(text: &str) -> Vec<Placed<'_>> {
    let mut tokens: Vec<Placed> = Vec::new();
    let (mut at, mut gap) = (0, 0);
    while let Some(first) = text[at..].chars().next() {
        let (token, length) = match first {
            '\n' => (Token::Leaf(What::Newline), 1),
            _ if first.is_whitespace() => {
                at += first.len_utf8();
                gap += 1;
                continue;
            }
            '(' | '[' | '{' => (Token::Open, 1),
            ')' | ']' | '}' => (Token::Close, 1),
            ',' => (Token::Leaf(What::Comma), 1),
            ':' if is_symbol(text, at) => {
                at += 1;
                continue;
            }
            '"' | '\'' => match quoted(&text[at..]) {
                Some((value, length)) => (Token::Leaf(What::Text(value)), length),
                None => word(text, at),
            },
            _ => match separator(&text[at..]) {
                Some(length) => (Token::Leaf(What::Separator), length),
                None => word(text, at),
            },
        };
        tokens.push(Placed { token, start: at, end: at + length, gap });
        at += length;
        gap = 0;
    }
    tokens
}

/// Whether the colon at `at` begins a symbol or atom, such as `:ok`.
fn is_symbol(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    let after = text[at + 1..].chars().next();
    before.is_none_or(|before| before.is_whitespace() || "([{,".contains(before))
        && after.is_some_and(|after| after.is_alphabetic() || after == '_')
}

/// Length of the separator that `rest` begins with.
fn separator(rest: &str) -> Option<usize> {
    let found = ["=>", "->", ":", "="].into_iter().find(|separator| rest.starts_with(separator))?;
    Some(found.len())
}

/// The word that begins at `at`, at least one character of it.
fn word(text: &str, at: usize) -> (Token<'_>, usize) {
    let rest = &text[at..];
    let mut before = '\0';
    let ends = |(offset, character): &(usize, char)| {
        let inside = std::mem::replace(&mut before, *character).is_alphanumeric();
        let quote = matches!(character, '"' | '\'') && !inside;
        *offset > 0
            && (quote
                || character.is_whitespace()
                || "()[]{},".contains(*character)
                || separator(&rest[*offset..]).is_some())
    };
    let length = rest.char_indices().find(ends).map_or(rest.len(), |(offset, _)| offset);
    let word = &rest[..length];
    let what = match (literal(word), Number::parse(word)) {
        (Some(name), _) => What::Literal(name),
        (None, Some(number)) => What::Number(number),
        (None, None) => What::Word,
    };
    (Token::Leaf(what), length)
}

fn literal(word: &str) -> Option<&'static str> {
    Some(match word {
        "true" | "True" | "TRUE" | "#t" | "#true" => "true",
        "false" | "False" | "FALSE" | "#f" | "#false" => "false",
        "null" | "nil" | "None" | "NULL" | "nothing" | "#<void>" => "null",
        "nan" | "NaN" | "NAN" | "+nan.0" => "nan",
        "inf" | "Inf" | "INF" | "Infinity" | "+inf.0" => "inf",
        "-inf" | "-Inf" | "-INF" | "-Infinity" | "-inf.0" => "-inf",
        _ => return None,
    })
}

/// The quoted text that `rest` begins with, and its length. It ends on its own line, and no letter or digit follows: an
/// apostrophe quotes nothing.
fn quoted(rest: &str) -> Option<(Cow<'_, str>, usize)> {
    let quote = rest.chars().next()?;
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => {
                let length = at + 1;
                if rest[length..].chars().next().is_some_and(char::is_alphanumeric) {
                    return None;
                }
                let inner = &rest[1..at];
                let value =
                    if inner.contains('\\') { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) };
                return Some((value, length));
            }
            _ => {}
        }
    }
    None
}

/// Resolves the escapes that languages share; others are left as they are.
fn unescape(inner: &str) -> String {
    let mut value = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else {
            value.push('\\');
            break;
        };
        rest = &rest[kind.len_utf8()..];
        match kind {
            'n' => value.push('\n'),
            't' => value.push('\t'),
            'r' => value.push('\r'),
            'e' => value.push('\u{1b}'),
            '0' => value.push('\0'),
            '\\' | '"' | '\'' | '$' | '#' | '/' => value.push(kind),
            'x' | 'u' => {
                let (digits, length) = hex(rest, kind);
                match u32::from_str_radix(digits, 16).ok().and_then(char::from_u32) {
                    Some(character) => {
                        value.push(character);
                        rest = &rest[length..];
                    }
                    None => value.extend(['\\', kind]),
                }
            }
            other => value.extend(['\\', other]),
        }
    }
    value.push_str(rest);
    value
}

/// The digits of `\x41`, `\u0041` or `\u{41}`, and how long they are with their braces.
fn hex(rest: &str, kind: char) -> (&str, usize) {
    if let Some((digits, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return (digits, digits.len() + 2);
    }
    let length = if kind == 'x' { 2 } else { 4 };
    (rest.get(..length).unwrap_or_default(), length)
}

/// For every opening bracket that is closed by one of its kind: where.
fn partners(text: &str, tokens: &[Placed<'_>]) -> HashMap<usize, usize> {
    let mut open: Vec<usize> = Vec::new();
    let mut partners = HashMap::new();
    for (at, placed) in tokens.iter().enumerate() {
        match placed.token {
            Token::Open if open.len() < MAX_DEPTH => open.push(at),
            Token::Close => {
                let closes = |open: &usize| {
                    let pair = (text.as_bytes()[tokens[*open].start], text.as_bytes()[placed.start]);
                    matches!(pair, (b'(', b')') | (b'[', b']') | (b'{', b'}'))
                };
                if let Some(opening) = open.pop_if(|open| closes(open)) {
                    partners.insert(opening, at);
                }
            }
            _ => {}
        }
    }
    partners
}

/// Puts containers together. No recursion: what is open is on a stack.
fn build<'a>(text: &'a str, tokens: Vec<Placed<'a>>, partners: &HashMap<usize, usize>) -> Vec<Node<'a>> {
    let closing: std::collections::HashSet<usize> = partners.values().copied().collect();
    let mut open: Vec<(Vec<Node<'a>>, usize, usize)> = Vec::new();
    let mut nodes: Vec<Node<'a>> = Vec::new();
    let mut tokens = tokens.into_iter().enumerate().peekable();
    while let Some((at, Placed { token, start, end, gap })) = tokens.next() {
        match token {
            Token::Open if partners.contains_key(&at) => open.push((std::mem::take(&mut nodes), start, gap)),
            Token::Close if closing.contains(&at) => {
                let Some((outer, start, gap)) = open.pop() else { continue };
                let inner = std::mem::replace(&mut nodes, outer);
                let braces = text.as_bytes()[start] == b'{';
                let what = What::Container { nodes: inner, kind: Kind::Unnamed, braces };
                let container = named(text, &mut nodes, Node { what, start, end, gap });
                nodes.push(container);
            }
            // Between elements, a line's end is a blank; within a text that has no quotes, it is part of it.
            Token::Leaf(What::Newline)
                if !open.is_empty() && between(&nodes, tokens.peek().map(|(_, next)| &next.token)) => {}
            Token::Leaf(what) => {
                nodes.push(Node { what, start, end, gap });
            }
            Token::Open | Token::Close => nodes.push(Node { what: What::Word, start, end, gap }),
        }
    }
    nodes
}

/// Whether a place in a container is beside a bracket, a comma or a separator.
fn between(before: &[Node<'_>], after: Option<&Token<'_>>) -> bool {
    let is_mark = |what: &What<'_>| matches!(what, What::Comma | What::Separator);
    before.last().is_none_or(|node| is_mark(&node.what))
        || match after {
            Some(Token::Leaf(what)) => is_mark(what) || *what == What::Newline,
            Some(Token::Open | Token::Close) | None => true,
        }
}

/// `container` with the name that stands directly before it, which is taken out of `before`. `Set(2) { 1, 2 }` counts, too.
fn named<'a>(text: &str, before: &mut Vec<Node<'a>>, mut container: Node<'a>) -> Node<'a> {
    // How Node writes them: with their size.
    let sized = before.last().filter(|size| {
        let one = |nodes: &[Node]| matches!(nodes, [Node { what: What::Number(_), .. }]);
        matches!(&size.what, What::Container { nodes, kind: Kind::Set | Kind::Map, .. } if one(nodes))
            && (text[size.start..].starts_with("Set(") || text[size.start..].starts_with("Map("))
            && size.end + 1 == container.start
            && text[container.start..].starts_with('{')
    });
    if let Some(size) = sized {
        if let (What::Container { kind, .. }, What::Container { kind: named, .. }) =
            (&mut container.what, &size.what)
        {
            *kind = *named;
        }
        container.start = size.start;
        container.gap = size.gap;
        before.pop();
        return container;
    }
    let Some(name) = before.last().filter(|name| name.what == What::Word && name.end == container.start)
    else {
        return container;
    };
    let word = &text[name.start..name.end];
    let found = match word {
        _ if SET_NAMES.contains(&word) => Kind::Set,
        _ if MAP_NAMES.contains(&word) => Kind::Map,
        _ if SEQUENCE_NAMES.contains(&word) => Kind::Unnamed,
        _ => return container,
    };
    if let What::Container { kind, .. } = &mut container.what {
        *kind = found;
    }
    container.start = name.start;
    container.gap = name.gap;
    before.pop();
    container
}
