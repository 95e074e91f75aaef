//! The API key, kept out of every message and log.

use std::fmt;

use reqwest::header::HeaderValue;

use crate::error::{Error, Result};

/// Keys of this many bytes do not turn up in a text by chance.
const SHORTEST_TELLING: usize = 12;

/// An API key and the name of the environment variable it came from. Printing it never shows the key.
#[derive(Clone)]
pub struct Secret {
    key: String,
    variable: String,
    authorization: HeaderValue,
}

impl Secret {
    /// The key `value` that the user keeps in the environment variable `variable`; white space around it is dropped.
    ///
    /// # Errors
    /// The key is empty or has characters that cannot stand in an HTTP header.
    pub fn new(value: &str, variable: &str) -> Result<Self> {
        let key = value.trim();
        if key.is_empty() {
            return Err(Error::environment(format!("the API key in {variable} is empty"))
                .hint(format!("set it with `export {variable}=...`")));
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
            Error::environment(format!(
                "the API key in {variable} has characters that no HTTP header can hold"
            ))
            .hint(format!("look for line breaks or control characters in {variable}"))
        })?;
        authorization.set_sensitive(true);
        Ok(Self { key: key.to_owned(), variable: variable.to_owned(), authorization })
    }

    /// The key in the environment variable `variable`.
    ///
    /// # Errors
    /// The variable is not set, or its value cannot be a key.
    pub fn from_env(variable: &str) -> Result<Self> {
        match std::env::var(variable) {
            Ok(value) => Self::new(&value, variable),
            Err(std::env::VarError::NotPresent) => {
                Err(Error::environment(format!("no API key: the environment variable {variable} is not set"))
                    .hint(format!("set it with `export {variable}=...`")))
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::environment(format!("the API key in {variable} is not valid UTF-8"))
                    .hint(format!("set it again with `export {variable}=...`")))
            }
        }
    }

    /// Name of the environment variable that holds the key.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// The value of the Authorization header, marked sensitive: HTTP libraries do not log it.
    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// `text` with every occurrence of the key blotted out.
    pub(super) fn scrub(&self, text: &str) -> String {
        text.replace(&self.key, "[api key]")
    }

    /// Blots the key out of a part of a reply, unless it is so short that it may be a word of it: local servers are
    /// given keys such as `EMPTY`.
    pub(super) fn scrub_reply(&self, text: &mut String) {
        if self.key.len() >= SHORTEST_TELLING && text.contains(&self.key) {
            *text = self.scrub(text);
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.variable)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[api key of {}]", self.variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let secret = Secret::new("  sk-very-secret\n", "MY_KEY").unwrap();
        for shown in [format!("{secret:?}"), format!("{secret:#?}"), secret.to_string()] {
            assert!(!shown.contains("sk-very-secret") && shown.contains("MY_KEY"), "{shown}");
        }
        assert_eq!(secret.authorization().to_str().unwrap(), "Bearer sk-very-secret");
        assert!(!format!("{:?}", secret.authorization()).contains("sk-very-secret"));
        assert_eq!(secret.scrub("bad key sk-very-secret!"), "bad key [api key]!");
    }

    #[test]
    fn replies_lose_keys_but_not_words() {
        let scrubbed = |key: &str, text: &str| {
            let mut text = text.to_owned();
            Secret::new(key, "MY_KEY").unwrap().scrub_reply(&mut text);
            text
        };
        assert_eq!(scrubbed("sk-very-secret", "you sent sk-very-secret"), "you sent [api key]");
        assert_eq!(scrubbed("EMPTY", "if stack == EMPTY:"), "if stack == EMPTY:");
    }

    #[test]
    fn unusable_keys_are_refused_without_showing_them() {
        for bad in ["", "  \n", "sk-a\nb", "sk-a\u{0}b"] {
            let error = Secret::new(bad, "MY_KEY").unwrap_err();
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains("MY_KEY") && !error.to_string().contains("sk-a"), "{error}");
        }
        let error = Secret::from_env("AUTOCODEGEN_TEST_NO_SUCH_VARIABLE").unwrap_err();
        assert!(error.hint_text().unwrap().contains("AUTOCODEGEN_TEST_NO_SUCH_VARIABLE"));
    }
}
