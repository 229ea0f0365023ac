//! `idlewild check`: checks a configuration as `serve` would, without serving. With `--engine`, it also tries the
//! engine.

use clap::Args;

use super::config_args::ConfigArgs;
use super::dev_secrets;
use super::output::{print, say};
use crate::clock::Clock;
use crate::config::{self, Config, load, warnings};
use crate::engine::{self, Finding};
use crate::server::Prepared;

#[derive(Args, Debug)]
pub(super) struct CheckCommand {
    #[command(flatten)]
    config: ConfigArgs,
    /// Make up missing secrets, as `serve --dev` does.
    #[arg(long)]
    dev: bool,
    /// Also try the engine: connect to Redis as `serve` would, and check rights, version and settings.
    #[arg(long)]
    engine: bool,
}

impl CheckCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let sources = self
            .config
            .sources(Vec::new(), self.dev.then(dev_secrets::made_up))?;
        let config = load(&sources)?;
        Prepared::new(&config, None, &Clock::system())?;
        for line in warnings(&sources, &config) {
            say(format_args!("idlewild: {line}"));
        }
        print(format_args!("# ok\n{}", config::print(&config)))?;
        if self.engine {
            try_engine(&config)?;
        }
        Ok(())
    }
}

/// Prints what is good as comments, so that the output stays TOML.
fn try_engine(config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut findings = Vec::new();
    let result = runtime.block_on(engine::check(config, &mut findings));
    for finding in findings {
        match finding {
            Finding::Good(line) => print(format_args!("# engine: {line}"))?,
            Finding::Doubt(line) => say(format_args!("idlewild: engine: {line}")),
        }
    }
    Ok(result?)
}
