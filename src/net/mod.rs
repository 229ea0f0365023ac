//! Connections before anybody knows what they want: where they come in, from whom, and how many at
//! once.
//!
//! | module | one purpose |
//! |---|---|
//! | [`listener`] | sockets that listen: bound, or passed by a supervisor |
//! | [`acceptor`] | the one loop that accepts |
//! | [`socket`] | a connected socket, TCP or unix |
//! | [`handshakes`], [`eviction`] | connections that are not yet a stream, and which of them gives way |
//! | [`proxy_header`] | for whom a balancer speaks |
//! | [`network`] | whom an address stands for |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod acceptor;
mod eviction;
mod handshakes;
mod listener;
mod network;
pub(crate) mod proxy_header;
mod socket;

pub(crate) use acceptor::Acceptor;
pub(crate) use handshakes::Handshake;
pub(crate) use handshakes::Handshakes;
pub(crate) use listener::adopt;
pub(crate) use listener::{BindError, Listener, Preface};
pub use listener::{SocketOptions, bind};
pub(crate) use network::Network;
pub use socket::Socket;
