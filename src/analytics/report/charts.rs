//! Charts as SVG to stand in a page: horizontal bars, and ranges.
//!
//! Colours are named here and replaced by those of the page's style sheet, which has some for light and some for dark.
//! Labels may be hostile: what is not to be seen is escaped here, markup by the library.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::text::{short, visible};
use crate::error::{Error, Result};

/// Width of a chart; it is scaled to what there is room for.
const WIDTH: u32 = 440;
/// Height of a bar and the gap below it.
const ROW: u32 = 24;
/// Height of the scale below the bars, and of the legend above.
const EDGE: u32 = 26;
/// Width of a character, about; most fonts are narrower.
const CHAR: u32 = 8;
/// Longest label, characters.
const LABEL: usize = 22;
/// Size of letters; the library makes it smaller by a quarter.
const SIZE: u32 = 16;

const INK: RGBColor = RGBColor(0x44, 0x44, 0x44);
const GRID: RGBColor = RGBColor(0xcc, 0xcc, 0xcc);
/// Colours of the parts of a bar, in order.
const PARTS: [RGBColor; 4] = [
    RGBColor(0x2f, 0x6f, 0xb3),
    RGBColor(0xd9, 0x7b, 0x29),
    RGBColor(0x5b, 0x9a, 0x57),
    RGBColor(0x99, 0x99, 0x99),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One bar.
#[derive(Debug, Clone, Default)]
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// Its parts, from left to right; none is negative.
    pub parts: Vec<f64>,
    /// Where its end may be.
    pub interval: Option<(f64, f64)>,
    /// What stands at its end.
    pub figure: String,
}

/// How bars are drawn.
#[derive(Default)]
pub struct Scale<'a> {
    /// Names of the parts, where there are several.
    pub parts: &'a [&'a str],
    /// The end of the scale; that of the longest bar otherwise.
    pub end: Option<f64>,
    /// How numbers of the scale are written.
    pub write: Option<fn(f64) -> String>,
}

/// Horizontal bars. Labels that are too long are cut.
///
/// # Errors
/// A defect of the library.
pub fn bars(bars: impl IntoIterator<Item = Bar>, scale: &Scale<'_>) -> Result<String> {
    let bars: Vec<Bar> = bars.into_iter().collect();
    let longest = bars.iter().map(|bar| bar.parts.iter().sum::<f64>()).fold(0.0, f64::max);
    let end = scale.end.unwrap_or(longest);
    let end = if end > 0.0 { end } else { 1.0 };
    let write = scale.write.unwrap_or(super::text::whole);
    let labels = bars.iter().map(|bar| (bar.label.as_str(), bar.figure.as_str())).collect();
    drawn(labels, scale.parts, |canvas| {
        canvas.scale(0.0..end, &write, |chart| {
            for (row, bar) in bars.iter().enumerate() {
                let (top, middle) = (row as f64 + 0.2, row as f64 + 0.5);
                let mut from = 0.0;
                for (part, colour) in bar.parts.iter().zip(PARTS.iter().cycle()) {
                    let to = (from + part).min(end);
                    if to > from {
                        let box_ = Rectangle::new([(from, top), (to, row as f64 + 0.8)], colour.filled());
                        chart.plotting_area().draw(&box_)?;
                    }
                    from = to;
                }
                if let Some((low, high)) = bar.interval {
                    let (low, high) = (low.clamp(0.0, end), high.clamp(0.0, end));
                    let line = |from, to| PathElement::new(vec![from, to], INK.stroke_width(2));
                    chart.plotting_area().draw(&line((low, middle), (high, middle)))?;
                    for at in [low, high] {
                        chart.plotting_area().draw(&line((at, middle - 0.15), (at, middle + 0.15)))?;
                    }
                }
                let at = bar.interval.map_or(from, |(_, high)| from.max(high)).min(end);
                canvas.figure(chart.backend_coord(&(at, middle)), row)?;
            }
            Ok(())
        })
    })
}

/// A range with points in it.
#[derive(Debug, Clone)]
pub struct Range {
    /// What it is of.
    pub label: String,
    /// The points, rising.
    pub points: Vec<f64>,
    /// What stands at its end.
    pub figure: String,
}

/// Ranges on a logarithmic scale; points below 1 are drawn at 1.
///
/// # Errors
/// A defect of the library.
pub fn ranges(
    ranges: impl IntoIterator<Item = Range>,
    names: &[&str],
    write: fn(f64) -> String,
) -> Result<String> {
    let ranges: Vec<Range> = ranges.into_iter().collect();
    let points = || ranges.iter().flat_map(|range| &range.points).map(|point| point.max(1.0));
    let (low, high) =
        points().fold((f64::INFINITY, 1.0), |(low, high), point| (point.min(low), point.max(high)));
    // Whole powers of ten, of which there is always more than one.
    let from = 10_f64.powf(low.min(high).log10().floor());
    let to = 10_f64.powf(high.log10().ceil()).max(10.0 * from);
    let labels = ranges.iter().map(|range| (range.label.as_str(), range.figure.as_str())).collect();
    drawn(labels, names, |canvas| {
        canvas.scale((from..to).log_scale(), &write, |chart| {
            for (row, range) in ranges.iter().enumerate() {
                let middle = row as f64 + 0.5;
                let points: Vec<(f64, f64)> =
                    range.points.iter().map(|point| (point.max(1.0), middle)).collect();
                if let (Some(first), Some(last)) = (points.first(), points.last()) {
                    let line = PathElement::new(vec![*first, *last], INK.stroke_width(2));
                    chart.plotting_area().draw(&line)?;
                    canvas.figure(chart.backend_coord(last), row)?;
                }
                for (point, colour) in points.iter().zip(PARTS.iter().cycle()) {
                    chart.plotting_area().draw(&Circle::new(*point, 5, colour.filled()))?;
                }
            }
            Ok(())
        })
    })
}

