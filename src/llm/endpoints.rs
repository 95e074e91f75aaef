//! The file of `--endpoints`: where a model is served, and how hard each place may be asked.

use std::num::NonZeroU32;
use std::path::Path;

use serde::Deserialize;

use super::provider::Provider;
use crate::error::{Error, Result};

/// One `[[endpoint]]` of the file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointEntry {
    /// Where its API is; by default where the provider's is.
    pub base_url: Option<String>,
    /// Whose API it is.
    pub provider: Option<String>,
    /// Environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// What the model is called there, where that is not what `--model` says.
    pub model: Option<String>,
    /// The models that it serves, where endpoints of the file serve different ones; others go to endpoints without this list.
    #[serde(default)]
    pub serves: Vec<String>,
    /// How many calls it gets beside the others; 1 where it is left out.
    pub weight: Option<f64>,
    /// Most calls in flight.
    pub in_flight: Option<usize>,
    /// Most requests a minute.
    pub requests_per_min: Option<NonZeroU32>,
    /// Most tokens a minute.
    pub tokens_per_min: Option<NonZeroU32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    endpoint: Vec<EndpointEntry>,
}

impl EndpointEntry {
    /// Reads a file of endpoints.
    ///
    /// # Errors
    /// It cannot be read, is not TOML of this form, or an entry makes no sense.
    pub fn load(path: &Path) -> Result<Vec<Self>> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        Self::parse(&text).map_err(|error| error.context(path.display()))
    }

    fn parse(text: &str) -> Result<Vec<Self>> {
        const FORM: &str = "each endpoint is a table `[[endpoint]]` with base_url or provider, and if need be api_key_env, model, \
                            serves, weight, in_flight, requests_per_min, tokens_per_min";
        let file: File =
            toml::from_str(text).map_err(|error| Error::usage(error.to_string().trim()).hint(FORM))?;
        if file.endpoint.is_empty() {
            return Err(Error::usage("there is no endpoint in it").hint(FORM));
        }
        for (n, entry) in file.endpoint.iter().enumerate() {
            let wrong = |what: &str| Error::usage(format!("endpoint {}: {what}", n + 1)).hint(FORM);
            if entry.base_url.is_none() && entry.provider.is_none() {
                return Err(wrong("it has neither base_url nor provider"));
            }
            if entry.weight.is_some_and(|weight| !(0.001..=1000.0).contains(&weight)) {
                return Err(wrong("weight is a number from 0.001 to 1000"));
            }
            if entry.serves.iter().any(|model| model.trim().is_empty()) {
                return Err(wrong("serves has an empty name"));
            }
            if entry.in_flight == Some(0) {
                return Err(wrong("in_flight is at least 1"));
            }
            entry.provider()?;
        }
        Ok(file.endpoint)
    }

    /// Whose API it is, where the entry says.
    ///
    /// # Errors
    /// There is no such provider.
    pub fn provider(&self) -> Result<Option<&'static Provider>> {
        self.provider.as_deref().map(Provider::named).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_with_everything() {
        let entries = EndpointEntry::parse(
            r#"
            [[endpoint]]
            base_url = "http://10.0.0.1:8000/v1"
            weight = 2
            in_flight = 128
            requests_per_min = 500
            tokens_per_min = 200_000
            model = "m-awq"

            [[endpoint]]
            provider = "deepseek"
            api_key_env = "MY_KEY"
            "#,
        )
        .unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].weight, entries[0].in_flight), (Some(2.0), Some(128)));
        assert_eq!(entries[0].tokens_per_min.map(NonZeroU32::get), Some(200_000));
        assert_eq!(entries[1].provider().unwrap().unwrap().name, "deepseek");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        for (text, says) in [
            ("", "no endpoint"),
            ("[[endpoint]]\nbase_url = 7", "base_url"),
            ("[[endpoint]]\nurl = 'x'", "url"),
            ("[[endpoint]]\nweight = 1", "endpoint 1: it has neither"),
            (
                "[[endpoint]]\nbase_url = 'http://h'\n[[endpoint]]\nbase_url = 'http://h'\nweight = 0",
                "endpoint 2: weight",
            ),
            ("[[endpoint]]\nbase_url = 'http://h'\nweight = nan", "weight"),
            ("[[endpoint]]\nbase_url = 'http://h'\nin_flight = 0", "in_flight"),
            ("[[endpoint]]\nbase_url = 'http://h'\nserves = ['m', ' ']", "serves"),
            ("[[endpoint]]\nbase_url = 'http://h'\nrequests_per_min = 0", "requests_per_min"),
            ("[[endpoint]]\nprovider = 'nobody'", "no provider"),
        ] {
            let error = EndpointEntry::parse(text).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[\\[endpoint\\]\\]\n)?[a-z_]{0,12} = .{0,20}") {
            let _ = EndpointEntry::parse(&text);
        }
    }
}
