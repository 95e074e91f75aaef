//! Known providers, from `data/providers.toml`: where they are, and what their APIs want otherwise.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::address::{host, is_loopback};
use crate::error::{Error, Result};
use crate::llm::chat::Sampling;

/// A provider of an OpenAI-compatible API.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What `--provider` calls it.
    pub name: String,
    /// Where its API is.
    pub base_url: String,
    /// Environment variable that its users keep their key in; `None` where none is needed.
    pub key_env: Option<String>,
    /// Settings that it does not know or refuses.
    #[serde(default)]
    omit: Vec<String>,
    /// Whether several samples can be asked for in one request.
    pub n: bool,
    /// Whether it has a batch API.
    pub batch: bool,
    /// Kinds of JSON replies that can be asked for: `json_object`, `json_schema`.
    pub response_format: Vec<String>,
    #[serde(default, rename = "rule")]
    rules: Vec<Rule>,
}

/// What some of a provider's models want otherwise.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    models: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    rename: BTreeMap<String, String>,
    #[serde(default)]
    omit: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    provider: Vec<Provider>,
}

/// The table in the program; a test reads it, so it parses.
static PROVIDERS: LazyLock<Vec<Provider>> = LazyLock::new(|| {
    let table = toml::from_str::<Table>(include_str!("../../data/providers.toml"));
    table.map(|table| table.provider).unwrap_or_default()
});

impl Provider {
    /// All known providers.
    pub fn all() -> &'static [Self] {
        &PROVIDERS
    }

    /// The provider called `name`.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn named(name: &str) -> Result<&'static Self> {
        Self::all().iter().find(|provider| provider.name == name).ok_or_else(|| {
            let known: Vec<&str> = Self::all().iter().map(|provider| provider.name.as_str()).collect();
            Error::usage(format!("there is no provider `{name}`"))
                .hint(format!("known are {}; any other is asked with --base-url URL", known.join(", ")))
        })
    }

    /// The provider whose host `url` has. What runs on this machine cannot be told by its address.
    pub(super) fn at(url: &Url) -> Option<&'static Self> {
        let same = |provider: &&Self| {
            Url::parse(&provider.base_url)
                .is_ok_and(|known| host(&known) == host(url) && !is_loopback(&known))
        };
        Self::all().iter().find(same)
    }

    /// Makes the settings in `fields` what the provider's `model` takes. What the user put into the body as extra fields
    /// stays. The names of settings that had to be left out.
    pub(super) fn adapt(
        &self,
        model: &str,
        sampling: &Sampling,
        fields: &mut Map<String, Value>,
    ) -> Vec<&str> {
        let rules: Vec<&Rule> = self.rules.iter().filter(|rule| rule.applies_to(model)).collect();
        let own = |name: &str| sampling.extra.contains_key(name);
        for (from, to) in rules.iter().flat_map(|rule| &rule.rename).filter(|(from, _)| !own(from)) {
            if let Some(value) = fields.remove(from)
                && !own(to)
            {
                fields.insert(to.clone(), value);
            }
        }
        let omitted = self.omit.iter().chain(rules.iter().flat_map(|rule| &rule.omit));
        omitted.filter(|name| !own(name) && fields.remove(*name).is_some()).map(String::as_str).collect()
    }
}

impl Rule {
    fn applies_to(&self, model: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => model.starts_with(start),
            None => model == pattern,
        };
        self.models.iter().any(matches) && !self.except.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::address::addresses;

    #[test]
    fn the_table_reads_and_every_entry_makes_sense() {
        let table: Table = toml::from_str(include_str!("../../data/providers.toml")).unwrap();
        assert_eq!(table.provider, Provider::all());
        for wanted in ["openai", "deepseek", "openrouter", "ollama", "vllm", "llama.cpp"] {
            assert_eq!(Provider::named(wanted).unwrap().name, wanted);
        }
        for provider in Provider::all() {
            let (chat, _) = addresses(&provider.base_url).unwrap();
            assert_eq!(provider.key_env.is_none(), is_loopback(&chat), "{}", provider.name);
            assert_eq!(Provider::at(&chat).is_some(), !is_loopback(&chat), "{}", provider.name);
            assert!(provider.response_format.iter().all(|kind| kind.starts_with("json_")));
        }
        assert!(Provider::named("nobody").unwrap_err().hint_text().unwrap().contains("openrouter"));
    }

    #[test]
    fn settings_are_made_what_the_model_takes() {
        let adapted = |provider: &str, model: &str, extra: Value| {
            let sampling = Sampling { extra: extra.as_object().unwrap().clone(), ..Sampling::default() };
            let mut fields = json!({"model": model, "temperature": 0.0, "max_tokens": 9, "seed": 1});
            let fields = fields.as_object_mut().unwrap();
            fields.extend(sampling.extra.clone());
            let provider = Provider::named(provider).unwrap();
            let omitted: Vec<String> =
                provider.adapt(model, &sampling, fields).into_iter().map(str::to_owned).collect();
            (Value::from(fields.clone()), omitted)
        };
        let none = json!({});
        let (fields, omitted) = adapted("openai", "gpt-5-mini", none.clone());
        assert_eq!(fields, json!({"model": "gpt-5-mini", "seed": 1, "max_completion_tokens": 9}));
        assert_eq!(omitted, ["temperature"]);
        for model in ["gpt-4.1", "gpt-5-chat-latest"] {
            let (fields, omitted) = adapted("openai", model, none.clone());
            assert_eq!(fields, json!({"model": model, "temperature": 0.0, "max_tokens": 9, "seed": 1}));
            assert!(omitted.is_empty());
        }
        let (fields, omitted) = adapted("deepseek", "deepseek-chat", none);
        assert_eq!((fields.get("seed"), omitted.as_slice()), (None, ["seed".to_owned()].as_slice()));
        // The user knows better.
        let (fields, omitted) =
            adapted("openai", "o3", json!({"temperature": 1, "max_completion_tokens": 5}));
        assert_eq!(fields, json!({"model": "o3", "temperature": 1, "seed": 1, "max_completion_tokens": 5}));
        assert!(omitted.is_empty());
    }
}
