//! Go: one `package main`, one import block of what is used, and a `main` when nothing else would run the tests.

use std::ops::Range;

use super::lex::{Backtick, Kind, Syntax, Token, closing, lex, whole_line, without};
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "go", values: &[], splice, whole };

const SYNTAX: Syntax = Syntax {
    text_blocks: false,
    raw_strings: false,
    verbatim_strings: false,
    directives: false,
    backtick: Backtick::Raw,
    regex: false,
};

/// The functions tests are written in when they are no `TestXxx`.
const ENTRY_POINTS: [&str; 2] = ["demoTesting", "fullTesting"];

fn splice(solution: &str, tests: &str) -> Program {
    let mut solution = File::read(solution);
    let tests = File::read(tests);
    let entry_points: Vec<_> = ENTRY_POINTS.into_iter().filter(|name| tests.defines(name)).collect();
    let is_test = tests.has_tests();
    let needs_main = !is_test && !tests.defines("main") && !entry_points.is_empty();
    if is_test || tests.defines("main") || needs_main {
        solution.drop_function("main");
    }
    let mut body = format!("{}\n\n{}\n", solution.body.trim(), tests.body.trim());
    if needs_main {
        let calls: String = entry_points.iter().map(|name| format!("\t{name}()\n")).collect();
        body.push_str(&format!("\nfunc main() {{\n{calls}}}\n"));
    }
    let imports = used_imports(solution.imports.into_iter().chain(tests.imports), &body);
    let mut source = "package main\n".to_owned();
    if !imports.is_empty() {
        source.push_str("\nimport (\n");
        for import in &imports {
            source.push_str(&format!("\t{import}\n"));
        }
        source.push_str(")\n");
    }
    source.push('\n');
    source.push_str(&body);
    let entry = if is_test { None } else { name_of_main(&source) };
    Program { source, variant: is_test.then_some("test"), entry, ..Program::default() }
}

/// Where the name of the function `main` stands in `source`.
fn name_of_main(source: &str) -> Option<Range<usize>> {
    let tokens = lex(source, &SYNTAX);
    let at = declaration(&tokens, |name| name == "main")?;
    Some(tokens[at + 1].start..tokens[at + 1].end())
}

fn whole(source: &str) -> Program {
    let file = File::read(source);
    let variant = (file.has_tests() && !file.defines("main")).then_some("test");
    Program { source: source.to_owned(), variant, ..Program::default() }
}

/// One imported package.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Import {
    /// Its name in this file when that is not its own: an identifier, `.` or `_`.
    alias: Option<String>,
    /// Its path with its quotes.
    path: String,
}

impl std::fmt::Display for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.alias {
            Some(alias) => write!(f, "{alias} {}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

impl Import {
    /// Whether code that refers to the packages `names` uses it. When the package's name cannot be told from
    /// its path, it counts as used.
    fn is_used(&self, names: &[&str]) -> bool {
        match self.alias.as_deref() {
            Some("." | "_") => true,
            Some(alias) => names.contains(&alias),
            None => match self.package_name() {
                Some(name) => names.contains(&name),
                None => true,
            },
        }
    }

    fn package_name(&self) -> Option<&str> {
        let mut elements = self.path.trim_matches(['"', '`']).rsplit('/');
        let last = elements.next()?;
        let is_version = last.strip_prefix('v').is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()));
        let name = if is_version { elements.next()? } else { last };
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(name)
    }
}

/// The imports that `body` uses, each once, in order.
fn used_imports(imports: impl Iterator<Item = Import>, body: &str) -> Vec<Import> {
    let tokens = lex(body, &SYNTAX);
    let names: Vec<_> = (0..tokens.len())
        .filter(|&at| {
            tokens[at].kind == Kind::Word
                && tokens.get(at + 1).is_some_and(|next| next.is_mark("."))
                && !(at > 0 && tokens[at - 1].is_mark("."))
        })
        .map(|at| tokens[at].text)
        .collect();
    let mut used: Vec<Import> = Vec::new();
    for import in imports {
        if import.is_used(&names) && !used.contains(&import) {
            used.push(import);
        }
    }
    used
}

