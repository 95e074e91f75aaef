//! What the problems are like, and why other rows are none.

use super::{CELL, EXAMPLES, KEPT, REASONS, Row, Sections, count, first, number, rows, share, text};
use crate::analytics::queries;
use crate::analytics::report::charts::{self, Bar, Scale};
use crate::analytics::report::samples::Sample;
use crate::analytics::report::text::{percent, short, whole};
use crate::analytics::report::{Group, Part, Section, Table};
use crate::error::{Error, Result};

impl Sections {
    /// Seeds may bring columns of these names, of any type: what cannot be answered is told, and the rest of the page stands.
    pub(super) fn difficulty(&mut self) -> Section {
        let mut section =
            Section { id: "difficulty", title: "Difficulty and category", ..Section::default() };
        let told = |error: &Error| format!("Left out: {error}");
        match self.by_difficulty(&mut section) {
            Ok(true) => {}
            Ok(false) => section.notes.push(
                "No row has a difficulty: the stages that give one are in the pipeline `full`, for example."
                    .into(),
            ),
            Err(error) => section.notes.push(told(&error)),
        }
        match self.by_category(&mut section) {
            Ok(true) => {}
            Ok(false) => section.notes.push("No row has a category.".into()),
            Err(error) => section.notes.push(told(&error)),
        }
        section
    }

    fn by_difficulty(&mut self, section: &mut Section) -> Result<bool> {
        let mut answer = self.ask("pass_rate_by_difficulty")?;
        let order = ["hard", "medium", "easy", "too_easy"];
        answer.sort_by_key(|row| order.iter().position(|name| *name == text(row, "difficulty")));
        // Rows that are too easy are dropped; alone they say nothing about the others.
        if answer.is_empty() {
            return Ok(false);
        }
        let (answer, more) = first(&answer);
        section.notes.extend(more);
        let bars = answer.iter().map(|row| Bar {
            label: text(row, "difficulty").to_owned(),
            parts: vec![number(row, "problems").unwrap_or(0.0)],
            interval: None,
            figure: format!("{} ({})", count(row, "problems"), share(row, "share")),
        });
        let svg = charts::bars(bars, &Scale::default())?;
        let table = answer.iter().map(|row| {
            let begin = [short(text(row, "difficulty"), CELL), count(row, "problems")];
            let shares = ["share", "pass_rate", "lowest", "highest"].map(|name| share(row, name));
            begin.into_iter().chain(shares).collect()
        });
        let names = ["difficulty", "#problems", "#share", "#answers that pass", "#lowest", "#highest"];
        let table = Table::new(&names, table.collect());
        let caption = "Problems by difficulty; those that are too easy were rejected";
        section.parts.push(Part::of(caption, svg, table));
        Ok(true)
    }

    fn by_category(&mut self, section: &mut Section) -> Result<bool> {
        let answer = self.tables.ask(&queries::find("pass_rate_by_category")?.sql)?;
        let mut answer = rows(&answer, &|row| text(row, "language") == "all")?;
        let problems = |row: &Row| number(row, "problems").unwrap_or(0.0);
        answer.sort_by(|one, other| problems(other).total_cmp(&problems(one)));
        if answer.is_empty() {
            return Ok(false);
        }
        let (answer, more) = first(&answer);
        section.notes.extend(more);
        let levels = |row: &Row| ["hard", "medium", "easy"].map(|name| number(row, name).unwrap_or(0.0));
        let rated = answer.iter().any(|row| levels(row).iter().sum::<f64>() > 0.0);
        let bars = answer.iter().map(|row| {
            let levels = levels(row);
            let other = problems(row) - levels.iter().sum::<f64>();
            let parts = if rated { levels.into_iter().chain([other]).collect() } else { vec![problems(row)] };
            let label = text(row, "category").to_owned();
            Bar { label, parts, interval: None, figure: count(row, "problems") }
        });
        let names: &[&str] = if rated { &["hard", "medium", "easy", "not rated"] } else { &[] };
        let svg = charts::bars(bars, &Scale { parts: names, ..Scale::default() })?;
        let table = answer.iter().map(|row| {
            let mut cells = vec![short(text(row, "category"), CELL)];
            cells.extend(["problems", "hard", "medium", "easy"].map(|name| count(row, name)));
            cells.push(share(row, "pass_rate"));
            cells
        });
        let names = ["category", "#problems", "#hard", "#medium", "#easy", "#answers that pass"];
        let table = Table::new(&names, table.collect());
        section.parts.push(Part::of("Problems by category", svg, table));
        Ok(true)
    }

