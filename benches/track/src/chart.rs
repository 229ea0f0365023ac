//! Draws the history: a small chart for each group of counts, relative to its start, and one for each
//! kind of bytes. Commits go from left to right.

use std::collections::BTreeMap;
use std::num::TryFromIntError;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::history::Line;
use crate::judge::as_f64;
use crate::measured::{KERNEL, USER};

const COLUMNS: usize = 3;
/// Pixels of one chart.
const WIDTH: u32 = 360;
const HEIGHT: u32 = 232;
/// Pixels between a chart's edge and its title or legend.
const MARGIN: i32 = 12;
/// Pixels from a chart's edge to the first line of its legend, and from line to line.
const LEGEND_TOP: i32 = 31;
const LEGEND_LINE: i32 = 15;
/// Pixels of a legend's letter; of the dot before a name and the space after it.
const LETTER: i32 = 6;
const DOT_AND_SPACE: i32 = 24;
/// Commits that are named below a chart, including the first and the last.
const MOST_COMMITS_NAMED: usize = 4;
/// A chart covers at least this range, so that small changes look small.
const LEAST_PERCENT: f64 = 2.5;
/// Colours that colour-blind people can distinguish (Okabe and Ito).
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];
const INK: RGBColor = RGBColor(60, 60, 60);
const FAINT: RGBColor = RGBColor(225, 225, 225);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// `(index in the history, value)`.
type Points = Vec<(usize, f64)>;

/// One small chart.
#[derive(Debug)]
struct Panel {
    title: String,
    unit: &'static str,
    series: Vec<(String, Points)>,
}

/// Draws the history to an SVG file.
pub(crate) fn draw(lines: &[Line], path: &Path) -> Result<()> {
    let panels = panels(lines);
    let rows = panels.len().div_ceil(COLUMNS);
    let size = (
        WIDTH * u32::try_from(COLUMNS)?,
        HEIGHT * u32::try_from(rows)?,
    );
    let root = SVGBackend::new(path, size).into_drawing_area();
    let drawn = root.fill(&WHITE).map_err(|error| anyhow!("{error}"));
    drawn?;
    for (area, panel) in root.split_evenly((rows, COLUMNS)).iter().zip(&panels) {
        panel
            .draw(area, lines)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
    }
    root.present()
        .map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn panels(lines: &[Line]) -> Vec<Panel> {
    let mut groups: BTreeMap<String, Vec<(String, Points)>> = BTreeMap::new();
    for (name, points) in growth_percent(lines) {
        let (group, rest) = name.split_once('/').unwrap_or((&name, &name));
        let series = (rest.to_owned(), points);
        groups.entry(group.to_owned()).or_default().push(series);
    }
    let mut panels: Vec<Panel> = groups
        .into_iter()
        .map(|(title, series)| Panel {
            title: format!("{title}, instructions"),
            unit: " %",
            series,
        })
        .collect();
    panels.extend([USER, KERNEL].map(|name| {
        let of_line = |(at, line): (usize, &Line)| Some((at, *line.figures.bytes.get(name)?));
        let points = lines.iter().enumerate().filter_map(of_line).collect();
        Panel {
            title: format!("{name} bytes per connection"),
            unit: "",
            series: vec![(String::new(), points)],
        }
    }));
    panels
}

/// Each count's growth since its first line, in percent. If a line was recorded on another machine than
/// the one before, it has the counts of both commits on that machine. The growth continues from
/// those.
fn growth_percent(lines: &[Line]) -> BTreeMap<String, Points> {
    let mut factors: BTreeMap<String, f64> = BTreeMap::new();
    let mut growth: BTreeMap<String, Points> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let last = at.checked_sub(1).and_then(|last| lines.get(last));
        let before = line.before.as_ref().or(last.map(|last| &last.figures));
        for (name, &count) in &line.figures.instructions {
            let step = before
                .and_then(|before| before.instructions.get(name))
                .map_or(1.0, |&before| as_f64(count) / as_f64(before));
            let factor = factors.entry(name.clone()).or_insert(1.0);
            *factor *= step;
            let points = growth.entry(name.clone()).or_default();
            points.push((at, (*factor - 1.0) * 100.0));
        }
    }
    growth
}

impl Panel {
    fn draw(&self, area: &Area<'_>, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
        let text = |size: u32, colour: &RGBColor| ("sans-serif", size).into_font().color(colour);
        area.draw(&Text::new(
            self.title.clone(),
            (12, 10),
            text(14, &INK).into_text_style(area),
        ))?;
        self.draw_legend(area)?;
        let values = self.series.iter().flat_map(|(_, points)| points);
        let range = range(values.map(|&(_, value)| value), self.unit);
        let end = as_place(lines.len()) - 0.5;
        let mut chart = ChartBuilder::on(area)
            .margin_top(LEGEND_TOP + LEGEND_LINE * self.legend_lines()? + 4)
            .margin_right(28)
            .margin_left(8)
            .x_label_area_size(26)
            .y_label_area_size(52)
            .build_cartesian_2d(-0.5..end, range)?;
        let unit = self.unit;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(5)
            .bold_line_style(FAINT)
            .light_line_style(WHITE)
            .axis_style(FAINT)
            .label_style(text(11, &INK))
            .y_label_formatter(&|value| {
                // Avoids -0 and +0.
                if unit.is_empty() || value.abs() < 0.5 {
                    format!("{:.0}{unit}", value.abs())
                } else {
                    format!("{value:+.0}{unit}")
                }
            })
            .draw()?;
        for ((_, points), colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let places = points.iter().map(|&(at, value)| (as_place(at), value));
            chart.draw_series(LineSeries::new(places.clone(), colour.stroke_width(2)))?;
            chart.draw_series(places.map(|at| Circle::new(at, 3, colour.filled())))?;
        }
        let below = text(11, &INK)
            .into_text_style(area)
            .pos(Pos::new(HPos::Center, VPos::Top));
        let plot = chart.plotting_area();
        let bottom = plot.get_pixel_range().1.end;
        let (left, top) = area.get_base_pixel();
        for at in named(lines.len()) {
            let (x, _) = plot.map_coordinate(&(as_place(at), 0.0));
            let label = Text::new(
                lines[at].short_commit().to_owned(),
                (x - left, bottom - top + 8),
                below.clone(),
            );
            area.draw(&label)?;
        }
        Ok(())
    }
}

