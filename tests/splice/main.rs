//! Solutions and tests made into one program: what must be kept, dropped, merged and added, per language.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod first_six;
mod jvm;
mod lisps;
mod scripting;
mod systems;

use std::sync::LazyLock;

use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::splice::{self, Spliced};
use proptest::prelude::*;

/// Read once: there are many cases.
static LANGUAGES: LazyLock<Languages> = LazyLock::new(|| Languages::embedded().unwrap());

fn splice(language: &str, solution: &str, tests: &str) -> Spliced {
    splice::splice(LANGUAGES.get(language).unwrap(), solution, tests, false)
}

fn whole(language: &str, source: &str) -> Spliced {
    splice::whole(LANGUAGES.get(language).unwrap(), source)
}

fn code() -> impl Strategy<Value = String> {
    let words = "import|package|class|public|func|main|function|export|require|const|demoTesting|TestX|int|@Test|a\\.b";
    proptest::string::string_regex(&format!(
        "(({words})|[(){{}};=*,.\"'`/#]|/\\*|\\*/|//| |\n|é|R\"|\\$\\{{){{0,60}}"
    ))
    .unwrap()
}

proptest! {
    #[test]
    fn no_input_breaks_splicing(solution in code(), tests in code(), strict: bool) {
        for language in LANGUAGES.iter() {
            splice::splice(language, &solution, &tests, strict);
            splice::whole(language, &solution);
        }
    }
}
