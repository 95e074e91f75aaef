//! How the run was made, without secrets.

use crate::analytics::report::samples::Sample;
use crate::analytics::report::secrets::without_secrets;
use crate::analytics::report::{About, Group, Part, Section, Table};

/// Longest pipeline file, characters.
const FILE: usize = 20_000;

/// How the run was made.
pub(super) fn configuration(about: &About) -> Section {
    let table = about.configuration.iter().map(|(what, value)| vec![what.clone(), without_secrets(value)]);
    let file = about.pipeline_file.as_deref().map(|file| Group {
        title: "The pipeline".into(),
        about: String::new(),
        samples: vec![Sample::file("pipeline.toml", &without_secrets(file), "toml", FILE)],
    });
    Section {
        id: "configuration",
        title: "Configuration",
        parts: vec![Part { figures: Vec::new(), table: Table::new(&["what", "value"], table.collect()) }],
        groups: file.into_iter().collect(),
        ..Section::default()
    }
}
