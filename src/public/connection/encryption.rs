//! The TLS handshake of a connection on a listener with TLS. It precedes everything except a PROXY header.

use std::io;
use std::sync::Arc;

use rustls::{Error, InvalidMessage, PeerIncompatible, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{FallibleAccept, TlsAcceptor};

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

/// Performs the handshake, without a timeout of its own.
///
/// # Errors
/// [`NotEncrypted`].
pub(crate) fn encrypt(
    mut socket: ClientSocket,
    config: Arc<ServerConfig>,
) -> impl Future<Output = Result<Box<TlsStream<ClientSocket>>, NotEncrypted>> {
    socket.in_handshake(true);
    let accept = TlsAcceptor::from(config).accept(socket).into_fallible();
    // Boxed here, since a future takes up twice what it is given.
    finish(Box::new(accept))
}

async fn finish(
    mut accept: Box<FallibleAccept<ClientSocket>>,
) -> Result<Box<TlsStream<ClientSocket>>, NotEncrypted> {
    match accept.as_mut().await {
        Ok(mut stream) => {
            stream.get_mut().0.in_handshake(false);
            Ok(Box::new(stream))
        }
        Err((error, mut socket)) => {
            socket.in_handshake(false);
            Err(match HandshakeRefusal::of(&error) {
                Some(refusal) => NotEncrypted::Refused(refusal, socket),
                None => NotEncrypted::Closed,
            })
        }
    }
}
