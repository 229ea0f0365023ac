//! The arguments of `compare`.

use std::path::PathBuf;

use clap::Args;

/// `compare`
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// A directory with the JSON of runs, named SCENARIO-SERVER.json, or SCENARIO-SERVER-ROUND.json for one of several
    pub(crate) dir: PathBuf,
    /// The plot to write
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: PathBuf,
}
