//! `idlewild serve`: runs the server.

use clap::Args;

use super::config_args::ConfigArgs;
use super::key_flags::KeyFlags;
use crate::config::load;
use crate::server::{self, Dev};

#[derive(Args, Debug)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    config: ConfigArgs,
    /// For development: generates secrets, prints an API key to stderr, and serves a demo page at / of
    /// the public listener. Unless a secret is configured, user@example.com can log in with the
    /// password `password`.
    #[arg(long)]
    dev: bool,
    /// Allow --dev to listen on addresses that other machines can reach.
    #[arg(long, requires = "dev")]
    dev_anywhere: bool,
    #[command(flatten)]
    keys: KeyFlags,
}

impl ServeCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let sources = self.config.sources(self.keys.0, self.dev)?;
        let config = load(&sources)?;
        if let Some(dev) = &sources.dev
            && dev.is_api_key_used(&config)
        {
            eprintln!("idlewild: development API key: {}", dev.api_key);
        }
        let dev = sources.dev.as_ref().map(|secrets| Dev {
            has_user: secrets.is_auth_secret_used(&config),
            anywhere: self.dev_anywhere,
        });
        server::run(&config, &sources, dev)
    }
}
