//! What calls cost, and how long they took.

use std::collections::BTreeMap;

use super::{Row, Sections, count, number, text};
use crate::analytics::report::charts::{self, Bar, Range, Scale};
use crate::analytics::report::text::{duration, usd, whole};
use crate::analytics::report::{Figure, Part, Section, Table};
use crate::error::Result;

impl Sections {
    pub(super) fn cost(&mut self) -> Result<Section> {
        let mut section = Section { id: "cost", title: "Tokens and cost", ..Section::default() };
        let stages = self.ask("tokens_by_stage")?;
        if stages.is_empty() {
            section.notes.push("No model was asked.".into());
            return Ok(section);
        }
        let charged = if self.tables.has("prices") { self.ask("cost")? } else { Vec::new() };
        // By stage, without what was taken over from other runs; nothing is known of stages that only took over.
        let usd_of: BTreeMap<&str, Option<f64>> = charged
            .iter()
            .filter(|row| text(row, "language") == "all")
            .map(|row| (text(row, "stage"), number(row, "usd")))
            .collect();
        let stage_usd = |row: &Row| match usd_of.get(text(row, "stage")) {
            Some(usd) => *usd,
            None => (number(row, "reused") == number(row, "replies")).then_some(0.0),
        };
        let sum = |name: &str| stages.iter().filter_map(|row| number(row, name)).sum::<f64>();
        self.fact("tokens", whole(sum("prompt_tokens") + sum("completion_tokens")));
        let all: Option<f64> = stages.iter().map(stage_usd).sum();
        self.fact("cost", all.map_or_else(|| "unknown".to_owned(), usd));
        let label = |row: &Row| text(row, "stage").to_owned();
        let or_unknown = |known: Option<f64>| known.map_or_else(|| "unknown".to_owned(), usd);
        let mut figures = Vec::new();
        if stages.iter().filter_map(stage_usd).sum::<f64>() > 0.0 {
            let bars = stages.iter().map(|row| Bar {
                label: label(row),
                parts: vec![stage_usd(row).unwrap_or(0.0)],
                interval: None,
                figure: or_unknown(stage_usd(row)),
            });
            let svg = charts::bars(bars, &Scale { write: Some(usd), ..Scale::default() })?;
            figures.push(Figure { caption: "USD by stage".into(), svg });
        }
        let tokens = stages.iter().map(|row| {
            let parts = ["prompt_tokens", "completion_tokens"].map(|name| number(row, name).unwrap_or(0.0));
            Bar { label: label(row), parts: parts.into(), interval: None, figure: whole(parts.iter().sum()) }
        });
        let svg = charts::bars(tokens, &Scale { parts: &["prompts", "replies"], ..Scale::default() })?;
        figures.push(Figure { caption: "Tokens by stage".into(), svg });
        let names =
            ["replies", "reused", "prompt_tokens", "cached_tokens", "completion_tokens", "cut_by_limit"];
        let table = stages.iter().map(|row| {
            let numbers = names.map(|name| count(row, name));
            [label(row)].into_iter().chain(numbers).chain([or_unknown(stage_usd(row))]).collect()
        });
        let heads = [
            "stage",
            "#replies",
            "#reused",
            "#prompt tokens",
            "#cached",
            "#reply tokens",
            "#cut by limit",
            "#USD",
        ];
        section.parts.push(Part { figures, table: Table::new(&heads, table.collect()) });
        let by_language: Vec<&Row> = charged.iter().filter(|row| text(row, "stage") == "all").collect();
        let names = ["replies", "prompt_tokens", "completion_tokens"];
        let table = by_language.iter().map(|row| {
            let numbers = names.map(|name| count(row, name));
            let language = text(row, "language").to_owned();
            [language].into_iter().chain(numbers).chain([or_unknown(number(row, "usd"))]).collect()
        });
        let heads = ["language, without reused", "#replies", "#prompt tokens", "#reply tokens", "#USD"];
        if !by_language.is_empty() {
            let table = Table::new(&heads, table.collect());
            section.parts.push(Part { figures: Vec::new(), table });
        }
        Ok(section)
    }

    pub(super) fn latency(&mut self) -> Result<Section> {
        let mut section = Section { id: "latency", title: "Latency", ..Section::default() };
        let answer = self.ask("latency_percentiles")?;
        if answer.is_empty() {
            section.notes.push("No call was made.".into());
            return Ok(section);
        }
        let points = ["p50_ms", "p90_ms", "p99_ms"];
        let ranges = answer.iter().map(|row| Range {
            label: text(row, "stage").to_owned(),
            points: points.iter().filter_map(|name| number(row, name)).collect(),
            figure: number(row, "p99_ms").map(duration).unwrap_or_default(),
        });
        let svg = charts::ranges(ranges, &["p50", "p90", "p99"], duration)?;
        let table = answer.iter().map(|row| {
            let times = ["p50_ms", "p90_ms", "p99_ms", "max_ms"]
                .map(|name| number(row, name).map(duration).unwrap_or_default());
            let begin = [text(row, "stage").to_owned(), text(row, "call").to_owned(), count(row, "calls")];
            begin.into_iter().chain(times).collect()
        });
        let heads = ["stage", "call", "#calls", "#p50", "#p90", "#p99", "#longest"];
        let table = Table::new(&heads, table.collect());
        let caption = "Replies, and runs of programs without compiling; the scale is logarithmic";
        section.parts.push(Part::of(caption, svg, table));
        Ok(section)
    }
}
