//! Code as HTML, its keywords, strings, numbers and comments in colours.
//!
//! What the highlighter says is only where pieces begin and end: the text is the given one, piece by piece, escaped.
//! Languages that it does not know are shown plain.

use std::fmt::Write;

use minijinja::HtmlEscape;
use synoptic::{TokOpt, from_extension};

/// Languages that are highlighted, and the extension that the highlighter knows them by.
const KNOWN: [(&str, &str); 23] = [
    ("c", "c"),
    ("cpp", "cpp"),
    ("csharp", "cs"),
    ("dart", "dart"),
    ("go", "go"),
    ("haskell", "hs"),
    ("java", "java"),
    ("javascript", "js"),
    ("json", "json"),
    ("kotlin", "kt"),
    ("lua", "lua"),
    ("perl", "pm"),
    ("php", "php"),
    ("python", "py"),
    ("r", "r"),
    ("ruby", "rb"),
    ("rust", "rs"),
    ("scala", "scala"),
    ("shell", "sh"),
    ("sqlite", "sql"),
    ("swift", "swift"),
    ("toml", "toml"),
    ("typescript", "ts"),
];

/// How fenced blocks call languages that go by another name here.
const ALIASES: [(&str, &str); 8] = [
    ("bash", "shell"),
    ("sh", "shell"),
    ("js", "javascript"),
    ("ts", "typescript"),
    ("py", "python"),
    ("c++", "cpp"),
    ("c#", "csharp"),
    ("sql", "sqlite"),
];

/// `code`, a program in `language`, as HTML.
pub fn code(code: &str, language: &str) -> String {
    let mut html = String::with_capacity(2 * code.len());
    colour(code, language, &mut html);
    html
}

/// `text` as HTML, with the code in its fenced blocks highlighted; a block that does not name its language is in `language`.
pub fn prose(text: &str, language: &str) -> String {
    let mut html = String::with_capacity(2 * text.len());
    let mut block: Option<(&str, String)> = None;
    for line in text.split_inclusive('\n') {
        let info = line.trim_start().strip_prefix("```").map(str::trim);
        match (&mut block, info) {
            (Some((name, lines)), Some(_)) => {
                colour(lines, name, &mut html);
                block = None;
                escape(line, &mut html);
            }
            (None, Some(info)) => {
                escape(line, &mut html);
                block = Some((if info.is_empty() { language } else { info }, String::new()));
            }
            (Some((_, lines)), None) => lines.push_str(line),
            (None, None) => escape(line, &mut html),
        }
    }
    if let Some((name, lines)) = block {
        colour(&lines, name, &mut html);
    }
    html
}

fn escape(text: &str, html: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(html, "{}", HtmlEscape(text));
}

fn colour(code: &str, language: &str, html: &mut String) {
    let language = language.to_ascii_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == language);
    let language = alias.map_or(language.as_str(), |(_, name)| *name);
    let known = KNOWN.iter().find(|(name, _)| *name == language);
    // A tab is one column wide: pieces are counted in characters.
    let Some(mut highlighter) = known.and_then(|(_, extension)| from_extension(extension, 1)) else {
        return escape(code, html);
    };
    let lines: Vec<String> = code.split('\n').map(str::to_owned).collect();
    highlighter.run(&lines);
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            html.push('\n');
        }
        let mut rest = line.as_str();
        for piece in highlighter.line(number, line) {
            let (length, class) = match &piece {
                TokOpt::Some(text, name) => (text.chars().count(), class(name)),
                TokOpt::None(text) => (text.chars().count(), None),
            };
            let end = rest.char_indices().nth(length).map_or(rest.len(), |(at, _)| at);
            let (text, after) = rest.split_at(end);
            rest = after;
            match class {
                Some(class) => {
                    let _ = write!(html, "<span class=\"{class}\">{}</span>", HtmlEscape(text));
                }
                None => escape(text, html),
            }
        }
        escape(rest, html);
    }
}

/// The class in the page's style sheet; `None` for what stays as it is.
fn class(kind: &str) -> Option<&'static str> {
    match kind {
        "keyword" | "kw" | "boolean" | "macro" => Some("hk"),
        "string" | "character" | "quote" => Some("hs"),
        "comment" => Some("hc"),
        "digit" => Some("hn"),
        "function" | "key" | "attribute" => Some("hf"),
        "struct" | "namespace" | "reference" => Some("ht"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a browser would show.
    fn shown(html: &str) -> String {
        let mut text = String::new();
        let mut rest = html;
        while let Some((before, after)) = rest.split_once('<') {
            text += before;
            let (tag, after) = after.split_once('>').unwrap();
            let class = tag.strip_prefix("span class=\"").and_then(|tag| tag.strip_suffix('"'));
            assert!(tag == "/span" || class.is_some_and(|class| class.len() == 2), "<{tag}>");
            rest = after;
        }
        text += rest;
        for (entity, c) in
            [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#x2f;", "/"), ("&amp;", "&")]
        {
            text = text.replace(entity, c);
        }
        text
    }

    #[test]
    fn code_is_coloured_and_what_is_in_it_is_text() {
        assert_eq!(
            code("x = '<b>' # 1 & 2", "python"),
            "x = <span class=\"hs\">&#x27;&lt;b&gt;&#x27;</span> <span class=\"hc\"># 1 &amp; 2</span>"
        );
        assert_eq!(code("x <- 1", "klingon"), "x &lt;- 1");
        assert_eq!(code("\tfor", "go"), "\t<span class=\"hk\">for</span>");
    }

    #[test]
    fn blocks_in_prose_are_coloured() {
        let html = prose("for <you>:\n```js\nlet a;\n```\nfor", "python");
        assert_eq!(html, "for &lt;you&gt;:\n```js\n<span class=\"hk\">let</span> a;\n```\nfor");
        assert_eq!(prose("```\nlet", "rust"), "```\n<span class=\"hk\">let</span>");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Whatever the text is, nothing of it is lost, changed or taken for markup, in any language.
        #[test]
        fn no_text_is_lost(
            language in 0..KNOWN.len(),
            text in r#"([\t \n(){}<>\[\]"'`/*#\\$=;:.0-9a-ceé日_-]|"""|'''|/\*|\*/|<!--|-->|\$\{|<script>|r#"|fn |def |if |<\?php|```|&lt;){0,40}"#,
        ) {
            let language = KNOWN[language].0;
            prop_assert_eq!(shown(&code(&text, language)), text.as_str());
            prop_assert_eq!(shown(&prose(&text, language)), text.as_str());
        }
    }
}
