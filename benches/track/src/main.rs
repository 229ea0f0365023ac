//! The history of the benchmarks. `scripts/bench` measures. This program keeps one line per commit in
//! `benches/history.jsonl`, compares a run with the last line, and draws `docs/benchmarks.md`.
//!
//! | module | one purpose |
//! |---|---|
//! | [`cli`] | the commands |
//! | [`measured`] | reads the output of the tools |
//! | [`machine`] | which machines' counts can be compared |
//! | [`history`] | the lines |
//! | [`judge`] | decides what is a regression |
//! | [`page`], [`chart`] | the document and its chart |

mod chart;
mod cli;
mod history;
mod judge;
mod machine;
mod measured;
mod page;

fn main() -> std::process::ExitCode {
    cli::main()
}
