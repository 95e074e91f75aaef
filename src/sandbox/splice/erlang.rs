//! Erlang: one module with the attributes of both parts first; its file is named after it, and `test/0` is exported.

use std::ops::Range;

use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "erlang", values: &["module"], splice, whole };

/// The module of a program that names none.
const DEFAULT_MODULE: &str = "test";

fn splice(solution: &str, tests: &str) -> Program {
    let (solution, tests) = (Forms::read(solution), Forms::read(tests));
    let module = solution.module().or(tests.module()).unwrap_or(DEFAULT_MODULE).to_owned();
    let mut attributes: Vec<&str> = Vec::new();
    for attribute in solution.attributes.iter().chain(&tests.attributes) {
        let is_known =
            attributes.iter().any(|known| known.split_whitespace().eq(attribute.split_whitespace()));
        // Pairs such as -ifdef and -endif must all stay.
        let may_repeat = !["record", "define", "import", "export", "include", "include_lib"]
            .contains(&attribute_name(attribute).unwrap_or_default());
        if attribute_name(attribute) != Some("module") && (may_repeat || !is_known) {
            attributes.push(attribute);
        }
    }
    let own_import = |attribute: &&str| {
        attribute_name(attribute) != Some("import") || first_argument(attribute) != Some(module.as_str())
    };
    attributes.retain(own_import);
    let mut source = format!("-module({module}).\n");
    if tests.defines_test() {
        source.push_str("-export([test/0]).\n");
    }
    for attribute in attributes {
        source.push_str(attribute);
        source.push('\n');
    }
    source.push_str(&format!("{}\n{}\n", solution.rest, tests.rest));
    named(source, module)
}

fn whole(source: &str) -> Program {
    let module = Forms::read(source).module().unwrap_or(DEFAULT_MODULE).to_owned();
    named(source.to_owned(), module)
}

fn named(source: String, module: String) -> Program {
    Program {
        source,
        file_name: Some(format!("{module}.erl")),
        values: vec![("module", module)],
        ..Program::default()
    }
}

/// A source file: the attributes it starts with, each without comments before it, and what follows them.
struct Forms<'a> {
    attributes: Vec<&'a str>,
    rest: &'a str,
}

impl<'a> Forms<'a> {
    fn read(source: &'a str) -> Self {
        let (mut attributes, mut at) = (Vec::new(), 0);
        loop {
            let start = at + space_length(&source[at..]);
            let Some(end) = form_end(source, start).filter(|_| source[start..].starts_with('-')) else {
                break;
            };
            let name = attribute_name(&source[start..end]).unwrap_or_default();
            // What specifies a function stays with it.
            if ["spec", "doc", "callback"].contains(&name) {
                break;
            }
            attributes.push(&source[start..end]);
            at = end;
        }
        Self { attributes, rest: &source[at..] }
    }

    /// The module's name, when it is one that a file can have.
    fn module(&self) -> Option<&'a str> {
        let attribute = self.attributes.iter().find(|text| attribute_name(text) == Some("module"))?;
        let name = first_argument(attribute)?;
        let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@');
        is_plain.then_some(name)
    }

    /// Whether it has a function `test/0`.
    fn defines_test(&self) -> bool {
        let mut at = 0;
        loop {
            at += space_length(&self.rest[at..]);
            let form = &self.rest[at..];
            let after =
                form.strip_prefix("test").map(str::trim_start).and_then(|rest| rest.strip_prefix('('));
            if after.is_some_and(|rest| rest.trim_start().starts_with(')')) {
                return true;
            }
            match form_end(self.rest, at) {
                Some(end) => at = end,
                None => return false,
            }
        }
    }
}

/// The name of the attribute that `form` is.
fn attribute_name(form: &str) -> Option<&str> {
    let rest = form.strip_prefix('-')?.trim_start();
    let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    Some(&rest[..length])
}

fn first_argument(attribute: &str) -> Option<&str> {
    let (_, arguments) = attribute.split_once('(')?;
    arguments.split([',', ')']).next().map(str::trim)
}

/// The length of the white space and comments that `text` starts with.
fn space_length(text: &str) -> usize {
    let mut rest = text.trim_start();
    while rest.starts_with('%') {
        rest = rest[rest.find('\n').unwrap_or(rest.len())..].trim_start();
    }
    text.len() - rest.len()
}

/// Where the form that starts at `start` ends: after its full stop.
fn form_end(source: &str, start: usize) -> Option<usize> {
    let mut at = start;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        at = match c {
            '%' => at + rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => quoted(source, at).end,
            // A character: `$"`, `$.`, `$\n`.
            '$' => {
                at + 1
                    + rest[1..]
                        .chars()
                        .take(if rest.starts_with("$\\") { 2 } else { 1 })
                        .map(char::len_utf8)
                        .sum::<usize>()
            }
            '.' if rest[1..].chars().next().is_none_or(|c| c.is_whitespace() || c == '%') => {
                return Some(at + 1);
            }
            c => at + c.len_utf8(),
        };
    }
    None
}

/// The string or quoted atom that starts at `start`.
fn quoted(source: &str, start: usize) -> Range<usize> {
    let mut characters = source[start..].char_indices();
    let quote = characters.next().map(|(_, c)| c);
    let mut escaped = false;
    for (at, c) in characters {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if Some(c) == quote => return start..start + at + 1,
            _ => {}
        }
    }
    start..source.len()
}
