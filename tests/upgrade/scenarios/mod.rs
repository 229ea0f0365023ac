//! One file per part of the hand-over.

mod command;
mod declined;
mod failures;
mod limits;
mod state;
mod streams;
mod tables;
