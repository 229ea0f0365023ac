//! The TLS handshake of a connection, where its listener asks for one, before anything else is
//! read of it.

use std::io;
use std::sync::Arc;

use rustls::{Error, InvalidMessage, PeerIncompatible, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::ClientSocket;

/// Why there is no encrypted connection.
#[derive(Debug)]
pub(crate) enum NotEncrypted {
    /// The peer is gone, as after a balancer's check of the port.
    Closed,
    /// Client and server do not agree. The socket is there for the client to read the alert from.
    Refused(HandshakeRefusal, ClientSocket),
}

/// What the client did or lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeRefusal {
    /// It knows older versions only.
    Version,
    /// It speaks something else.
    NoTls,
    /// It does not speak HTTP/1.1.
    Protocol,
    /// It does not trust our certificate, or gave up for another reason.
    GaveUp,
    /// Anything else, which only an attacker or a broken client does.
    Failed,
}

impl HandshakeRefusal {
    /// For the operator's list.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Version => "TLS older than 1.3",
            Self::NoTls => "No TLS",
            Self::Protocol => "No HTTP/1.1 in ALPN",
            Self::GaveUp => "TLS given up by the client",
            Self::Failed => "TLS handshake failed",
        }
    }

    fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::Version,
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NoTls,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::AlertReceived(_) => Self::GaveUp,
            _ => Self::Failed,
        })
    }
}

/// Makes the handshake. Takes as long as the peer likes.
///
/// # Errors
/// [`NotEncrypted`].
pub(crate) async fn encrypt(
    socket: ClientSocket,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<ClientSocket>, NotEncrypted> {
    let accept = TlsAcceptor::from(config).accept(socket).into_fallible();
    accept
        .await
        .map_err(|(error, socket)| match HandshakeRefusal::of(&error) {
            Some(refusal) => NotEncrypted::Refused(refusal, socket),
            None => NotEncrypted::Closed,
        })
}
