//! One client's socket, until a shard takes it over or it is closed.
//!
//! | module | one purpose |
//! |---|---|
//! | [`driver`] | polls hyper until the connection ends, is overdue, or becomes a stream |
//! | [`connection`] | the state that a connection's requests and its driver share |
//! | [`encryption`] | the TLS handshake |
//! | [`io`] | the IO that hyper uses: the socket, with or without TLS |
//! | [`socket`] | the socket, and what prevents it from being detached |
//! | [`records`] | the position of the bytes read so far within a TLS record |
//! | [`sealed`] | HTTP over TLS after a stream |
//! | [`farewell`] | the end of a connection: the time to read the last response |
//! | [`handoff`] | hands a request for a stream over from hyper to the shard |

#[allow(clippy::module_inception)] // the folder's main type
mod connection;
mod driver;
mod encryption;
mod farewell;
mod handoff;
mod io;
mod records;
mod sealed;
mod socket;

pub(super) use connection::HttpConnection;
pub(super) use encryption::HandshakeRefusal;
pub(super) use handoff::Offer;
