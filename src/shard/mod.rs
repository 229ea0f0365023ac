//! A shard: one thread and its share of the clients. Only this thread touches their sockets.
//!
//! A shard is a current-thread runtime with its own listeners, handshakes and epoll. Other threads
//! reach it through its [`Inbox`](crate::hub::Inbox).
//!
//! | module | one purpose |
//! |---|---|
//! | [`connections`] | the streams of a shard: their slots, timers and sockets, kept consistent |
//! | [`connection`] | a guard for one stream, and all its transitions |
//! | [`client_input`], [`closing_handshake`] | what follows from a client's input; how a WebSocket ends |
//! | [`table`], [`audience`] | the slots of streams; the subscribers of topics |
//! | [`slot`] | the 64 bytes of one stream: the socket's part and the stream's part |
//! | [`wheel`], [`poller`] | timers; readiness of the sockets |
//! | [`outbox`], [`backlog`] | everything that is sent, and the limit of what waits; the bytes that a socket has not taken yet |
//! | [`parcel`] | several entries that leave in one send |
//! | [`checksums`], [`recent`] | what compressed streams were sent, for their trailers; frames of recent replays |
//! | [`reader`] | everything that clients send |
//! | [`delivery`], [`catch_up`] | live events; the events that a client has missed |
//! | [`newcomers`] | streams that were admitted before the shard had delivered what was published earlier |
//! | [`timers`], [`heartbeat`], [`pong`], [`drain`], [`look`], [`answer`] | the other operations on streams |
//! | [`admission`], [`detached`], [`returned`] | how a socket becomes a stream, and how it returns to HTTP |
//! | [`handover`], [`leaving`] | connections that move to another process during an upgrade |
//! | [`shard`], [`shared`] | the shard as a whole; the state that all shards share |
//! | [`thread`], [`serve`], [`turns`] | the thread: its start and end; its loop; the turns of the loop |
//! | [`acceptor`] | new connections |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod acceptor;
mod admission;
mod answer;
mod audience;
mod backlog;
#[cfg(any(test, feature = "bench"))]
pub mod bench;
mod catch_up;
mod checksums;
mod client_input;
mod closing_handshake;
mod connection;
mod connections;
mod delivery;
mod detached;
mod drain;
mod handover;
mod heartbeat;
mod leaving;
mod look;
#[cfg(test)]
mod model;
mod newcomers;
mod outbox;
mod parcel;
mod poller;
mod pong;
mod reader;
mod recent;
mod returned;
mod serve;
#[allow(clippy::module_inception)] // the folder's main type
mod shard;
mod shared;
mod slot;
mod table;
mod thread;
mod timers;
mod turns;
mod wheel;

pub use acceptor::{Accepted, StartHandshake};
pub use admission::{Admission, Declined, Seat};
pub use detached::Detached;
pub(crate) use handover::Passages;
pub(crate) use returned::{Earlier, Origin};
pub use shard::Shard;
pub(crate) use shared::Settings;
pub use shared::Shared;
pub(crate) use thread::{Shards, StartError, Starter};
