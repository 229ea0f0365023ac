//! The thread that owns the store. It reads the store at the start, and then writes what requests ask for, with many
//! requests per commit.
//!
//! | module | one purpose |
//! |---|---|
//! | [`writer`] | the thread's loop: collects requests, commits them, answers them |
//! | [`request`] | a request to the thread, and its answer |
//! | [`group`] | the rows and log entries of one commit |
//! | [`start`] | opens the directory, and continues its history |
//! | [`handover`] | leaves the directory to another process of the server, and takes it over from one |
//! | [`upkeep`] | what the thread does once a second |
//! | [`sweep`] | finds rows of sessions that nothing depends on any more |

mod group;
mod handover;
mod request;
mod start;
mod sweep;
mod upkeep;
#[allow(clippy::module_inception)] // what the folder is about
mod writer;

pub(super) use handover::{Left, serve};
pub(super) use request::{Request, Stop, Work};
pub(super) use start::WriterParts;
pub(super) use writer::Writer;
