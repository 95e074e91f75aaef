//! The bearer token that a sandbox service and its clients share, kept out of every message and log.

use std::fmt;

use reqwest::header::HeaderValue;

use crate::error::{Error, Result};

/// The environment variable that holds the token, on both sides.
pub const TOKEN_VARIABLE: &str = "AUTOCODEGEN_SANDBOX_TOKEN";

/// A bearer token. Printing it never shows it.
#[derive(Clone)]
pub struct Token {
    authorization: HeaderValue,
    digest: blake3::Hash,
}

impl Token {
    /// The token `value`; white space around it is dropped.
    ///
    /// # Errors
    /// It is empty or has characters that cannot stand in an HTTP header.
    pub fn new(value: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::environment(format!("the sandbox token in {TOKEN_VARIABLE} {what}"))
                .hint(format!("set it with `export {TOKEN_VARIABLE}=...`, or unset it"))
        };
        let token = value.trim();
        if token.is_empty() {
            return Err(wrong("is empty"));
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| wrong("has characters that no HTTP header can hold"))?;
        authorization.set_sensitive(true);
        Ok(Self { authorization, digest: blake3::hash(token.as_bytes()) })
    }

    /// The token of [`TOKEN_VARIABLE`], if that is set.
    ///
    /// # Errors
    /// It is set to what cannot be a token.
    pub fn from_env() -> Result<Option<Self>> {
        match std::env::var(TOKEN_VARIABLE) {
            Ok(value) => Self::new(&value).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::environment(format!("the sandbox token in {TOKEN_VARIABLE} is not valid UTF-8")))
            }
        }
    }

    /// The value of the Authorization header, marked sensitive: HTTP libraries do not log it.
    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// Whether an Authorization header carries this token. Digests are compared, in constant time: how long that takes
    /// tells nothing about the token.
    pub(super) fn is_in(&self, authorization: &HeaderValue) -> bool {
        let value = authorization.as_bytes();
        let Some((scheme, token)) = value.split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && blake3::hash(token.trim_ascii()) == self.digest
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({TOKEN_VARIABLE})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_opens() {
        let token = Token::new(" s3cret\n").unwrap();
        let opens = |text: &str| token.is_in(&HeaderValue::from_str(text).unwrap());
        assert!(opens("Bearer s3cret") && opens("bearer  s3cret "));
        for wrong in ["", "Bearer", "Bearer ", "s3cret", "Basic s3cret", "Bearer s3cre", "Bearer s3crets"] {
            assert!(!opens(wrong), "{wrong:?}");
        }
        assert!(token.is_in(&token.authorization()));
        assert!(!format!("{token:?} {:?}", token.authorization()).contains("s3cret"));
    }

    #[test]
    fn what_is_no_token_is_refused_without_showing_it() {
        for bad in ["", " \n", "s3\ncret", "s3\0cret"] {
            let error = Token::new(bad).unwrap_err();
            assert!(
                error.to_string().contains(TOKEN_VARIABLE) && !error.to_string().contains("s3"),
                "{error}"
            );
        }
    }
}
