//! The default: the solution, a line end, the tests.

use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "append", values: &[], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    Program { source: join(solution, tests), ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// `first`, a line end, `second`.
pub(super) fn join(first: &str, second: &str) -> String {
    format!("{first}\n{second}")
}
