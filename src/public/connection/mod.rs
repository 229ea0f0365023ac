//! One client's socket, until the shard holds it or it is closed.
//!
//! | module | one purpose |
//! |---|---|
//! | [`driver`] | polls hyper until the connection ends, is overdue, or becomes a stream |
//! | [`connection`] | the state that its requests and its driver share |
//! | [`encryption`] | the TLS handshake |
//! | [`io`] | what hyper reads and writes: the socket, with or without TLS |
//! | [`socket`] | the socket, and what prevents it from being detached |
//! | [`records`] | the position of the bytes read so far within a TLS record |
//! | [`sealed`] | HTTP over TLS after a stream |
//! | [`handoff`] | how a request leaves hyper |

#[allow(clippy::module_inception)] // what the folder is about
mod connection;
mod driver;
mod encryption;
mod handoff;
mod io;
mod records;
mod sealed;
mod socket;

pub(super) use connection::HttpConnection;
pub(super) use encryption::HandshakeRefusal;
pub(super) use handoff::Offer;
