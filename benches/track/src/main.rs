//! The history of the benchmarks: `scripts/bench` measures, this keeps a line a commit in
//! `benches/history.jsonl`, judges a run by the last one, and draws `docs/benchmarks.md`.
//!
//! | module | one purpose |
//! |---|---|
//! | [`cli`] | the commands |
//! | [`measured`] | reads what the tools wrote |
//! | [`machine`] | where counts can be compared with each other |
//! | [`history`] | the lines |
//! | [`judge`] | what is a regression |
//! | [`page`], [`chart`] | the document and its picture |

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
