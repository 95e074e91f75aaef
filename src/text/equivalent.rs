//! Whether two programs in different languages printed the same values.
//!
//! Languages write the same value differently, so what is printed is read as words, numbers, texts and containers and these
//! are compared:
//!
//! - numbers by value; every digit counts, but for the last ones of a double printed in full (`number`);
//! - `True`, `true`, `TRUE` and `#t` are one, and so are `None`, `null`, `nil`, `NULL`, and the names of infinity and NaN;
//! - text in single, double or no quotes; but in quotes, `"1"` is no number and `"None"` is not null;
//! - containers in any kind of bracket, with commas or blanks between elements, with or without a name such as `List`;
//!   entries of maps with `:`, `=`, `=>` or `->`, in any order; elements of sets in any order;
//! - blanks beside brackets and punctuation, and line ends there inside brackets. Elsewhere they are part of what is printed: a
//!   program may be about wrapping or aligning text. Blanks at the ends of lines and empty lines at both ends of the output are not.
//!
//! Where the writing is ambiguous, the outputs differ: a translation that is lost costs less than a wrong one that is kept.

mod number;
mod read;

use read::{Kind, Node, What};

/// Comparisons of two nodes before outputs count as too long to compare: unordered containers take the square of their length.
const MAX_STEPS: usize = 4_000_000;

/// Languages that write sets, and nothing that has an order, in braces.
const BRACES_ARE_SETS: &[&str] = &["python"];

/// One of two outputs.
#[derive(Debug, Clone, Copy)]
pub struct Printed<'a> {
    /// What was printed.
    pub text: &'a str,
    /// The language of the program.
    pub language: &'a str,
}

/// Where two outputs part: lines, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Line of the one.
    pub left_line: usize,
    /// Line of the other.
    pub right_line: usize,
}

/// Whether `left` and `right` are the same values.
///
/// # Errors
/// Where they differ first.
pub fn equivalent(left: Printed<'_>, right: Printed<'_>) -> Result<(), Difference> {
    let nodes = [left, right].map(|printed| read::read(printed.text));
    let mut compare = Compare { sides: [left, right], steps: 0 };
    let (at_left, at_right) = match compare.sequence(&nodes[0], &nodes[1], Place::Line) {
        Ok(()) => return Ok(()),
        Err(at) => at,
    };
    let line = |printed: Printed, nodes: &[Node], at: usize| {
        let byte = nodes.get(at).map_or(printed.text.trim_end().len(), |node| node.start);
        printed.text.as_bytes()[..byte].iter().filter(|byte| **byte == b'\n').count() + 1
    };
    Err(Difference {
        left_line: line(left, &nodes[0], at_left),
        right_line: line(right, &nodes[1], at_right),
    })
}

/// Where a sequence of nodes stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Lines of output: blanks and the wording of separators count.
    Line,
    /// Between the commas of a container.
    Element,
    /// One of several nodes that only blanks part: they are elements, and so a text is no run of words.
    Single,
    /// Before the separator of a map's entry, where JSON writes everything as text.
    Key,
}

struct Compare<'a> {
    sides: [Printed<'a>; 2],
    steps: usize,
}

