//! Wrong programs made of right ones, to see whether tests notice.
//!
//! - A *stub* has the signatures of the original and does nothing: every function returns a constant. Tests that pass it assert
//!   nothing.
//! - A *mutant* is the original with one mistake in one place: another operator, a constant that is off by one, a branch that
//!   is never or always taken, swapped arguments, an early return. Tests that pass many of them assert little.
//!
//! Both are made by tree-sitter grammars and what `data/mutate/<language>.toml` says about them; nothing about a particular
//! language stands in the code. What comes out parses at least as well as what went in. Some mutants mean the same as
//! the original, and some do not compile: that is for those who run them to tell.

mod grammar;
mod sites;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use rust_embed::RustEmbed;

use crate::error::{Error, Result};
use crate::frame::key::Key;
use grammar::Grammar;
use sites::{Edit, Sites};
use table::{Operators, Table};

/// Longest program that is mutated, bytes. Some grammars take time that grows with its square.
const MAX_BYTES: usize = 32 << 10;

/// Most syntax errors of a program that is mutated. A few are what its grammar does not know of the language; more, and it is
/// something else.
const MAX_ERRORS: usize = 10;

/// Name of the file that is about no language.
const OPERATORS: &str = "operators.toml";

#[derive(RustEmbed)]
#[folder = "data/mutate"]
#[include = "*.toml"]
struct Embedded;

/// A kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A comparison turned round, e.g. `<` into `>=`.
    Comparison,
    /// A comparison that is off by one, e.g. `<` into `<=`.
    Boundary,
    /// Another arithmetic operator.
    Arithmetic,
    /// `and` for `or`.
    Logic,
    /// A number that is off by one, or the other truth value.
    Constant,
    /// A branch that is never or always taken, a loop that is never entered.
    Branch,
    /// Two arguments swapped.
    Argument,
    /// A function that returns a constant, early or instead of what it worked out.
    Return,
}

/// A program with one mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// What kind of mistake.
    pub kind: Kind,
    /// Line of the original that it is in, from 1.
    pub line: usize,
    /// What stood there; empty where something was put in.
    pub from: String,
    /// What stands there now.
    pub to: String,
    /// The whole program.
    pub source: String,
}

/// Makes stubs and mutants of programs in one language.
pub struct Mutator {
    grammar: Grammar,
    table: Table,
    operators: BTreeMap<String, Vec<(Kind, String)>>,
    identity: String,
}

/// The mutators of all languages that have one.
pub struct Mutators(BTreeMap<String, Mutator>);

impl Mutators {
    /// The languages of `data/mutate`.
    ///
    /// # Errors
    /// A file with wrong keys, an unknown grammar, or a node kind that the grammar does not have.
    pub fn embedded() -> Result<Self> {
        let common: Operators = read(OPERATORS)?.1;
        let names = Embedded::iter().filter(|name| name != OPERATORS);
        let mutators = names.map(|name| {
            let (text, table) = read::<Table>(&name)?;
            let language = name.trim_end_matches(".toml").to_owned();
            let mutator = Mutator::new(&text, table, &common);
            Ok((language, mutator.map_err(|error| error.context(&origin(&name)))?))
        });
        mutators.collect::<Result<_>>().map(Self)
    }

    /// The mutator of `language`; `None` where there is no grammar.
    pub fn get(&self, language: &str) -> Option<&Mutator> {
        self.0.get(language)
    }

    /// Names of the languages, sorted.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn origin(name: &str) -> String {
    format!("data/mutate/{name}")
}

/// The text and content of an embedded file.
fn read<T: serde::de::DeserializeOwned>(name: &str) -> Result<(String, T)> {
    let file = Embedded::get(name).and_then(|file| String::from_utf8(file.data.into_owned()).ok());
    let text = file.ok_or_else(|| Error::usage(format!("there is no text {}", origin(name))))?;
    let content = toml::from_str(&text);
    let content = content.map_err(|error| Error::usage(format!("{}: {error}", origin(name))))?;
    Ok((text, content))
}

