//! JSON in a model's reply: in a fence, between prose, or written loosely.
//!
//! Models are asked for JSON and give nearly that. What they get wrong without leaving doubt about what they mean is
//! read: fences and prose around it, comments, trailing commas, single quotes, names without quotes, line breaks inside
//! strings, backslashes that escape nothing (`"\d+"`), Python's `True`, `False` and `None`; `NaN` and infinities are
//! null. What would have to be guessed is not: a missing comma, an unescaped quote, an end that is cut off.
//!
//! Replies are hostile: nesting is bounded, and the time is linear in the length.

#[cfg(test)]
mod tests;

use serde_json::{Map, Number, Value};

use super::blocks::blocks;

/// Deepest nesting: that of `serde_json`, so that what is read here can be read again.
const DEPTH: usize = 127;
/// Most values looked at in one reply.
const CANDIDATES: usize = 32;

/// The JSON values that `reply` may mean, the likeliest first: all of it; what is in its fences, in order; objects and
/// arrays between prose, the longest first.
///
/// # Errors
/// Why there is none, for the model and for people.
pub fn candidates(reply: &str) -> Result<Vec<Value>, String> {
    let whole = match all_of(reply) {
        Ok(value) => return Ok(vec![value]),
        Err(flaw) => flaw,
    };
    let fenced: Vec<Value> =
        blocks(reply).filter_map(|block| all_of(&block.body).ok()).take(CANDIDATES).collect();
    if !fenced.is_empty() {
        return Ok(fenced);
    }
    let mut between: Vec<(usize, Value)> = Vec::new();
    let mut failed = None;
    let mut at = 0;
    while let Some(start) = reply[at..].find(['{', '[']).map(|found| at + found) {
        let mut parser = Parser { text: reply, at: start, depth: 0 };
        match parser.value() {
            Ok(value) => between.push((parser.at - start, value)),
            Err(flaw) => failed = failed.or(Some(flaw)),
        }
        // Text that was read as part of a broken value is not looked through for smaller ones: a piece of the answer
        // is not the answer.
        at = parser.at.max(start + 1);
    }
    if between.is_empty() {
        return Err(failed.unwrap_or(whole).describe(reply));
    }
    between.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    Ok(between.into_iter().take(CANDIDATES).map(|(_, value)| value).collect())
}

