//! `idlewild token`: a JWT made with the configured secret; `token api-key`: a key for the admin
//! side and the lines that let it in.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::config_args::ConfigArgs;
use super::output::say;
use crate::auth::api_key;
use crate::auth::mint::{Claims, mint};
use crate::clock::Clock;
use crate::config::{KeyHash, load, parse_duration};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Token {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    claims: ClaimArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a new API key and the configuration that accepts it.
    ApiKey {
        /// Who will use it; stands in the log.
        #[arg(long, default_value = "django")]
        name: String,
    },
}

#[derive(Args, Debug)]
struct ClaimArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Whose token it is.
    #[arg(long, required = true)]
    user: Option<String>,
    /// The session that it belongs to.
    #[arg(long)]
    session: Option<String>,
    /// Topics and patterns that it allows.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    topics: Vec<String>,
    /// How long it is good for.
    #[arg(long, default_value = "15m", value_parser = parse_duration)]
    ttl: Duration,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Some(Command::ApiKey { name }) => {
                let key = api_key::generate();
                say(format_args!(
                    "# the key, shown once: {key}\n[[admin.api_keys]]\nname = {}\nhash = \"{}\"",
                    toml::Value::String(name),
                    KeyHash::of(&key)
                ))
            }
            None => say(self.claims.mint()?),
        }
    }
}

impl ClaimArgs {
    fn mint(&self) -> anyhow::Result<String> {
        let user = self
            .user
            .as_deref()
            .context("--user says whose token it is")?;
        let config = load(&self.config.sources(Vec::new(), false)?)?;
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
