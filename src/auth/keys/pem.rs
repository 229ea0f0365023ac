//! Reads public keys from PEM files: RSA, P-256, P-384 and Ed25519. Anything else is rejected.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};

use super::error::KeysError;
use super::key::{KeyKind, VerificationKey, rsa_size};
use crate::config::InputFile;

/// The DER of a SubjectPublicKeyInfo up to the key itself. Curves and lengths are fixed, so each kind
/// has one prefix (RFC 5480, RFC 8410). Comparing it checks kind, curve and point form at once.
const P256_SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const P384_SPKI: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const ED25519_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// First byte of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Reads all public keys of a PEM file.
pub(super) fn keys(file: &InputFile) -> Result<Vec<VerificationKey>, KeysError> {
    let bad = |reason| KeysError::Pem {
        path: file.path().to_owned(),
        reason,
    };
    let text = std::str::from_utf8(file.content()).map_err(|_| bad("is not text"))?;
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = block.split_once("-----").ok_or(bad("has a broken block"))?;
        let end = format!("-----END {label}-----");
        let (body, _) = rest
            .split_once(&end)
            .ok_or(bad("has a block without its end"))?;
        keys.push(key(label, body).map_err(bad)?);
    }
    if keys.is_empty() {
        return Err(bad("holds no PEM block"));
    }
    Ok(keys)
}

fn key(label: &str, body: &str) -> Result<VerificationKey, &'static str> {
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        _ if label.ends_with("PRIVATE KEY") => {
            return Err("holds a private key; give only the public one (openssl pkey -pubout)");
        }
        _ => return Err("holds something other than a public key (openssl pkey -pubout)"),
    }
    let base64: String = body.split_ascii_whitespace().collect();
    let der = STANDARD
        .decode(base64)
        .map_err(|_| "is not base64 inside")?;
    let key = if let Some(point) = point(&der, P256_SPKI, 64) {
        VerificationKey::plain(KeyKind::P256, DecodingKey::from_ec_der(point))
    } else if let Some(point) = point(&der, P384_SPKI, 96) {
        VerificationKey::plain(KeyKind::P384, DecodingKey::from_ec_der(point))
    } else if let Some(public) = der.strip_prefix(ED25519_SPKI).filter(|key| key.len() == 32) {
        VerificationKey::plain(KeyKind::Ed25519, DecodingKey::from_ed_der(public))
    } else {
        let pem = format!("-----BEGIN {label}-----{body}-----END {label}-----");
        let key = DecodingKey::from_rsa_pem(pem.as_bytes())
            .map_err(|_| "is none of: RSA, EC P-256, EC P-384, Ed25519")?;
        let Ok(AlgorithmParameters::RSA(rsa)) =
            Jwk::from_decoding_key(&key, None).map(|jwk| jwk.algorithm)
        else {
            return Err("is not a complete RSA key");
        };
        rsa_size(&rsa.n)?;
        VerificationKey::plain(KeyKind::Rsa, key)
    };
    Ok(key)
}

fn point<'a>(der: &'a [u8], prefix: &[u8], bytes: usize) -> Option<&'a [u8]> {
    der.strip_prefix(prefix)
        .filter(|point| point.len() == 1 + bytes && point.first() == Some(&UNCOMPRESSED))
}
