//! One client's socket, until a shard takes it over or it is closed.
//!
//! | module | one purpose |
//! |---|---|
//! | [`driver`] | opens a connection, waits for requests, and decides what follows each |
//! | [`exchange`] | has hyper answer a request |
//! | [`connection`] | the state that a connection's requests and its driver share |
//! | [`encryption`] | the TLS handshake, and why it fails |
//! | [`negotiation`] | the messages of a TLS handshake |
//! | [`head`] | when hyper has something to do with the beginning of a request |
//! | [`io`] | the IO that hyper uses, and the wait for a request's head |
//! | [`transport`] | what carries the content: the socket, with or without TLS |
//! | [`socket`] | the socket, and what prevents it from being detached |
//! | [`records`] | the position of the bytes read so far within a TLS record |
//! | [`sealed`] | HTTP over TLS after the handshake |
//! | [`farewell`] | the end of a connection: the time to read the last response |
//! | [`handoff`] | hands a request for a stream over from hyper to the shard |

#[allow(clippy::module_inception)] // the folder's main type
mod connection;
mod driver;
mod encryption;
mod exchange;
mod farewell;
mod handoff;
mod head;
mod io;
mod negotiation;
mod records;
mod sealed;
mod socket;
mod transport;

pub(super) use connection::HttpConnection;
pub(super) use encryption::HandshakeRefusal;
pub(super) use handoff::Offer;
