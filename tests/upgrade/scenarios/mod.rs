//! One file per part of the hand-over.

mod command;
mod declined;
mod durable;
mod failures;
mod state;
mod streams;
