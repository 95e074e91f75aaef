//! Perl and Ruby: what follows `__END__` in the solution is data, not code, and goes behind the tests.

use std::borrow::Cow;

use super::append::join;
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "data_section", values: &[], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    let (code, data) = split(solution);
    let source = join(code, tests);
    // A program has one such section; the tests' own stands at its end already.
    let source = if data.is_empty() || !split(tests).1.is_empty() { source } else { join(&source, data) };
    Program { source, ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

pub(super) fn enclose(tests: &str) -> (Cow<'_, str>, &str) {
    let (code, data) = split(tests);
    (code.into(), data)
}

/// The code of `source`, and from the line `__END__` or `__DATA__` on, its data.
fn split(source: &str) -> (&str, &str) {
    let mut at = 0;
    // The words that end the here-documents which the lines before have opened.
    let mut here_documents: Vec<(String, bool)> = Vec::new();
    let mut in_documentation = false;
    for line in source.split_inclusive('\n') {
        let text = line.trim_end_matches(['\n', '\r']);
        if let Some((word, indented)) = here_documents.first() {
            let candidate = if *indented { text.trim_start() } else { text };
            if candidate == word {
                here_documents.remove(0);
            }
        } else if in_documentation {
            in_documentation = !is_command(text, &["cut", "end"]);
        } else if text == "__END__" || text == "__DATA__" {
            return source.split_at(at);
        } else if text.starts_with('=') && text[1..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            in_documentation = !is_command(text, &["cut"]);
        } else {
            here_documents = opened(text);
        }
        at += line.len();
    }
    (source, "")
}

fn is_command(line: &str, commands: &[&str]) -> bool {
    let word = line.strip_prefix('=').and_then(|rest| rest.split_whitespace().next());
    word.is_some_and(|word| commands.contains(&word))
}

/// The here-documents that a line opens: the word that ends each, and whether that may be indented.
fn opened(line: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("<<") {
        // A comment: nothing after it is code. `$#` and `#{` are not comments.
        if rest[..at].split_whitespace().any(|word| word == "#") {
            break;
        }
        rest = &rest[at + 2..];
        let indented = rest.starts_with(['~', '-']);
        let name = rest.trim_start_matches(['~', '-']);
        let quote = name.chars().next().filter(|c| "\"'`".contains(*c));
        let word = match quote {
            Some(quote) => name[1..].split_once(quote).map_or("", |(word, _)| word),
            None => {
                let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
                // Lower-case words are values to shift by or to append.
                Some(&name[..end])
                    .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
                    .unwrap_or("")
            }
        };
        if !word.is_empty() {
            found.push((word.to_owned(), indented));
        }
    }
    found
}
