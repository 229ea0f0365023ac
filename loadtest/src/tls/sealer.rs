//! The keys of the client's direction, which WebSocket clients keep in addition to the [`Link`](super::Link): they
//! answer pings.

use super::Fault;
use super::keys::Keys;
use super::record::MAX_CONTENT_BYTES;
use rustls::ConnectionTrafficSecrets;

/// Seals the records of a client. The assertion below limits its size.
#[derive(Debug)]
pub(crate) struct Sealer(Keys);

const _: () = assert!(
    size_of::<Option<Sealer>>() < 64,
    "the keys of one direction take less than a cache line"
);

impl Sealer {
    /// Starts at record `next`.
    pub(super) fn new(next: u64, secrets: &ConnectionTrafficSecrets) -> Result<Self, Fault> {
        Ok(Self(Keys::new(next, secrets)?))
    }

    /// Appends records with `bytes` to `into`.
    pub(crate) fn seal(&mut self, bytes: &[u8], into: &mut Vec<u8>) {
        for content in bytes.chunks(MAX_CONTENT_BYTES) {
            self.0.seal(content, into);
        }
    }
}
