//! What a client that has something to say keeps beside its [`Link`](super::Link): one that comes by WebSocket answers
//! pings.

use super::Fault;
use super::keys::Keys;
use super::record::MAX_CONTENT_BYTES;
use rustls::ConnectionTrafficSecrets;

/// Seals what a client says. The assertion below is the module's promise.
#[derive(Debug)]
pub(crate) struct Sealer(Keys);

const _: () = assert!(
    size_of::<Option<Sealer>>() < 64,
    "what a client says is to cost it less than a cache line more"
);

impl Sealer {
    /// From record `next` on.
    pub(super) fn new(next: u64, secrets: &ConnectionTrafficSecrets) -> Result<Self, Fault> {
        Ok(Self(Keys::new(next, secrets)?))
    }

    /// Adds records with `bytes` to `into`.
    pub(crate) fn seal(&mut self, bytes: &[u8], into: &mut Vec<u8>) {
        for content in bytes.chunks(MAX_CONTENT_BYTES) {
            self.0.seal(content, into);
        }
    }
}
