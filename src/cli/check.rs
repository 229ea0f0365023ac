//! `idlewild check`: what `serve` would refuse, without serving.

use clap::Args;

use super::config_args::ConfigArgs;
use super::output::say;
use crate::clock::Clock;
use crate::config::{load, print, warnings};
use crate::server::Prepared;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// Make up missing secrets, as `serve --dev` does.
    #[arg(long)]
    dev: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let sources = self.config.sources(Vec::new(), self.dev)?;
        let config = load(&sources)?;
        Prepared::new(&config, None, &Clock::system())?;
        for line in warnings(&sources, &config) {
            eprintln!("idlewild: {line}");
        }
        say(format_args!("# ok\n{}", print(&config)))
    }
}