impl Compare<'_> {
    /// Compares node by node; the error is how far both are alike.
    fn sequence(&mut self, left: &[Node], right: &[Node], place: Place) -> Result<(), (usize, usize)> {
        let (mut l, mut r) = (0, 0);
        while l < left.len() && r < right.len() {
            self.steps += 1;
            let begins = place != Place::Line && (l == 0 || r == 0);
            let gaps = begins || same_gap(left, l, right, r);
            let taken = if gaps && self.steps < MAX_STEPS {
                self.nodes(&left[l..], &right[r..], place)
            } else {
                None
            };
            let Some((from_left, from_right)) = taken else { return Err((l, r)) };
            (l, r) = (l + from_left, r + from_right);
        }
        if l == left.len() && r == right.len() { Ok(()) } else { Err((l, r)) }
    }

    fn same(&mut self, left: &[Node], right: &[Node], place: Place) -> bool {
        self.sequence(left, right, place).is_ok()
    }

    /// How many nodes of both sides are the same to begin with; `None` where the first ones differ.
    fn nodes(&mut self, left: &[Node], right: &[Node], place: Place) -> Option<(usize, usize)> {
        let (one, other) = (left.first()?, right.first()?);
        let [text_left, text_right] = self.sides.map(|side| side.text);
        let (written_left, written_right) =
            (&text_left[one.start..one.end], &text_right[other.start..other.end]);
        let same = match (&one.what, &other.what) {
            (What::Number(one), What::Number(other)) => one.equals(other),
            (What::Literal(one), What::Literal(other)) => one == other,
            (What::Text(one), What::Text(other)) => {
                one == other
                    || written_left[1..written_left.len() - 1] == written_right[1..written_right.len() - 1]
            }
            (What::Text(value), _) => return Some((1, unquoted(value, text_right, right, place)?)),
            (_, What::Text(value)) => return Some((unquoted(value, text_left, left, place)?, 1)),
            (What::Word, What::Word) | (What::Separator, What::Separator) => written_left == written_right,
            (What::Comma, What::Comma) | (What::Newline, What::Newline) => true,
            (What::Container { .. }, What::Container { .. }) => self.containers(one, other),
            _ => false,
        };
        same.then_some((1, 1))
    }

    fn containers(&mut self, left: &Node, right: &Node) -> bool {
        let [left_side, right_side] = self.sides;
        let (Some(left), Some(right)) = (Contents::of(left, left_side), Contents::of(right, right_side))
        else {
            return false;
        };
        if left.elements.len() != right.elements.len() {
            return false;
        }
        let place = if left.spaced || right.spaced { Place::Single } else { Place::Element };
        // What only blanks part may as well be one text: then they count.
        let words = |left: &Element, right: &Element| {
            let [left, right] =
                [left, right].map(|element| element.nodes.first().filter(|node| node.what == What::Word));
            left.zip(right).is_none_or(|(left, right)| left.gap == right.gap)
        };
        let mut pairs = left.elements.iter().zip(&right.elements).skip(1);
        if left.spaced && right.spaced && !pairs.all(|(left, right)| words(left, right)) {
            return false;
        }
        let entries = left.entries && right.entries;
        let unordered = match entries {
            true => left.is_map || right.is_map,
            false => (left.is_set || right.is_set) && !left.entries && !right.entries,
        };
        if !unordered {
            let mut pairs = left.elements.iter().zip(&right.elements);
            return pairs.all(|(left, right)| self.elements(left, right, place));
        }
        let mut open: Vec<&Element> = right.elements.iter().collect();
        left.elements.iter().all(|left| {
            let found = open.iter().position(|right| self.elements(left, right, place));
            found.map(|at| open.remove(at)).is_some()
        })
    }

    fn elements(&mut self, left: &Element, right: &Element, place: Place) -> bool {
        match (left.separator, right.separator) {
            (Some(at_left), Some(at_right)) => {
                self.same(&left.nodes[..at_left], &right.nodes[..at_right], Place::Key)
                    && self.same(&left.nodes[at_left + 1..], &right.nodes[at_right + 1..], Place::Element)
            }
            (None, None) => self.same(left.nodes, right.nodes, place),
            _ => false,
        }
    }
}

/// Whether the blanks before two nodes are alike, where they matter.
fn same_gap(left: &[Node], l: usize, right: &[Node], r: usize) -> bool {
    let loose = |nodes: &[Node], at: usize| {
        let punctuation =
            |node: &Node| matches!(node.what, What::Comma | What::Separator | What::Container { .. });
        nodes[at].what == What::Newline
            || punctuation(&nodes[at])
            || at.checked_sub(1).is_some_and(|before| punctuation(&nodes[before]))
    };
    loose(left, l) || loose(right, r) || left[l].gap == right[r].gap
}

