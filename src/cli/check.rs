//! `idlewild check`: what `serve` would refuse, without serving.

use clap::Args;

use super::{ConfigArgs, say};
use crate::auth::users::Users;
use crate::clock::Clock;
use crate::config::{Config, check_descriptors, load, warnings};
use crate::public::Live;
use crate::server::ServerError;
use crate::sys;
use crate::tls::{KeyLog, Tls};

/// What stands in the place of a secret.
const REDACTED: &str = "<redacted>";

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
        let mut config = load(&sources)?;
        check(&config)?;
        for line in warnings(&sources, &config) {
            eprintln!("idlewild: {line}");
        }
        for secret in [&mut config.auth.secret, &mut config.admin.api_key] {
            if !secret.is_empty() {
                REDACTED.clone_into(secret);
            }
        }
        for key in &mut config.admin.api_keys {
            REDACTED.clone_into(&mut key.hash);
        }
        config.engine.url = without_userinfo(&config.engine.url);
        say(format_args!("# ok\n{}", toml::to_string(&config)?))
    }
}

/// `url` with what stands before the host's `@` hidden: it holds a password.
fn without_userinfo(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    // The last `@`, wherever it stands: a password with a raw `/` must not slip through.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REDACTED}@{host}"),
        None => url.to_owned(),
    }
}

fn check(config: &Config) -> Result<(), ServerError> {
    let nofile = sys::raise_nofile().map_err(ServerError::Descriptors)?;
    check_descriptors(config, nofile)?;
    Live::new(config)?;
    Tls::new(&config.tls, KeyLog::Off, Clock::system())?;
    if !config.login.users_file.as_os_str().is_empty() {
        Users::load(&config.login.users_file)?;
    }
    Ok(())
}
