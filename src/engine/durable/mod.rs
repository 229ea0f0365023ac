//! An engine whose events, sessions and publishers' ids outlive the process: they are written to
//! a directory before they are accepted, and read from it at the next start.
//!
//! One thread owns the store. It takes all requests that wait, writes them in one commit, appends them to the
//! log, and answers. So all of them share one commit, and with `fsync = "always"` one flush. An event is
//! delivered only after its commit.
//!
//! | module | one purpose |
//! |---|---|
//! | [`engine`] | hands requests to the writer |
//! | [`writer`] | the thread that owns the store |
//! | [`restore`] | puts what is stored back into memory at a start |
//! | [`disk`] | the directory: its files, together |
//! | [`store`] | the database |
//! | [`session_log`] | session changes, written before the database has them |
//! | [`mark`] | how far the history went |
//! | [`recovery`] | assesses files that do not agree |
//! | [`checksum`] | whether stored entries are whole |
//! | [`sync`], [`watch`], [`health`], [`bounds`] | flushes; files that disappear; whether events are accepted; the size of the write-ahead log |
//! | [`believed`] | a time that a wrong clock cannot move far |

mod believed;
mod bounds;
mod checksum;
mod disk;
mod engine;
mod health;
mod mark;
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