/// How many of `nodes`, as they are written in `text`, are `value` without its quotes.
fn unquoted(value: &str, text: &str, nodes: &[Node], place: Place) -> Option<usize> {
    let first = nodes.first()?;
    let end = first.start + value.len();
    let count = nodes.iter().take_while(|node| node.end <= end).count();
    let written = text.get(first.start..end)? == value && nodes.get(count.checked_sub(1)?)?.end == end;
    let is_another_value = matches!(first.what, What::Number(_) | What::Literal(_) | What::Container { .. });
    let fits = match place {
        Place::Key => true,
        Place::Line => count > 1 || !is_another_value,
        Place::Element => (count > 1 || !is_another_value) && count == nodes.len(),
        Place::Single => count == 1 && !is_another_value,
    };
    (written && fits).then_some(count)
}

/// What is between two commas.
struct Element<'n, 'a> {
    nodes: &'n [Node<'a>],
    /// Where the separator is, if it is an entry of a map.
    separator: Option<usize>,
}

struct Contents<'n, 'a> {
    elements: Vec<Element<'n, 'a>>,
    /// Whether elements are parted by blanks only.
    spaced: bool,
    /// Whether all elements are entries of a map.
    entries: bool,
    is_map: bool,
    is_set: bool,
}

impl<'n, 'a> Contents<'n, 'a> {
    fn of(node: &'n Node<'a>, side: Printed<'_>) -> Option<Self> {
        let What::Container { nodes, kind, braces } = &node.what else { return None };
        let mut parts: Vec<&[Node]> = nodes.split(|node| node.what == What::Comma).collect();
        // `[]`, `(1,)`, and how Swift writes a map without entries.
        let no_entries = matches!(nodes.as_slice(), [only] if &side.text[only.start..only.end] == ":");
        if parts.last().is_some_and(|last| last.is_empty()) || (no_entries && side.language == "swift") {
            parts.pop();
        }
        let mut elements: Vec<Element> = parts
            .iter()
            .map(|nodes| Element { nodes, separator: separator(nodes, *braces, side.text) })
            .collect();
        let spaced = nodes.iter().all(|node| node.what != What::Comma)
            && elements.first().is_some_and(|only| only.separator.is_none() && only.nodes.len() > 1);
        if spaced {
            elements = nodes.chunks(1).map(|nodes| Element { nodes, separator: None }).collect();
        }
        // Racket's #hash((a . 1) (b . 2)): every entry has brackets of its own.
        if *kind == Kind::Map && elements.iter().all(|element| dotted(element.nodes, side.text).is_some()) {
            elements = elements.iter().filter_map(|element| dotted(element.nodes, side.text)).collect();
        }
        let entries = elements.iter().all(|element| element.separator.is_some());
        Some(Self {
            spaced: spaced && !entries,
            entries,
            is_map: *braces || *kind == Kind::Map,
            is_set: *kind == Kind::Set || (*braces && BRACES_ARE_SETS.contains(&side.language)),
            elements,
        })
    }
}

/// The entry in `(key . value)`.
fn dotted<'n, 'a>(nodes: &'n [Node<'a>], text: &str) -> Option<Element<'n, 'a>> {
    let [Node { what: What::Container { nodes, .. }, .. }] = nodes else { return None };
    let separator = nodes.iter().position(|node| &text[node.start..node.end] == ".")?;
    Some(Element { nodes, separator: Some(separator) })
}

/// Where in an element the separator between key and value is. A colon without a blank after it may as well be part of a
/// time of day, and an equals sign outside braces part of a formula.
fn separator(nodes: &[Node], braces: bool, text: &str) -> Option<usize> {
    let at = nodes.iter().position(|node| node.what == What::Separator)?;
    let (key, separator, value) = (nodes[..at].last()?, &nodes[at], nodes.get(at + 1)?);
    let name = matches!(key.what, What::Text(_))
        || (braces
            && text[key.start..key.end].starts_with(|first: char| first.is_alphabetic() || first == '_'));
    let counts = match &text[separator.start..separator.end] {
        "=>" | "->" => true,
        ":" => value.gap > 0 || name,
        _ => braces || name,
    };
    counts.then_some(at)
}

#[cfg(test)]
mod tests;
