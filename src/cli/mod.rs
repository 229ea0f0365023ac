//! The commands. Wrong usage and a refused configuration end with one line on stderr and exit
//! code 2, anything else that fails with 1.

#![allow(clippy::print_stderr)] // commands talk to people

mod check;
mod publish;
mod serve;
mod token;
mod user;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::auth::api_key;
use crate::config::{ConfigError, DevSecrets, Sources};
use crate::server::ServerError;

/// A Server-Sent Events hub that holds an idle client for its kernel socket and one cache line.
#[derive(Debug, Parser)]
#[command(name = "idlewild", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Serve(serve::Serve),
    /// Say whether a configuration would be accepted, and print it whole.
    Check(check::Check),
    /// Print a token for a user, or make an API key.
    Token(token::Token),
    /// Publish an event to a running server.
    Publish(publish::Publish),
    /// Look after the users of the built-in login.
    User(user::User),
}

/// Where the configuration comes from.
#[derive(Args, Debug)]
struct ConfigArgs {
    /// TOML file; every key can also be an IDLEWILD_… variable.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn sources(&self, flags: Vec<(String, String)>, dev: bool) -> Sources {
        Sources {
            file: self.config.clone(),
            // Variables that are not text are not ours.
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            flags,
            dev: dev.then(|| DevSecrets {
                auth_secret: api_key::generate(),
                api_key: api_key::generate(),
            }),
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Publish(command) => command.run(),
        Command::User(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idlewild: {error:#}");
            ExitCode::from(if is_refused(&error) { 2 } else { 1 })
        }
    }
}

/// Whether it is the operator's to mend: usage and configuration.
fn is_refused(error: &anyhow::Error) -> bool {
    error.is::<ConfigError>()
        || error
            .downcast_ref::<ServerError>()
            .is_some_and(ServerError::is_configuration)
}

/// Prints a command's result. A reader that went away (`| head`) is an error, not a panic.
fn say(result: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}
