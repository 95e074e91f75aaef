//! C: the solution without its `main` when the tests have one, then the tests.

use super::append::join;
use super::cpp::main_function;
use super::lex::without;
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "c", values: &[], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    let removed = main_function(tests).and_then(|_| main_function(solution));
    Program { source: join(&without(solution, removed.as_slice()), tests), ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}
