//! The connection to the other process.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::HandoverError;
use crate::net::DescriptorStream;
use crate::wiped::WipedBytes;

/// The other process.
#[derive(Debug)]
pub(super) struct Peer(DescriptorStream);

impl Peer {
    /// Must be called in the context of the control runtime.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        DescriptorStream::new(stream).map(Self)
    }

    /// Sends a message with up to [`MAX_DESCRIPTORS`](crate::net::MAX_DESCRIPTORS) descriptors.
    pub(super) async fn send(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        let bytes = WipedBytes::json(message)?;
        self.0.send(&bytes, descriptors).await.map_err(ended)
    }

    /// Receives a message.
    ///
    /// # Errors
    /// [`HandoverError::Ended`] if the other process is gone.
    pub(super) async fn receive<M: DeserializeOwned>(
        &mut self,
    ) -> Result<(M, Vec<OwnedFd>), HandoverError> {
        let message = self.0.receive().await.map_err(ended)?;
        let message = message.ok_or(HandoverError::Ended)?;
        let parsed = serde_json::from_slice(&message.bytes);
        let parsed = parsed.map_err(|_| HandoverError::Unexpected)?;
        Ok((parsed, message.descriptors))
    }
}

fn ended(error: io::Error) -> HandoverError {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof => HandoverError::Ended,
        _ => HandoverError::Io(error),
    }
}
