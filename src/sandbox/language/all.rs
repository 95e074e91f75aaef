//! All languages: reading `data/languages` and finding them by name.

use std::collections::BTreeMap;

use rust_embed::RustEmbed;

use super::Language;
use crate::error::{Error, Result};

#[derive(RustEmbed)]
#[folder = "data/languages"]
#[include = "*.toml"]
struct Embedded;

#[derive(RustEmbed)]
#[folder = "data/languages/support"]
struct Support;

/// The text of a file that languages share, by its path below `data/languages/support`; `key` names it.
pub(super) fn support(path: &str, key: &str) -> Result<String> {
    let text = Support::get(path).and_then(|file| String::from_utf8(file.data.into_owned()).ok());
    text.ok_or_else(|| {
        Error::usage(format!("key `{key}`: there is no text {path:?}"))
            .hint("the files are in data/languages/support")
    })
}

/// All languages, found by name, alias or file extension.
#[derive(Debug, Clone)]
pub struct Languages {
    languages: Vec<Language>,
    by_name: BTreeMap<String, usize>,
    by_extension: BTreeMap<String, usize>,
}

impl Languages {
    /// The languages of `data/languages`.
    ///
    /// # Errors
    /// A file that [`Language::parse`] refuses, or two that claim the same name or extension.
    pub fn embedded() -> Result<Self> {
        let mut languages = Vec::new();
        for path in Embedded::iter() {
            let Some(file) = Embedded::get(&path) else { continue };
            let origin = format!("data/languages/{path}");
            let text = std::str::from_utf8(&file.data)
                .map_err(|error| Error::usage(format!("{origin}: {error}")))?;
            languages.push(Language::parse(&origin, text)?);
        }
        Self::new(languages)
    }

    /// These languages.
    ///
    /// # Errors
    /// Two that claim the same name, alias or extension.
    pub fn new(mut languages: Vec<Language>) -> Result<Self> {
        languages.sort_by(|a, b| a.name.cmp(&b.name));
        let mut by_name = BTreeMap::new();
        let mut by_extension = BTreeMap::new();
        for (index, language) in languages.iter().enumerate() {
            for name in [&language.name].into_iter().chain(&language.aliases) {
                claim(&mut by_name, "name", name, index, &languages)?;
            }
            for extension in &language.extensions {
                claim(&mut by_extension, "extension", extension, index, &languages)?;
            }
        }
        Ok(Self { languages, by_name, by_extension })
    }

    /// The language of this name or alias; upper and lower case and surrounding space do not matter.
    pub fn get(&self, name_or_alias: &str) -> Option<&Language> {
        let index = *self.by_name.get(name_or_alias.trim().to_lowercase().as_str())?;
        self.languages.get(index)
    }

    /// The language whose source files have this extension, given without the dot.
    pub fn by_extension(&self, extension: &str) -> Option<&Language> {
        let index = *self.by_extension.get(extension.to_lowercase().as_str())?;
        self.languages.get(index)
    }

    /// All languages, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Language> {
        self.languages.iter()
    }

    /// The language of this name or alias, as an error that lists what there is.
    ///
    /// # Errors
    /// There is no such language.
    pub fn require(&self, name_or_alias: &str) -> Result<&Language> {
        self.get(name_or_alias).ok_or_else(|| {
            let names: Vec<_> = self.iter().map(|language| language.name.as_str()).collect();
            Error::usage(format!("unknown language {name_or_alias:?}"))
                .hint(format!("the languages are {}", names.join(", ")))
        })
    }
}

fn claim(
    owners: &mut BTreeMap<String, usize>,
    what: &str,
    name: &str,
    index: usize,
    languages: &[Language],
) -> Result<()> {
    match owners.insert(name.to_owned(), index) {
        Some(other) => Err(Error::usage(format!(
            "the {what} {name:?} is claimed by both {} and {}",
            languages[other].name, languages[index].name
        ))),
        None => Ok(()),
    }
}
