//! Errors about keys.

use std::path::PathBuf;

use crate::outbound::NoRootCertificates;

/// Why the configured keys cannot be used. No message contains key material.
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
    Trust(NoRootCertificates),
}
