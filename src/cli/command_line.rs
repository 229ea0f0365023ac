//! The command line: chooses the command and prints its errors.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use super::output::say;
use super::usage_error::UsageError;
use super::{check, generate, health, publish, serve, token, upgrade, user};
use crate::config::{ConfigError, ConfigErrors};
use crate::server::ServerError;
use crate::version;

/// Exit code for wrong usage and for an invalid configuration.
const REFUSED: u8 = 2;

/// `idlewild` without arguments prints the help instead of an error line.
const HELP_FOR_NOTHING: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// A Server-Sent Events hub that holds an idle client for its kernel socket and one cache line.
#[derive(Debug, Parser)]
#[command(name = "idlewild", version = version::full())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Serve(serve::ServeCommand),
    /// Check a configuration and print all of it.
    Check(check::CheckCommand),
    /// Print a token for a user, or make an API key.
    Token(token::TokenCommand),
    /// Publish an event to a running server.
    Publish(publish::PublishCommand),
    /// Check whether a running server is ready; exit code 1 if not.
    Health(health::HealthCommand),
    /// Hand a running server's clients over to another program, without a disconnect.
    Upgrade(upgrade::UpgradeCommand),
    /// Manage the users of the built-in login.
    User(user::UserCommand),
    /// Print the completions for a shell.
    Completions(generate::CompletionsCommand),
    /// Write the manual pages into a directory.
    Man(generate::ManCommand),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && error.kind() != HELP_FOR_NOTHING => {
            say(format_args!("idlewild: {}", usage_line(&error.to_string())));
            return ExitCode::from(REFUSED);
        }
        // Help and version, coloured if the terminal allows it.
        Err(error) => error.exit(),
    };
    let result = match cli.command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Publish(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Upgrade(command) => command.run(),
        Command::User(command) => command.run(),
        Command::Completions(command) => command.run(Cli::command()),
        Command::Man(command) => command.run(Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error_lines(&error) {
                say(format_args!("idlewild: {line}"));
            }
            ExitCode::from(if is_refused(&error) { REFUSED } else { 1 })
        }
    }
}

/// Returns true if the operator has to change the command line or the configuration.
fn is_refused(error: &anyhow::Error) -> bool {
    error.is::<ConfigErrors>()
        || error.is::<ConfigError>()
        || error.is::<UsageError>()
        || error
            .downcast_ref::<ServerError>()
            .is_some_and(ServerError::is_configuration)
}

/// clap's message, without its heading, usage block and line breaks.
fn usage_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (reason, _) = text.split_once("\n\nUsage:").unwrap_or((text, ""));
    let (reason, _) = reason
        .split_once("\n\nFor more information")
        .unwrap_or((reason, ""));
    let words: Vec<_> = reason.split_whitespace().collect();
    format!("{} (see --help)", words.join(" "))
}

/// One line per error in the configuration, or one line for any other error.
fn error_lines(error: &anyhow::Error) -> Vec<String> {
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        return errors.iter().map(ToString::to_string).collect();
    }
    match error.downcast_ref::<ServerError>() {
        Some(ServerError::Config(errors)) => errors.iter().map(ToString::to_string).collect(),
        _ => vec![error_line(error)],
    }
}

/// An error with its causes, except those that its text already contains.
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
