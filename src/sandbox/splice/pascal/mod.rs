//! Pascal: one program with the units, declarations and routines of both parts and the statements of the tests.
//!
//! A compiler stops reading at the `end.` of the solution, so that tests merely put after it would never run.

use std::collections::BTreeSet;

use super::append::join;
use super::{Program, Splicer};
use parts::{Declaration, Parts};

mod lexer;
mod parts;

pub(super) const SPLICER: Splicer = Splicer { name: "pascal", values: &[], splice, whole };

fn splice(solution: &str, tests: &str) -> Program {
    let (of_solution, of_tests) = (Parts::read(solution), Parts::read(tests));
    let Some(statements) = of_tests.statements.or(of_solution.statements) else {
        return Program { source: join(solution, tests), ..Program::default() };
    };
    let mut source = format!("{}{}program Tests;\n", of_solution.directives, of_tests.directives);
    let mut units: Vec<&str> = Vec::new();
    for unit in of_solution.units.iter().chain(&of_tests.units) {
        if !units.iter().any(|known| known.eq_ignore_ascii_case(unit)) && !of_solution.is_own(unit) {
            units.push(unit);
        }
    }
    if !units.is_empty() {
        source.push_str(&format!("uses {};\n", units.join(", ")));
    }
    // What both declare is the solution's: it is what the tests are there to test.
    let of_both: BTreeSet<String> = of_solution.declarations.iter().flat_map(Declaration::names).collect();
    write(&mut source, &of_solution.declarations, &BTreeSet::new());
    write(&mut source, &of_tests.declarations, &of_both);
    source.push_str(statements.trim_end());
    source.push('\n');
    let end = source.len();
    source.push_str("end.\n");
    Program { source, entry: Some(end..end), ..Program::default() }
}

fn whole(source: &str) -> Program {
    Program { source: source.to_owned(), ..Program::default() }
}

/// Writes `declarations`, without the names that are `known`.
fn write(source: &mut String, declarations: &[Declaration<'_>], known: &BTreeSet<String>) {
    // Types may refer to those after them within one section only.
    let mut open = "";
    for declaration in declarations {
        match declaration {
            Declaration::Item { section, names, rest } => {
                let new: Vec<&str> =
                    names.iter().copied().filter(|name| !known.contains(&name.to_lowercase())).collect();
                if new.is_empty() {
                    continue;
                }
                if !section.eq_ignore_ascii_case(open) {
                    source.push_str(&format!("{section}\n"));
                }
                open = section;
                source.push_str(&format!("  {}{rest}\n", new.join(", ")));
            }
            Declaration::Routine { name, text, promise } => {
                if known.contains(name) {
                    continue;
                }
                open = "";
                let promise = if *promise { " forward;" } else { "" };
                source.push_str(&format!("{text}{promise}\n\n"));
            }
        }
    }
}
