//! Splicing: a solution and its tests become one program.
//!
//! A language file names its splicer; languages that need no more than one text after the other use `append`.
//! A splicer may also choose one of the variants of the language file and give values for `{name}` placeholders
//! that only the program's text can tell, such as its main class.

mod append;
mod c;
mod common_lisp;
mod cpp;
mod csharp;
mod dart;
mod data_section;
mod erlang;
mod fortran;
mod go;
mod haskell;
mod java;
mod javascript;
mod kotlin;
mod lex;
mod lua;
mod pascal;
mod php;
mod powershell;
mod racket;
mod rust;
mod sexp;
mod swift;
mod tcl;
mod vb;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::language::{Completion, Language, Variant};
use super::toolchain::expand;

/// One program and how it is named, compiled and run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spliced {
    /// The program.
    pub source: String,
    /// What its file is called.
    pub file_name: String,
    /// Further files of its work folder, by name.
    pub files: BTreeMap<String, String>,
    /// The command that compiles it, if any; placeholders of the toolchain are still to be replaced.
    pub compile: Option<Vec<String>>,
    /// The command that runs it; likewise.
    pub run: Vec<String>,
}

/// What a splicer makes of its input.
#[derive(Debug, Default)]
struct Program {
    source: String,
    /// The variant of the language file to use, if not the plain one.
    variant: Option<&'static str>,
    /// What the program's file must be called, where its text decides.
    file_name: Option<String>,
    /// Values for placeholders in the commands.
    values: Vec<(&'static str, String)>,
    /// Where in `source` the text `entry` of the language's completion belongs.
    entry: Option<Range<usize>>,
}

/// A way to make one program of a solution and its tests.
struct Splicer {
    /// The name language files use.
    name: &'static str,
    /// Placeholders it gives values for.
    values: &'static [&'static str],
    /// Makes the program of a solution and its tests.
    splice: fn(&str, &str) -> Program,
    /// Makes the program of a source that is one already.
    whole: fn(&str) -> Program,
}

const SPLICERS: &[Splicer] = &[
    append::SPLICER,
    c::SPLICER,
    common_lisp::SPLICER,
    cpp::SPLICER,
    csharp::SPLICER,
    dart::SPLICER,
    data_section::SPLICER,
    erlang::SPLICER,
    fortran::SPLICER,
    go::SPLICER,
    haskell::SPLICER,
    java::SPLICER,
    javascript::SPLICER,
    javascript::TYPESCRIPT,
    kotlin::SPLICER,
    lua::SPLICER,
    pascal::SPLICER,
    php::SPLICER,
    powershell::SPLICER,
    racket::RACKET,
    racket::SCHEME,
    rust::SPLICER,
    swift::SPLICER,
    tcl::SPLICER,
    vb::SPLICER,
];

/// Makes the tests of a splicer ready for code around them that tells when they have run to their end: the tests, and
/// what of them must stay at the end of the program.
type Enclose = fn(&str) -> (Cow<'_, str>, &str);

/// What tests need before code can be put after them, by splicer.
const ENCLOSED: &[(&str, Enclose)] = &[
    (data_section::SPLICER.name, data_section::enclose),
    (javascript::SPLICER.name, javascript::enclose),
    (javascript::TYPESCRIPT.name, javascript::enclose),
    (lua::SPLICER.name, lua::enclose),
    (php::SPLICER.name, php::enclose),
];

fn by_name(name: &str) -> Option<&'static Splicer> {
    SPLICERS.iter().find(|splicer| splicer.name == name)
}

/// Whether there is a splicer of this name.
pub fn is_known(name: &str) -> bool {
    by_name(name).is_some()
}

/// The names of all splicers.
pub fn names() -> Vec<&'static str> {
    SPLICERS.iter().map(|splicer| splicer.name).collect()
}

/// The placeholders that the splicer `name` gives values for.
pub fn values_of(name: &str) -> &'static [&'static str] {
    by_name(name).map_or(&[], |splicer| splicer.values)
}

/// One program of `solution` and `tests`. `strict`: one that says when its tests have run to their end, where the
/// language file knows how.
pub fn splice(language: &Language, solution: &str, tests: &str, strict: bool) -> Spliced {
    let splicer = by_name(&language.splice).unwrap_or(&append::SPLICER);
    let completion = language.completion.as_ref().filter(|_| strict);
    let program = match completion {
        Some(completion) => {
            let enclose = ENCLOSED.iter().find(|(name, _)| *name == splicer.name);
            let (tests, last) = enclose.map_or((tests.into(), ""), |(_, enclose)| enclose(tests));
            let around = completion.around(&tests);
            let tests = if last.is_empty() { around } else { append::join(&around, last) };
            (splicer.splice)(solution, &tests)
        }
        None => (splicer.splice)(solution, tests),
    };
    finish(language, program, completion)
}

/// A source that is a whole program already, made ready to run.
pub fn whole(language: &Language, source: &str) -> Spliced {
    let splicer = by_name(&language.splice).unwrap_or(&append::SPLICER);
    finish(language, (splicer.whole)(source), None)
}

/// Chooses the commands: of the variant before those of the language, and of `completion` before either.
fn finish(language: &Language, program: Program, completion: Option<&Completion>) -> Spliced {
    let variant = program.variant.and_then(|name| language.variants.get(name));
    let strict_variant = completion.zip(program.variant).and_then(|(c, name)| c.variants.get(name));
    let choose = |of_variant: fn(&Variant) -> Option<&Vec<String>>, general: [Option<&Vec<String>>; 2]| {
        let [of_completion, of_language] = general;
        let chosen = strict_variant.and_then(of_variant).or_else(|| variant.and_then(of_variant));
        chosen.or(of_completion).or(of_language).cloned()
    };
    let compile = choose(
        |variant| variant.compile.as_ref(),
        [completion.and_then(|c| c.compile.as_ref()), language.compile.as_ref()],
    );
    let run = choose(
        |variant| variant.run.as_ref(),
        [completion.and_then(|c| c.run.as_ref()), Some(&language.run)],
    );
    let value = |name: &str| {
        let known = program.values.iter().find(|(known, _)| *known == name);
        known.map(|(_, value)| value.as_str())
    };
    let filled = |command: Vec<String>| command.iter().map(|argument| expand(argument, value)).collect();
    let file_name = strict_variant
        .and_then(|variant| variant.file_name.clone())
        .or_else(|| variant.and_then(|variant| variant.file_name.clone()))
        .or(program.file_name)
        .unwrap_or_else(|| language.file_name.clone());
    let mut files = language.files.clone();
    files.extend(completion.iter().flat_map(|completion| completion.files.clone()));
    let mut source = program.source;
    if let (Some(text), Some(range)) = (completion.and_then(|c| c.entry.as_ref()), program.entry) {
        source.replace_range(range, text);
    }
    Spliced {
        source,
        file_name,
        files,
        compile: compile.map(filled),
        run: run.map(filled).unwrap_or_default(),
    }
}
