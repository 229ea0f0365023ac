//! `idlewild token`: prints a JWT that is signed with the configured secret. `idlewild token api-key`:
//! prints a key for the admin listener and the configuration that accepts it.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::config_args::ConfigArgs;
use super::output::print;
use crate::auth::api_key;
use crate::auth::mint::{Claims, mint};
use crate::clock::Clock;
use crate::config::{KeyHash, load, parse_duration};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    claims: ClaimArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a new API key and the configuration that accepts it.
    ApiKey {
        /// Who will use it; this name appears in the log.
        #[arg(long, default_value = "django")]
        name: String,
    },
}

#[derive(Args, Debug)]
struct ClaimArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The user that the token is for.
    #[arg(long, required = true)]
    user: Option<String>,
    /// The session that the token belongs to.
    #[arg(long)]
    session: Option<String>,
    /// Topics and patterns that the token allows.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    topics: Vec<String>,
    /// How long the token is valid.
    #[arg(long, default_value = "15m", value_parser = parse_duration)]
    ttl: Duration,
}

impl TokenCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Some(Command::ApiKey { name }) => {
                let key = api_key::generate();
                print(format_args!(
                    "# the key, shown once: {key}\n[[admin.api_keys]]\nname = {}\nhash = \"{}\"",
                    toml::Value::String(name),
                    KeyHash::of(&key)
                ))
            }
            None => print(self.claims.mint()?),
        }
    }
}

impl ClaimArgs {
    fn mint(&self) -> anyhow::Result<String> {
        let user = self
            .user
            .as_deref()
            .context("--user is missing (the user that the token is for)")?;
        let config = load(&self.config.sources(Vec::new(), None)?)?;
        Ok(mint(
            &config.auth,
            &Claims {
                user,
                session: self.session.as_deref(),
                topics: &self.topics,
                ttl: self.ttl,
                now_unix_ms: Clock::system().unix_ms(),
            },
        )?)
    }
}
