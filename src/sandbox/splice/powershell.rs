//! PowerShell: what the solution writes outside its functions is not output of the tests.

use super::append::join;
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "powershell", values: &[], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    Program { source: join(&silenced(solution), tests), ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// `source` with the output of its top-level `Write-Output` statements thrown away.
fn silenced(source: &str) -> String {
    const COMMAND: &str = "write-output";
    let mut silenced = String::with_capacity(source.len());
    let mut depth = 0usize;
    let mut starts_statement = true;
    let mut last = '\n';
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        let starts = starts_statement && depth == 0;
        if starts && rest.get(..COMMAND.len()).is_some_and(|word| word.eq_ignore_ascii_case(COMMAND)) {
            silenced.push_str("$null = ");
        }
        let length = text_length(rest).unwrap_or(c.len_utf8());
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let continues = matches!(c, ' ' | '\t' | '\r' | '#' | '<');
        // A line that ends with one of these goes on in the next.
        let ends = c == '\n' && !matches!(last, '|' | ',' | '=' | '+');
        starts_statement = ends || matches!(c, ';' | '}') || (starts_statement && continues);
        if !c.is_whitespace() && c != '#' {
            last = c;
        }
        silenced.push_str(&source[at..at + length]);
        at += length;
    }
    silenced
}

/// The length of the string, comment or escaped character that `rest` starts with.
fn text_length(rest: &str) -> Option<usize> {
    let through =
        |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    let here_text = |quote: &str| through(2, &format!("\n{quote}@"));
    match rest.as_bytes() {
        [b'@', b'\'', ..] => Some(here_text("'")),
        [b'@', b'"', ..] => Some(here_text("\"")),
        [b'\'', ..] => Some(through(1, "'")),
        [b'"', ..] => Some(quoted_length(rest)),
        [b'<', b'#', ..] => Some(through(2, "#>")),
        [b'#', ..] => Some(rest.find('\n').unwrap_or(rest.len())),
        [b'`', ..] => Some(rest.chars().take(2).map(char::len_utf8).sum()),
        _ => None,
    }
}

/// The length of the string in double quotes that `rest` starts with; `$(code)` within it may hold quotes.
fn quoted_length(rest: &str) -> usize {
    let mut depth = 0usize;
    let mut previous = ' ';
    for (at, c) in rest.char_indices().skip(1) {
        let escaped = previous == '`';
        match c {
            '"' if depth == 0 && !escaped => return at + 1,
            '(' if depth > 0 || previous == '$' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        previous = if escaped { ' ' } else { c };
    }
    rest.len()
}
