//! The keys of a configuration, and which of them may have signed a token.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jsonwebtoken::DecodingKey;

use super::error::KeysError;
use super::key::{KeyKind, MIN_SECRET_BYTES, TriedKey, VerificationKey};
use super::{jwks, pem};
use crate::config::{self, Algorithm, Jwks};

/// Most keys held. An issuer publishes a handful; a far larger set is the wrong file.
pub(super) const MAX_KEYS: usize = 64;

/// Most keys tried on a token without `kid`. Each costs a signature check, and anyone can send such a
/// token. Sets with more keys of one kind need `kid`s.
pub(super) const MAX_TRIES: usize = 8;

/// A fixed set of keys.
#[derive(Clone, Debug)]
pub(crate) struct KeySet {
    keys: Vec<VerificationKey>,
    /// True if any key has a `kid`.
    named: bool,
    /// The number of skipped entries.
    unusable: usize,
}

impl KeySet {
    /// Reads the shared secret, the PEM files and the key set file of `auth`. A key set at a URL is not
    /// fetched here.
    ///
    /// # Errors
    /// A key cannot be used. The error names its file.
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

    /// These keys, and the public keys of a set from a URL.
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

    /// The keys that may have signed a token with this header, 1 to [`MAX_TRIES`]. The key that matched
    /// last comes first, since an issuer signs with one key at a time.
    ///
    /// - With a `kid`, the keys of that name that fit the algorithm.
    /// - Without one, the unnamed keys that fit, or a named one if it is the only key that fits. So a
    ///   token cannot cause checks with all keys of an issuer that names them.
    ///
    /// A `kid` is ignored if no key has a name. It is also ignored on a token for the unnamed shared
    /// secret, if it is unknown: names of public keys mean nothing for that.
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

    /// The number of skipped entries of a key set file.
    pub(crate) fn unusable(&self) -> usize {
        self.unusable
    }

    /// The number of keys.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns true if there is no key, so that every token is rejected.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Why no key can be tried on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCandidate {
    /// The token's `kid` is not in the set.
    UnknownKid,
    /// The token has no `kid`, and several named keys fit.
    NoKid,
    /// No key fits the algorithm, or none with the token's `kid`.
    NoKey,
}

/// The shared secret, if one is set.
pub(crate) fn shared_secret(auth: &config::Auth) -> Result<Option<&[u8]>, KeysError> {
    let Some(secret) = &auth.secret else {
        return Ok(None);
    };
    // `config::load` checks this, but tests construct configurations without it.
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeysError::ShortSecret(secret.len()));
    }
    Ok(Some(secret.expose().as_bytes()))
}
