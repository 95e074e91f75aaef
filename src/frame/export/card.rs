//! The card of a dataset: what is in its folder, and how it came about.
//!
//! What a card says comes from models, programs and file names, none of which are trusted: in the YAML header every
//! such value is a quoted and escaped string, in the text every character that Markdown or HTML could take for more
//! than itself is escaped.

use std::fmt::Write;

use arrow_schema::SchemaRef;

/// Name of the file.
pub const CARD: &str = "README.md";

/// What a card tells.
pub struct Card<'a> {
    /// Name of the dataset.
    pub name: &'a str,
    /// The splits, in order.
    pub splits: &'a [SplitFacts],
    /// The columns.
    pub schema: &'a SchemaRef,
    /// The condition that rows were picked by, if there was one.
    pub condition: Option<&'a str>,
    /// The run that made the rows, where it is known.
    pub origin: Option<&'a Origin>,
}

/// One split.
pub struct SplitFacts {
    /// Its name: letters, digits and `_`.
    pub name: String,
    /// Share of the problems it was meant to have, 0 to 1.
    pub share: f64,
    /// Its rows.
    pub rows: u64,
    /// Size of its files, bytes.
    pub bytes: u64,
}

/// How the rows of a dataset came about.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Version of the program.
    pub version: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Whether rows were still pending.
    pub unfinished: bool,
    /// Seeds read.
    pub seeds: u64,
    /// Model and sampling, as JSON.
    pub sampling: String,
    /// What ran programs.
    pub sandbox: String,
    /// Hash of the set of templates.
    pub templates: Option<String>,
    /// Each template and its hash.
    pub prompts: Vec<(String, String)>,
    /// What answered, by stage and model.
    pub replies: Vec<Replies>,
    /// Language, toolchain and number of programs run with it.
    pub toolchains: Vec<(String, String, u64)>,
    /// What became of the rows, stage by stage.
    pub stages: Vec<StageFacts>,
    /// Tokens paid for: of prompts, and of replies.
    pub tokens: (u64, u64),
    /// What they cost, USD, where the price is known.
    pub usd: Option<f64>,
}

/// The replies of one model at one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies {
    /// The stage.
    pub stage: String,
    /// The model as the endpoint named it.
    pub model: String,
    /// Their number.
    pub replies: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Their own tokens.
    pub completion_tokens: u64,
}

/// What became of the rows at one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageFacts {
    /// The stage.
    pub stage: String,
    /// Rows that arrived, those it made of them included.
    pub rows: u64,
    /// Rows that went on.
    pub kept: u64,
    /// Rows that left, by reason.
    pub rejected: Vec<(String, u64)>,
}

impl Card<'_> {
    /// The card as the text of a README.md.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.header(&mut text);
        let _ = self.body(&mut text);
        text
    }

    fn header(&self, text: &mut String) -> std::fmt::Result {
        let rows = self.splits.iter().map(|split| split.rows).sum();
        writeln!(text, "---\npretty_name: {}", yaml(self.name))?;
        writeln!(text, "task_categories:\n- text-generation\ntags:\n- code\n- autocodegen")?;
        writeln!(text, "size_categories:\n- {}", yaml(size_category(rows)))?;
        writeln!(text, "configs:\n- config_name: default\n  data_files:")?;
        for split in self.splits {
            let path = yaml(&format!("data/{}-*.parquet", split.name));
            writeln!(text, "  - split: {}\n    path: {path}", yaml(&split.name))?;
        }
        writeln!(text, "---")
    }

    fn body(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n# {}\n", plain(self.name))?;
        writeln!(
            text,
            "Programming problems whose solutions have passed their tests in a sandbox, made by autocodegen."
        )?;
        writeln!(text, "\n## Rows\n")?;
        if self.splits.len() > 1 {
            writeln!(
                text,
                "A problem's split is decided by a hash of its id; all that was made of one seed is in one split.\n"
            )?;
        }
        if let Some(condition) = self.condition {
            writeln!(text, "Only rows for which this holds: {}\n", plain(condition))?;
        }
        let splits = self.splits.iter().map(|split| {
            vec![split.name.clone(), percent(split.share), split.rows.to_string(), split.bytes.to_string()]
        });
        table(text, &["split", "share", "rows", "bytes"], splits)?;
        writeln!(text, "\n## Columns\n")?;
        let columns = self.schema.fields().iter();
        let columns = columns.map(|field| vec![field.name().clone(), field.data_type().to_string()]);
        table(text, &["column", "type"], columns)?;
        match self.origin {
            Some(origin) => origin.body(text),
            None => Ok(()),
        }
    }
}

