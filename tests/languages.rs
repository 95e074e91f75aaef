//! Every language file: its keys, and what its probes must come to.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use autocodegen::sandbox::language::{Language, Languages};

#[test]
fn the_embedded_files_are_sound() {
    let languages = Languages::embedded().unwrap();
    for name in ["python", "cpp", "java", "javascript", "go", "shell"] {
        assert_eq!(languages.get(name).unwrap().name, name);
    }
    assert_eq!(languages.get(" C++ ").unwrap().name, "cpp");
    assert_eq!(languages.by_extension("PY").unwrap().name, "python");
    assert!(languages.get("klingon").is_none());
}

#[test]
fn a_file_is_named_after_its_language() {
    for entry in std::fs::read_dir("data/languages").unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let language = Language::parse(path.to_str().unwrap(), &text).unwrap();
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), language.name);
    }
}
