//! `idlewild check`: checks a configuration as `serve` would, without serving.

use clap::Args;

use super::config_args::ConfigArgs;
use super::dev_secrets;
use super::output::print;
use crate::clock::Clock;
use crate::config::{self, load, warnings};
use crate::server::Prepared;

#[derive(Args, Debug)]
pub(super) struct CheckCommand {
    #[command(flatten)]
    config: ConfigArgs,
    /// Make up missing secrets, as `serve --dev` does.
    #[arg(long)]
    dev: bool,
}

impl CheckCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let sources = self
            .config
            .sources(Vec::new(), self.dev.then(dev_secrets::made_up))?;
        let config = load(&sources)?;
        Prepared::new(&config, None, &Clock::system())?;
        for line in warnings(&sources, &config) {
            eprintln!("idlewild: {line}");
        }
        print(format_args!("# ok\n{}", config::print(&config)))
    }
}
