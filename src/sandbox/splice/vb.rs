//! Visual Basic: options and imports of both parts once and first; modules of the tests that are called like one of
//! the solution get another name; the tests' entry is a `Main`.

use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "vb", values: &["main"], splice, whole };

/// The method that runs the tests of a program whose tests have no `Main`.
const TESTS: &str = "RunTests";

fn splice(solution: &str, tests: &str) -> Program {
    let solution = Unit::read(solution);
    let mut tests = Unit::read(tests);
    let taken: Vec<String> = solution.modules().map(|(_, name)| name.to_lowercase()).collect();
    let clashing: Vec<(usize, String)> = tests
        .modules()
        .filter(|(_, name)| taken.contains(&name.to_lowercase()))
        .map(|(at, name)| (at, name.to_owned()))
        .collect();
    for (at, name) in clashing {
        tests.lines[at].replace_word(&name, &format!("{name}_Tests"));
    }
    if tests.main().is_none()
        && let Some(line) = tests.lines.iter_mut().find(|line| line.declares_method(TESTS))
    {
        line.replace_word(TESTS, "Main");
    }
    combine(&[solution, tests])
}

fn whole(source: &str) -> Program {
    combine(&[Unit::read(source)])
}

/// One program of the units; the last `Main` is its entry.
fn combine(units: &[Unit]) -> Program {
    let mut head: Vec<&str> = Vec::new();
    let lines = || units.iter().flat_map(|unit| &unit.head).map(String::as_str);
    // Options come before imports.
    let options = lines().filter(|line| starts_with_word(line, "option"));
    for line in options.chain(lines().filter(|line| !starts_with_word(line, "option"))) {
        if !head.iter().any(|known| known.eq_ignore_ascii_case(line)) {
            head.push(line);
        }
    }
    let mut source: String = head.iter().map(|line| format!("{line}\n")).collect();
    for unit in units {
        if !source.is_empty() {
            source.push('\n');
        }
        let body: Vec<&str> = unit.lines.iter().map(|line| line.text.as_str()).collect();
        source.push_str(body.join("\n").trim_matches('\n'));
        source.push('\n');
    }
    let main = units.iter().rev().find_map(Unit::main).unwrap_or("Sub Main");
    Program { values: vec![("main", main.to_owned())], source, ..Program::default() }
}

/// A source file taken apart.
struct Unit {
    /// `Option` and `Imports` statements, in order.
    head: Vec<String>,
    lines: Vec<Line>,
}

/// A line, and what of it is code.
struct Line {
    text: String,
    /// The text with strings and comments blanked out, byte for byte.
    code: String,
}

impl Unit {
    fn read(source: &str) -> Self {
        let mut unit = Self { head: Vec::new(), lines: Vec::new() };
        let mut in_text = false;
        for line in source.lines() {
            let code = code_of(line, &mut in_text);
            let heads = ["imports", "option"].iter().any(|word| starts_with_word(&code, word));
            let before_code = unit.lines.iter().all(|line| line.code.trim().is_empty());
            if heads && before_code {
                unit.head.push(code.trim().to_owned());
            } else {
                unit.lines.push(Line { text: line.to_owned(), code });
            }
        }
        unit
    }

    /// The lines that declare modules, and the modules' names.
    fn modules(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().filter_map(|(at, line)| Some((at, line.declared("module")?)))
    }

    /// The module or class with the last `Main`.
    fn main(&self) -> Option<&str> {
        let at = self.lines.iter().rposition(|line| line.declares_method("Main"))?;
        let types = ["module", "class"];
        self.lines[..at].iter().rev().find_map(|line| types.iter().find_map(|word| line.declared(word)))
    }
}

impl Line {
    /// The name after the keyword `what`, when the line is such a declaration.
    fn declared(&self, what: &str) -> Option<&str> {
        let mut words = self.code.split_whitespace().skip_while(|word| is_modifier(word));
        words.next().filter(|word| word.eq_ignore_ascii_case(what))?;
        let name = words.next()?;
        Some(name.split('(').next().unwrap_or(name))
    }

    fn declares_method(&self, name: &str) -> bool {
        let is = |what| self.declared(what).is_some_and(|declared| declared.eq_ignore_ascii_case(name));
        is("sub") || is("function")
    }

    /// Puts `new` in place of the first `word` of the code, whatever its case.
    fn replace_word(&mut self, word: &str, new: &str) {
        let Some(at) = find_word(&self.code, word) else { return };
        for text in [&mut self.text, &mut self.code] {
            text.replace_range(at..at + word.len(), new);
        }
    }
}

/// Where `word` stands as a word of its own, whatever its case.
fn find_word(code: &str, word: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.char_indices().map(|(at, _)| at).find(|&at| {
        let found = code.get(at..at + word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word));
        found && !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

fn is_modifier(word: &str) -> bool {
    ["public", "private", "friend", "protected", "shared", "partial", "notinheritable", "async"]
        .iter()
        .any(|modifier| word.eq_ignore_ascii_case(modifier))
}

fn starts_with_word(code: &str, word: &str) -> bool {
    code.split_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(word))
}

/// `line` with strings and comments blanked out; `in_text` says whether a string is open at its start and, after, at
/// its end.
fn code_of(line: &str, in_text: &mut bool) -> String {
    let mut code = String::with_capacity(line.len());
    for (at, c) in line.char_indices() {
        let blank = |code: &mut String| code.extend(std::iter::repeat_n(' ', c.len_utf8()));
        if c == '"' {
            *in_text = !*in_text;
            blank(&mut code);
        } else if *in_text {
            blank(&mut code);
        } else if c == '\'' || starts_remark(&line[at..], &code) {
            code.push_str(&" ".repeat(line.len() - at));
            return code;
        } else {
            code.push(c);
        }
    }
    code
}

/// `REM` at the start of a statement.
fn starts_remark(rest: &str, code: &str) -> bool {
    let before = code.trim_end();
    (before.is_empty() || before.ends_with(':')) && starts_with_word(rest, "rem")
}
