//! `idlewild serve`: runs the server.

use std::path::Path;

use clap::Args;

use super::config_args::ConfigArgs;
use super::dev_secrets;
use super::key_flags::KeyFlags;
use super::output::say;
use super::welcome::Welcome;
use crate::config::load;
use crate::server::{self, Dev};

#[derive(Args, Debug)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    config: ConfigArgs,
    /// For development: generates the secrets that are not configured, keeps them in .idlewild-dev, and
    /// serves a demo page at / of the public listener. Prints the addresses, the API key and a call that
    /// publishes. Unless a secret is configured, user@example.com can log in with the password
    /// `password`.
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
        let made_up = self.dev.then(dev_secrets::made_up);
        let declined = |error: &anyhow::Error| server::decline(&one_line(error));
        let sources = self.config.sources(self.keys.0, made_up);
        let mut sources = sources.map_err(anyhow::Error::from).inspect_err(declined)?;
        let loaded = load(&sources);
        let mut config = loaded.map_err(anyhow::Error::from).inspect_err(declined)?;
        let mut kept_in = None;
        // A directory only if there is something to keep.
        if let Some(made_up) = &sources.dev
            && (made_up.is_auth_secret_used(&config) || made_up.is_api_key_used(&config))
        {
            match dev_secrets::kept_in(Path::new(dev_secrets::DIRECTORY)) {
                Ok(kept) => {
                    kept_in = Some(dev_secrets::DIRECTORY);
                    // A configuration from a pipe cannot be read again.
                    made_up.replace_by(&kept, &mut config);
                    sources.dev = Some(kept);
                }
                Err(error) => say(format_args!(
                    "idlewild: {}: {error}; the API key and the JWT secret change at the next start",
                    dev_secrets::DIRECTORY
                )),
            }
        }
        let dev = sources.dev.as_ref().map(|secrets| Dev {
            has_user: secrets.is_auth_secret_used(&config),
            anywhere: self.dev_anywhere,
        });
        server::run(&config, &sources, dev, |server| {
            let Some(secrets) = &sources.dev else {
                return;
            };
            let welcome = Welcome {
                public: server.public_endpoints(),
                tls: server.tls_endpoints(),
                admin: server.admin_endpoints(),
                has_user: dev.is_some_and(|dev| dev.has_user) && config.login.users_file.is_none(),
                api_key: secrets
                    .is_api_key_used(&config)
                    .then_some(secrets.api_key.as_str()),
                kept_in,
            };
            for line in welcome.lines() {
                say(line);
            }
        })
    }
}

/// All problems in one line, for the process that wants an upgrade.
fn one_line(error: &anyhow::Error) -> String {
    let text = error.to_string();
    text.lines().collect::<Vec<_>>().join("; ")
}
