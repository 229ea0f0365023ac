//! The key of a handshake, and the response that proves that the server read it (section 4.1).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sys;

/// Every server appends this to the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The length of a SHA-1 in base64.
pub(crate) const ACCEPT_BYTES: usize = 28;

/// A `Sec-WebSocket-Key`.
#[derive(Clone, Debug)]
pub(crate) struct Key(String);

impl Key {
    /// A new, unpredictable key.
    pub(crate) fn random() -> Self {
        Self(STANDARD.encode(sys::random::<16>()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The `Sec-WebSocket-Accept` that answers `key`.
pub(crate) fn accept(key: &str) -> [u8; ACCEPT_BYTES] {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    let text = STANDARD.encode(hash);
    text.into_bytes()
        .try_into()
        .expect("20 bytes are 28 in base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_matches_the_example_of_the_standard() {
        assert_eq!(
            &accept("dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_key_is_sixteen_random_bytes() {
        let [one, other] = [Key::random(), Key::random()];
        assert_eq!(STANDARD.decode(one.as_str()).unwrap().len(), 16);
        assert_ne!(one.as_str(), other.as_str());
    }
}
