//! `idlewild user`: adds, lists, changes and removes users of the built-in login.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::output::{print, say};
use super::usage_error::UsageError;
use crate::auth::accounts;

#[derive(Args, Debug)]
pub(super) struct UserCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a user to a file; the password is one line of standard input.
    Add {
        #[command(flatten)]
        file: FileArgs,
        /// The email address that the user logs in with.
        #[arg(long)]
        email: String,
        /// The user's id; the next number by default.
        #[arg(long)]
        id: Option<String>,
    },
    /// Print a line per user: the id, a tab, and the email address.
    List {
        #[command(flatten)]
        file: FileArgs,
    },
    /// Change a user's password, which is one line of standard input.
    Passwd {
        #[command(flatten)]
        file: FileArgs,
        /// The email address that the user logs in with.
        #[arg(long)]
        email: String,
    },
    /// Remove a user from a file. Tokens of the user remain valid until they expire.
    Remove {
        #[command(flatten)]
        file: FileArgs,
        /// The email address that the user logs in with.
        #[arg(long)]
        email: String,
    },
}

#[derive(Args, Debug)]
struct FileArgs {
    /// The file that `login.users_file` names; `add` creates it if it does not exist. A running server
    /// reads it at its next start.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

impl UserCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Add { file, email, id } => {
                let password = password("add")?;
                let id = accounts::add(&file.file, id.as_deref(), &email, &password)?;
                print(format_args!("{email} has the id {id}"))
            }
            Command::List { file } => accounts::list(&file.file)?
                .iter()
                .try_for_each(|(id, email)| print(format_args!("{id}\t{email}"))),
            Command::Passwd { file, email } => {
                let password = password("passwd")?;
                let id = accounts::set_password(&file.file, &email, &password)?;
                print(format_args!("{email} (id {id}) has a new password"))
            }
            Command::Remove { file, email } => {
                let id = accounts::remove(&file.file, &email)?;
                print(format_args!("{email} (id {id}) is removed"))
            }
        }
    }
}

/// The password on standard input.
fn password(command: &str) -> anyhow::Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        say("password (it shows; pipe it in to avoid that):");
    }
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .context("cannot read the password from standard input")?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    if line.is_empty() {
        return Err(UsageError(format!(
            "no password on standard input (printf '%s' \"$PASSWORD\" | idlewild user {command} …)"
        ))
        .into());
    }
    Ok(line)
}
