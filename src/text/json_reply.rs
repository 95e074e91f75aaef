//! JSON in a model's reply: in a fence, between prose, or written loosely.
//!
//! Models are asked for JSON and give nearly that. What they get wrong without leaving doubt about what they mean is
//! read: fences and prose around it, comments, trailing commas, single quotes, names without quotes, line breaks inside
//! strings, backslashes that escape nothing (`"\d+"`), Python's `True`, `False` and `None`; `NaN` and infinities are
//! null. What would have to be guessed is not: a missing comma, an unescaped quote, an end that is cut off.
//!
//! Replies are hostile: nesting is bounded, and the time is linear in the length.

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn first(reply: &str) -> Result<Value, String> {
        candidates(reply).map(|mut found| found.remove(0))
    }

    #[test]
    fn what_models_write_for_json_is_read() {
        let cases = [
            ("Sure! Here it is:\n```json\n{\"a\": 1}\n```\nAnything else?", json!({"a": 1})),
            ("The answer is {\"a\": [1, 2]}, see [1].", json!({"a": [1, 2]})),
            ("Use {x} like so: {\"a\": {}}", json!({"a": {}})),
            ("{'a': 'it\\'s', b_2: \"x\",}", json!({"a": "it's", "b_2": "x"})),
            ("[1, +2, .5, 1., -3e2, // one\n /* two */ 4 # three\n,]", json!([1, 2, 0.5, 1.0, -300.0, 4])),
            (
                "{\"a\": True, \"b\": None, \"c\": NaN, \"d\": -Infinity}",
                json!({"a": true, "b": null, "c": null, "d": null}),
            ),
            (
                "{\"code\": \"x = 1\n\ty\", \"re\": \"\\d+\\.\"}",
                json!({"code": "x = 1\n\ty", "re": "\\d+\\."}),
            ),
            ("{\"a\": \"\\ud83d\\ude00 \\ud83d \\u00e9 \\u12\"}", json!({"a": "😀 \u{fffd} é \\u12"})),
            ("\u{feff}{\"a\": 1, \"a\": 2}", json!({"a": 2})),
            ("\"text\"", json!("text")),
            ("~~~\nno JSON\n~~~\n```\n[]\n```", json!([])),
        ];
        for (reply, meant) in cases {
            assert_eq!(first(reply).as_ref(), Ok(&meant), "{reply}");
        }
    }

    #[test]
    fn what_would_have_to_be_guessed_is_refused_with_its_place() {
        let cases = [
            ("{\"a\": {\"b\": 1}\n \"c\": 2}", "'\"' where a comma or } is expected at line 2, column 2"),
            ("{\"a\": {\"b\": 1}, \"c\": [1, 2", "the JSON ends too early at line 1, column 27"),
            ("{\"a\": \"he said \"no\"\"}", "'n' where a comma or } is expected at line 1, column 17"),
            ("I cannot do that.", "'I' where a value is expected at line 1, column 1"),
            ("", "the JSON ends too early at line 1, column 1"),
            ("{\"a\": 1e999}", "'1' where a value is expected at line 1, column 7"),
            ("{\"a\": /* ", "the JSON ends too early at line 1, column 10"),
        ];
        for (reply, why) in cases {
            assert_eq!(first(reply), Err(why.to_owned()), "{reply}");
        }
        // A piece of a broken answer is not taken for the answer.
        assert!(first("{\"a\": {\"b\": 1}, oops! {\"c\": 2").is_err());
    }

    #[test]
    fn depth_and_time_are_bounded() {
        for opening in ["[", "{\"a\":", "[{\"a\":"] {
            assert!(first(&opening.repeat(200_000)).is_err());
            let deep = opening.repeat(60)
                + "1"
                + &opening
                    .chars()
                    .rev()
                    .filter_map(|c| match c {
                        '[' => Some(']'),
                        '{' => Some('}'),
                        _ => None,
                    })
                    .collect::<String>()
                    .repeat(60);
            let value = first(&deep).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&value.to_string()).unwrap(), value);
        }
        assert_eq!(candidates(&"{} ".repeat(10_000)).unwrap().len(), CANDIDATES);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i32>().prop_map(|quarters| json!(f64::from(quarters) / 4.0)),
            any::<String>().prop_map(Value::from),
            "[\"'\\\\{}\\[\\],:/*#\n\t a-z`]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 48, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("([a-z_]{1,6}|.{0,6})", inner, 0..5)
                    .prop_map(|fields| fields.into_iter().collect::<Value>()),
            ]
        })
    }

    /// `value` written as loosely as is still clear; `choices` says how, in turn.
    fn loosely(value: &Value, choices: &mut impl Iterator<Item = u8>) -> String {
        let mut pick = |options: &[&str]| {
            let choice = choices.next().unwrap_or_default();
            options[usize::from(choice) % options.len()].to_owned()
        };
        let gap = pick(&["", " ", "\n\t", " // so\n", "/* [\"{ */", " # it's\n"]);
        let text = match value {
            Value::Null => pick(&["null", "None", "NaN"]),
            Value::Bool(true) => pick(&["true", "True"]),
            Value::Bool(false) => pick(&["false", "False"]),
            Value::Number(number) => number.to_string(),
            Value::String(text) => match pick(&["json", "raw", "single"]).as_str() {
                "json" => value.to_string(),
                "raw" => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
                _ => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
            },
            Value::Array(items) => {
                let end = pick(&["]", ",]", " , ]"]);
                let items: Vec<String> = items.iter().map(|item| loosely(item, choices)).collect();
                format!("[{}{}", items.join(","), if items.is_empty() { "]" } else { &end })
            }
            Value::Object(fields) => {
                let end = pick(&["}", ",}", "\n,\n}"]);
                let bare = pick(&["", "bare"]) == "bare";
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| {
                        let plain =
                            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                        let quoted = Value::from(name.as_str()).to_string();
                        let name = if bare && plain { name.clone() } else { quoted };
                        format!("{name}:{}", loosely(value, choices))
                    })
                    .collect();
                format!("{{{}{}", fields.join(","), if fields.is_empty() { "}" } else { &end })
            }
        };
        format!("{gap}{text}{gap}")
    }

    proptest! {
        #[test]
        fn any_json_is_read_whatever_is_around_it(value in any_json(), before in "[^\\[{`~\"']{0,40}", after in "[^\\[{`~]{0,40}") {
            let (compact, pretty) = (value.to_string(), serde_json::to_string_pretty(&value).unwrap());
            let fenced = crate::text::blocks::render("json", &pretty);
            prop_assert_eq!(first(&compact), Ok(value.clone()));
            prop_assert_eq!(first(&format!("{before}\n{fenced}\n{after}")), Ok(value.clone()));
            if value.is_object() || value.is_array() {
                // What is inside its strings could be a fence.
                prop_assume!(blocks(&compact).next().is_none());
                prop_assert_eq!(first(&format!("{before} {compact} {after}")), Ok(value));
            }
        }

        #[test]
        fn loosely_written_json_means_the_same(value in any_json(), choices: Vec<u8>) {
            let text = loosely(&value, &mut choices.into_iter().cycle());
            prop_assert_eq!(first(&text), Ok(value), "{}", text);
        }

        #[test]
        fn no_reply_panics(reply: String, noise in "[\\[\\]{}\"',:\\\\u0-9a-f/*# `\ntrue.e+-]{0,200}", value in any_json(), cut: prop::sample::Index) {
            let _ = candidates(&reply);
            let _ = candidates(&noise);
            let text = value.to_string();
            let at = text.char_indices().nth(cut.index(text.chars().count())).map_or(0, |(at, _)| at);
            let _ = candidates(&format!("{}{noise}{}", &text[..at], &text[at..]));
        }
    }
}
