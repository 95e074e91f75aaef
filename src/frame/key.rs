//! Content keys: what rows, requests and fingerprints are named by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The first 16 bytes of a BLAKE3 hash, written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key([u8; 16]);

impl Key {
    /// The key of several parts. Parts are length-prefixed, so `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn of<P: AsRef<[u8]>>(parts: &[P]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            let part = part.as_ref();
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A key from its raw bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// The id of a seed row: hash of (language, text), with `-N` appended for the N-th exact repeat.
pub fn row_id(language: &str, text: &str, ordinal: u64) -> String {
    let key = Key::of(&[language, text]);
    match ordinal {
        0 => key.to_string(),
        n => format!("{key}-{n}"),
    }
}

/// The id of a row made of the row `parent`: `<parent>.<name>`, for example `<parent>.0` for its first sample.
pub fn child_id(parent: &str, name: &str) -> String {
    format!("{parent}.{name}")
}

/// Whether `id` is `ancestor` or was made of it by [`child_id`], once or more often.
pub fn descends_from(id: &str, ancestor: &str) -> bool {
    id.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The id of the seed that the row `id` comes from: what [`child_id`] and the number of a repeat added is taken off.
/// An id of another make is its own.
pub fn root_id(id: &str) -> &str {
    let Some((key, rest)) = id.split_at_checked(32) else { return id };
    let repeat = rest.strip_prefix('-').map(|number| number.split('.').next().unwrap_or_default());
    let is_row_id = rest.is_empty()
        || rest.starts_with('.')
        || repeat.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    if is_row_id && key.parse::<Key>().is_ok() { key } else { id }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        // Hex digits are always UTF-8.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// A key that is not 32 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("a key is 32 hex digits")]
pub struct BadKey;

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let mut key = [0; 16];
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadKey);
        }
        for (i, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| BadKey)?;
        }
        Ok(Self(key))
    }
}

impl TryFrom<String> for Key {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_descend_from_their_parents_and_nobody_else() {
        let seed = row_id("go", "x", 1);
        let child = child_id(&child_id(&seed, "0"), "2");
        assert_eq!(child, format!("{seed}.0.2"));
        assert!([seed.clone(), child_id(&seed, "0"), child.clone()].iter().all(|a| descends_from(&child, a)));
        assert!(
            ![row_id("go", "x", 0), child_id(&seed, "1")].iter().any(|other| descends_from(&child, other))
        );
    }

    #[test]
    fn children_and_repeats_have_one_root() {
        let seed = row_id("go", "x", 0);
        let repeat = row_id("go", "x", 3);
        for id in [&seed, &child_id(&seed, "7"), &repeat, &child_id(&child_id(&repeat, "rust"), "2")] {
            assert_eq!(root_id(id), seed, "{id}");
        }
        for other in
            ["", "HumanEval/3", "a.b", &format!("{seed}x"), &format!("{seed}-"), &format!("{seed}-1x")]
        {
            assert_eq!(root_id(other), other);
        }
        assert_eq!(root_id(&"é".repeat(40)), "é".repeat(40));
    }

    #[test]
    fn a_key_is_32_lower_case_digits_and_back() {
        let key = Key::from_bytes(std::array::from_fn(|at| (at * 17) as u8));
        assert_eq!(key.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
    }
}
