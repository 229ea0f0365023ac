//! The keys that tokens are checked with. Every key knows its kind, and a kind serves its own
//! algorithms only: that is what keeps a public key from ever being used as a shared secret.
//!
//! What does not change while a configuration is in force is a [`KeySet`]; a set that a URL serves
//! stands beside it ([`remote`]).
//!
//! A key of a JSON Web Key Set that cannot be used is skipped, counted and logged: an issuer's one
//! bad key must not lock out the users of the others.

mod jwks;
mod pem;
pub mod remote;

use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;

use crate::config::{self, Algorithm, Jwks};
use crate::outbound::NoTrust;

/// Most keys held. An issuer publishes a handful; a set far beyond that is the wrong file.
pub const MAX_KEYS: usize = 64;

/// Most keys tried on a token that names none: each costs a signature check, and such a token may
/// come from anyone. A set with more keys of one kind gives them `kid`s.
pub const MAX_TRIES: usize = 8;

/// Shortest shared secret, in bytes: RFC 7518 §3.2 asks for the hash's size, and HS256's is the
/// least that the configuration speaks of.
pub const MIN_SECRET_BYTES: usize = 32;

/// Smallest RSA modulus, in bits (RFC 7518 §3.3).
const MIN_RSA_BITS: usize = 2_048;

/// Largest RSA modulus, in bits: what the crypto crate checks signatures of.
const MAX_RSA_BITS: usize = 8_192;