type Drawing = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;
type Chart<'a, 'b, X> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>;

/// An empty chart with a row for each label.
struct Canvas<'a, 'b> {
    root: &'a Area<'b>,
    /// What is on the left of each row, and what on the right.
    labels: Vec<(String, String)>,
    top: u32,
}

/// The chart that `draw` draws, with a legend where there is more than one name.
fn drawn(
    labels: Vec<(&str, &str)>,
    names: &[&str],
    draw: impl FnOnce(&Canvas<'_, '_>) -> Drawing,
) -> Result<String> {
    let mut svg = String::new();
    let top = if names.len() > 1 { EDGE } else { 4 };
    let height = top + ROW * labels.len() as u32 + EDGE;
    let shown = |text: &str| short(&visible(text), LABEL);
    let labels = labels.into_iter().map(|(label, figure)| (shown(label), shown(figure))).collect();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let canvas = Canvas { root: &root, labels, top };
        legend(&root, names)
            .and_then(|()| draw(&canvas))
            .and_then(|()| root.present())
            .map_err(|error| Error::environment(format!("a chart cannot be drawn: {error}")))?;
    }
    Ok(svg)
}

fn legend(root: &Area<'_>, names: &[&str]) -> Drawing {
    let mut x = 8;
    for (name, colour) in names.iter().zip(PARTS.iter().cycle()).filter(|_| names.len() > 1) {
        root.draw(&Rectangle::new([(x, 5), (x + 12, 17)], colour.filled()))?;
        root.draw(&text(name, (x + 17, 11), HPos::Left))?;
        x += 34 + (CHAR as usize * name.chars().count()) as i32;
    }
    Ok(())
}

/// Text that begins or ends at a point of the page.
fn text(text: &str, at: (i32, i32), anchor: HPos) -> Text<'static, (i32, i32), String> {
    let style = ("sans-serif", SIZE).into_font().color(&INK).pos(Pos::new(anchor, VPos::Center));
    Text::new(text.to_owned(), at, style)
}

impl Canvas<'_, '_> {
    /// The scale, the labels, and what `draw` draws into them: rows are one unit high, from the top.
    fn scale<X>(
        &self,
        numbers: X,
        write: &dyn Fn(f64) -> String,
        draw: impl FnOnce(&Chart<'_, '_, X::CoordDescType>) -> Drawing,
    ) -> Drawing
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let widest = |of: fn(&(String, String)) -> &String| {
            let texts = self.labels.iter().map(|label| of(label).chars().count());
            CHAR * texts.max().unwrap_or(0) as u32 + 12
        };
        let (left, right) = (widest(|(label, _)| label).max(40), widest(|(_, figure)| figure));
        let rows = self.labels.len() as f64;
        let mut chart = ChartBuilder::on(self.root)
            .margin_top(self.top)
            .margin_right(right)
            .x_label_area_size(EDGE)
            .y_label_area_size(left)
            .build_cartesian_2d(numbers, rows..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(4)
            .x_label_formatter(&|number| write(*number))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(("sans-serif", SIZE).into_font().color(&INK))
            .draw()?;
        draw(&chart)?;
        for (row, (label, _)) in self.labels.iter().enumerate() {
            let y = self.top + ROW * row as u32 + ROW / 2;
            self.root.draw(&text(label, (left as i32 - 6, y as i32), HPos::Right))?;
        }
        Ok(())
    }

    /// Writes the figure of `row` beside a bar that ends at a point.
    fn figure(&self, (x, y): (i32, i32), row: usize) -> Drawing {
        let figure = self.labels.get(row).map_or("", |(_, figure)| figure);
        self.root.draw(&text(figure, (x + 9, y), HPos::Left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, parts: &[f64]) -> Bar {
        Bar { label: label.into(), parts: parts.into(), interval: Some((1.0, 9.0)), figure: "7".into() }
    }

    #[test]
    fn bars_have_labels_parts_and_a_legend() {
        let svg = bars(
            [bar("go", &[3.0, 4.0]), bar("c", &[0.0, 0.0])],
            &Scale { parts: &["a", "b"], ..Scale::default() },
        );
        let svg = svg.unwrap();
        // Two in the legend, two in the first bar, none in the second.
        assert_eq!(
            svg.matches("fill=\"#2F6FB3\"").count() + svg.matches("fill=\"#D97B29\"").count(),
            4,
            "{svg}"
        );
        for text in ["\ngo\n", ">\na\n", ">\nb\n", ">\n7\n"] {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
    }

    #[test]
    fn a_hostile_label_is_text() {
        let svg = bars([bar("<script>\u{202e}&\"", &[1.0])], &Scale::default()).unwrap();
        assert!(svg.contains("&lt;script&gt;\\u{202e}&amp;&quot;"), "{svg}");
        assert!(!svg.contains("<script"));
    }

    #[test]
    fn nothing_and_odd_numbers_can_be_drawn() {
        assert!(bars([], &Scale::default()).unwrap().ends_with("</svg>\n"));
        for number in [0.0, 1e-9, 1e15, f64::MAX / 4.0] {
            bars([bar("a", &[number])], &Scale::default()).unwrap();
            let range = Range { label: "a".into(), points: vec![0.0, number, number], figure: String::new() };
            ranges([range], &["p50", "p90", "p99"], super::super::text::duration).unwrap();
        }
        ranges([], &["p50"], super::super::text::duration).unwrap();
    }
}
