//! The plot of the servers: a line for each server and a panel for each figure, with a dot and its number on a logarithmic
//! axis. Its style has colours for light and dark pages.

use std::fmt::Write;

use super::rows::{FLOOR, Row};
use super::tables::short;
use crate::number::grouped;

/// A panel: what it shows, which direction is better, and its figure of a server.
type Panel = (&'static str, &'static str, fn(&Row) -> Option<f64>);

const PANELS: &[Panel] = &[
    ("User bytes per client", "less is better", |row| {
        row.user_bytes
    }),
    ("Connects per second", "more is better", |row| {
        row.connects_per_s
    }),
    ("Last client, ms", "less is better", |row| row.last_ms),
    ("CPU per delivery, µs", "less is better", |row| {
        row.delivery_us
    }),
    ("1 KiB on the wire, bytes", "less is better", |row| {
        row.wire_bytes
    }),
];
/// The class of Idlewild's lines.
const OURS: &str = "ours";
/// Pixels: the servers' names; a panel, and the part of it where dots are; a server's line; above the first and below
/// the last.
const NAMES: f64 = 254.0;
const PANEL: f64 = 176.0;
const SPAN: f64 = 152.0;
const LINE: f64 = 26.0;
const TOP: f64 = 62.0;
const UNDER: f64 = 14.0;
/// Pixels between a dot's centre and its number.
const BESIDE: f64 = 9.0;
/// Pixels of a digit, with some space: a line ends before its number.
const DIGIT: f64 = 8.0;
/// With fewer clients than this share of the others', their number is shown.
const AS_MANY: f64 = 0.95;

