//! TLS 1.3 as the clients speak it, and as small as a client can keep it.
//!
//! rustls does the handshake; once the response has begun, [`Link`] keeps the key, the nonce base and the record
//! number of what comes from the server, and nothing else: a client of a stream says nothing after its request. For
//! one that does, [`Sealer`] is the same of the other direction.
//! [`Client`] is what all connections share, [`record`] finds the records, [`keys`] opens and seals them.

mod certificate;
mod client;
mod keys;
mod link;
mod record;
mod sealer;
mod server;
#[cfg(test)]
mod tests;
mod tickets;
mod trust;

use std::fmt;

use serde::Serialize;

pub(crate) use certificate::Certificate;
pub(crate) use client::{Cipher, Client};
pub(crate) use link::{Link, Stopped};
pub(crate) use record::Input;
pub(crate) use sealer::Sealer;
pub(crate) use server::server_config;
pub(crate) use trust::Trust;

/// What came of the connections' TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Handshakes with a certificate and its signature.
    #[serde(rename = "handshakes_full")]
    pub(crate) full: u64,
    /// Handshakes with a ticket in their place.
    #[serde(rename = "handshakes_resumed")]
    pub(crate) resumed: u64,
    /// Connections that ended in a [`Fault`].
    #[serde(rename = "errors")]
    pub(crate) faults: u64,
}

impl Counts {
    /// Adds another's.
    pub(crate) fn merge(&mut self, other: Self) {
        self.full += other.full;
        self.resumed += other.resumed;
        self.faults += other.faults;
    }
}

/// What is wrong with the TLS of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The handshake, as rustls says it.
    Handshake(rustls::Error),
    /// A record longer than TLS allows.
    TooLong,
    /// A record that its key does not open: altered, repeated or left out on its way.
    Tampered,
    /// A record of a kind that has no place in a stream, by the number of its kind.
    Unexpected(u8),
    /// A handshake message other than a ticket, by the number of its kind.
    Message(u8),
    /// The server's alert, by its number.
    Alert(u8),
    /// The connection's end without a `close_notify` before it.
    Truncated,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => write!(f, "tls: {error}"),
            Self::TooLong => f.write_str("tls: a record longer than the protocol allows"),
            Self::Tampered => f.write_str("tls: a record that does not open with its key"),
            Self::Unexpected(kind) => write!(f, "tls: a record of kind {kind} within the stream"),
            Self::Message(kind) => write!(
                f,
                "tls: a handshake message of kind {kind} within the stream"
            ),
            Self::Alert(number) => write!(f, "tls: alert {number}"),
            Self::Truncated => f.write_str("tls: ended without close_notify"),
        }
    }
}

impl From<rustls::Error> for Fault {
    fn from(error: rustls::Error) -> Self {
        Self::Handshake(error)
    }
}
