//! Stubs and mutants: golden ones for every language that has a grammar, and what holds of any program whatever.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use autocodegen::sandbox::language::Languages;
use autocodegen::text::mutate::{Kind, Mutant, Mutators};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

static MUTATORS: LazyLock<Mutators> = LazyLock::new(|| Mutators::embedded().unwrap());

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutate").join(name)
}

fn program(language: &str) -> String {
    std::fs::read_to_string(folder("programs").join(format!("{language}.txt"))).unwrap()
}

fn all_mutants(language: &str, source: &str) -> Vec<Mutant> {
    MUTATORS.get(language).unwrap().mutants(source, 0, usize::MAX)
}

/// That `mutant` is `source` with one place changed, as it says.
fn differs_in_one_place(source: &str, mutant: &Mutant) -> bool {
    let fits = |(at, _): (usize, &str)| {
        mutant.source == [&source[..at], &mutant.to, &source[at + mutant.from.len()..]].concat()
    };
    mutant.source != source
        && match mutant.from.as_str() {
            "" => (0..=source.len()).filter(|at| source.is_char_boundary(*at)).any(|at| fits((at, ""))),
            from => {
                let bytes = source.as_bytes();
                let mut places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes()));
                places.any(|at| fits((at, from)))
            }
        }
}

#[test]
fn every_language_has_its_golden_stub_and_mutants() {
    let languages = Languages::embedded().unwrap();
    for language in MUTATORS.languages() {
        assert!(languages.get(language).is_some_and(|known| known.name == language), "{language}");
        let source = program(language);
        let mutator = MUTATORS.get(language).unwrap();
        let mut text = mutator.stub(&source).unwrap_or_else(|| "no stub".to_owned());
        text.push_str("\n----\n");
        let mut mutants = all_mutants(language, &source);
        mutants.sort_by_key(|mutant| (mutant.line, mutant.kind, mutant.to.clone()));
        for mutant in &mutants {
            assert!(differs_in_one_place(&source, mutant), "{language}: {mutant}");
            writeln!(text, "{:?}: {mutant}", mutant.kind).unwrap();
        }
        let settings = || {
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path(folder("golden"));
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings
        };
        settings().bind(|| insta::assert_snapshot!(language, text));
    }
}

#[test]
fn a_small_sample_has_mistakes_of_every_kind() {
    for language in ["python", "javascript", "java", "cpp", "go"] {
        let sample = MUTATORS.get(language).unwrap().mutants(&program(language), 0, 8);
        let kinds: BTreeSet<Kind> = sample.iter().map(|mutant| mutant.kind).collect();
        assert_eq!((sample.len(), kinds.len()), (8, 8), "{language}: {sample:#?}");
    }
}

#[test]
fn a_sample_is_the_same_for_a_seed_and_another_for_another() {
    let (python, source) = (MUTATORS.get("python").unwrap(), program("python"));
    let sample = |seed, most| python.mutants(&source, seed, most);
    assert_eq!(sample(1, 10), sample(1, 10));
    assert_eq!(sample(1, 4), sample(1, 10)[..4], "a larger sample begins with the smaller one");
    assert_ne!(sample(1, 10), sample(2, 10));
    assert!(sample(1, 0).is_empty());
}

#[test]
fn there_is_nothing_to_make_wrong_in_some_programs() {
    let python = MUTATORS.get("python").unwrap();
    for source in ["", "# 1 + 1\n", "import os\n", "def main():\n    return 1 + 1\n"] {
        assert_eq!((python.stub(source), python.mutants(source, 0, 10)), (None, vec![]), "{source:?}");
    }
    let constant = "def f():\n    return None\n";
    assert_eq!(python.stub(constant), None, "it is its own stub");
    assert!(MUTATORS.get("cobol").is_none());
}

#[test]
fn programs_too_long_or_too_deep_are_bearable() {
    for language in MUTATORS.languages() {
        let mutator = MUTATORS.get(language).unwrap();
        let long = "a = 1\n".repeat(40_000);
        assert!(mutator.stub(&long).is_none() && mutator.mutants(&long, 0, 3).is_empty(), "{language}");
        for nest in ["(", "{", "[", "f(", "if (a) {", "\"${", "<<A\n"] {
            let deep = nest.repeat(300);
            let _neither_panics_nor_hangs = (mutator.stub(&deep), mutator.mutants(&deep, 0, 2));
        }
    }
}

/// Text that is somewhat like a program: pieces of programs, whole lines and torn ones, and anything.
fn text() -> impl Strategy<Value = String> {
    let lines: Vec<String> = MUTATORS
        .languages()
        .flat_map(|language| program(language).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let torn = |(line, at): (String, prop::sample::Index)| {
        let at = at.index(line.len() + 1);
        line[..line.floor_char_boundary(at)].to_owned()
    };
    let piece = prop_oneof![
        4 => select(lines.clone()),
        2 => (select(lines), any::<prop::sample::Index>()).prop_map(torn),
        1 => any::<String>(),
        1 => "[\\PC\n\t\0]{0,12}",
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_text_mutants_differ_in_one_place(
        language in select(MUTATORS.languages().map(str::to_owned).collect::<Vec<_>>()),
        source in text(),
        seed in any::<u64>(),
    ) {
        let mutator = MUTATORS.get(&language).unwrap();
        let mutants = mutator.mutants(&source, seed, 20);
        prop_assert!(mutants.len() <= 20);
        for mutant in &mutants {
            prop_assert!(differs_in_one_place(&source, mutant), "{}", mutant);
            prop_assert!((1..=source.lines().count().max(1)).contains(&mutant.line), "{}", mutant);
        }
        prop_assert_eq!(mutants, mutator.mutants(&source, seed, 20));
        prop_assert_ne!(mutator.stub(&source), Some(source));
    }
}