impl Panel {
    /// The names of the series in their colours, below the title, on as many lines as they need.
    fn draw_legend(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
        let places = self.legend()?;
        for (((name, _), (x, line)), colour) in
            self.series.iter().zip(places).zip(COLOURS.iter().cycle())
        {
            if name.is_empty() {
                continue;
            }
            let y = LEGEND_TOP + LEGEND_LINE * line;
            area.draw(&Circle::new((x + 4, y + 6), 4, colour.filled()))?;
            let style = ("sans-serif", 11).into_font().color(&INK);
            let label = Text::new(name.clone(), (x + 12, y), style.into_text_style(area));
            area.draw(&label)?;
        }
        Ok(())
    }

    /// The place of each series' name: its pixel from the left, and its line.
    fn legend(&self) -> Result<Vec<(i32, i32)>, TryFromIntError> {
        let (mut x, mut line) = (MARGIN, 0);
        let mut places = Vec::with_capacity(self.series.len());
        for (name, _) in &self.series {
            let width = i32::try_from(name.len())? * LETTER + DOT_AND_SPACE;
            if x > MARGIN && x + width > i32::try_from(WIDTH)? {
                (x, line) = (MARGIN, line + 1);
            }
            places.push((x, line));
            x += width;
        }
        Ok(places)
    }

    fn legend_lines(&self) -> Result<i32, TryFromIntError> {
        Ok(self.legend()?.last().map_or(0, |(_, line)| line + 1))
    }
}

/// The range of the values with a margin; it includes zero if they are percentages.
fn range(values: impl Iterator<Item = f64>, unit: &str) -> std::ops::Range<f64> {
    let values: Vec<f64> = values.collect();
    let least = values.iter().copied().reduce(f64::min).unwrap_or(0.0);
    let most = values.iter().copied().reduce(f64::max).unwrap_or(0.0);
    if unit.is_empty() {
        0.0..(most * 1.25).max(1.0)
    } else {
        least.min(-LEAST_PERCENT) * 1.15..most.max(LEAST_PERCENT) * 1.15
    }
}

/// The indexes of the commits that are named: the first, the last, and some in between.
fn named(count: usize) -> Vec<usize> {
    let most = count.min(MOST_COMMITS_NAMED);
    let mut places: Vec<usize> = (0..most)
        .map(|nth| nth * (count - 1) / (most - 1).max(1))
        .collect();
    places.dedup();
    places
}

#[expect(clippy::cast_precision_loss, reason = "lines of a file")]
fn as_place(at: usize) -> f64 {
    at as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::line;

    #[test]
    fn growth_continues_over_a_change_of_machines() {
        let mut third = line("c", 220, 120.0);
        // The second commit has a count of 200 on the third line's machine.
        third.before = Some(line("b", 200, 120.0).figures);
        let lines = [line("a", 100, 120.0), line("b", 110, 120.0), third];
        let growth = &growth_percent(&lines)["delivery/broadcast"];
        let rounded: Vec<_> = growth
            .iter()
            .map(|&(at, value)| (at, value.round()))
            .collect();
        assert_eq!(rounded, [(0, 0.0), (1, 10.0), (2, 21.0)]);
    }

    #[test]
    fn few_commits_are_named() {
        assert_eq!(named(1), [0]);
        assert_eq!(named(2), [0, 1]);
        assert_eq!(named(100), [0, 33, 66, 99]);
    }

    #[test]
    fn every_name_of_a_legend_is_inside_its_chart_and_overlaps_no_other() {
        let names = [
            "one_missed_each",
            "one_missed_each_large_log",
            "thousand_missed",
            "thousand_missed_large_log",
        ];
        let panel = Panel {
            title: String::new(),
            unit: " %",
            series: names.map(|name| (name.to_owned(), Points::new())).into(),
        };
        let places = panel.legend().unwrap();
        for (at, (name, (x, line))) in names.iter().zip(&places).enumerate() {
            let end = x + i32::try_from(name.len()).unwrap() * LETTER + DOT_AND_SPACE;
            assert!(end <= i32::try_from(WIDTH).unwrap(), "{name} ends at {end}");
            for (other, other_line) in &places[at + 1..] {
                assert!(other_line > line || *other >= end, "{name}");
            }
        }
        assert_eq!(panel.legend_lines().unwrap(), 2);
    }

    #[test]
    fn a_history_of_one_line_can_be_drawn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("benchmarks.svg");
        draw(&[line("0123456789", 100, 120.0)], &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.contains("delivery, instructions") && svg.contains("01234567"));
    }
}
