//! One key: its kind, its algorithms, and checking signatures with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{AlgorithmFamily, DecodingKey};

use crate::config::Algorithm;

/// Shortest shared secret, in bytes. RFC 7518 §3.2 requires the size of the hash; HS256's is the
/// smallest of the supported ones.
pub(super) const MIN_SECRET_BYTES: usize = 32;

/// Smallest RSA modulus, in bits (RFC 7518 §3.3).
const MIN_RSA_BITS: usize = 2_048;

/// Largest RSA modulus, in bits: the limit of the crypto crate.
const MAX_RSA_BITS: usize = 8_192;

/// The crypto crate's name of the algorithm.
pub(crate) fn jose(alg: Algorithm) -> jsonwebtoken::Algorithm {
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

/// The kind of a key, which limits the algorithms that it may be used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyKind {
    /// The only kind of key that may be used with an algorithm.
    pub(crate) fn of(alg: Algorithm) -> Self {
        match alg {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Self::Secret,
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => Self::Rsa,
            Algorithm::ES256 => Self::P256,
            Algorithm::ES384 => Self::P384,
            Algorithm::EdDSA => Self::Ed25519,
        }
    }

    /// Returns true if checking a signature takes too long (0.05 to 0.3 ms) for a shard's thread. An HMAC
    /// takes a microsecond.
    pub(crate) fn is_slow(self) -> bool {
        self != Self::Secret
    }

    pub(super) fn name(self) -> &'static str {
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
pub(super) struct VerificationKey {
    pub(super) kind: KeyKind,
    pub(super) kid: Option<Box<str>>,
    /// Set if the JWK is restricted to one algorithm.
    pub(super) only: Option<Algorithm>,
    /// Shared with the signature checks in flight.
    pub(super) tried: Arc<TriedKey>,
}

/// A key that checks signatures.
#[derive(Debug)]
pub(crate) struct TriedKey {
    decoding: DecodingKey,
    /// Only for a shared secret.
    hmac: Option<Box<HmacKeys>>,
    /// The value of [`HITS`] when this key last matched a signature; 0 if it never has.
    pub(super) last_hit: AtomicU64,
}

/// Counts the signatures that matched any key.
static HITS: AtomicU64 = AtomicU64::new(0);

/// A shared secret as the key of each HMAC. To hash it takes as long as to hash a token.
#[derive(Debug)]
struct HmacKeys {
    sha256: hmac::Key,
    sha384: hmac::Key,
    sha512: hmac::Key,
}

/// The signature of HS512, 64 bytes, in whole groups of three.
const MAX_HMAC_BYTES: usize = 66;

impl HmacKeys {
    /// `None` if the key is not a shared secret.
    fn of(key: &DecodingKey) -> Option<Self> {
        if key.family() != AlgorithmFamily::Hmac {
            return None;
        }
        let secret = key.try_get_as_bytes().ok()?;
        Some(Self {
            sha256: hmac::Key::new(hmac::HMAC_SHA256, secret),
            sha384: hmac::Key::new(hmac::HMAC_SHA384, secret),
            sha512: hmac::Key::new(hmac::HMAC_SHA512, secret),
        })
    }

    fn verify(&self, signature: &str, message: &[u8], alg: Algorithm) -> bool {
        let key = match alg {
            Algorithm::HS256 => &self.sha256,
            Algorithm::HS384 => &self.sha384,
            Algorithm::HS512 => &self.sha512,
            _ => return false,
        };
        let mut decoded = [0; MAX_HMAC_BYTES];
        // What is too long is no signature either.
        let Ok(bytes) = URL_SAFE_NO_PAD.decode_slice(signature, &mut decoded) else {
            return false;
        };
        let signature = decoded.get(..bytes).unwrap_or_default();
        hmac::verify(key, message, signature).is_ok()
    }
}

impl TriedKey {
    pub(super) fn new(decoding: DecodingKey) -> Arc<Self> {
        Arc::new(Self {
            hmac: HmacKeys::of(&decoding).map(Box::new),
            decoding,
            last_hit: AtomicU64::new(0),
        })
    }

    /// Returns true if the signature was made with this key.
    pub(crate) fn verify(&self, signature: &str, message: &[u8], alg: Algorithm) -> bool {
        if let Some(hmac) = &self.hmac {
            // A token has only one such key to try, so the order of keys does not matter.
            return hmac.verify(signature, message, alg);
        }
        let is_good = jsonwebtoken::crypto::verify(signature, message, &self.decoding, jose(alg))
            .unwrap_or(false);
        if is_good {
            self.last_hit
                .store(HITS.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        is_good
    }
}

impl VerificationKey {
    pub(super) fn plain(kind: KeyKind, decoding: DecodingKey) -> Self {
        Self {
            kind,
            kid: None,
            only: None,
            tried: TriedKey::new(decoding),
        }
    }

    pub(super) fn serves(&self, alg: Algorithm) -> bool {
        self.kind == KeyKind::of(alg) && self.only.is_none_or(|only| only == alg)
    }

    pub(super) fn serves_any(&self, algorithms: &[Algorithm]) -> bool {
        algorithms.iter().any(|alg| self.serves(*alg))
    }
}

pub(super) fn rsa_size(modulus: &str) -> Result<(), &'static str> {
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
