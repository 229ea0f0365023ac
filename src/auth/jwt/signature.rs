//! Checks a token's signature; this can run on another thread.

use std::sync::Arc;

use super::rejected::Rejected;
use crate::auth::keys::{KeyKind, TriedKey};
use crate::config;

/// The slow step if the key is public: up to 0.3 ms per key.
#[derive(Debug)]
pub struct SignatureCheck {
    pub(super) alg: config::Algorithm,
    pub(super) keys: Vec<Arc<TriedKey>>,
    pub(super) otherwise: Rejected,
}

impl SignatureCheck {
    /// Returns true if it takes too long for a shard's thread.
    pub fn is_slow(&self) -> bool {
        KeyKind::of(self.alg).is_slow()
    }

    /// Checks the signature with each key until one matches.
    ///
    /// # Errors
    /// No key matches.
    pub fn run<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, Rejected> {
        self.run_with(&self.keys, token).map_err(|_| self.otherwise)
    }

    /// Checks the signature with the most likely key.
    pub(crate) fn run_first<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, T> {
        self.run_with(self.keys.get(..1).unwrap_or_default(), token)
    }

    /// Returns true if there are further keys.
    pub(crate) fn has_more(&self) -> bool {
        self.keys.len() > 1
    }

    /// Checks the signature with the other keys.
    pub(crate) fn run_rest<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, Rejected> {
        self.run_with(self.keys.get(1..).unwrap_or_default(), token)
            .map_err(|_| self.otherwise)
    }

    fn run_with<T: AsRef<str>>(&self, keys: &[Arc<TriedKey>], token: T) -> Result<Signed<T>, T> {
        let text = token.as_ref();
        // Without a dot this is not a token. An empty signature matches no key.
        let (message, signature) = text.rsplit_once('.').unwrap_or((text, ""));
        let matches = |key: &Arc<TriedKey>| key.verify(signature, message.as_bytes(), self.alg);
        if keys.iter().any(matches) {
            Ok(Signed(token))
        } else {
            Err(token)
        }
    }
}

/// A token with a good signature. Only [`SignatureCheck`] makes one.
pub struct Signed<T>(pub(super) T);