/// Keys that were read.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
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
    pub fn load(auth: &config::Auth) -> Result<Self, KeysError> {
        let mut keys = Vec::new();
        let mut unusable = 0;
        if auth
            .algorithms
            .iter()
            .any(|alg| Kind::of(*alg) == Kind::Secret)
            && let Some(secret) = shared_secret(auth)?
        {
            let decoding = DecodingKey::from_secret(secret);
            keys.push(Key::plain(Kind::Secret, decoding));
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
    fn with(&self, more: Vec<Key>) -> Result<Self, KeysError> {
        Self::new(self.keys.iter().cloned().chain(more).collect(), 0)
    }

    fn new(keys: Vec<Key>, unusable: usize) -> Result<Self, KeysError> {
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
    pub(super) fn candidates(
        &self,
        alg: Algorithm,
        kid: Option<&str>,
    ) -> Result<Vec<Arc<TriedKey>>, NoCandidate> {
        let mut kid = kid.filter(|_| self.named);
        if kid.is_some() && !self.keys.iter().any(|key| key.kid.as_deref() == kid) {
            let is_named_secret = |key: &Key| key.kind == Kind::Secret && key.kid.is_some();
            if Kind::of(alg) != Kind::Secret || self.keys.iter().any(is_named_secret) {
                return Err(NoCandidate::UnknownKid);
            }
            kid = None;
        }
        let fitting = || self.keys.iter().filter(move |key| key.serves(alg));
        let named_so = |key: &&Key| key.kid.as_deref() == kid;
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
    pub(super) fn unusable(&self) -> usize {
        self.unusable
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key, so that every token is refused.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Why no key is tried on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoCandidate {
    /// It names a key that is not in the set.
    UnknownKid,
    /// It names no key, and several named ones fit.
    NoKid,
    /// No key, or none of its name, fits its algorithm.
    NoKey,
}

/// The shared secret; nothing where none is set.
pub(super) fn shared_secret(auth: &config::Auth) -> Result<Option<&[u8]>, KeysError> {
    let Some(secret) = &auth.secret else {
        return Ok(None);
    };
    // A configuration that was not loaded may have any.
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeysError::ShortSecret(secret.len()));
    }
    Ok(Some(secret.expose().as_bytes()))
}

/// The same algorithm in the crypto crate's words.
pub(super) fn jose(alg: Algorithm) -> jsonwebtoken::Algorithm {
    match alg {
        Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::HS384 => jsonwebtoken::Algorithm::HS384,
        Algorithm::HS512 => jsonwebtoken::Algorithm::HS512,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}

/// What a key is, and so what it may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    /// The one kind of key that an algorithm is used with.
    pub(super) fn of(alg: Algorithm) -> Self {
        match alg {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Self::Secret,
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => Self::Rsa,
            Algorithm::ES256 => Self::P256,
            Algorithm::ES384 => Self::P384,
            Algorithm::EdDSA => Self::Ed25519,
        }
    }

    /// Whether checking a signature takes so long (0.05 to 0.3 ms) that it must not be done on a
    /// shard's thread. An HMAC takes a microsecond.
    pub(super) fn is_slow(self) -> bool {
        self != Self::Secret
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secret => "a shared secret",
            Self::Rsa => "an RSA key",
            Self::P256 => "a P-256 key",
            Self::P384 => "a P-384 key",
            Self::Ed25519 => "an Ed25519 key",
        }
    }
}

#[derive(Clone, Debug)]
struct Key {
    kind: Kind,
    kid: Option<Box<str>>,
    /// A JWK may bind itself to one algorithm.
    only: Option<Algorithm>,
    /// Shared with the signature checks under way.
    tried: Arc<TriedKey>,
}

/// A key as signatures are checked with it.
#[derive(Debug)]
pub(super) struct TriedKey {
    decoding: DecodingKey,
    /// When a signature was last found to be of this key, in [`HITS`].
    last_hit: AtomicU64,
}

/// Signatures that were found to be of a key, ever and of any.
static HITS: AtomicU64 = AtomicU64::new(0);

impl TriedKey {
    fn new(decoding: DecodingKey) -> Arc<Self> {
        Arc::new(Self {
            decoding,
            last_hit: AtomicU64::new(0),
        })
    }

    /// Whether the signature is of this key.
    pub(super) fn holds(&self, signature: &str, message: &[u8], alg: Algorithm) -> bool {
        let is_good = jsonwebtoken::crypto::verify(signature, message, &self.decoding, jose(alg))
            .unwrap_or(false);
        // Where there is one key only, as with HMAC, nothing has to be remembered.
        if is_good && Kind::of(alg).is_slow() {
            self.last_hit
                .store(HITS.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        is_good
    }
}

impl Key {
    fn plain(kind: Kind, decoding: DecodingKey) -> Self {
        Self {
            kind,
            kid: None,
            only: None,
            tried: TriedKey::new(decoding),
        }
    }

    fn serves(&self, alg: Algorithm) -> bool {
        self.kind == Kind::of(alg) && self.only.is_none_or(|only| only == alg)
    }

    fn serves_any(&self, algorithms: &[Algorithm]) -> bool {
        algorithms.iter().any(|alg| self.serves(*alg))
    }
}

fn rsa_size(modulus: &str) -> Result<(), &'static str> {
    let modulus = URL_SAFE_NO_PAD
        .decode(modulus)
        .map_err(|_| "is not base64url inside")?;
    let bits = modulus
        .iter()
        .position(|byte| *byte != 0)
        .and_then(|zeros| modulus.get(zeros..))
        .and_then(|rest| Some(rest.len() * 8 - rest.first()?.leading_zeros() as usize))
        .unwrap_or(0);
    match bits {
        MIN_RSA_BITS..=MAX_RSA_BITS => Ok(()),
        _ => Err("is an RSA key of fewer than 2048 or more than 8192 bits"),
    }
}

/// Why the configured keys cannot be used. No message holds key material.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum KeysError {
    #[error("auth.secret: {0} bytes, HS256 needs at least 32 (openssl rand -hex 32)")]
    ShortSecret(usize),
    #[error("auth.public_keys: {path} {reason}")]
    Pem { path: PathBuf, reason: &'static str },
    #[error("auth.public_keys: {path} is {kind}, but auth.algorithms names no algorithm for it")]
    Unused { path: PathBuf, kind: &'static str },
    #[error("auth.jwks: {from}: {reason}")]
    Jwks { from: String, reason: String },
    #[error("auth: {0} keys, at most 64 are held; does auth.jwks name the right set?")]
    TooMany(usize),
    #[error("auth.jwks: {0}")]
    Trust(NoTrust),
}

#[cfg(test)]
mod tests;
