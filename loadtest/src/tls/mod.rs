//! TLS 1.3 for the clients, with as little memory as possible.
//!
//! rustls does the handshake. After the response has begun, [`Link`] keeps only the key, the nonce base and
//! the record number of the server's direction: the client of an event stream sends nothing after its request.
//! For WebSocket, [`Sealer`] keeps the same of the client's direction. [`Client`] has the settings that all
//! connections share, [`record`] splits records, [`keys`] opens and seals them.

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

/// Counts of the connections' TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TlsCounts {
    /// Handshakes with a certificate and its signature.
    #[serde(rename = "handshakes_full")]
    pub(crate) full: u64,
    /// Handshakes with a session ticket.
    #[serde(rename = "handshakes_resumed")]
    pub(crate) resumed: u64,
    /// Connections that ended in a [`Fault`].
    #[serde(rename = "errors")]
    pub(crate) faults: u64,
}

impl TlsCounts {
    /// Adds other counts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.full += other.full;
        self.resumed += other.resumed;
        self.faults += other.faults;
    }
}

/// A TLS error of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// An error of the handshake, reported by rustls.
    Handshake(rustls::Error),
    /// A record longer than TLS allows.
    TooLong,
    /// A record that cannot be opened: changed, repeated or missing a predecessor.
    Tampered,
    /// A record of a type that is not allowed in a stream, with the number of the type.
    Unexpected(u8),
    /// A handshake message other than a ticket, with the number of its type.
    Message(u8),
    /// An alert of the server, with its number.
    Alert(u8),
    /// The connection ended without `close_notify`.
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
