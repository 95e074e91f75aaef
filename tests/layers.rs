//! Imports go down the list in `src/lib.rs`, never up.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules from the top down. Those of equal rank do not import each other.
const LAYERS: [(&str, u32); 14] = [
    ("cli", 10),
    ("evaluation", 9),
    ("engine", 8),
    ("plan", 7),
    ("stages", 6),
    ("text", 5),
    ("llm", 5),
    ("sandbox", 5),
    ("analytics", 4),
    ("frame", 3),
    ("retry", 2),
    ("error", 1),
    ("stats", 0),
    ("lib", 11),
];

fn rank(module: &str) -> u32 {
    LAYERS.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("unknown module {module}")).1
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The top-level modules a source file names as `crate::module`.
fn imports(source: &str) -> impl Iterator<Item = &str> {
    source.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn imports_go_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut checked = 0;
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let module =
            relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if module == "main" {
            continue;
        }
        for imported in imports(&fs::read_to_string(&file).unwrap()) {
            // Macros' `$crate::` and paths in prose name modules too; both have to respect the order.
            if !LAYERS.iter().any(|(name, _)| *name == imported) {
                continue;
            }
            checked += 1;
            assert!(
                imported == module || rank(imported) < rank(module),
                "{}: `crate::{imported}` is not below `{module}`",
                relative.display()
            );
            assert!(
                module != "analytics" || ["analytics", "frame", "error"].contains(&imported),
                "{}: analytics reads sealed frames only, not `crate::{imported}`",
                relative.display()
            );
        }
    }
    assert!(checked > 50, "only {checked} imports found: the test looks in the wrong place");
}
