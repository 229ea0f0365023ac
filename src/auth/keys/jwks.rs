//! Public keys, and where `HS*` is allowed secrets, out of a JSON Web VerificationKey ParsedJwks (RFC 7517).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde_json::Value;

use super::error::KeysError;
use super::key::{KeyKind, MIN_SECRET_BYTES, TriedKey, VerificationKey, rsa_size};
use crate::config::{Algorithm, InputFile};

/// Unusable entries that a warning names; the rest are counted.
const MAX_NAMED: usize = 8;

/// Longest `kid` that a warning shows, in characters.
const MAX_SHOWN_KID: usize = 64;

/// What a document holds.
#[derive(Debug, Default)]
pub(super) struct ParsedJwks {
    /// Keys that serve one of the allowed algorithms, in the document's order.
    pub(super) keys: Vec<VerificationKey>,
    /// Entries that no token can be checked with, and why.
    pub(super) unusable: Vec<Unusable>,
}

/// An entry that was skipped. Holds no key material.
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
    /// Logs what was skipped, in one line.
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

    /// An error where there is no key.
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

/// The keys of a set in a file.
pub(super) fn of_file(file: &InputFile, allowed: &[Algorithm]) -> Result<ParsedJwks, KeysError> {
    set(file.content(), allowed, SymmetricKeys::Accepted)
        .and_then(ParsedJwks::or_error)
        .map_err(|reason| KeysError::Jwks {
            from: file.to_string(),
            reason,
        })
}

/// What a URL served.
pub(super) struct ServedJwks {
    /// How many entries were skipped.
    pub(super) unusable: usize,
    /// The set, unless no key in it can be used.
    pub(super) set: Result<ParsedJwks, String>,
}

/// The public keys of a set that a URL served. A shared secret in it is skipped: where one is
/// published, somebody has made a mistake, and whoever has read it must not be believed.
///
/// # Errors
/// It is no key set.
pub(super) fn of_url(document: &[u8], allowed: &[Algorithm]) -> Result<ServedJwks, String> {
    let set = set(document, allowed, SymmetricKeys::Rejected)?;
    Ok(ServedJwks {
        unusable: set.unusable.len(),
        set: set.or_error(),
    })
}

/// What becomes of a symmetric key in a set.
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
    // serde's own words quote what they are about, which may be a key.
    let document: Document = serde_json::from_slice(document).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("no JSON Web VerificationKey ParsedJwks, from line {line}, column {column} on")
    })?;
    let mut set = ParsedJwks::default();
    for (index, entry) in document.keys.into_iter().enumerate() {
        let kid = entry.get("kid").and_then(Value::as_str);
        let kid = kid.map(|kid| kid.chars().take(MAX_SHOWN_KID).collect());
        match key(entry, symmetric) {
            // A good key that the configuration does not ask for is nobody's mistake.
            Ok(key) if !key.serves_any(allowed) => {}
            Ok(key) => set.keys.push(key),
            Err(reason) => set.unusable.push(Unusable { index, kid, reason }),
        }
    }
    Ok(set)
}

/// One entry of a set; otherwise why no token can be checked with it.
fn key(entry: Value, symmetric: SymmetricKeys) -> Result<VerificationKey, &'static str> {
    let Value::Object(fields) = &entry else {
        return Err("is no object");
    };
    if !matches!(
        fields.get("kid"),
        None | Some(Value::Null | Value::String(_))
    ) {
        return Err("has a kid that is no string (RFC 7517, section 4.5)");
    }
    let jwk: Jwk = serde_json::from_value(entry)
        .map_err(|_| "is no JSON Web VerificationKey of a type known here")?;
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
            return Err("is a shared secret, and what a URL serves is public");
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
        return Err("is of another type than its alg needs");
    }
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "is not a whole key")?;
    Ok(VerificationKey {
        kind,
        kid: common.key_id.as_deref().map(Into::into),
        only,
        tried: TriedKey::new(decoding),
    })
}
