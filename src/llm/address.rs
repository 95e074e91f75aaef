//! Addresses of an OpenAI-compatible API.

use std::net::IpAddr;

use reqwest::Url;

use crate::error::{Error, Result};

/// Where the path of a chat-completions address ends.
pub(super) const CHAT_PATH: &str = "/chat/completions";
/// Where that of plain completions ends, for models that do not chat.
pub(super) const COMPLETIONS_PATH: &str = "/completions";

/// The addresses for chat completions, or for plain ones where `base_url` ends in their path, and for the list of models.
///
/// # Errors
/// `base_url` is no http(s) URL or has a user name or password in it.
pub(super) fn addresses(base_url: &str) -> Result<(Url, Url)> {
    let bad = |why: &str| {
        Error::usage(format!("the base URL {why}"))
            .hint("give it like https://api.deepseek.com or http://localhost:8000/v1")
    };
    let mut base =
        Url::parse(base_url.trim()).map_err(|error| bad(&format!("`{base_url}` is not a URL: {error}")))?;
    if !base.username().is_empty() || base.password().is_some() {
        return Err(bad(
            "has a user name or password in it; put the key into an environment variable instead",
        ));
    }
    if !matches!(base.scheme(), "http" | "https") {
        return Err(bad(&format!("`{base_url}` is neither http nor https")));
    }
    base.set_fragment(None);
    let path = base.path().trim_end_matches('/');
    let ending = [CHAT_PATH, COMPLETIONS_PATH].into_iter().find(|ending| path.ends_with(ending));
    let root = path.strip_suffix(ending.unwrap_or_default()).unwrap_or(path).to_owned();
    let at = |end: &str| {
        let mut url = base.clone();
        url.set_path(&format!("{root}{end}"));
        url
    };
    Ok((at(ending.unwrap_or(CHAT_PATH)), at("/models")))
}

/// Host, and port where it is not the usual one: what an endpoint is called in messages.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether `url` is on this machine, where no proxy should stand in between.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_in_every_form() {
        let cases = [
            (
                "https://api.deepseek.com",
                "https://api.deepseek.com/chat/completions",
                "https://api.deepseek.com/models",
            ),
            (
                "http://localhost:8000/v1",
                "http://localhost:8000/v1/chat/completions",
                "http://localhost:8000/v1/models",
            ),
            ("http://[::1]:80/v1/", "http://[::1]/v1/chat/completions", "http://[::1]/v1/models"),
            ("https://h/v1/chat/completions/", "https://h/v1/chat/completions", "https://h/v1/models"),
            ("http://h/v1/completions", "http://h/v1/completions", "http://h/v1/models"),
            ("https://h/d?v=1#x", "https://h/d/chat/completions?v=1", "https://h/d/models?v=1"),
        ];
        for (base, chat, models) in cases {
            let (chat_url, models_url) = addresses(base).unwrap();
            assert_eq!((chat_url.as_str(), models_url.as_str()), (chat, models), "{base}");
        }
        for bad in ["", "api.deepseek.com", "ftp://h/v1", "https://me:sesame@h/v1", "http://"] {
            let error = addresses(bad).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
            assert!(!error.to_string().contains("sesame"));
        }
    }

    #[test]
    fn which_hosts_are_this_machine() {
        let loopback = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(
            loopback("http://localhost:1/") && loopback("http://127.0.0.1/") && loopback("http://[::1]:2/")
        );
        assert!(!loopback("http://localhost.example.com/") && !loopback("http://10.0.0.1/"));
    }

    #[test]
    fn endpoints_are_called_by_their_hosts() {
        let name = |url: &str| host(&addresses(url).unwrap().0);
        assert_eq!(name("https://api.example.com/v1?key=x"), "api.example.com");
        assert_eq!(name("http://127.0.0.1:8000"), "127.0.0.1:8000");
    }
}