impl Mutator {
    fn new(text: &str, table: Table, common: &Operators) -> Result<Self> {
        let grammar = Grammar::named(&table.grammar)?;
        table.kinds().try_for_each(|kind| grammar.check_kind(kind))?;
        let operators = table.operators.over(common);
        let identity = Key::of(&[text, &format!("{operators:?}"), &grammar.identity()]).to_string();
        Ok(Self { grammar, table, operators, identity })
    }

    /// What its stubs and mutants depend on besides the program.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// `source` with the bodies of its functions replaced by constants. `None` when it has none that can be, or is too
    /// long to tell.
    pub fn stub(&self, source: &str) -> Option<String> {
        let (tree, errors) = self.parse(source)?;
        let mut edits = Sites::of(self, source, &tree).stubs;
        edits.retain(|edit| source.get(edit.range.clone()) != Some(&edit.to));
        if edits.is_empty() {
            return None;
        }
        let mut stub = String::with_capacity(source.len());
        let mut copied = 0;
        for edit in &edits {
            stub.push_str(source.get(copied..edit.range.start)?);
            stub.push_str(&edit.to);
            copied = edit.range.end;
        }
        stub.push_str(source.get(copied..)?);
        self.parses_as_well(&stub, errors).then_some(stub)
    }

    /// At most `most` mutants of `source`, the same for the same `seed`: a sample that goes round the kinds of mistakes, so
    /// that those of which there are many do not crowd out the others. None when it is too long.
    pub fn mutants(&self, source: &str, seed: u64, most: usize) -> Vec<Mutant> {
        let Some((tree, errors)) = self.parse(source) else { return Vec::new() };
        let mut by_kind: BTreeMap<Kind, Vec<(Key, Edit)>> = BTreeMap::new();
        for edit in Sites::of(self, source, &tree).edits {
            by_kind.entry(edit.kind).or_default().push((edit.rank(seed, source), edit));
        }
        let mut queues: Vec<_> = by_kind
            .into_values()
            .map(|mut edits| {
                edits.sort_unstable_by_key(|(rank, _)| *rank);
                edits.into_iter().map(|(_, edit)| edit)
            })
            .collect();
        let mut mutants: Vec<Mutant> = Vec::new();
        while mutants.len() < most && !queues.is_empty() {
            queues.retain_mut(|queue| {
                let is_new = |mutant: &Mutant| {
                    mutant.source != source && mutants.iter().all(|known| known.source != mutant.source)
                };
                let valid = |mutant: &Mutant| is_new(mutant) && self.parses_as_well(&mutant.source, errors);
                let next = queue.by_ref().filter_map(|edit| edit.make(source)).find(valid);
                let found = next.is_some();
                mutants.extend(next.filter(|_| mutants.len() < most));
                found
            });
        }
        mutants
    }

    /// The syntax tree of a program to mutate, and how many errors it has.
    fn parse(&self, source: &str) -> Option<(tree_sitter::Tree, usize)> {
        let tree = if source.len() > MAX_BYTES { None } else { self.grammar.parse(source) }?;
        let errors = grammar::errors(&tree);
        (errors <= MAX_ERRORS).then_some((tree, errors))
    }

    /// Whether `source` has no more syntax errors than `errors`: a grammar may not know all of its language.
    fn parses_as_well(&self, source: &str, errors: usize) -> bool {
        self.grammar.parse(source).is_some_and(|tree| grammar::errors(&tree) <= errors)
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (shown(&self.from), shown(&self.to));
        match self.from.is_empty() {
            true => write!(f, "line {}: put in {to}", self.line),
            false => write!(f, "line {}: {from} became {to}", self.line),
        }
    }
}

/// The beginning of a piece of code, in quotes, with its control characters escaped.
fn shown(code: &str) -> String {
    const MOST: usize = 60;
    let code = code.trim();
    match code.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}...", &code[..end]),
        None => format!("{code:?}"),
    }
}
