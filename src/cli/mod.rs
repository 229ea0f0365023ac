//! The commands. Wrong usage and a refused configuration end with one line on stderr and exit
//! code 2, anything else that fails with 1.

#![allow(clippy::print_stderr)] // commands talk to people

mod admin;
mod check;
mod command_line;
mod config_args;
mod health;
mod key_flags;
mod output;
mod publish;
mod serve;
mod token;
mod usage;
mod user;

pub use command_line::main;
