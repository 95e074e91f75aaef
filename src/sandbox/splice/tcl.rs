//! Tcl: the tests' own first line for the system's loader goes.

use super::append::join;
use super::{Program, Splicer};

pub(super) const SPLICER: Splicer = Splicer { name: "tcl", values: &[], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    let body = match tests.trim_start() {
        script if script.starts_with("#!") => script.split_once('\n').map_or("", |(_, body)| body),
        _ => tests,
    };
    Program { source: join(solution, body), ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}