    pub(super) fn reasons(&mut self) -> Result<Section> {
        let mut section = Section { id: "rejected", title: "Why rows left", ..Section::default() };
        let answer = self.ask("reject_reasons")?;
        if answer.is_empty() {
            section.notes.push("No row was rejected.".into());
            return Ok(section);
        }
        let (answer, more) = first(&answer);
        section.notes.extend(more);
        let svg = charts::bars(by_reason(&answer), &Scale::default())?;
        let table = answer.iter().map(|row| {
            let [stage, reason, example] =
                ["stage", "reason", "example"].map(|name| short(text(row, name), CELL));
            vec![stage, reason, count(row, "rows"), share(row, "share"), example]
        });
        let names = ["stage", "reason", "#rows", "#share", "one of them"];
        let table = Table::new(&names, table.collect());
        section.parts.push(Part::of("Rejected rows by reason", svg, table));
        let top = || answer.iter().take(REASONS).map(|row| (text(row, "stage"), text(row, "reason")));
        let keys = ["stage", "reason"];
        let examples = self.tables.first_of_each("rejected", keys, &top().collect::<Vec<_>>(), EXAMPLES)?;
        let examples = rows(&examples, &|_| true)?;
        for ((stage, reason), row) in top().zip(&answer) {
            let of_this = |row: &&Row| text(row, "stage") == stage && text(row, "reason") == reason;
            let samples: Vec<Sample> = examples.iter().filter(of_this).map(Sample::rejected).collect();
            section.groups.push(Group {
                title: short(&format!("{stage}: {reason}"), CELL),
                about: format!("{} of {} rows", samples.len(), count(row, "rows")),
                samples,
            });
        }
        Ok(section)
    }

    pub(super) fn kept(&mut self) -> Result<Option<Section>> {
        let kept = self.tables.first("dataset", KEPT)?;
        let samples: Vec<Sample> = rows(&kept, &|_| true)?.iter().map(Sample::kept).collect();
        let about = format!("the first {}", samples.len());
        Ok((!samples.is_empty()).then(|| Section {
            id: "kept",
            title: "Rows of the dataset",
            groups: vec![Group { title: "dataset".into(), about, samples }],
            ..Section::default()
        }))
    }
}

/// A bar for each reason, all stages together, the commonest first.
fn by_reason(answer: &[Row]) -> Vec<Bar> {
    let mut sums: Vec<(&str, f64, f64)> = Vec::new();
    for row in answer {
        let (reason, rows) = (text(row, "reason"), number(row, "rows").unwrap_or(0.0));
        let share = number(row, "share").unwrap_or(0.0);
        match sums.iter_mut().find(|(known, ..)| *known == reason) {
            Some((_, all_rows, all_shares)) => {
                *all_rows += rows;
                *all_shares += share;
            }
            None => sums.push((reason, rows, share)),
        }
    }
    sums.sort_by(|one, other| other.1.total_cmp(&one.1));
    let bar = |(reason, rows, share): (&str, f64, f64)| Bar {
        label: reason.to_owned(),
        parts: vec![rows],
        interval: None,
        figure: format!("{} ({})", whole(rows), percent(share)),
    };
    sums.into_iter().map(bar).collect()
}
