//! Checks a token's signature, which another thread may do.

use std::sync::Arc;

use super::rejected::Rejected;
use crate::auth::keys::{KeyKind, TriedKey};
use crate::config;

/// The part of the work that takes long where the key is public: up to 0.3 ms a key.
#[derive(Debug)]
pub struct SignatureCheck {
    pub(super) alg: config::Algorithm,
    pub(super) keys: Vec<Arc<TriedKey>>,
    pub(super) otherwise: Rejected,
}

impl SignatureCheck {
    /// Whether it takes so long that it must not be done on a shard's thread.
    pub fn is_slow(&self) -> bool {
        KeyKind::of(self.alg).is_slow()
    }

    /// Checks the token's signature with each key until one fits.
    ///
    /// # Errors
    /// The signature is of none of them, and what that means.
    pub fn run<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, Rejected> {
        self.run_with(&self.keys, token).map_err(|_| self.otherwise)
    }

    /// Checks it with the key that is the most likely one.
    pub(crate) fn run_first<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, T> {
        self.run_with(self.keys.get(..1).unwrap_or_default(), token)
    }

    /// Whether there is more than that key.
    pub(crate) fn has_more(&self) -> bool {
        self.keys.len() > 1
    }

    /// Checks it with the others.
    pub(crate) fn run_rest<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, Rejected> {
        self.run_with(self.keys.get(1..).unwrap_or_default(), token)
            .map_err(|_| self.otherwise)
    }

    fn run_with<T: AsRef<str>>(&self, keys: &[Arc<TriedKey>], token: T) -> Result<Signed<T>, T> {
        let text = token.as_ref();
        // Without a dot it is no token; the signature of nothing is of no key.
        let (message, signature) = text.rsplit_once('.').unwrap_or((text, ""));
        let holds = |key: &Arc<TriedKey>| key.holds(signature, message.as_bytes(), self.alg);
        if keys.iter().any(holds) {
            Ok(Signed(token))
        } else {
            Err(token)
        }
    }
}

/// A token whose signature holds. Made by [`SignatureCheck::run`] alone.
pub struct Signed<T>(pub(super) T);
