//! `idlewild serve`

use clap::Args;

use super::config_args::ConfigArgs;
use super::key_flags::KeyFlags;
use crate::config::load;
use crate::server::{self, Dev};

#[derive(Args, Debug)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// For trying things out: made-up secrets, an API key on stderr, a demo page at / of the public
    /// listener, and, unless a secret is configured, the user user@example.com with the password
    /// `password`.
    #[arg(long)]
    dev: bool,
    /// Let --dev listen where other machines can connect.
    #[arg(long, requires = "dev")]
    dev_anywhere: bool,
    #[command(flatten)]
    keys: KeyFlags,
}

impl Serve {
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
