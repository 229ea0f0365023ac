//! An engine whose events, sessions and publishers' ids outlive the process: they are written to
//! a directory before they are accepted, and read from it at the next start.
//!
//! One thread owns the store. It takes all requests that wait, writes them in one commit, appends
//! them to the log, and answers: so a commit, and with `fsync = "always"` a flush, is shared by
//! everybody who waits for one, and what is delivered is stored.
//!
//! | module | one purpose |
//! |---|---|
//! | [`engine`] | hands requests to the writer |
//! | [`writer`] | the thread that owns the store |
//! | [`restore`] | what the process knows again after a start |
//! | [`disk`] | the directory: its files, together |
//! | [`store`] | the database |
//! | [`session_log`] | session changes, before they are in the database |
//! | [`mark`] | how far the history went |
//! | [`recovery`] | what files that do not agree mean |
//! | [`record`], [`checksum`] | how entries are written, and whether they are whole |
//! | [`sync`], [`watch`], [`health`], [`bounds`] | flushes; files that disappear; whether events are accepted |
//! | [`believed`] | a time that a wrong clock cannot move far |

mod believed;
mod bounds;
mod checksum;
mod disk;
mod engine;
mod health;
mod mark;
mod record;
mod recovery;
mod restore;
mod session_log;
mod store;
mod sync;
mod watch;
mod writer;

pub(crate) use engine::DurableEngine;

#[cfg(test)]
mod tests;
