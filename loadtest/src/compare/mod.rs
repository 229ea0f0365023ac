//! `compare`: tables and a plot of several servers, from the JSON of their runs.
//!
//! [`rows`] collects the figures of each server, [`tables`] writes them as Markdown, and [`drawing`] draws them.

mod drawing;
mod rows;
mod tables;

use std::io::Write;

use anyhow::Result;

use crate::cli::Compare;
use crate::files::write_whole;
use crate::report;
use crate::run::Run;

/// Writes the plot, and prints the tables.
pub(crate) fn run(compare: &Compare) -> Result<()> {
    let runs = report::files(&compare.dir)?
        .iter()
        .map(|path| Run::read(path))
        .collect::<Result<Vec<_>>>()?;
    let rows = rows::rows(&runs);
    write_whole(&compare.svg, &drawing::svg(&rows))?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(tables::tables(&rows, &runs).as_bytes())?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;

    #[test]
    fn the_plot_is_written_to_its_file() {
        let scratch = Scratch::new();
        scratch.put(
            "hold-go.json",
            r#"{"scenario": "hold", "connected": 5, "user_bytes_per_connection": 9000}"#,
        );
        let compare = Compare {
            dir: scratch.0.clone(),
            svg: scratch.0.join("plot.svg"),
        };
        run(&compare).unwrap();
        let svg = std::fs::read_to_string(&compare.svg).unwrap();
        assert!(svg.contains("<svg") && svg.contains("9,000"), "{svg}");
    }
}
