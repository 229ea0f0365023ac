//! The keys that stay as they are while a configuration is in force.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jsonwebtoken::DecodingKey;

use super::error::KeysError;
use super::key::{KeyKind, MIN_SECRET_BYTES, TriedKey, VerificationKey};
use super::{jwks, pem};
use crate::config::{self, Algorithm, Jwks};

/// Most keys held. An issuer publishes a handful; a set far beyond that is the wrong file.
pub(super) const MAX_KEYS: usize = 64;

/// Most keys tried on a token that names none: each costs a signature check, and such a token may
/// come from anyone. A set with more keys of one kind gives them `kid`s.
pub(super) const MAX_TRIES: usize = 8;

/// Keys that were read.
#[derive(Clone, Debug)]
pub(crate) struct KeySet {
    keys: Vec<VerificationKey>,
    /// Whether any key has a `kid`.
    named: bool,
    /// How many entries of key sets were skipped.
    unusable: usize,
}

impl KeySet {
    /// The keys in the shared secret, the PEM files and the key set file of `auth`. A key set at a
    /// URL is not fetched here.
    ///
    /// # Errors
    /// A key that cannot be used, by its file's name.
    pub(crate) fn load(auth: &config::Auth) -> Result<Self, KeysError> {
        let mut keys = Vec::new();
        let mut unusable = 0;
        if auth
            .algorithms
            .iter()
            .any(|alg| KeyKind::of(*alg) == KeyKind::Secret)
            && let Some(secret) = shared_secret(auth)?
        {
            let decoding = DecodingKey::from_secret(secret);
            keys.push(VerificationKey::plain(KeyKind::Secret, decoding));
        }
        for file in &auth.public_keys {
            for key in pem::keys(file)? {
                if !key.serves_any(&auth.algorithms) {
                    return Err(KeysError::Unused {
                        path: file.path().to_owned(),
                        kind: key.kind.name(),
                    });
                }
                keys.push(key);
            }
        }
        if let Some(Jwks::File(file)) = &auth.jwks {
            let set = jwks::of_file(file, &auth.algorithms)?;
            set.warn(&file.to_string());
            unusable = set.unusable.len();
            keys.extend(set.keys);
        }
        Self::new(keys, unusable)
    }

    /// These and the public keys of a set that a URL served.
    pub(super) fn with(&self, more: Vec<VerificationKey>) -> Result<Self, KeysError> {
        Self::new(self.keys.iter().cloned().chain(more).collect(), 0)
    }

    fn new(keys: Vec<VerificationKey>, unusable: usize) -> Result<Self, KeysError> {
        if keys.len() > MAX_KEYS {
            return Err(KeysError::TooMany(keys.len()));
        }
        let named = keys.iter().any(|key| key.kid.is_some());
        Ok(Self {
            keys,
            named,
            unusable,
        })
    }

    /// The keys that a token with this header may be signed with, 1 to [`MAX_TRIES`]; first the one
    /// that a token was signed with last, since an issuer signs with one key at a time.
    ///
    /// A token's `kid` chooses among the keys of that name, and of those the ones that fit its
    /// algorithm. A token without `kid` may be signed with any unnamed key that fits, or with a
    /// named one if no other key fits: so an issuer of named keys cannot be made to have all of
    /// them tried. Where no key has a name, a `kid` is one that nobody here knows how to read, and
    /// is ignored. So is an unknown one on a token for the shared secret, which has no name: the names
    /// of public keys beside it say nothing about the tokens that it signs.
    pub(crate) fn candidates(
        &self,
        alg: Algorithm,
        kid: Option<&str>,
    ) -> Result<Vec<Arc<TriedKey>>, NoCandidate> {
        let mut kid = kid.filter(|_| self.named);
        if kid.is_some() && !self.keys.iter().any(|key| key.kid.as_deref() == kid) {
            let is_named_secret =
                |key: &VerificationKey| key.kind == KeyKind::Secret && key.kid.is_some();
            if KeyKind::of(alg) != KeyKind::Secret || self.keys.iter().any(is_named_secret) {
                return Err(NoCandidate::UnknownKid);
            }
            kid = None;
        }
        let fitting = || self.keys.iter().filter(move |key| key.serves(alg));
        let named_so = |key: &&VerificationKey| key.kid.as_deref() == kid;
        let mut chosen: Vec<_> = fitting()
            .filter(named_so)
            .take(MAX_TRIES)
            .map(|key| Arc::clone(&key.tried))
            .collect();
        chosen.sort_by_key(|key| Reverse(key.last_hit.load(Ordering::Relaxed)));
        if chosen.is_empty() && kid.is_none() {
            let mut named = fitting();
            match (named.next(), named.next()) {
                (None, _) => {}
                (Some(only), None) => chosen.push(Arc::clone(&only.tried)),
                (Some(_), Some(_)) => return Err(NoCandidate::NoKid),
            }
        }
        if chosen.is_empty() {
            return Err(NoCandidate::NoKey);
        }
        Ok(chosen)
    }

    /// How many entries of a key set file were skipped.
    pub(crate) fn unusable(&self) -> usize {
        self.unusable
    }

    /// How many keys there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key, so that every token is refused.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Why no key is tried on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCandidate {
    /// It names a key that is not in the set.
    UnknownKid,
    /// It names no key, and several named ones fit.
    NoKid,
    /// No key, or none of its name, fits its algorithm.
    NoKey,
}

/// The shared secret; nothing where none is set.
pub(crate) fn shared_secret(auth: &config::Auth) -> Result<Option<&[u8]>, KeysError> {
    let Some(secret) = &auth.secret else {
        return Ok(None);
    };
    // A configuration that was not loaded may have any.
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeysError::ShortSecret(secret.len()));
    }
    Ok(Some(secret.expose().as_bytes()))
}