/// `text` as one value with nothing but white space and comments around it.
fn all_of(text: &str) -> Result<Value, Flaw> {
    if let Ok(value) = serde_json::from_str(text.trim()) {
        return Ok(value);
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let value = parser.value()?;
    parser.skip_space()?;
    match parser.peek() {
        None => Ok(value),
        Some(found) => Err(parser.unexpected(found, "the end")),
    }
}

/// What is wrong with a text, and where: at a byte.
struct Flaw {
    what: String,
    at: usize,
}

impl Flaw {
    /// The flaw in words, with its line and column in `text`, both from 1.
    fn describe(&self, text: &str) -> String {
        let before = &text[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = before[before.rfind('\n').map_or(0, |newline| newline + 1)..].chars().count() + 1;
        format!("{} at line {line}, column {column}", self.what)
    }
}

/// Reads loosely written JSON. After an error, `at` is where it was met.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes `token` if it comes next.
    fn take(&mut self, token: char) -> bool {
        let next = self.peek() == Some(token);
        if next {
            self.at += token.len_utf8();
        }
        next
    }

    fn flaw(&self, what: impl Into<String>) -> Flaw {
        Flaw { what: what.into(), at: self.at }
    }

    fn unexpected(&self, found: char, wanted: &str) -> Flaw {
        self.flaw(format!("{found:?} where {wanted} is expected"))
    }

    fn ended(&self) -> Flaw {
        self.flaw("the JSON ends too early")
    }

    fn skip_space(&mut self) -> Result<(), Flaw> {
        loop {
            let space = self
                .rest()
                .find(|c: char| !c.is_whitespace() && c != '\u{feff}')
                .unwrap_or(self.rest().len());
            self.at += space;
            let rest = self.rest();
            if rest.starts_with("//") || rest.starts_with('#') {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                match rest.find("*/") {
                    Some(end) => self.at += end + 2,
                    None => {
                        self.at = self.text.len();
                        return Err(self.ended());
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Result<Value, Flaw> {
        self.skip_space()?;
        match self.peek() {
            None => Err(self.ended()),
            Some('{') => self.nested(Self::object),
            Some('[') => self.nested(Self::array),
            Some(quote @ ('"' | '\'')) => self.string(quote).map(Value::String),
            Some(_) => self.word(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Flaw>) -> Result<Value, Flaw> {
        if self.depth == DEPTH {
            return Err(self.flaw("the JSON is nested too deeply"));
        }
        self.at += 1;
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, Flaw> {
        let mut fields = Map::new();
        loop {
            self.skip_space()?;
            if self.take('}') {
                return Ok(Value::Object(fields));
            }
            let name = self.name()?;
            self.skip_space()?;
            if !self.take(':') {
                return Err(self.missing("a colon"));
            }
            let value = self.value()?;
            fields.insert(name, value);
            self.comma_before('}', "a comma or }")?;
        }
    }

    fn array(&mut self) -> Result<Value, Flaw> {
        let mut items = Vec::new();
        loop {
            self.skip_space()?;
            if self.take(']') {
                return Ok(Value::Array(items));
            }
            items.push(self.value()?);
            self.comma_before(']', "a comma or ]")?;
        }
    }

    /// After an item: a comma, or `end`, which is left for the caller.
    fn comma_before(&mut self, end: char, wanted: &str) -> Result<(), Flaw> {
        self.skip_space()?;
        match self.take(',') || self.peek() == Some(end) {
            true => Ok(()),
            false => Err(self.missing(wanted)),
        }
    }

    fn missing(&self, wanted: &str) -> Flaw {
        match self.peek() {
            Some(found) => self.unexpected(found, wanted),
            None => self.ended(),
        }
    }

    /// The name of a field, in quotes or a plain word.
    fn name(&mut self) -> Result<String, Flaw> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.string(quote),
            Some(c) if c.is_alphabetic() || c == '_' || c == '$' => Ok(self.plain_word().to_owned()),
            _ => Err(self.missing("a name in quotes")),
        }
    }

    fn plain_word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_$+-.".contains(c))).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A number, or one of the names that JSON and Python have for values.
    fn word(&mut self) -> Result<Value, Flaw> {
        let start = self.at;
        let word = self.plain_word();
        let value = match word {
            "true" | "True" => Some(Value::Bool(true)),
            "false" | "False" => Some(Value::Bool(false)),
            "null" | "None" | "undefined" | "NaN" | "Infinity" | "-Infinity" | "+Infinity" => {
                Some(Value::Null)
            }
            digits => number(digits),
        };
        value.ok_or_else(|| {
            self.at = start;
            self.missing("a value")
        })
    }

    fn string(&mut self, quote: char) -> Result<String, Flaw> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find([quote, '\\']) else {
                self.at = self.text.len();
                return Err(self.ended());
            };
            string.push_str(&rest[..end]);
            self.at += end + 1;
            if rest[end..].starts_with(quote) {
                return Ok(string);
            }
            self.escape(&mut string)?;
        }
    }

    /// What a backslash, already passed, makes of the characters after it.
    fn escape(&mut self, into: &mut String) -> Result<(), Flaw> {
        let Some(escaped) = self.peek() else { return Err(self.ended()) };
        self.at += escaped.len_utf8();
        match escaped {
            '"' | '\'' | '\\' | '/' => into.push(escaped),
            'b' => into.push('\u{8}'),
            'f' => into.push('\u{c}'),
            'n' => into.push('\n'),
            'r' => into.push('\r'),
            't' => into.push('\t'),
            'u' if self.code_unit().is_some() => into.push(self.code_point()),
            // It escapes nothing, so it was meant as it stands.
            other => into.extend(['\\', other]),
        }
        Ok(())
    }

    /// The four hex digits that come next.
    fn code_unit(&self) -> Option<u32> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    }

    /// The character of one `\uXXXX` or a pair of them, `\u` already passed. Half a pair is U+FFFD.
    fn code_point(&mut self) -> char {
        let high = self.code_unit().unwrap_or_default();
        self.at += 4;
        if let 0xd800..0xdc00 = high
            && self.rest().starts_with("\\u")
        {
            let second = Self { text: self.text, at: self.at + 2, depth: 0 };
            if let Some(low @ 0xdc00..0xe000) = second.code_unit() {
                self.at += 6;
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
        }
        char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

/// A number; `+1`, `.5` and `1.` are taken too. `None` for what is none or too large.
fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}
