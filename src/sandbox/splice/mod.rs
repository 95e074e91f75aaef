//! Splicing: a solution and its tests become one program.
//!
//! A language file names its splicer; languages that need no more than one text after the other use `append`.
//! A splicer may also choose one of the variants of the language file and give values for `{name}` placeholders
//! that only the program's text can tell, such as its main class.

mod append;
mod cpp;
mod go;
mod java;
mod javascript;
mod lex;

use super::language::Language;
use super::toolchain::expand;

/// One program and how this particular one is named, compiled and run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spliced {
    /// The program.
    pub source: String,
    /// The file name to use instead of the language's.
    pub file_name: Option<String>,
    /// The compile command to use instead of the language's.
    pub compile: Option<Vec<String>>,
    /// The run command to use instead of the language's.
    pub run: Option<Vec<String>>,
}

/// What a splicer makes of its input.
#[derive(Debug, Default)]
struct Program {
    source: String,
    /// The variant of the language file to use, if not the plain one.
    variant: Option<&'static str>,
    /// Values for placeholders in the run command.
    values: Vec<(&'static str, String)>,
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

const SPLICERS: &[Splicer] =
    &[append::SPLICER, cpp::SPLICER, go::SPLICER, java::SPLICER, javascript::SPLICER];

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

/// One program of `solution` and `tests`.
pub fn splice(language: &Language, solution: &str, tests: &str) -> Spliced {
    let splicer = by_name(&language.splice).unwrap_or(&append::SPLICER);
    finish(language, (splicer.splice)(solution, tests))
}

/// A source that is a whole program already, made ready to run.
pub fn whole(language: &Language, source: &str) -> Spliced {
    let splicer = by_name(&language.splice).unwrap_or(&append::SPLICER);
    finish(language, (splicer.whole)(source))
}

fn finish(language: &Language, program: Program) -> Spliced {
    let variant = program.variant.and_then(|name| language.variants.get(name));
    let run = variant.and_then(|variant| variant.run.as_ref()).unwrap_or(&language.run);
    let value = |name: &str| {
        let known = program.values.iter().find(|(known, _)| *known == name);
        known.map(|(_, value)| value.as_str())
    };
    let run: Vec<_> = run.iter().map(|argument| expand(argument, value)).collect();
    Spliced {
        source: program.source,
        file_name: variant.and_then(|variant| variant.file_name.clone()),
        compile: variant.and_then(|variant| variant.compile.clone()),
        run: (run != language.run).then_some(run),
    }
}
