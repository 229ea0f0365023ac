//! The arguments of `report`.

use std::path::PathBuf;

use clap::Args;

/// `report`
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// A directory with the JSON of runs (--json of a scenario); all *.json files in it are read
    pub(crate) dir: PathBuf,
    /// The page to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}
