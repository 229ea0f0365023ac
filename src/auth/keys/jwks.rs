//! Public keys, and where `HS*` is allowed secrets, out of a JSON Web Key Set (RFC 7517).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};

use super::{ALGORITHMS, Key, KeysError, Kind, MIN_SECRET_BYTES, algorithm_name, read, rsa_size};
use crate::config::Algorithm;

/// The keys of a set in a file that can sign one of `allowed`.
pub(super) fn of_file(path: &Path, allowed: &[Algorithm]) -> Result<Vec<Key>, KeysError> {
    keys(&read(path)?, allowed, Secrets::Taken).map_err(|reason| KeysError::Jwks {
        from: path.display().to_string(),
        reason,
    })
}

/// The same of a set that a URL served: public keys only. Where a secret is published, somebody
/// has made a mistake, and it is not made worse by believing whoever has read it.
pub(super) fn of_url(
    document: &[u8],
    url: &str,
    allowed: &[Algorithm],
) -> Result<Vec<Key>, KeysError> {
    keys(document, allowed, Secrets::Refused).map_err(|reason| KeysError::Jwks {
        from: url.to_owned(),
        reason,
    })
}

/// What becomes of a symmetric key in a set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Taken,
    /// And the set with it.
    Refused,
}

fn keys(document: &[u8], allowed: &[Algorithm], secrets: Secrets) -> Result<Vec<Key>, String> {
    #[derive(serde::Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    // serde's own words quote what they are about, which may be a key.
    let set: Set = serde_json::from_slice(document).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("no JSON Web Key Set, from line {line}, column {column} on")
    })?;
    let mut keys = Vec::new();
    for (index, value) in set.keys.into_iter().enumerate() {
        let jwk: Jwk = serde_json::from_value(value)
            .map_err(|_| format!("keys[{index}] is no JSON Web Key (RFC 7517)"))?;
        if secrets == Secrets::Refused && matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_))
        {
            return Err(format!(
                "keys[{index}] is a shared secret, and what a URL serves is public"
            ));
        }
        if let Some(key) = key(&jwk).map_err(|reason| format!("keys[{index}] {reason}"))?
            && key.serves_any(allowed)
        {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err("no key in it serves one of auth.algorithms".to_owned());
    }
    Ok(keys)
}

/// One entry of a set; nothing where it is not a signature key of a kind known here, which a set
/// may well hold (RFC 7517 §5).
fn key(jwk: &Jwk) -> Result<Option<Key>, &'static str> {
    let common = &jwk.common;
    let signs = match (&common.public_key_use, &common.key_operations) {
        (Some(usage), _) if *usage != PublicKeyUse::Signature => false,
        (_, Some(operations)) => operations.contains(&KeyOperations::Verify),
        _ => true,
    };
    if !signs {
        return Ok(None);
    }
    let only = match common.key_algorithm.map(|alg| alg.to_string()) {
        None => None,
        Some(name) => match ALGORITHMS.iter().find(|alg| algorithm_name(**alg) == name) {
            Some(alg) => Some(*alg),
            None => return Ok(None),
        },
    };
    let decode = |text: &str| {
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| "is not base64url inside")
    };
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            rsa_size(&rsa.n)?;
            Kind::Rsa
        }
        AlgorithmParameters::EllipticCurve(ec) => {
            let (kind, bytes) = match ec.curve {
                EllipticCurve::P256 => (Kind::P256, 32),
                EllipticCurve::P384 => (Kind::P384, 48),
                _ => return Ok(None),
            };
            if decode(&ec.x)?.len() != bytes || decode(&ec.y)?.len() != bytes {
                return Err("has a coordinate of the wrong length for its curve");
            }
            kind
        }
        AlgorithmParameters::OctetKeyPair(okp) => {
            if okp.curve != EllipticCurve::Ed25519 {
                return Ok(None);
            }
            if decode(&okp.x)?.len() != 32 {
                return Err("has a key of the wrong length for Ed25519");
            }
            Kind::Ed25519
        }
        AlgorithmParameters::OctetKey(oct) => {
            if decode(&oct.value)?.len() < MIN_SECRET_BYTES {
                return Err("is a secret of fewer than 32 bytes");
            }
            Kind::Secret
        }
        _ => return Ok(None),
    };
    let decoding = DecodingKey::from_jwk(jwk).map_err(|_| "is not a whole key")?;
    Ok(Some(Key {
        kind,
        kid: common.key_id.as_deref().map(Into::into),
        only,
        decoding,
    }))
}
