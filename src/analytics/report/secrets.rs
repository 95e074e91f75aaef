//! Keys and passwords, kept out of a page that is made to be handed on.
//!
//! None of the files it is made of should hold any: keys are read from the environment. But people write them into
//! addresses and request bodies all the same.

use std::sync::LazyLock;

use regex::{Captures, Regex};

const HIDDEN: &str = "(not shown)";

/// Names that secrets go by, in JSON, TOML, on command lines and in addresses.
const NAMES: &str = r"(?:api|access|auth|private)[_-]?key|secret|passw(?:or)?d|passphrase|credentials?|authorization|bearer|(?:access|auth|api|refresh|session|id)[_-]?token|\btoken";

static SECRETS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // The user in an address: https://user:password@host.
        r#"(?<before>\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'`@?#]*(?<after>@)"#.to_owned(),
        // A name and a quoted value: "api_key": "...", api_key = '...'.
        format!(r#"(?<before>(?i:[\w-]*(?:{NAMES})[\w-]*)["']?\s*[:=]\s*")(?:[^"\\\n]|\\.)*"#),
        format!(r"(?<before>(?i:[\w-]*(?:{NAMES})[\w-]*)['\x22]?\s*[:=]\s*')[^'\n]*"),
        // In the query of an address, or an option: ?key=..., --token=...
        format!(r#"(?<before>(?i:[?&]key|[\w-]*(?:{NAMES})[\w-]*)=)[^\s&"'#]+"#),
        r"(?<before>(?i:\bbearer|\bbasic) )[\w.~+/=-]{8,}".to_owned(),
        // What keys of well-known services look like.
        r"\b(?:sk|pk|rk|hf|gh[opsu]|glpat|xox[abp]|AKIA|AIza)[-_]?[A-Za-z0-9_-]{16,}".to_owned(),
    ]
    .iter()
    .filter_map(|pattern| Regex::new(pattern).ok())
    .collect()
});

/// `text` with what looks like a secret left out.
pub fn without_secrets(text: &str) -> String {
    SECRETS.iter().fold(text.to_owned(), |text, secret| {
        let hidden = |found: &Captures<'_>| {
            let part = |name| found.name(name).map_or("", |part| part.as_str());
            format!("{}{HIDDEN}{}", part("before"), part("after"))
        };
        secret.replace_all(&text, hidden).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(SECRETS.len(), 6);
    }

    #[test]
    fn secrets_are_left_out() {
        for (text, shown) in [
            ("m at https://bob:hunter2@host:8000/v1", "m at https://(not shown)@host:8000/v1"),
            ("https://hunter2@host", "https://(not shown)@host"),
            (r#"{"api_key": "hunter2", "user": "bob"}"#, r#"{"api_key": "(not shown)", "user": "bob"}"#),
            (r#"{"X-Auth-Token":"hunter2\"x"}"#, r#"{"X-Auth-Token":"(not shown)"}"#),
            ("password = 'hunter2'\nn = 'm'", "password = '(not shown)'\nn = 'm'"),
            ("http://h/v1?api_key=hunter2&v=1", "http://h/v1?api_key=(not shown)&v=1"),
            ("http://h/v1?v=1&key=hunter2", "http://h/v1?v=1&key=(not shown)"),
            (
                "--header 'Authorization: Bearer hunter2hunter2'",
                "--header 'Authorization: Bearer (not shown)'",
            ),
            ("sk-proj-hunter2hunter2hunter2", "(not shown)"),
        ] {
            assert_eq!(without_secrets(text), shown);
            assert!(!without_secrets(text).contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            r#"{"model": "m", "temperature": 0.0, "max_tokens": 4096}"#,
            "max_tokens = 4096\non_length = \"retry\"",
            "key of row 7: see http://host/a@b?v=1",
            "--api-key-env DEEPSEEK_KEY --max-total-tokens 100",
            "runs/mine/seeds@2.jsonl",
            "monkey = 'banana'",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }
}
