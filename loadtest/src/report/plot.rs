//! Draws lines on two axes as SVG.

use std::fmt::Write;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::scale::{Axis, Scale};
use super::series::Points;

/// The size of a drawing; the page scales it.
const SIZE: (u32, u32) = (640, 360);
/// Drawn at four fifths of this, in the units of [`SIZE`].
const TEXT: (&str, u32) = ("sans-serif", 20);
const INK: Colour = Colour {
    light: (40, 40, 40),
    dark: (214, 214, 210),
};
const GRID: Colour = Colour {
    light: (222, 222, 222),
    dark: (62, 64, 68),
};
/// Of the page's cards, in the centre of the floor's marks.
const GROUND: Colour = Colour {
    light: (255, 255, 255),
    dark: (31, 33, 36),
};
const LINE_WIDTH: u32 = 2;
const MARK_RADIUS: i32 = 4;
/// Pixels of a dash and of the gap after it.
const DASH: (i32, i32) = (6, 4);

/// A colour on a light ground, and its counterpart on a dark one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Colour {
    pub(super) light: Rgb,
    dark: Rgb,
}

type Rgb = (u8, u8, u8);

const fn colour(light: Rgb, dark: Rgb) -> Colour {
    Colour { light, dark }
}

/// Colours that colour-blind people can distinguish (Okabe and Ito), on white; yellow is too pale. On a dark ground they
/// are lighter.
pub(super) const COLOURS: [Colour; 7] = [
    colour((0, 114, 178), (77, 163, 232)),
    colour((213, 94, 0), (255, 138, 76)),
    colour((0, 158, 115), (47, 207, 155)),
    colour((204, 121, 167), (229, 154, 198)),
    colour((230, 159, 0), (240, 185, 58)),
    colour((86, 180, 233), (169, 221, 247)),
    colour((0, 0, 0), (240, 240, 236)),
];

/// The charts are printed as on a light ground.
pub(super) const DARK_QUERY: &str = "@media screen and (prefers-color-scheme: dark)";

/// A colour as the drawings write it.
pub(super) fn hex((red, green, blue): Rgb) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// The style that gives the drawings their colours on a dark ground. The drawings have the light ones as attributes,
/// which any style overrides.
pub(super) fn dark_style() -> String {
    let mut style = format!("{DARK_QUERY} {{\n");
    for Colour { light, dark } in COLOURS.into_iter().chain([INK, GRID, GROUND]) {
        let (light, dark) = (hex(light), hex(dark));
        for part in ["stroke", "fill"] {
            let _ = writeln!(style, "  svg [{part}=\"{light}\"] {{ {part}: {dark}; }}"); // to a String
        }
    }
    style + "}\n"
}

/// The content of a plot.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

/// A line with its marks, in several parts if it has gaps.
#[derive(Debug)]
pub(super) struct Line {
    /// Index into [`COLOURS`].
    pub(super) colour: usize,
    pub(super) dashed: bool,
    pub(super) parts: Vec<Points>,
    pub(super) marks: Points,
}

impl Line {
    /// Returns true if there is nothing to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.parts.iter().all(Vec::is_empty)
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.parts.iter().flatten().chain(&self.marks).copied()
    }
}

impl Plot {
    /// The plot as SVG.
    pub(super) fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        self.draw(&area)?;
        area.present()?;
        drop(area);
        Ok(svg)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
        let points = || self.lines.iter().flat_map(Line::points);
        let x = Scale::new(self.x, points().map(|(x, _)| x));
        let y = Scale::new(self.y, points().map(|(_, y)| y));
        let mut chart = ChartBuilder::on(area)
            .margin_top(12)
            .margin_right(40)
            .margin_bottom(6)
            .margin_left(6)
            .x_label_area_size(56)
            .y_label_area_size(90)
            .build_cartesian_2d(x.clone(), y.clone())?;
        let (ink, grid) = (rgb(INK.light), rgb(GRID.light));
        let text = TEXT.into_font().color(&ink);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(grid)
            .light_line_style(TRANSPARENT)
            .axis_style(ink)
            .label_style(text.clone())
            .axis_desc_style(text.pos(Pos::new(HPos::Center, VPos::Top)))
            .x_labels(x.ticks())
            .y_labels(y.ticks())
            .x_desc(x.name())
            .y_desc(y.name())
            .draw()?;
        let place = |points: &Points| -> Points {
            let placed = points.iter();
            placed
                .filter_map(|&(at, value)| Some((x.place(at)?, y.place(value)?)))
                .collect()
        };
        // Dashed lines first, so that measurements are drawn over the floor.
        let (dashed, solid) = self.lines.iter().partition::<Vec<_>, _>(|line| line.dashed);
        for line in dashed.into_iter().chain(solid) {
            let colour = rgb(COLOURS[line.colour % COLOURS.len()].light);
            let stroke = colour.stroke_width(LINE_WIDTH);
            for part in line.parts.iter().map(place) {
                if line.dashed {
                    let (dash, gap) = DASH;
                    chart.draw_series(DashedLineSeries::new(part, dash, gap, stroke))?;
                } else {
                    chart.draw_series(LineSeries::new(part, stroke))?;
                }
            }
            let inside = if line.dashed {
                rgb(GROUND.light)
            } else {
                colour
            };
            for mark in place(&line.marks) {
                chart.draw_series([Circle::new(mark, MARK_RADIUS, inside.filled())])?;
                chart.draw_series([Circle::new(mark, MARK_RADIUS, stroke)])?;
            }
        }
        Ok(())
    }
}

fn rgb((red, green, blue): Rgb) -> RGBColor {
    RGBColor(red, green, blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_its_axes_and_every_value_that_can_be_shown() {
        let line = |dashed| Line {
            colour: 0,
            dashed,
            parts: vec![vec![(0.0, 1.0), (1.0, f64::MAX), (2.0, 40.0)], vec![]],
            marks: vec![(2.0, 40.0)],
        };
        let plot = Plot {
            x: Axis::Linear("seconds"),
            y: Axis::Log("milliseconds"),
            lines: vec![line(false), line(true)],
        };
        let svg = plot.svg().unwrap();
        for part in ["<svg", "seconds", "milliseconds", "#0072B2", "<circle"] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
    }

    #[test]
    fn nothing_to_draw_is_an_empty_plot() {
        let plot = Plot {
            x: Axis::Linear("seconds"),
            y: Axis::Linear("MiB"),
            lines: Vec::new(),
        };
        assert!(plot.svg().unwrap().contains("seconds"));
    }
}
