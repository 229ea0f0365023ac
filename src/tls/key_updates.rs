//! Follows a client that renews its keys (RFC 8446 §4.6.3). Only rustls has the secrets that new keys derive from, so this is
//! possible until the connection becomes a stream, which keeps nothing of rustls.

use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{ConnectionTrafficSecrets, Error};

use super::secrets::{Secrets, Side};

/// What is left of a handshake: new keys derive from it.
pub(crate) struct KeyUpdates(KernelConnection<ServerConnectionData>);

/// Shows no secret.
impl std::fmt::Debug for KeyUpdates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyUpdates")
    }
}

impl KeyUpdates {
    /// Takes the secrets of a connection from rustls.
    ///
    /// # Errors
    /// The handshake has not completed.
    pub(crate) fn after(handshake: UnbufferedServerConnection) -> Result<(Secrets, Self), Error> {
        let (extracted, rest) = handshake.dangerous_into_kernel_connection()?;
        let secrets = Secrets::new(&extracted).ok_or_else(another_cipher)?;
        Ok((secrets, Self(rest)))
    }

    /// The client uses new keys for what it sends next.
    ///
    /// # Errors
    /// rustls cannot derive them.
    pub(crate) fn renew_receiving(&mut self, secrets: &mut Secrets) -> Result<(), Error> {
        replace(secrets, Side::Receiving, &self.0.update_rx_secret()?)
    }

    /// Announces new keys for what is sent to the client, and uses them from then on.
    ///
    /// # Errors
    /// rustls cannot derive them.
    pub(crate) fn renew_sending(
        &mut self,
        secrets: &mut Secrets,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        secrets.seal_key_update(out);
        replace(secrets, Side::Sending, &self.0.update_tx_secret()?)
    }
}

fn replace(
    secrets: &mut Secrets,
    side: Side,
    new: &(u64, ConnectionTrafficSecrets),
) -> Result<(), Error> {
    secrets.replace(side, new).ok_or_else(another_cipher)
}

fn another_cipher() -> Error {
    Error::General("rustls agreed on another cipher".to_owned())
}
