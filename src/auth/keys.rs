//! The keys that tokens are checked with. Every key knows its kind, and a kind serves its own
//! algorithms only: that is what keeps a public key from ever being used as a shared secret.
//!
//! What does not change while a configuration is in force is a [`KeySet`]; a set that a URL serves
//! stands beside it ([`remote`]).

mod jwks;
mod pem;
pub mod remote;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;

use crate::config;
use crate::config::Algorithm;
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
    named: bool,
}

impl KeySet {
    /// Reads the shared secret, the PEM files and the key set file of `auth`. A key set at a URL is
    /// not read here.
    ///
    /// # Errors
    /// A file or key that cannot be used, by name.
    pub fn load(auth: &config::Auth) -> Result<Self, KeysError> {
        let mut keys = Vec::new();
        if auth
            .algorithms
            .iter()
            .any(|alg| Kind::of(*alg) == Kind::Secret)
            && let Some(secret) = shared_secret(auth)?
        {
            keys.push(Key::plain(Kind::Secret, DecodingKey::from_secret(&secret)));
        }
        for path in &auth.public_keys {
            for key in pem::keys(path)? {
                if !key.serves_any(&auth.algorithms) {
                    return Err(KeysError::Unused {
                        path: path.clone(),
                        kind: key.kind.name(),
                    });
                }
                keys.push(key);
            }
        }
        if !auth.jwks.is_empty() && auth.jwks_url()?.is_none() {
            keys.extend(jwks::of_file(Path::new(&auth.jwks), &auth.algorithms)?);
        }
        Self::new(keys)
    }

    /// These and the public keys of a set that a URL served.
    fn with_document(
        &self,
        document: &[u8],
        url: &str,
        algorithms: &[Algorithm],
    ) -> Result<Self, KeysError> {
        let more = jwks::of_url(document, url, algorithms)?;
        Self::new(self.keys.iter().cloned().chain(more).collect())
    }

    fn new(keys: Vec<Key>) -> Result<Self, KeysError> {
        if keys.len() > MAX_KEYS {
            return Err(KeysError::TooMany(keys.len()));
        }
        let mut kids = HashSet::new();
        for kid in keys.iter().filter_map(|key| key.kid.as_deref()) {
            if !kids.insert(kid) {
                return Err(KeysError::DuplicateKid(kid.to_owned()));
            }
        }
        let named = !kids.is_empty();
        Ok(Self { keys, named })
    }

    /// The keys that a token with this header may be signed with, at most [`MAX_TRIES`].
    ///
    /// Where any key has a `kid`, a token's `kid` chooses among those; where none has, it is a
    /// name that nobody here knows how to read, and is ignored.
    pub(super) fn candidates<'a>(
        &'a self,
        alg: Algorithm,
        kid: Option<&str>,
    ) -> Result<impl Iterator<Item = &'a DecodingKey>, UnknownKid> {
        let kid = kid.filter(|_| self.named);
        let chosen = match kid {
            None => self.keys.as_slice(),
            Some(kid) => self
                .keys
                .iter()
                .find(|key| key.kid.as_deref() == Some(kid))
                .map(std::slice::from_ref)
                .ok_or(UnknownKid)?,
        };
        Ok(chosen
            .iter()
            .filter(move |key| key.serves(alg))
            .map(|key| &key.decoding)
            .take(MAX_TRIES))
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

/// A token names a key that is not in the set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownKid;

/// The shared secret, from the configuration or from its file; nothing where neither is set.
pub(super) fn shared_secret(auth: &config::Auth) -> Result<Option<Vec<u8>>, KeysError> {
    let (secret, from) = if !auth.secret.is_empty() {
        (auth.secret.clone().into_bytes(), "auth.secret")
    } else if !auth.secret_file.as_os_str().is_empty() {
        let mut secret = read(&auth.secret_file)?;
        if secret.last() == Some(&b'\n') {
            secret.pop();
            if secret.last() == Some(&b'\r') {
                secret.pop();
            }
        }
        (secret, "auth.secret_file")
    } else {
        return Ok(None);
    };
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeysError::ShortSecret {
            from,
            bytes: secret.len(),
        });
    }
    Ok(Some(secret))
}

/// The standard's name of an algorithm, as it stands in a token's header.
pub(super) fn algorithm_name(alg: Algorithm) -> &'static str {
    match alg {
        Algorithm::HS256 => "HS256",
        Algorithm::HS384 => "HS384",
        Algorithm::HS512 => "HS512",
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
    }
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
    decoding: DecodingKey,
}

impl Key {
    fn plain(kind: Kind, decoding: DecodingKey) -> Self {
        Self {
            kind,
            kid: None,
            only: None,
            decoding,
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

/// All that there are.
const ALGORITHMS: [Algorithm; 10] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn read(path: &Path) -> Result<Vec<u8>, KeysError> {
    std::fs::read(path).map_err(|source| KeysError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Why the configured keys cannot be used. No message holds key material.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum KeysError {
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{from}: {bytes} bytes, HS256 needs at least 32 (openssl rand -hex 32)")]
    ShortSecret { from: &'static str, bytes: usize },
    #[error("auth.public_keys: {path} {reason}")]
    Pem { path: PathBuf, reason: &'static str },
    #[error("auth.public_keys: {path} is {kind}, but auth.algorithms names no algorithm for it")]
    Unused { path: PathBuf, kind: &'static str },
    #[error("auth.jwks: {from}: {reason}")]
    Jwks { from: String, reason: String },
    #[error("auth.jwks: two keys have the kid {0:?}; a kid must choose one")]
    DuplicateKid(String),
    #[error("auth: {0} keys, at most 64 are held; does auth.jwks name the right set?")]
    TooMany(usize),
    #[error("auth.jwks: {0}")]
    Trust(NoTrust),
    #[error(transparent)]
    Config(#[from] config::ConfigError),
}

#[cfg(test)]
mod tests;
