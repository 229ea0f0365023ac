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
/// Pixels: the servers' names; a panel, and the part of it where dots are; a server's line; what is above the first.
const NAMES: f64 = 236.0;
const PANEL: f64 = 176.0;
const SPAN: f64 = 152.0;
const LINE: f64 = 26.0;
const TOP: f64 = 62.0;
/// Pixels between a dot's centre and its number.
const BESIDE: f64 = 9.0;

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

/// The plot as SVG.
pub(super) fn svg(rows: &[Row]) -> String {
    let panels = (0_u32..)
        .map(|at| NAMES + f64::from(at) * PANEL)
        .zip(PANELS);
    let width = panels
        .clone()
        .last()
        .map_or(NAMES, |(left, _)| left + PANEL);
    let lines: Vec<(f64, &Row)> = (0_u32..)
        .map(|at| TOP + f64::from(at) * LINE)
        .zip(rows)
        .collect();
    let height = lines.last().map_or(TOP, |(top, _)| top + LINE) + 14.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    let most = rows
        .iter()
        .filter_map(|row| row.clients)
        .fold(0.0, f64::max);
    for &(top, row) in &lines {
        if class(row) == "ours" {
            let _ = writeln!(
                svg,
                "<rect class=\"band\" y=\"{top}\" width=\"{width}\" height=\"{LINE}\"/>"
            );
        }
        let fewer = row.clients.filter(|&clients| clients < most);
        let fewer = fewer.map_or_else(String::new, |clients| format!(" ({})", grouped(clients, 0)));
        let name = escaped(&(row.label().to_owned() + &fewer));
        label(&mut svg, (14.0, top + 17.0), class(row), "start", &name);
    }
    for (left, (title, better, figure)) in panels {
        label(&mut svg, (left, 26.0), "title", "start", title);
        label(&mut svg, (left, 44.0), "faint", "start", better);
        let _ = writeln!(
            svg,
            "<path class=\"rule\" d=\"M{left} {TOP}V{}\"/>",
            height - 14.0
        );
        let shown: Vec<(f64, &Row, f64)> = lines
            .iter()
            .filter_map(|&(top, row)| {
                Some((
                    top + LINE / 2.0,
                    row,
                    figure(row).filter(|&value| value > 0.0)?,
                ))
            })
            .collect();
        let logarithms = shown.iter().map(|(_, _, value)| value.log10());
        let low = logarithms.clone().fold(f64::MAX, f64::min);
        // At least a decade, so that small differences look small.
        let range = (logarithms.fold(f64::MIN, f64::max) - low).max(1.0);
        for (y, row, value) in shown {
            let share = (value.log10() - low) / range;
            let x = left + 8.0 + share * (SPAN - 8.0);
            let _ = writeln!(
                svg,
                "<path class=\"rule\" d=\"M{left} {y}H{x:.1}\"/><circle class=\"dot {}\" cx=\"{x:.1}\" cy=\"{y}\" r=\"4.5\"/>",
                class(row)
            );
            let (x, anchor) = if share > 0.5 {
                (x - BESIDE, "end")
            } else {
                (x + BESIDE, "start")
            };
            label(&mut svg, (x, y + 4.0), class(row), anchor, &short(value));
        }
    }
    svg + "</svg>\n"
}

/// The class of a server's dots and texts.
fn class(row: &Row) -> &'static str {
    match row.name.as_str() {
        FLOOR => FLOOR,
        name if name.starts_with("idlewild") => "ours",
        _ => "theirs",
    }
}

fn label(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    ); // to a String
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
            row("<mine>", 6_000.0, 0.0),
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
