//! How many rows get through: by language, by stage, and what evaluations score.

use super::{Row, Sections, count, first, number, share, text};
use crate::analytics::report::charts::{self, Bar, Scale};
use crate::analytics::report::text::{duration, percent, whole};
use crate::analytics::report::{Part, Scores, Section, Table};
use crate::error::Result;

impl Sections {
    pub(super) fn scores(&mut self, scores: &Scores) -> Result<Section> {
        let (id, title) = match scores.by.as_str() {
            "language" => ("languages", "Pass rate by language"),
            "difficulty" => ("difficulty", "Pass rate by difficulty"),
            _ => ("category", "Pass rate by category"),
        };
        if let Some(all) = scores.groups.iter().find(|score| score.name == "all") {
            let (low, high) = all.interval;
            self.fact("problems", whole(all.problems as f64));
            self.fact(
                "pass@1",
                format!("{} ({:.1} to {:.1})", percent(100.0 * all.rate), 100.0 * low, 100.0 * high),
            );
        }
        let (groups, more) = first(&scores.groups);
        let bars = groups.iter().map(|score| Bar {
            label: score.name.clone(),
            parts: vec![100.0 * score.rate],
            interval: Some((100.0 * score.interval.0, 100.0 * score.interval.1)),
            figure: percent(100.0 * score.rate),
        });
        let table = groups.iter().map(|score| {
            let (low, high) = score.interval;
            vec![
                score.name.clone(),
                whole(score.problems as f64),
                whole(score.passed as f64),
                percent(100.0 * score.rate),
                format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high),
            ]
        });
        let names = ["group", "#problems", "#passed", "#pass@1", "#95 % interval"];
        let table = Table::new(&names, table.collect());
        Ok(Section {
            id,
            title,
            notes: more,
            parts: vec![Part::of("Answers that pass, with 95 % intervals", rates(bars)?, table)],
            groups: Vec::new(),
        })
    }

    pub(super) fn pass_rates(&mut self) -> Result<Section> {
        let answer = self.ask("pass_rate_by_language")?;
        let interval = |row: &Row| Some((number(row, "low")?, number(row, "high")?));
        if let Some(all) = answer.iter().find(|row| text(row, "language") == "all") {
            self.fact("seeds", count(all, "seeds"));
            self.fact("problems", count(all, "problems"));
            if let (Some(rate), Some((low, high))) = (number(all, "pass_rate"), interval(all)) {
                self.fact("pass rate", format!("{} ({low:.1} to {high:.1})", percent(rate)));
            }
            if number(all, "pending").is_some_and(|pending| pending > 0.0) {
                self.fact("pending", count(all, "pending"));
            }
        }
        let (answer, more) = first(&answer);
        let bars = answer.iter().map(|row| Bar {
            label: text(row, "language").to_owned(),
            parts: vec![number(row, "pass_rate").unwrap_or(0.0)],
            interval: interval(row),
            figure: share(row, "pass_rate"),
        });
        let table = answer.iter().map(|row| {
            let interval = interval(row).map(|(low, high)| format!("{low:.1} to {high:.1}"));
            vec![
                text(row, "language").to_owned(),
                count(row, "seeds"),
                count(row, "problems"),
                count(row, "pending"),
                share(row, "pass_rate"),
                interval.unwrap_or_default(),
            ]
        });
        let names = ["language", "#seeds", "#problems", "#pending", "#pass rate", "#95 % interval"];
        let table = Table::new(&names, table.collect());
        let caption =
            "Share of seeds, or of their translations, that became problems, with Wilson 95 % intervals";
        Ok(Section {
            id: "languages",
            title: "Pass rate by language",
            notes: more,
            parts: vec![Part::of(caption, rates(bars)?, table)],
            groups: Vec::new(),
        })
    }

    pub(super) fn funnel(&mut self) -> Result<Section> {
        let answer = self.ask("funnel")?;
        let bars = answer.iter().map(|row| Bar {
            label: text(row, "stage").to_owned(),
            parts: ["kept", "rejected", "pending"].map(|name| number(row, name).unwrap_or(0.0)).into(),
            interval: None,
            figure: count(row, "kept"),
        });
        let table = answer.iter().map(|row| {
            let mut cells = vec![text(row, "stage").to_owned()];
            cells.extend(["rows_in", "spawned", "kept", "rejected", "pending"].map(|name| count(row, name)));
            cells.push(share(row, "kept_percent"));
            let busy = number(row, "busy_s").filter(|seconds| *seconds > 0.0);
            cells.push(busy.map(|seconds| duration(1000.0 * seconds)).unwrap_or_default());
            cells
        });
        let names =
            ["stage", "#in", "#spawned", "#kept", "#rejected", "#pending", "#kept, %", "#time of calls"];
        let table = Table::new(&names, table.collect());
        let scale = Scale { parts: &["kept", "rejected", "pending"], ..Scale::default() };
        Ok(Section {
            id: "funnel",
            title: "Funnel",
            parts: vec![Part::of("Rows at every stage", charts::bars(bars, &scale)?, table)],
            ..Section::default()
        })
    }
}

/// Bars from 0 to 100 %.
fn rates(bars: impl IntoIterator<Item = Bar>) -> Result<String> {
    charts::bars(
        bars,
        &Scale { end: Some(100.0), write: Some(|number| format!("{number:.0} %")), ..Scale::default() },
    )
}
