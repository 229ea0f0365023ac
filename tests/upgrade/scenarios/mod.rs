//! One file per part of the hand-over.

mod chaos;
mod command;
mod declined;
mod durable;
mod failures;
mod hangs;
mod limits;
mod program;
mod reload;
mod requests;
mod state;
mod streams;
mod tables;
