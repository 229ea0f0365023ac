//! Tries the configured server, for `idlewild check --engine`. It connects as the engine does, and changes nothing.

mod commands;
mod facts;
mod masters;
mod run;
mod server;
mod unfit;

pub(crate) use run::check;
pub(crate) use unfit::Unfit;