/// A source file taken apart.
struct File {
    imports: Vec<Import>,
    body: String,
}

impl File {
    fn read(source: &str) -> Self {
        let tokens = lex(source, &SYNTAX);
        let mut imports = Vec::new();
        let mut removed = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let length = if tokens[at].depth > 0 {
                None
            } else if tokens[at].is_word("package") {
                tokens.get(at + 1).filter(|name| name.kind == Kind::Word).map(|_| 2)
            } else if tokens[at].is_word("import") {
                read_import(&tokens[at..], &mut imports)
            } else {
                None
            };
            match length {
                Some(length) => {
                    let after = at + length;
                    let semicolon = tokens.get(after).is_some_and(|token| token.is_mark(";"));
                    let last = if semicolon { after } else { after - 1 };
                    removed.push(whole_line(source, tokens[at].start..tokens[last].end()));
                    at = last + 1;
                }
                None => at += 1,
            }
        }
        Self { imports, body: without(source, &removed) }
    }

    /// Whether it declares the function `name`.
    fn defines(&self, name: &str) -> bool {
        function(&lex(&self.body, &SYNTAX), |found| found == name).is_some()
    }

    /// Whether it has functions that `go test` runs.
    fn has_tests(&self) -> bool {
        function(&lex(&self.body, &SYNTAX), is_test_name).is_some()
    }

    fn drop_function(&mut self, name: &str) {
        let range = function(&lex(&self.body, &SYNTAX), |found| found == name);
        if let Some(range) = range {
            self.body = without(&self.body, &[range]);
        }
    }
}

/// `go test` runs `Test` and `TestXxx` where `Xxx` does not start with a lower-case letter. `TestMain` alone is
/// no test.
fn is_test_name(name: &str) -> bool {
    name != "TestMain"
        && name.strip_prefix("Test").is_some_and(|rest| !rest.starts_with(|c: char| c.is_lowercase()))
}

/// Where the first function, not method, with a name that `wanted` accepts stands in the source of `tokens`.
fn function(tokens: &[Token<'_>], wanted: impl Fn(&str) -> bool) -> Option<Range<usize>> {
    let at = declaration(tokens, wanted)?;
    let body = tokens[at..].iter().position(|token| token.depth == 0 && token.is_mark("{"))?;
    Some(tokens[at].start..tokens[closing(tokens, at + body)].end())
}

/// The index of the `func` of the first function, not method, with a name that `wanted` accepts.
fn declaration(tokens: &[Token<'_>], wanted: impl Fn(&str) -> bool) -> Option<usize> {
    tokens.windows(2).position(|pair| {
        pair[0].depth == 0 && pair[0].is_word("func") && pair[1].kind == Kind::Word && wanted(pair[1].text)
    })
}

/// Reads the import declaration that `tokens` starts with; the number of its tokens.
fn read_import(tokens: &[Token<'_>], imports: &mut Vec<Import>) -> Option<usize> {
    if tokens.get(1)?.is_mark("(") {
        let end = closing(tokens, 1);
        let mut at = 2;
        while at < end {
            at += read_import_spec(&tokens[at..end], imports).unwrap_or(1);
        }
        Some(end + 1)
    } else {
        read_import_spec(&tokens[1..], imports).map(|length| length + 1)
    }
}

/// Reads one `alias "path"`; the number of its tokens.
fn read_import_spec(tokens: &[Token<'_>], imports: &mut Vec<Import>) -> Option<usize> {
    let first = tokens.first()?;
    if first.kind == Kind::Text {
        imports.push(Import { alias: None, path: first.text.to_owned() });
        return Some(1);
    }
    let path = tokens.get(1).filter(|token| token.kind == Kind::Text)?;
    (first.kind == Kind::Word || first.is_mark(".")).then(|| {
        imports.push(Import { alias: Some(first.text.to_owned()), path: path.text.to_owned() });
        2
    })
}
