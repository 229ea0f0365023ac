//! One thread's share of the clients: it owns their sockets and is the only one to touch them.
//!
//! A shard is a current-thread runtime with its own listeners, handshakes and epoll. Others talk to it
//! through its [`Inbox`](crate::hub::Inbox).
//!
//! | module | one purpose |
//! |---|---|
//! | [`connections`] | the streams: slots, timers and sockets, which are always the same ones |
//! | [`connection`] | one that is there, and everything that can become of it |
//! | [`table`], [`audience`] | where a stream is kept, and who asked for which topic |
//! | [`slot`] | what a stream and its socket cost, and what belongs to which |
//! | [`wheel`], [`poller`] | when something is due, and what the sockets have to say |
//! | [`outbox`], [`backlog`] | the one place where bytes leave, and those that wait |
//! | [`reader`] | what clients send |
//! | [`delivery`], [`catch_up`], [`timers`], [`heartbeat`], [`drain`], [`look`], [`answer`] | what happens to streams, one act each |
//! | [`admission`], [`returned`] | how a socket becomes a stream, and goes back to HTTP |
//! | [`shard`], [`shared`] | all of it together, and what all shards share |
//! | [`thread`], [`acceptor`] | the thread and its turns; new connections |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod acceptor;
mod admission;
mod answer;
mod audience;
mod backlog;
#[cfg(any(test, feature = "bench"))]
pub mod bench;
mod catch_up;
mod connection;
mod connections;
mod delivery;
mod detached;
mod drain;
mod heartbeat;
mod look;
#[cfg(test)]
mod model;
mod outbox;
mod poller;
mod reader;
mod returned;
#[allow(clippy::module_inception)] // what the folder is about
mod shard;
mod shared;
mod slot;
mod table;
mod thread;
mod timers;
mod wheel;

pub use acceptor::{Accepted, StartHandshake};
pub use admission::{Admission, Declined, Seat};
pub use detached::Detached;
pub(crate) use returned::{Earlier, Origin};
pub use shard::Shard;
pub(crate) use shared::Settings;
pub use shared::Shared;
pub(crate) use thread::{Shards, StartError, Starter};
