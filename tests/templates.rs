//! The prompts that come with the program, and those a user puts in their place.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use autocodegen::text::template::Templates;
use autocodegen::text::{blocks, tags};
use proptest::prelude::*;

const LANGUAGES: [&str; 6] = ["python", "cpp", "java", "javascript", "go", "shell"];

const STEPS: [(&str, &[&str]); 3] = [
    ("solution", &["language", "text"]),
    (
        "test",
        &[
            "canonical_solution",
            "demo_test_input",
            "demo_test_output",
            "full_test_input",
            "full_test_output",
            "language",
        ],
    ),
    ("question", &["canonical_solution", "demo_test_func", "full_test_func", "language"]),
];

/// A template directory with the given files.
fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn load(files: &[(&str, &str)]) -> autocodegen::error::Result<Templates> {
    Templates::load(Some(dir(files).path()))
}

fn user(templates: &Templates, step: &str, language: &str, row: &[(&str, &str)]) -> String {
    templates.render(step, language, &row.iter().copied().collect::<BTreeMap<_, _>>()).unwrap().user
}

fn load_error(files: &[(&str, &str)]) -> String {
    load(files).err().unwrap().to_string()
}

#[test]
fn every_template_renders_with_its_columns_and_holds_their_values() {
    let templates = Templates::load(None).unwrap();
    for (step, columns) in STEPS {
        for language in LANGUAGES {
            let row: BTreeMap<&str, String> = columns
                .iter()
                .map(|column| (*column, format!("value of {column}\n```\n{{{{ {column} }}}}")))
                .chain([("language", language.to_owned())])
                .collect();
            let prompt = templates.render(step, language, &row).unwrap();
            assert_eq!(prompt.system, None);
            for column in columns.iter().filter(|column| **column != "language") {
                assert!(prompt.user.contains(&row[column]), "{step}/{language} lacks {column}");
            }
            assert!(!prompt.user.contains("{%") && !prompt.user.ends_with('\n'), "{step}/{language}");
            let used = templates.columns_used(step, language).unwrap();
            let expected: BTreeSet<String> = columns.iter().map(|column| column.to_string()).collect();
            assert_eq!(used, expected, "{step}/{language}");
        }
    }
}

#[test]
fn the_values_of_a_prompt_can_be_read_back_from_its_blocks() {
    let templates = Templates::load(None).unwrap();
    let row = [
        ("language", "python"),
        ("canonical_solution", "```python\nx = 1\n```"),
        ("demo_test_func", "```\nnested\n```"),
        ("full_test_func", "~~~~\n````"),
    ];
    let prompt = user(&templates, "question", "python", &row);
    let bodies: Vec<_> = blocks::blocks(&prompt).map(|block| block.body.into_owned()).collect();
    assert_eq!(bodies, ["x = 1", row[2].1, row[3].1]);
    assert_eq!(tags::section(&prompt, "question"), Ok("(the statement)"));
}

#[test]
fn files_of_the_directory_override_and_add() {
    let templates = load(&[
        ("solution/python.txt", "only {{ text }}"),
        ("solution/default.txt", "for {{ language }}\n"),
        ("critic/default.txt", "new\n\n"),
        ("README.md", "{% not a template"),
        (".hidden/x.txt", "{% not a template"),
    ])
    .unwrap();
    assert_eq!(user(&templates, "solution", "python", &[("text", "x")]), "only x");
    assert_eq!(user(&templates, "solution", "rust", &[("language", "rust")]), "for rust");
    assert_eq!(user(&templates, "critic", "go", &[]), "new\n");
    let row = [("language", "go"), ("text", "x")];
    assert!(user(&templates, "solution", "go", &row).contains("Go specifics"));
    let missing = templates.render("tagging", "go", &BTreeMap::<&str, &str>::new()).unwrap_err();
    assert_eq!(missing.to_string(), "there is no template tagging/go.txt and no tagging/default.txt");
    assert!(missing.hint_text().unwrap().contains("--templates"));
}

#[test]
fn a_system_part_is_separated_before_values_are_put_in() {
    let text = "You know {{ language }}.\n--- user ---\nSnippet:\n{{ text }}\n";
    let templates = load(&[("s/default.txt", text), ("s/go.txt", "{{ text }}")]).unwrap();
    let row = BTreeMap::from([("language", "c"), ("text", "a\n--- user ---\nb")]);
    let prompt = templates.render("s", "c", &row).unwrap();
    assert_eq!(prompt.system.as_deref(), Some("You know c."));
    assert_eq!(prompt.user, "Snippet:\na\n--- user ---\nb");
    assert_eq!(templates.render("s", "go", &row).unwrap().system, None);
    let used = templates.columns_used("s", "c").unwrap();
    assert_eq!(used, BTreeSet::from(["language".to_owned(), "text".to_owned()]));
}

