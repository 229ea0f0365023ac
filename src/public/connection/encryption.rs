//! The TLS handshake of a connection on a listener with TLS. It precedes everything except a PROXY header.

use std::sync::Arc;

use rustls::{Error, InvalidMessage, PeerIncompatible, ServerConfig};

use super::negotiation::{Failure, Negotiation};
use super::sealed::Sealed;
use super::socket::ClientSocket;

/// The TLS handshake did not complete.
#[derive(Debug)]
pub(crate) enum NotEncrypted {
    /// The peer closed the connection, as a load balancer's port check does.
    Closed,
    /// The handshake failed. The socket stays open so that the client can read the alert.
    Refused(HandshakeRefusal, ClientSocket),
}

/// The reason why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeRefusal {
    /// The client supports only older versions.
    Version,
    /// The client does not speak TLS.
    NoTls,
    /// The client does not offer HTTP/1.1.
    Protocol,
    /// The client does not trust the certificate, or gave up for another reason.
    GaveUp,
    /// Anything else; only attackers and broken clients cause it.
    Failed,
}

impl HandshakeRefusal {
    /// The text in the operator's list.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Version => "TLS older than 1.3",
            Self::NoTls => "No TLS",
            Self::Protocol => "No HTTP/1.1 in ALPN",
            Self::GaveUp => "TLS given up by the client",
            Self::Failed => "TLS handshake failed",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
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
        }
    }
}

/// Performs the handshake, without a timeout of its own. Afterwards rustls is gone, and our own code seals and opens the
/// records.
///
/// # Errors
/// [`NotEncrypted`].
pub(super) fn encrypt(
    mut socket: ClientSocket,
    config: Arc<ServerConfig>,
) -> impl Future<Output = Result<Box<Sealed>, NotEncrypted>> {
    socket.in_handshake(true);
    // Boxed here, since a future takes up twice what it is given.
    let negotiation = Negotiation::new(socket, config).map(Box::new);
    async {
        let mut negotiation = negotiation.map_err(|_| NotEncrypted::Closed)?;
        let outcome = negotiation.run().await;
        let (mut socket, secrets) = negotiation.into_parts();
        socket.in_handshake(false);
        match outcome.and_then(|()| Ok(secrets?)) {
            Ok((secrets, updates)) => Ok(Box::new(Sealed::new(socket, secrets, Some(updates)))),
            Err(Failure::Closed) => Err(NotEncrypted::Closed),
            Err(Failure::Rejected(error)) => {
                let refusal = HandshakeRefusal::of(&error);
                Err(NotEncrypted::Refused(refusal, socket))
            }
        }
    }
}