impl Origin {
    fn body(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n## Provenance\n")?;
        if self.unfinished {
            writeln!(text, "The run was not at its end when this was exported: rows are missing.\n")?;
        }
        let usd = self.usd.map_or("unknown".to_owned(), |usd| format!("{usd:.4} USD"));
        let mut facts = vec![
            ("autocodegen", self.version.clone()),
            ("pipeline", self.pipeline.clone()),
            ("seeds", self.seeds.to_string()),
            ("model and sampling", self.sampling.clone()),
            ("sandbox", self.sandbox.clone()),
            ("tokens of prompts", self.tokens.0.to_string()),
            ("tokens of replies", self.tokens.1.to_string()),
            ("cost", usd),
        ];
        facts.extend(self.templates.clone().map(|hash| ("templates", hash)));
        table(text, &["what", "value"], facts.into_iter().map(|(what, value)| vec![what.to_owned(), value]))?;
        writeln!(text, "\n### Filters\n")?;
        let stages = self.stages.iter().map(|stage| {
            let why: Vec<String> = stage.rejected.iter().map(|(why, rows)| format!("{why} {rows}")).collect();
            let rejected: u64 = stage.rejected.iter().map(|(_, rows)| rows).sum();
            vec![
                stage.stage.clone(),
                stage.rows.to_string(),
                stage.kept.to_string(),
                rejected.to_string(),
                why.join(", "),
            ]
        });
        table(text, &["stage", "rows", "kept", "rejected", "because"], stages)?;
        writeln!(text, "\n### Models\n")?;
        let replies = self.replies.iter().map(|of| {
            let numbers =
                [of.replies, of.prompt_tokens, of.completion_tokens].map(|number| number.to_string());
            [vec![of.stage.clone(), of.model.clone()], numbers.to_vec()].concat()
        });
        table(text, &["stage", "model", "replies", "prompt tokens", "reply tokens"], replies)?;
        writeln!(text, "\n### Toolchains\n")?;
        let toolchains = self.toolchains.iter();
        let toolchains = toolchains
            .map(|(language, toolchain, runs)| vec![language.clone(), toolchain.clone(), runs.to_string()]);
        table(text, &["language", "toolchain", "programs run"], toolchains)?;
        writeln!(text, "\n### Prompts\n")?;
        let prompts = self.prompts.iter().map(|(name, hash)| vec![name.clone(), hash.clone()]);
        table(text, &["template", "BLAKE3, 128 bits"], prompts)
    }
}

/// The hub's name for datasets of about so many rows.
fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        10_000_000..100_000_000 => "10M<n<100M",
        100_000_000..1_000_000_000 => "100M<n<1B",
        _ => "n>1B",
    }
}

fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn table(text: &mut String, names: &[&str], rows: impl Iterator<Item = Vec<String>>) -> std::fmt::Result {
    writeln!(text, "| {} |", names.join(" | "))?;
    writeln!(text, "|{}", " --- |".repeat(names.len()))?;
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

/// `text` as a double-quoted scalar of YAML, in ASCII.
fn yaml(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted + "\""
}

/// `text` as Markdown that shows it on one line and means nothing else.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            // As an entity, it makes no address a link.
            ':' => shown.push_str("&#58;"),
            '@' => shown.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '|' | '~' | '$' | '#' | '!' => {
                shown.extend(['\\', c]);
            }
            c if c.is_whitespace() => shown.push(' '),
            c if c.is_control() || is_invisible(c) => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

/// Characters that show nothing or change the direction of text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    const HOSTILE: &str =
        "\"\n---\nlicense: mit\n|[x](http://x)<script>alert(1)</script>`\u{202e}\\ \u{7}é😀";

    #[test]
    fn yaml_strings_stay_strings() {
        assert_eq!(yaml("a: \"b\"\n"), "\"a: \\\"b\\\"\\U0000000a\"");
        assert_eq!(yaml("é😀"), "\"\\U000000e9\\U0001f600\"");
    }

    #[test]
    fn hostile_text_is_shown_and_does_nothing() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new(HOSTILE, DataType::Utf8, true)]));
        let origin = Origin {
            sampling: HOSTILE.into(),
            prompts: vec![(HOSTILE.into(), "0".into())],
            stages: vec![StageFacts {
                stage: HOSTILE.into(),
                rejected: vec![(HOSTILE.into(), 1)],
                ..StageFacts::default()
            }],
            toolchains: vec![(HOSTILE.into(), HOSTILE.into(), 1)],
            replies: vec![Replies { model: HOSTILE.into(), ..Replies::default() }],
            ..Origin::default()
        };
        let splits = [SplitFacts { name: "train".into(), share: 1.0, rows: 5_000, bytes: 9 }];
        let card = Card {
            name: HOSTILE,
            splits: &splits,
            schema: &schema,
            condition: Some(HOSTILE),
            origin: Some(&origin),
        };
        let text = card.render();
        let rules: Vec<usize> =
            text.lines().enumerate().filter(|(_, line)| *line == "---").map(|(at, _)| at).collect();
        let header: Vec<&str> = text.lines().take(rules[1]).collect();
        assert_eq!((rules.len(), rules[0], header.len()), (2, 0, 14), "{text}");
        assert!(header.iter().all(|line| line.is_ascii() && !line.starts_with("license")), "{text}");
        let body: String = text.lines().skip(rules[1]).collect();
        assert!(!body.contains("<script") && !body.contains("[x](") && !body.contains('\u{202e}'), "{body}");
        // Every line of a table has as many cells as its head.
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        for pair in text
            .lines()
            .collect::<Vec<_>>()
            .windows(2)
            .filter(|pair| pair.iter().all(|line| line.starts_with('|')))
        {
            assert_eq!(bars(pair[0]), bars(pair[1]), "{pair:?}");
        }
        assert!(text.contains("1K<n<10K"));
    }
}