#[test]
fn a_bad_template_is_refused_with_file_and_line() {
    let error = load_error(&[("s/a.txt", "fine\n{{ text }\n")]);
    assert!(error.starts_with("template s/a.txt, line 2: syntax error"), "{error}");
    let error = load_error(&[("s/a.txt", "x\n--- user ---\n\n{% if %}\n")]);
    assert!(error.starts_with("template s/a.txt, line 4: syntax error"), "{error}");
    let error = load_error(&[("s/a.txt", "\n{% include \"s/b.txt\" %}")]);
    assert_eq!(error, "template s/a.txt, line 2: there is no template s/b.txt to include");
    for computed in ["{% include name %}", "{% include 's/' ~ x %}", "{%- include 'a' if x else 'b' %}"] {
        let error = load_error(&[("s/a.txt", computed)]);
        assert_eq!(error, "template s/a.txt, line 1: what to include is not a quoted name");
    }
    let folder = dir(&[]);
    std::fs::write(folder.path().join("a.txt"), b"one\ntw\xffo").unwrap();
    let error = Templates::load(Some(folder.path())).err().unwrap().to_string();
    assert!(error.ends_with("template a.txt, line 2: not UTF-8"), "{error}");
    let error = Templates::load(Some(Path::new("/no/such"))).err().unwrap();
    assert_eq!(error.to_string(), "/no/such is not a directory of templates");
}

#[test]
fn a_rendering_that_fails_says_where_and_why() {
    let templates = load(&[
        ("s/a.txt", "sys\n--- user ---\n{% include 's/_b.txt' %}"),
        ("s/_b.txt", "\n\n{{ nothing }}"),
        ("s/loop.txt", "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}"),
        ("s/self.txt", "{% include 's/self.txt' %}"),
    ])
    .unwrap();
    let empty = BTreeMap::<&str, &str>::new();
    let error = templates.render("s", "a", &empty).unwrap_err().to_string();
    assert!(error.starts_with("template s/_b.txt, line 3: undefined value"), "{error}");
    assert!(error.ends_with("at `nothing`"), "{error}");
    let error = templates.render("s", "loop", &empty).unwrap_err().to_string();
    assert!(error.starts_with("template s/loop.txt, line 1: engine ran out of fuel"), "{error}");
    assert!(templates.render("s", "self", &empty).is_err());
}

#[test]
fn the_hash_covers_includes_and_nothing_else() {
    let with = |included: &str, other: &str| {
        load(&[
            ("s/a.txt", "{% include 's/_b.txt' %}"),
            ("s/_b.txt", "{%- include \"s/_c.txt\" -%}"),
            ("s/_c.txt", included),
            ("s/other.txt", other),
        ])
        .unwrap()
    };
    let templates = with("1", "x");
    let sources = templates.sources("s", "a").unwrap();
    assert_eq!(
        sources.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["s/a.txt", "s/_b.txt", "s/_c.txt"]
    );
    assert_eq!(sources[2].1, "1");
    let hash = templates.source_hash("s", "a").unwrap();
    assert_eq!(hash, with("1", "y").source_hash("s", "a").unwrap());
    assert_ne!(hash, with("2", "x").source_hash("s", "a").unwrap());
}

proptest! {
    #[test]
    fn any_value_goes_through_unharmed(
        value in prop_oneof![
            any::<String>(),
            "(\\{\\{ text \\}\\}|\\{%|%\\}|\\{#|#\\}|--- user ---|<&>|\n|\r|```){0,12}",
        ],
    ) {
        let templates = load(&[("s/default.txt", "[{{ text }}]\n--- user ---\n<{{ text }}>{{ text | fence }}")]).unwrap();
        let prompt = templates.render("s", "x", &BTreeMap::from([("text", &value)])).unwrap();
        prop_assert_eq!(prompt.system.unwrap(), format!("[{value}]"));
        prop_assert_eq!(prompt.user, format!("<{value}>{}", blocks::render("", &value)));
    }
}

#[test]
fn prompts_call_a_language_what_readers_call_it() {
    let templates = load(&[(
        "say/default.txt",
        "{% from \"language/_names.txt\" import named -%}\nIn {{ named(language) }}.",
    )])
    .unwrap();
    let known = autocodegen::sandbox::language::Languages::embedded().unwrap();
    let names: Vec<String> = known
        .iter()
        .map(|language| user(&templates, "say", &language.name, &[("language", &language.name)]))
        .collect();
    let expected = "AWK. C. CoffeeScript. Common Lisp. C++. C#. Dart. Elixir. Emacs Lisp. Erlang. Fortran. F#. Go. \
                    Groovy. Haskell. Java. JavaScript. Julia. Kotlin. Lua. Pascal. Perl. PHP. PowerShell. Python. R. \
                    Racket. Ruby. Rust. Scala. Scheme. Shell. SQLite. Swift. Tcl. TypeScript. Visual Basic. Vim script.";
    let expected: Vec<String> =
        expected.split_inclusive('.').map(|name| format!("In {}", name.trim())).collect();
    assert_eq!(names, expected);
    for step in ["answer", "completion", "critic", "solve", "tag", "translate"] {
        let columns = templates.step_columns(step).unwrap();
        assert!(!columns.iter().any(|column| column.contains("name")), "{step}: {columns:?}");
        let sources = templates.sources(step, "cpp").unwrap();
        assert!(sources.iter().any(|(name, _)| *name == "language/_names.txt"), "{step}");
    }
}