const STYLE: &str = "
.ground { fill: #ffffff; } text { fill: #3c3c3c; font: 12px sans-serif; } .title { font-weight: bold; }
.faint { fill: #6a6a6a; font-size: 11px; } .ours { font-weight: bold; } .rule { stroke: #e1e1e1; }
.band { fill: #eef5fa; } .dot { fill: #8a8a8a; } .dot.ours { fill: #0072b2; }
.dot.floor { fill: #ffffff; stroke: #8a8a8a; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
.ground { fill: #1f2124; } text { fill: #d6d6d2; } .faint { fill: #a0a0a0; } .rule { stroke: #3e4044; }
.band { fill: #26323b; } .dot { fill: #9c9c9c; } .dot.ours { fill: #4da3e8; }
.dot.floor { fill: #1f2124; stroke: #9c9c9c; }
}
";

/// A server with the top of its line.
type Placed<'a> = (f64, &'a Row);

/// The plot as SVG.
pub(super) fn svg(rows: &[Row]) -> String {
    let tops = (0_u32..).map(|at| TOP + f64::from(at) * LINE);
    let lines: Vec<Placed<'_>> = tops.zip(rows).collect();
    let lefts = (0_u32..).map(|at| NAMES + f64::from(at) * PANEL);
    let panels: Vec<(f64, &Panel)> = lefts.zip(PANELS).collect();
    let width = panels.last().map_or(NAMES, |(left, _)| left + PANEL);
    let bottom = lines.last().map_or(TOP, |(top, _)| top + LINE);
    let height = bottom + UNDER;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<title>Servers side by side</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    draw_names(&mut svg, width, &lines);
    for (left, panel) in panels {
        let _ = writeln!(svg, "<path class=\"rule\" d=\"M{left} {TOP}V{bottom}\"/>"); // to a String
        draw_panel(&mut svg, left, panel, &lines);
    }
    svg + "</svg>\n"
}

/// The servers' names, with the number of clients if others had more.
fn draw_names(svg: &mut String, width: f64, lines: &[Placed<'_>]) {
    let clients = lines.iter().filter_map(|(_, row)| row.clients);
    let most = clients.fold(0.0, f64::max);
    for &(top, row) in lines {
        if class(row) == OURS {
            let _ = writeln!(
                svg,
                "<rect class=\"band\" y=\"{top}\" width=\"{width}\" height=\"{LINE}\"/>"
            ); // to a String
        }
        let fewer = row.clients.filter(|&clients| clients < most * AS_MANY);
        let fewer = fewer.map_or_else(String::new, |clients| format!(" ({})", grouped(clients, 0)));
        let name = escaped(&(row.label().to_owned() + &fewer));
        label(svg, (14.0, top + 17.0), class(row), "start", &name);
    }
}

/// The dots of a figure, from its smallest value on the left to its largest.
fn draw_panel(svg: &mut String, left: f64, panel: &Panel, lines: &[Placed<'_>]) {
    let (title, better, figure) = panel;
    label(svg, (left, 26.0), "title", "start", title);
    label(svg, (left, 44.0), "faint", "start", better);
    let shown = lines.iter().filter_map(|&(top, row)| {
        let value = figure(row).filter(|&value| value > 0.0)?;
        Some((top + LINE / 2.0, row, value))
    });
    let logarithms = shown.clone().map(|(_, _, value)| value.log10());
    let low = logarithms.clone().fold(f64::MAX, f64::min);
    // At least a decade, so that small differences look small.
    let range = (logarithms.fold(f64::MIN, f64::max) - low).max(1.0);
    for (y, row, value) in shown {
        let share = (value.log10() - low) / range;
        let x = left + BESIDE + share * (SPAN - BESIDE);
        let number = short(value);
        let (beside, anchor, line_end) = if share > 0.5 {
            let beside = x - BESIDE;
            (beside, "end", beside - DIGIT * as_f64(number.len()))
        } else {
            (x + BESIDE, "start", x)
        };
        let _ = writeln!(
            svg,
            "<path class=\"rule\" d=\"M{left} {y}H{:.1}\"/>\
             <circle class=\"dot {}\" cx=\"{x:.1}\" cy=\"{y}\" r=\"4.5\"/>",
            line_end.max(left),
            class(row)
        ); // to a String
        label(svg, (beside, y + 4.0), class(row), anchor, &number);
    }
}

/// The class of a server's dots and texts.
fn class(row: &Row) -> &'static str {
    match row.name.as_str() {
        FLOOR => FLOOR,
        name if name.starts_with("idlewild") => OURS,
        _ => "theirs",
    }
}

fn label(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    ); // to a String
}

#[expect(clippy::cast_precision_loss, reason = "letters of a number")]
fn as_f64(length: usize) -> f64 {
    length as f64
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, clients: f64, user_bytes: f64) -> Row {
        Row {
            name: name.to_owned(),
            clients: Some(clients),
            user_bytes: Some(user_bytes),
            ..Row::default()
        }
    }

    #[test]
    fn every_server_has_its_name_and_number_and_fewer_clients_are_shown() {
        let svg = svg(&[
            row("idlewild", 6_000.0, 140.0),
            row("channels", 1_500.0, 31_000.0),
            row("<mine>", 5_999.0, 0.0),
            row(FLOOR, 6_000.0, 20.0),
        ]);
        for part in [
            ">Idlewild<",
            ">140<",
            ">Django Channels, WebSocket (1,500)<",
            ">31,000<",
            ">&lt;mine><",
            "\"dot floor\"",
        ] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        assert_eq!(svg.matches("<circle").count(), 3, "nothing to draw for 0");
    }

    #[test]
    fn a_dot_is_further_right_for_a_larger_number_and_inside_its_panel() {
        let svg = svg(&[row("go", 1.0, 10.0), row("node", 1.0, 1e6)]);
        let places: Vec<f64> = svg
            .match_indices("cx=\"")
            .map(|(at, start)| {
                let text = &svg[at + start.len()..];
                text[..text.find('"').unwrap()].parse().unwrap()
            })
            .collect();
        let [small, large] = places[..] else {
            panic!("{places:?}")
        };
        assert!(NAMES < small && small < large && large < NAMES + PANEL);
    }
}
