use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::Algorithm;
use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::verifier::unix_ms;
use super::{Rejected, Verifier};
use crate::auth::keys::jose;
use crate::auth::{Identity, Issued, IssuedAt};
use crate::config::{self, InputFile, Secret};

mod claims;

const SECRET: &str = "a secret of the tests, 32 bytes and more";
const NOW_S: u64 = 1_700_000_000;
const NOW_F: f64 = 1_700_000_000.0;
const NOW_MS: u64 = NOW_S * 1_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

fn private(name: &str) -> EncodingKey {
    let pem = std::fs::read(fixture(name)).unwrap();
    EncodingKey::from_rsa_pem(&pem)
        .or_else(|_| EncodingKey::from_ec_pem(&pem))
        .or_else(|_| EncodingKey::from_ed_pem(&pem))
        .unwrap()
}

fn input(pem: &str) -> InputFile {
    InputFile::read(fixture(pem)).unwrap()
}

fn secret() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

fn auth() -> config::Auth {
    config::Auth {
        secret: Secret::new(SECRET),
        ..config::Auth::default()
    }
}

fn with_key(algorithms: &[Algorithm], pem: &str) -> Verifier {
    Verifier::new(&config::Auth {
        algorithms: algorithms.to_vec(),
        public_keys: vec![input(pem)],
        ..auth()
    })
    .unwrap()
}

/// A token of any header and claims, signed with `alg` whatever the header says.
fn sign(header: &Value, claims: &Value, alg: Algorithm, key: &EncodingKey) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, jose(alg)).unwrap();
    format!("{message}.{signature}")
}

fn claims() -> Value {
    json!({"user_id": 42, "exp": NOW_S + 60, "iat": NOW_S})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Verifies well-signed `claims` with a verifier of `auth`.
fn verify_with(auth: &config::Auth, claims: &Value) -> Result<Identity, Rejected> {
    let token = sign(
        &json!({"alg": "HS256"}),
        claims,
        Algorithm::HS256,
        &secret(),
    );
    Verifier::new(auth).unwrap().verify(&token, NOW_MS)
}

fn verify(claims: &Value) -> Result<Identity, Rejected> {
    verify_with(&auth(), claims)
}

fn verify_header(header: &Value) -> Result<Identity, Rejected> {
    let token = sign(header, &claims(), Algorithm::HS256, &secret());
    Verifier::new(&auth()).unwrap().verify(&token, NOW_MS)
}

#[test]
fn a_good_token_identifies_its_user() {
    let identity = verify(&json!({
        "user_id": "alice", "session_id": "s1", "token_type": "access", "jti": "x",
        "exp": NOW_S + 60, "iat": NOW_F + 0.25, "nbf": NOW_S, "topics": ["a/*", "b"],
    }))
    .unwrap();
    assert_eq!(identity.user, "alice");
    assert_eq!(identity.session.as_deref(), Some("s1"));
    assert_eq!(
        identity.issued,
        Some(Issued::Token(IssuedAt::from_unix_ms(NOW_MS + 250)))
    );
    assert_eq!(identity.expires_at, NOW_S + 60);
    assert_eq!(identity.topics.len(), 2);
}

#[test]
fn every_algorithm_verifies_with_a_key_of_its_kind() {
    for (alg, pem, key) in [
        (Algorithm::HS256, None, secret()),
        (Algorithm::HS384, None, secret()),
        (Algorithm::HS512, None, secret()),
        (Algorithm::RS256, Some("rsa.pem"), private("rsa.key.pem")),
        (Algorithm::RS384, Some("rsa.pem"), private("rsa.key.pem")),
        (
            Algorithm::RS512,
            Some("rsa.pkcs1.pem"),
            private("rsa.key.pem"),
        ),
        (Algorithm::PS256, Some("rsa.pem"), private("rsa.key.pem")),
        (Algorithm::ES256, Some("p256.pem"), private("p256.key.pem")),
        (Algorithm::ES384, Some("p384.pem"), private("p384.key.pem")),
        (
            Algorithm::EdDSA,
            Some("ed25519.pem"),
            private("ed25519.key.pem"),
        ),
    ] {
        let verifier = Verifier::new(&config::Auth {
            algorithms: vec![alg],
            public_keys: pem.map(input).into_iter().collect(),
            ..auth()
        })
        .unwrap();
        let header = json!({"alg": alg.as_str(), "typ": "JWT"});
        let token = sign(&header, &claims(), alg, &key);
        assert!(verifier.verify(&token, NOW_MS).is_ok(), "{alg:?}");
        let (message, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]));
        assert_eq!(
            verifier.verify(&forged, NOW_MS).unwrap_err(),
            Rejected::Signature,
            "{alg:?}"
        );
    }
}

