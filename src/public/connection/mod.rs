//! One client's socket, until it is held by the shard or closed.
//!
//! | module | one purpose |
//! |---|---|
//! | [`driver`] | drives it: hyper by hand, until it is done, too late, or a stream |
//! | [`connection`] | what its requests know of it |
//! | [`encryption`] | the TLS handshake |
//! | [`io`] | what hyper reads and writes: the socket, with or without TLS between the two |
//! | [`socket`] | the socket, and what prevents it from being detached |
//! | [`records`] | where in a TLS record the bytes end that were read so far |
//! | [`sealed`] | with TLS, after it has been a stream |
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
