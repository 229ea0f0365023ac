//! Reads JSON Web Key Sets (RFC 7517): public keys and, where `HS*` is allowed, secrets.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde_json::Value;

use super::error::KeysError;
use super::key::{KeyKind, MIN_SECRET_BYTES, TriedKey, VerificationKey, rsa_size};
use crate::config::{Algorithm, InputFile};

/// Unusable entries that a warning lists; further ones are only counted.
const MAX_NAMED: usize = 8;

/// Longest `kid` that a warning shows, in characters.
const MAX_SHOWN_KID: usize = 64;

/// The content of a key set.
#[derive(Debug, Default)]
pub(super) struct ParsedJwks {
    /// Keys that serve one of the allowed algorithms, in the document's order.
    pub(super) keys: Vec<VerificationKey>,
    /// Entries that cannot be used, with the reason.
    pub(super) unusable: Vec<Unusable>,
}

/// An entry that was skipped. Contains no key material.
#[derive(Debug)]
pub(super) struct Unusable {
    index: usize,
    kid: Option<String>,
    reason: &'static str,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys[{}]", self.index)?;
        if let Some(kid) = &self.kid {
            write!(f, " (kid {kid:?})")?;
        }
        write!(f, " {}", self.reason)
    }
}

impl ParsedJwks {
    /// Logs the skipped entries, in one line.
    pub(super) fn warn(&self, from: &str) {
        if !self.unusable.is_empty() {
            let (unusable, keys) = (self.unusable.len(), self.keys.len());
            tracing::warn!(
                %from, unusable, keys, reasons = %self.reasons(),
                "auth.jwks: keys that cannot be used were skipped"
            );
        }
    }

    fn reasons(&self) -> String {
        let mut reasons: Vec<String> = self
            .unusable
            .iter()
            .take(MAX_NAMED)
            .map(ToString::to_string)
            .collect();
        if let Some(more) = self.unusable.len().checked_sub(MAX_NAMED + 1) {
            reasons.push(format!("and {} more", more + 1));
        }
        reasons.join("; ")
    }

    /// An error if there is no usable key.
    fn or_error(self) -> Result<Self, String> {
        if !self.keys.is_empty() {
            return Ok(self);
        }
        let none = "no key in it serves one of auth.algorithms";
        if self.unusable.is_empty() {
            return Err(none.to_owned());
        }
        Err(format!("{none}: {}", self.reasons()))
    }
}

/// Reads a key set from a file.
pub(super) fn of_file(file: &InputFile, allowed: &[Algorithm]) -> Result<ParsedJwks, KeysError> {
    set(file.content(), allowed, SymmetricKeys::Accepted)
        .and_then(ParsedJwks::or_error)
        .map_err(|reason| KeysError::Jwks {
            from: file.to_string(),
            reason,
        })
}

/// A key set from a URL.
pub(super) struct ServedJwks {
    /// The number of skipped entries.
    pub(super) unusable: usize,
    /// The set, or an error if none of its keys can be used.
    pub(super) set: Result<ParsedJwks, String>,
}

/// Reads the public keys of a set from a URL. A shared secret in it is skipped: publishing one is a
/// mistake, and anyone who has read it could forge tokens.
///
/// # Errors
/// The document is not a key set.
pub(super) fn of_url(document: &[u8], allowed: &[Algorithm]) -> Result<ServedJwks, String> {
    let set = set(document, allowed, SymmetricKeys::Rejected)?;
    Ok(ServedJwks {
        unusable: set.unusable.len(),
        set: set.or_error(),
    })
}

/// How symmetric keys in a set are treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SymmetricKeys {
    Accepted,
    Rejected,
}

fn set(
    document: &[u8],
    allowed: &[Algorithm],
    symmetric: SymmetricKeys,
) -> Result<ParsedJwks, String> {
    #[derive(serde::Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    // serde's own message quotes the text, which may be a key.
    let document: Document = serde_json::from_slice(document).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("not a JSON Web Key Set (line {line}, column {column})")
    })?;
    let mut set = ParsedJwks::default();
    for (index, entry) in document.keys.into_iter().enumerate() {
        let kid = entry.get("kid").and_then(Value::as_str);
        let kid = kid.map(|kid| kid.chars().take(MAX_SHOWN_KID).collect());
        match key(entry, symmetric) {
            // A good key that the configuration has no use for is not an error.
            Ok(key) if !key.serves_any(allowed) => {}
            Ok(key) => set.keys.push(key),
            Err(reason) => set.unusable.push(Unusable { index, kid, reason }),
        }
    }
    Ok(set)
}

/// Parses one entry of a set; the error says why it cannot be used.
fn key(entry: Value, symmetric: SymmetricKeys) -> Result<VerificationKey, &'static str> {
    let Value::Object(fields) = &entry else {
        return Err("is not an object");
    };
    if !matches!(
        fields.get("kid"),
        None | Some(Value::Null | Value::String(_))
    ) {
        return Err("has a kid that is not a string (RFC 7517, section 4.5)");
    }
    let jwk: Jwk =
        serde_json::from_value(entry).map_err(|_| "is not a JSON Web Key of a supported type")?;
    let common = &jwk.common;
    let signs = match (&common.public_key_use, &common.key_operations) {
        (Some(usage), _) if *usage != PublicKeyUse::Signature => false,
        (_, Some(operations)) => operations.contains(&KeyOperations::Verify),
        _ => true,
    };
    if !signs {
        return Err("is not for signatures");
    }
    let only = match common.key_algorithm.map(|alg| alg.to_string()) {
        None => None,
        Some(name) => match Algorithm::ALL.iter().find(|alg| alg.as_str() == name) {
            Some(alg) => Some(*alg),
            None => return Err("is for an algorithm that is not supported"),
        },
    };
    let decode = |text: &str| {
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| "is not base64url without padding inside")
    };
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            rsa_size(&rsa.n)?;
            decode(&rsa.e)?;
            KeyKind::Rsa
        }
        AlgorithmParameters::EllipticCurve(ec) => {
            let (kind, bytes) = match ec.curve {
                EllipticCurve::P256 => (KeyKind::P256, 32),
                EllipticCurve::P384 => (KeyKind::P384, 48),
                _ => return Err("is on a curve that is not supported"),
            };
            if decode(&ec.x)?.len() != bytes || decode(&ec.y)?.len() != bytes {
                return Err("has a coordinate of the wrong length for its curve");
            }
            kind
        }
        AlgorithmParameters::OctetKeyPair(okp) => {
            if okp.curve != EllipticCurve::Ed25519 {
                return Err("is on a curve that is not supported");
            }
            if decode(&okp.x)?.len() != 32 {
                return Err("has a key of the wrong length for Ed25519");
            }
            KeyKind::Ed25519
        }
        AlgorithmParameters::OctetKey(_) if symmetric == SymmetricKeys::Rejected => {
            return Err("is a shared secret, but a key set at a URL is public");
        }
        AlgorithmParameters::OctetKey(oct) => {
            if decode(&oct.value)?.len() < MIN_SECRET_BYTES {
                return Err("is a secret of fewer than 32 bytes");
            }
            KeyKind::Secret
        }
        _ => return Err("is of a type that is not supported"),
    };
    if only.is_some_and(|only| KeyKind::of(only) != kind) {
        return Err("does not have the type that its alg needs");
    }
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "is not a complete key")?;
    Ok(VerificationKey {
        kind,
        kid: common.key_id.as_deref().map(Into::into),
        only,
        tried: TriedKey::new(decoding),
    })
}
