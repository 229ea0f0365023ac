//! The commands. Errors go to stderr. The exit code is 2 for wrong usage or an invalid configuration,
//! and 1 for any other failure.

mod admin_client;
mod check;
mod command_line;
mod config_args;
mod dev_secrets;
mod generate;
mod health;
mod key_flags;
mod output;
mod publish;
mod serve;
mod token;
mod upgrade;
mod usage_error;
mod user;
mod welcome;

pub use command_line::main;