#[test]
fn a_signature_of_a_public_key_is_slow_to_check_and_an_hmac_is_not() {
    for (alg, pem, is_slow) in [
        (Algorithm::HS512, "rsa.pem", false),
        (Algorithm::RS256, "rsa.pem", true),
        (Algorithm::PS256, "rsa.pem", true),
        (Algorithm::ES384, "p384.pem", true),
        (Algorithm::EdDSA, "ed25519.pem", true),
    ] {
        let algorithms = [Algorithm::HS512, Algorithm::RS256, Algorithm::PS256];
        let more = [Algorithm::ES384, Algorithm::EdDSA];
        let verifier = with_key(&[&algorithms[..], &more].concat(), pem);
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg.as_str()}).to_string());
        let check = verifier.begin(&format!("{header}.e30.AAAA")).unwrap();
        assert_eq!(check.is_slow(), is_slow, "{alg:?}");
        assert_eq!(check.run("e30.e30.AAAA").err(), Some(Rejected::Signature));
    }
}

#[test]
fn hs256_signed_with_a_public_key_never_passes() {
    let pem = std::fs::read(fixture("rsa.pem")).unwrap();
    let forged = EncodingKey::from_secret(&pem);
    let token = sign(
        &json!({"alg": "HS256"}),
        &claims(),
        Algorithm::HS256,
        &forged,
    );

    let both = with_key(&[Algorithm::RS256, Algorithm::HS256], "rsa.pem");
    assert_eq!(
        both.verify(&token, NOW_MS).unwrap_err(),
        Rejected::Signature
    );
    let rsa_only = with_key(&[Algorithm::RS256], "rsa.pem");
    assert_eq!(
        rsa_only.verify(&token, NOW_MS).unwrap_err(),
        Rejected::Algorithm
    );
    let without_secret = Verifier::new(&config::Auth {
        algorithms: vec![Algorithm::RS256, Algorithm::HS256],
        public_keys: vec![input("rsa.pem")],
        secret: None,
        ..auth()
    });
    let rejected = without_secret.unwrap().verify(&token, NOW_MS).unwrap_err();
    assert_eq!(rejected, Rejected::NoKey);
}

#[test]
fn alg_none_is_rejected() {
    for alg in ["none", "None", "NONE", ""] {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({"alg": alg})), part(&claims()));
        let verifier = Verifier::new(&auth()).unwrap();
        for token in [format!("{message}."), format!("{message}.AAAA")] {
            assert_eq!(
                verifier.verify(&token, NOW_MS).unwrap_err(),
                Rejected::Algorithm
            );
        }
    }
}

#[test]
fn an_algorithm_outside_the_allow_list_is_refused() {
    let token = sign(
        &json!({"alg": "HS512"}),
        &claims(),
        Algorithm::HS512,
        &secret(),
    );
    let rejected = Verifier::new(&auth())
        .unwrap()
        .verify(&token, NOW_MS)
        .unwrap_err();
    assert_eq!(rejected, Rejected::Algorithm);
    assert_eq!(
        verify_header(&json!({"alg": "hs256"})).unwrap_err(),
        Rejected::Algorithm
    );
}

#[test]
fn a_curve_serves_its_own_algorithm_only() {
    let verifier = with_key(&[Algorithm::ES256, Algorithm::ES384], "p384.pem");
    let key = private("p256.key.pem");
    let token = sign(&json!({"alg": "ES256"}), &claims(), Algorithm::ES256, &key);
    assert_eq!(
        verifier.verify(&token, NOW_MS).unwrap_err(),
        Rejected::NoKey
    );
}

#[test]
fn a_signature_of_another_algorithm_than_the_header_says_is_refused() {
    let key = private("rsa.key.pem");
    let verifier = with_key(&[Algorithm::RS256, Algorithm::PS256], "rsa.pem");
    let token = sign(&json!({"alg": "PS256"}), &claims(), Algorithm::RS256, &key);
    assert_eq!(
        verifier.verify(&token, NOW_MS).unwrap_err(),
        Rejected::Signature
    );
}

