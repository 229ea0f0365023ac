//! The messages of a TLS handshake between a client's socket and rustls's unbuffered interface. The buffered one holds at
//! least 4 KiB while the client does not answer.

use std::io;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{Error, InvalidMessage, ServerConfig};
use tokio::io::AsyncWriteExt;

use super::socket::{ClientSocket, receive};
use crate::tls::{KeyUpdates, Secrets};

/// The most that is held of what a client sends: rustls's limit for a handshake message. rustls keeps the records of a
/// message in `incoming` until it is complete, and padding may make them much longer than the message.
const MAX_INCOMING_BYTES: usize = 0xffff;

/// The most records of a client. A handshake has about five. rustls looks at some again whenever it gets more.
const MAX_RECORDS: u32 = 128;

/// A handshake that is under way.
pub(super) struct Negotiation {
    socket: ClientSocket,
    rustls: UnbufferedServerConnection,
    /// What was received and rustls has not used.
    incoming: Vec<u8>,
    /// What rustls sends next.
    outgoing: Vec<u8>,
    /// The number of records that have been received.
    records: u32,
}

/// Why a handshake has failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is gone.
    Closed,
    /// rustls has rejected the client, or the client the server.
    Rejected(Error),
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Rejected(error)
    }
}

/// What a handshake needs next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Input,
    /// Nothing; the connection is encrypted.
    Nothing,
}

impl Negotiation {
    /// # Errors
    /// rustls cannot use the configuration.
    pub(super) fn new(socket: ClientSocket, config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            socket,
            rustls: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            records: 0,
        })
    }

    /// Exchanges messages until the connection is encrypted, and all of them have been sent.
    ///
    /// # Errors
    /// [`Failure`]. If rustls has an alert for it, the client has been sent that.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        loop {
            let next = self.advance();
            if next.is_err() {
                self.take_alert();
            }
            let sent = self.send().await;
            let next = next?;
            sent?;
            match next {
                Next::Input => self.receive().await?,
                Next::Nothing => return Ok(()),
            }
        }
    }

    /// Has rustls process what was received, until it needs more.
    fn advance(&mut self) -> Result<Next, Failure> {
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.rustls.process_tls_records(&mut self.incoming);
            let next = match state? {
                ConnectionState::EncodeTlsData(mut message) => {
                    encode(&mut message, &mut self.outgoing)?;
                    None
                }
                // The caller sends it.
                ConnectionState::TransmitTlsData(sent) => {
                    sent.done();
                    None
                }
                ConnectionState::BlockedHandshake => Some(Next::Input),
                ConnectionState::WriteTraffic(_) => Some(Next::Nothing),
                // The client gives up. Content cannot have come yet, since no more than the handshake's next record was received.
                _ => return Err(Failure::Closed),
            };
            self.incoming.drain(..discard.min(self.incoming.len()));
            if self.incoming.is_empty() {
                self.incoming = Vec::new();
            }
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    /// Takes what rustls sends after it has rejected the client. It returns that before it looks at any input, which it
    /// must not see again.
    fn take_alert(&mut self) {
        while self.rustls.wants_write() {
            match self.rustls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    if encode(&mut message, &mut self.outgoing).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        let outgoing = std::mem::take(&mut self.outgoing);
        self.socket.write_all(&outgoing).await
    }

    /// Receives the header of a record, which may already be wrong, or the rest of the record.
    async fn receive(&mut self) -> Result<(), Failure> {
        loop {
            if receive(&mut self.socket, &mut self.incoming).await? == 0 {
                return Err(Failure::Closed);
            }
            if self.incoming.len() > MAX_INCOMING_BYTES {
                return Err(Error::from(InvalidMessage::HandshakePayloadTooLarge).into());
            }
            let loose_ends = self.socket.loose_ends();
            if loose_ends.are_none() {
                self.records += 1;
                if self.records > MAX_RECORDS {
                    return Err(Error::General("too many records".to_owned()).into());
                }
            }
            if !loose_ends.is_in_body() {
                return Ok(());
            }
        }
    }

    /// Takes the socket, and the secrets from rustls.
    ///
    /// # Errors
    /// The handshake has not completed.
    pub(super) fn into_parts(self) -> (ClientSocket, Result<(Secrets, KeyUpdates), Error>) {
        (self.socket, KeyUpdates::after(self.rustls))
    }
}

/// Appends a message to what is sent.
fn encode<Data>(
    message: &mut EncodeTlsData<'_, Data>,
    outgoing: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(start + room, 0);
        match message.encode(outgoing.get_mut(start..).unwrap_or_default()) {
            Ok(bytes) => {
                outgoing.truncate(start + bytes);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(error) => return Err(Error::General(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
