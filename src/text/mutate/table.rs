//! What a file of `data/mutate` says about a grammar.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;

use super::Kind;

/// Which nodes of a language's grammar can be made wrong, and how. `{}` in a template stands for what is put in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// Name of the grammar.
    pub grammar: String,
    /// Nodes whose children may be operators.
    pub operators_in: Vec<String>,
    /// Whole numbers. Those in another notation than plain digits are left alone.
    #[serde(default)]
    pub numbers: Vec<String>,
    /// Truth values, where the node is not called like the value.
    #[serde(default)]
    pub booleans: Vec<String>,
    /// Lists of arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Nodes with a condition that chooses between branches.
    #[serde(default)]
    pub branches: Vec<String>,
    /// Nodes with a condition that ends a loop: always true, it would never end.
    #[serde(default)]
    pub loops: Vec<String>,
    /// Field that holds the condition.
    #[serde(default = "condition")]
    pub condition: String,
    /// A condition that is never true but is worked out as before.
    #[serde(default)]
    pub never: String,
    /// A condition that is always true.
    #[serde(default)]
    pub always: String,
    /// Branches whose condition contains one of these ask whether the file is the main program; they are left alone.
    #[serde(default)]
    pub guards: Vec<String>,
    /// Functions that start the program; tests do not call them.
    #[serde(default = "entry")]
    pub entry: Vec<String>,
    /// Nodes that are left alone, besides comments, imports and annotations.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Operators that mean something else than usual.
    #[serde(default)]
    pub operators: Operators,
    /// Functions; absent where their bodies cannot be told or replaced.
    pub functions: Option<Functions>,
}

fn condition() -> String {
    "condition".to_owned()
}

fn entry() -> Vec<String> {
    vec!["main".to_owned(), "Main".to_owned()]
}

/// Operators and what they become, by kind of mistake; nothing leaves an operator alone.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Operators {
    comparison: BTreeMap<String, String>,
    boundary: BTreeMap<String, String>,
    arithmetic: BTreeMap<String, String>,
    logic: BTreeMap<String, String>,
}

impl Operators {
    fn all(&self) -> impl Iterator<Item = (Kind, &String, &String)> {
        let kinds = [
            (Kind::Comparison, &self.comparison),
            (Kind::Boundary, &self.boundary),
            (Kind::Arithmetic, &self.arithmetic),
            (Kind::Logic, &self.logic),
        ];
        kinds.into_iter().flat_map(|(kind, map)| map.iter().map(move |(from, to)| (kind, from, to)))
    }

    /// What each operator may become: as these say, otherwise as `common` ones do.
    pub fn over(&self, common: &Self) -> BTreeMap<String, Vec<(Kind, String)>> {
        let mut operators: BTreeMap<String, Vec<(Kind, String)>> = BTreeMap::new();
        let own = |operator: &String| self.all().any(|(_, from, _)| from == operator);
        for (kind, from, to) in self.all().chain(common.all().filter(|(_, from, _)| !own(from))) {
            if !to.is_empty() {
                operators.entry(from.clone()).or_default().push((kind, to.clone()));
            }
        }
        operators
    }
}

/// How functions are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Functions {
    /// Nodes that are functions.
    pub kinds: Vec<String>,
    /// Names of functions that a stub keeps: constructors, which often cannot do without.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Where the type of the result is: a field, or the token before it.
    #[serde(rename = "type")]
    pub result: Option<String>,
    /// The node that a list of types is.
    pub type_list: Option<String>,
    /// Types of which there is no constant to return; their functions are left alone.
    pub opaque: Option<Pattern>,
    /// Where the body is: a field, or the kind of the node.
    #[serde(default = "body")]
    pub body: String,
    /// Nodes between a function and its body proper.
    #[serde(default)]
    pub wrappers: Vec<String>,
    /// Bodies that are blocks of statements; any other is an expression.
    pub blocks: Vec<String>,
    /// A block with one statement.
    pub block: String,
    /// What goes before a block's first statement to return there; `{indent}` is the indentation of its line.
    pub early: String,
    /// The statement that returns a value.
    #[serde(rename = "return")]
    pub returning: String,
    /// The statement that returns none.
    #[serde(default)]
    pub void: String,
    /// Nodes that return a value.
    #[serde(default)]
    pub returns: Vec<String>,
    /// Constants by type, the first that matches; `{type}` is the type. An empty one: there is no value to return.
    pub values: Vec<(Pattern, String)>,
}

fn body() -> String {
    "body".to_owned()
}

impl Table {
    /// All kinds of nodes it names.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        let own = [
            &self.operators_in,
            &self.numbers,
            &self.booleans,
            &self.arguments,
            &self.branches,
            &self.loops,
            &self.skip,
        ];
        let functions = self.functions.iter().flat_map(|functions| {
            [&functions.kinds, &functions.wrappers, &functions.blocks, &functions.returns]
        });
        own.into_iter().chain(functions).flatten().map(String::as_str)
    }
}

/// A compiled regular expression.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(Regex);

impl Pattern {
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, regex::Error> {
        Regex::new(&text).map(Self)
    }
}
