//! The commands. Wrong usage and a refused configuration end with one line on stderr and exit
//! code 2, anything else that fails with 1.

#![allow(clippy::print_stderr)] // commands talk to people

mod admin;
mod check;
mod health;
mod key_flags;
mod publish;
mod serve;
mod token;
mod user;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use crate::auth::api_key;
use crate::config::{
    ConfigError, ConfigErrors, DevSecrets, ENV_PREFIX, Sources, is_known_variable,
};
use crate::server::ServerError;

/// Exit code of wrong usage and of a refused configuration.
const REFUSED: u8 = 2;

/// `idlewild` alone gets the help, which is more use than one line.
const HELP_FOR_NOTHING: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

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
    /// Say whether a running server is ready; exit code 1 if not.
    Health(health::Health),
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
    fn sources(&self, flags: Vec<(String, String)>, dev: bool) -> Result<Sources, Usage> {
        Ok(Sources {
            file: self.config.clone(),
            env: variables()?,
            flags,
            dev: dev.then(|| DevSecrets {
                auth_secret: api_key::generate(),
                api_key: api_key::generate(),
            }),
        })
    }
}

/// The variables that begin like ours. One that sets a key and is not text is refused: passed over,
/// it would leave a check such as `auth.audience` off without a word.
fn variables() -> Result<Vec<(String, String)>, Usage> {
    std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()))
        .filter_map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => Some(Ok((name, value))),
                Err(_) if !is_known_variable(&name) => None,
                Err(_) => Some(Err(Usage(format!(
                    "{name}: its value is no UTF-8, set it again or unset it"
                )))),
            }
        })
        .collect()
}

/// The command line, or what it reads, is at fault.
#[derive(Debug, Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && error.kind() != HELP_FOR_NOTHING => {
            eprintln!("idlewild: {}", usage_line(&error.to_string()));
            return ExitCode::from(REFUSED);
        }
        // Help and the version, coloured where that can be seen.
        Err(error) => error.exit(),
    };
    let result = match cli.command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Publish(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::User(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error_lines(&error) {
                eprintln!("idlewild: {line}");
            }
            ExitCode::from(if is_refused(&error) { REFUSED } else { 1 })
        }
    }
}

/// Whether it is the operator's to mend: usage and configuration.
fn is_refused(error: &anyhow::Error) -> bool {
    error.is::<ConfigErrors>()
        || error.is::<ConfigError>()
        || error.is::<Usage>()
        || error
            .downcast_ref::<ServerError>()
            .is_some_and(ServerError::is_configuration)
}

/// What clap says, without its heading, its usage block and its line breaks.
fn usage_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (reason, _) = text.split_once("\n\nUsage:").unwrap_or((text, ""));
    let (reason, _) = reason
        .split_once("\n\nFor more information")
        .unwrap_or((reason, ""));
    let words: Vec<_> = reason.split_whitespace().collect();
    format!("{} (--help lists what there is)", words.join(" "))
}

/// A line for each thing that is wrong with the configuration; one for any other error.
fn error_lines(error: &anyhow::Error) -> Vec<String> {
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        return errors.iter().map(ToString::to_string).collect();
    }
    match error.downcast_ref::<ServerError>() {
        Some(ServerError::Config(errors)) => errors.iter().map(ToString::to_string).collect(),
        _ => vec![error_line(error)],
    }
}

/// An error with its causes; one that its effect already quotes is not said twice.
fn error_line(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |line, cause| {
        let cause = cause.to_string();
        if line.is_empty() {
            cause
        } else if line.contains(&cause) {
            line
        } else {
            format!("{line}: {cause}")
        }
    })
}

/// Prints a command's result. A reader that went away (`| head`) is an error, not a panic.
fn say(result: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}