#[test]
fn an_unknown_kid_is_refused_where_keys_are_named() {
    let bytes = std::fs::read(fixture("p256.pem")).unwrap();
    let public = jsonwebtoken::DecodingKey::from_ec_pem(&bytes).unwrap();
    let jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&public, None).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk["kid"] = json!("2024");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, json!({"keys": [jwk]}).to_string()).unwrap();
    let verifier = Verifier::new(&config::Auth {
        algorithms: vec![Algorithm::ES256, Algorithm::HS256],
        jwks: Some(path.to_str().unwrap().parse().unwrap()),
        ..auth()
    })
    .unwrap();
    let verify = |header: Value| {
        let token = sign(
            &header,
            &claims(),
            Algorithm::ES256,
            &private("p256.key.pem"),
        );
        verifier
            .verify(&token, NOW_MS)
            .map(|identity| identity.user)
    };
    assert_eq!(
        verify(json!({"alg": "ES256", "kid": "2024"})),
        Ok("42".into())
    );
    assert_eq!(verify(json!({"alg": "ES256"})), Ok("42".into()));
    assert_eq!(
        verify(json!({"alg": "ES256", "kid": "2023"})),
        Err(Rejected::UnknownKid)
    );
    assert_eq!(
        verify(json!({"alg": "HS256", "kid": "2024"})),
        Err(Rejected::NoKey)
    );
    assert_eq!(
        verify(json!({"alg": "ES256", "kid": 2024})),
        Err(Rejected::Malformed)
    );
}

#[test]
fn a_critical_header_is_refused() {
    for crit in [json!(["b64"]), json!([]), json!(null), json!("x")] {
        let rejected = verify_header(&json!({"alg": "HS256", "crit": crit})).unwrap_err();
        assert_eq!(rejected, Rejected::Critical);
    }
}

#[test]
fn keys_in_the_header_are_ignored() {
    let header =
        json!({"alg": "HS256", "jku": "https://evil.example", "jwk": {"kty": "oct", "k": "AA"}});
    assert!(verify_header(&header).is_ok());
}

#[test]
fn a_token_has_exactly_three_parts_of_base64url_json() {
    let verifier = Verifier::new(&auth()).unwrap();
    let good = sign(
        &json!({"alg": "HS256"}),
        &claims(),
        Algorithm::HS256,
        &secret(),
    );
    assert!(verifier.verify(&good, NOW_MS).is_ok());
    for token in ["", ".", "..", "a.b", "a.b.c", "🦀.🦀.🦀"] {
        assert_eq!(
            verifier.verify(token, NOW_MS).unwrap_err(),
            Rejected::Malformed,
            "{token}"
        );
    }
    assert_eq!(
        verifier.verify(&format!("{good}.x"), NOW_MS).unwrap_err(),
        Rejected::Malformed
    );
    assert!(verifier.verify(&format!("{good}="), NOW_MS).is_err());
    assert!(verifier.verify(&format!(" {good}"), NOW_MS).is_err());
    assert!(verify(&json!([1])).is_err());
}

#[test]
fn a_token_over_8_kib_is_rejected() {
    assert_eq!(
        verify(&with("x", json!("x".repeat(6_200)))).unwrap_err(),
        Rejected::TooLong
    );
    assert!(verify(&with("x", json!("x".repeat(5_900)))).is_ok());
}

#[test]
fn a_rejection_shows_a_reason_and_no_token() {
    for rejected in [
        Rejected::Expired,
        Rejected::Missing("exp"),
        Rejected::Claim("user"),
    ] {
        assert!(
            rejected
                .label()
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_lowercase())
        );
    }
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(token in "\\PC*|[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,40}){0,4}") {
        let verifier = Verifier::new(&auth()).unwrap();
        prop_assert!(verifier.verify(&token, NOW_MS).is_err());
    }

    #[test]
    fn no_bit_of_a_token_can_be_changed(position: prop::sample::Index, letter in "[A-Za-z0-9_-]") {
        let token = sign(&json!({"alg": "HS256"}), &claims(), Algorithm::HS256, &secret());
        let at = position.index(token.len());
        prop_assume!(token.as_bytes()[at] != letter.as_bytes()[0]);
        let mut changed = token;
        changed.replace_range(at..=at, &letter);
        let verifier = Verifier::new(&auth()).unwrap();
        prop_assert!(verifier.verify(&changed, NOW_MS).is_err());
    }
}
