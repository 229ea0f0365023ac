//! `idlewild user add`: adds a user of the built-in login.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::output::print;
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
        /// The file that `login.users_file` names; created if it does not exist.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// The email address that the user logs in with.
        #[arg(long)]
        email: String,
        /// The user's id; the next number by default.
        #[arg(long)]
        id: Option<String>,
    },
}

impl UserCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Command::Add { file, email, id } = self.command;
        let stdin = io::stdin();
        if stdin.is_terminal() {
            eprintln!("password (it shows; pipe it in to avoid that):");
        }
        let mut line = String::new();
        stdin
            .lock()
            .read_line(&mut line)
            .context("cannot read the password from standard input")?;
        let password = line.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(UsageError(
                "no password on standard input (printf '%s' \"$PASSWORD\" | idlewild user add …)"
                    .to_owned(),
            )
            .into());
        }
        let id = accounts::add(&file, id.as_deref(), &email, password)?;
        print(format_args!("{email} has the id {id}"))
    }
}
