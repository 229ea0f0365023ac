//! Connections before their first request: listening, accepting, and limits.
//!
//! | module | one purpose |
//! |---|---|
//! | [`listener`] | listening sockets: bound, or passed by a supervisor |
//! | [`acceptor`] | the loop that accepts |
//! | [`socket`] | a connected socket, TCP or unix |
//! | [`handshakes`], [`eviction`] | connections that are not (yet) a stream, and which of them gives way |
//! | [`proxy_header`] | reads the client's address from a load balancer |
//! | [`descriptor_stream`] | messages and descriptors for another process of the server |
//! | `passage` | descriptors for a thread that has its own table of them |
//! | [`passed_on`] | listening sockets that go on in another process |
//! | [`network`] | the unit by which addresses are counted |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod acceptor;
mod descriptor_stream;
mod eviction;
mod handshakes;
mod listener;
mod network;
mod passage;
mod passed_on;
pub(crate) mod proxy_header;
mod socket;

pub(crate) use acceptor::Acceptor;
pub(crate) use descriptor_stream::{DescriptorStream, MAX_DESCRIPTORS};
pub(crate) use handshakes::Handshake;
pub(crate) use handshakes::Handshakes;
pub(crate) use listener::adopt;
pub(crate) use listener::{BindError, Listener, Preface, clear_path};
pub use listener::{SocketOptions, bind};
pub(crate) use network::Network;
pub(crate) use passage::{Passage, PassageExit, passage};
pub(crate) use passed_on::{ListenerCopy, inherit};
pub use socket::Socket;
