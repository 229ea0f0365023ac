use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use super::KeysError;
use super::jwks;
use super::key::{KeyKind, jose};
use super::set::{KeySet, MAX_KEYS, MAX_TRIES, NoCandidate};
use crate::config::{self, Algorithm, InputFile, Secret};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

fn auth(algorithms: &[Algorithm]) -> config::Auth {
    config::Auth {
        algorithms: algorithms.to_vec(),
        ..config::Auth::default()
    }
}

fn pem(alg: Algorithm, name: &str) -> Result<KeySet, KeysError> {
    KeySet::load(&config::Auth {
        public_keys: vec![InputFile::read(fixture(name)).unwrap()],
        ..auth(&[alg])
    })
}

fn jwks(algorithms: &[Algorithm], keys: &Value) -> Result<KeySet, KeysError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{}", json!({ "keys": keys })).unwrap();
    KeySet::load(&config::Auth {
        jwks: Some(file.path().to_str().unwrap().parse().unwrap()),
        ..auth(algorithms)
    })
}

fn jwk(name: &str, more: &Value) -> Value {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let key = DecodingKey::from_rsa_pem(&bytes)
        .or_else(|_| DecodingKey::from_ec_pem(&bytes))
        .or_else(|_| DecodingKey::from_ed_pem(&bytes))
        .unwrap();
    let mut jwk = serde_json::to_value(Jwk::from_decoding_key(&key, None).unwrap()).unwrap();
    for (field, value) in more.as_object().unwrap() {
        jwk[field] = value.clone();
    }
    jwk
}

/// The number of keys tried; `None` for an unknown `kid`.
fn tried(keys: &KeySet, alg: Algorithm, kid: Option<&str>) -> Option<usize> {
    match keys.candidates(alg, kid) {
        Ok(keys) => Some(keys.len()),
        Err(NoCandidate::UnknownKid) => None,
        Err(NoCandidate::NoKid | NoCandidate::NoKey) => Some(0),
    }
}

#[test]
fn a_pem_key_serves_the_algorithms_of_its_kind_alone() {
    for (name, alg) in [
        ("rsa.pem", Algorithm::RS256),
        ("rsa.pkcs1.pem", Algorithm::PS256),
        ("p256.pem", Algorithm::ES256),
        ("p384.pem", Algorithm::ES384),
        ("ed25519.pem", Algorithm::EdDSA),
    ] {
        let keys = pem(alg, name).unwrap();
        for &other in Algorithm::ALL {
            let fits = KeyKind::of(other) == KeyKind::of(alg);
            assert_eq!(
                tried(&keys, other, None),
                Some(usize::from(fits)),
                "{name} {other:?}"
            );
        }
    }
}

#[test]
fn a_pem_file_may_hold_several_keys() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for name in ["p256.pem", "p384.pem"] {
        file.write_all(&std::fs::read(fixture(name)).unwrap())
            .unwrap();
    }
    let keys = KeySet::load(&config::Auth {
        public_keys: vec![InputFile::read(file.path()).unwrap()],
        ..auth(&[Algorithm::ES256, Algorithm::ES384])
    });
    assert_eq!(keys.unwrap().len(), 2);
}

#[test]
fn unusable_pem_files_are_rejected_by_name() {
    let message = |name| pem(Algorithm::RS256, name).unwrap_err().to_string();
    assert!(message("rsa1024.pem").contains("rsa1024.pem is an RSA key of fewer than 2048"));
    assert!(message("rsa.key.pem").contains("holds a private key"));
    assert!(message("secp256k1.pem").contains("is none of"));
    assert!(message("README.md").contains("holds no PEM block"));
    assert!(message("p256.pem").contains("is a P-256 key, but auth.algorithms names"));
}

#[test]
fn a_secret_is_long_enough_and_serves_hmac_alone() {
    let with = |secret: &str| {
        KeySet::load(&config::Auth {
            secret: Secret::new(secret),
            ..auth(&[Algorithm::HS256])
        })
    };
    let keys = with(&"s".repeat(32)).unwrap();
    assert_eq!(tried(&keys, Algorithm::HS512, None), Some(1));
    assert_eq!(tried(&keys, Algorithm::RS256, None), Some(0));
    let message = with("short").unwrap_err().to_string();
    assert!(
        message.contains("auth.secret: 5 bytes, HS256 needs at least 32"),
        "{message}"
    );
    assert!(with("").unwrap().is_empty());
}

#[test]
fn a_kid_chooses_one_key_of_a_set() {
    let keys = jwks(
        &[
            Algorithm::RS256,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ],
        &json!([
            jwk("rsa.pem", &json!({"kid": "r", "use": "sig"})),
            jwk("p256.pem", &json!({"kid": "p"})),
            jwk("p384.pem", &json!({"kid": "q", "key_ops": ["verify"]})),
            jwk("ed25519.pem", &json!({"kid": "e"})),
        ]),
    )
    .unwrap();
    assert_eq!(keys.len(), 4);
    assert_eq!(tried(&keys, Algorithm::RS256, Some("r")), Some(1));
    assert_eq!(tried(&keys, Algorithm::ES384, Some("q")), Some(1));
    assert_eq!(tried(&keys, Algorithm::EdDSA, Some("e")), Some(1));
    assert_eq!(tried(&keys, Algorithm::ES256, Some("r")), Some(0));
    assert_eq!(tried(&keys, Algorithm::ES256, Some("unknown")), None);
    assert_eq!(tried(&keys, Algorithm::ES256, None), Some(1));
}

#[test]
fn a_kid_means_nothing_where_no_key_has_one() {
    let keys = pem(Algorithm::ES256, "p256.pem").unwrap();
    assert_eq!(tried(&keys, Algorithm::ES256, Some("any")), Some(1));
}

#[test]
fn a_jwks_alg_binds_its_key() {
    let key = jwk("rsa.pem", &json!({"alg": "RS512"}));
    let keys = jwks(&[Algorithm::RS256, Algorithm::RS512], &json!([key])).unwrap();
    assert_eq!(tried(&keys, Algorithm::RS512, None), Some(1));
    assert_eq!(tried(&keys, Algorithm::RS256, None), Some(0));
}

/// One entry for each reason to be unusable, with that reason.
fn unusable() -> Vec<(Value, &'static str)> {
    let p256 = |more: &Value| jwk("p256.pem", more);
    let mut padded = p256(&json!({}));
    padded["x"] = format!("{}=", padded["x"].as_str().unwrap()).into();
    let mut cut = p256(&json!({}));
    let x = URL_SAFE_NO_PAD.decode(cut["x"].as_str().unwrap()).unwrap();
    cut["x"] = URL_SAFE_NO_PAD.encode(&x[1..]).into();
    let mut cut_y = p256(&json!({}));
    let y = URL_SAFE_NO_PAD
        .decode(cut_y["y"].as_str().unwrap())
        .unwrap();
    cut_y["y"] = URL_SAFE_NO_PAD.encode(&y[1..]).into();
    let mut without_y = p256(&json!({}));
    without_y.as_object_mut().unwrap().remove("y");
    vec![
        (Value::Null, "is not an object"),
        (json!("hunter2"), "is not an object"),
        (json!(["hunter2"]), "is not an object"),
        (json!({}), "is "),
        (
            json!({"kty": "hunter2"}),
            "is of a type that is not supported",
        ),
        (
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
            "is for an algorithm that is not supported",
        ),
        (p256(&json!({"kid": 7})), "has a kid that is not a string"),
        (
            p256(&json!({"kid": ["k"]})),
            "has a kid that is not a string",
        ),
        (p256(&json!({"use": "enc"})), "is not for signatures"),
        (
            p256(&json!({"key_ops": ["encrypt"]})),
            "is not for signatures",
        ),
        (
            p256(&json!({"alg": "RS256"})),
            "does not have the type that its alg needs",
        ),
        (padded, "is not base64url without padding"),
        (cut, "has a coordinate of the wrong length"),
        (cut_y, "has a coordinate of the wrong length"),
        (
            p256(&json!({"use": 7})),
            "is not a JSON Web Key of a supported type",
        ),
        (
            p256(&json!({"x": "AAAA"})),
            "has a coordinate of the wrong length",
        ),
        (without_y, "is "),
        (
            json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
            "is ",
        ),
        (
            jwk("rsa1024.pem", &json!({})),
            "is an RSA key of fewer than 2048",
        ),
        (jwk("rsa.pem", &json!({"n": "AQ=="})), "is not base64url"),
        (
            jwk("rsa.pem", &json!({"alg": "RSA-OAEP"})),
            "is for an algorithm that is not supported",
        ),
        (
            jwk("rsa.pem", &json!({"alg": "PS384"})),
            "is for an algorithm that is not supported",
        ),
        (
            jwk("ed25519.pem", &json!({"x": "AAAA"})),
            "has a key of the wrong length",
        ),
        (
            json!({"kty": "oct", "k": "AAAA"}),
            "is a secret of fewer than 32 bytes",
        ),
    ]
}

#[test]
fn a_key_that_cannot_be_used_is_skipped_and_counted_and_affects_no_other() {
    let good = jwk("p384.pem", &json!({"kid": "good"}));
    let bad: Vec<Value> = unusable().into_iter().map(|(entry, _)| entry).collect();
    for entry in &bad {
        let keys = jwks(Algorithm::ALL, &json!([entry, good])).unwrap();
        assert_eq!((keys.len(), keys.unusable()), (1, 1), "{entry}");
        assert_eq!(
            tried(&keys, Algorithm::ES384, Some("good")),
            Some(1),
            "{entry}"
        );
    }
    let count = bad.len();
    let all: Vec<Value> = bad.into_iter().chain([good]).collect();
    let keys = jwks(Algorithm::ALL, &json!(all)).unwrap();
    assert_eq!((keys.len(), keys.unusable()), (1, count));
}

#[test]
fn a_set_without_usable_keys_is_rejected_with_the_reasons() {
    for (entry, reason) in unusable() {
        let entry = &entry;
        let message = jwks(Algorithm::ALL, &json!([entry]))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("no key in it serves one of auth.algorithms: keys[0]"),
            "{message}"
        );
        assert!(message.contains(reason), "{entry}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let named = jwk("rsa1024.pem", &json!({"kid": "a\nb".repeat(50)}));
    let message = jwks(Algorithm::ALL, &json!(vec![named; 20]))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("keys[7] (kid \"a\\nb") && message.ends_with("; and 12 more"),
        "{message}"
    );
    assert!(
        !message.contains("keys[8]") && !message.contains('\n'),
        "{message}"
    );
}

#[test]
fn a_good_key_for_another_algorithm_is_not_counted() {
    let keys = jwks(
        &[Algorithm::ES256],
        &json!([jwk("p256.pem", &json!({})), jwk("ed25519.pem", &json!({}))]),
    )
    .unwrap();
    assert_eq!((keys.len(), keys.unusable()), (1, 0));
}

#[test]
fn names_of_public_keys_do_not_matter_for_the_shared_secret() {
    let load = |set: &Value| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{}", json!({ "keys": set })).unwrap();
        KeySet::load(&config::Auth {
            secret: Secret::new("a secret of more than thirty-two bytes"),
            jwks: Some(file.path().to_str().unwrap().parse().unwrap()),
            ..auth(&[Algorithm::HS256, Algorithm::ES256])
        })
        .unwrap()
    };
    let p256 = jwk("p256.pem", &json!({"kid": "p"}));
    let keys = load(&json!([p256]));
    for kid in [None, Some("another")] {
        assert_eq!(tried(&keys, Algorithm::HS256, kid), Some(1), "{kid:?}");
    }
    // The name of a public key does not choose the secret.
    assert_eq!(tried(&keys, Algorithm::HS256, Some("p")), Some(0));
    assert_eq!(tried(&keys, Algorithm::ES256, Some("another")), None);
    // If secrets have names, the name chooses.
    let secret = json!({"kty": "oct", "kid": "s", "k": "QSBzZWNyZXQgdGhhdCBpcyBsb25nIGVub3VnaCBmb3IgSFMyNTY"});
    let keys = load(&json!([secret]));
    assert_eq!(tried(&keys, Algorithm::HS256, Some("s")), Some(1));
    assert_eq!(tried(&keys, Algorithm::HS256, Some("another")), None);
}

#[test]
fn keys_that_share_a_kid_are_tried_where_type_and_algorithm_fit() {
    let keys = jwks(
        Algorithm::ALL,
        &json!([
            jwk("rsa.pem", &json!({"kid": "k", "alg": "RS256"})),
            jwk("rsa.pem", &json!({"kid": "k", "alg": "PS256"})),
            jwk("p256.pem", &json!({"kid": "k"})),
            jwk("p256.pem", &json!({"kid": "k"})),
            jwk("p384.pem", &json!({"kid": "other"})),
        ]),
    )
    .unwrap();
    assert_eq!(keys.len(), 5);
    for (alg, expected) in [
        (Algorithm::RS256, 1),
        (Algorithm::PS256, 1),
        (Algorithm::RS512, 0),
        (Algorithm::ES256, 2),
        (Algorithm::ES384, 0),
    ] {
        assert_eq!(tried(&keys, alg, Some("k")), Some(expected), "{alg:?}");
    }
}

#[test]
fn a_token_without_kid_tries_unnamed_keys_and_a_named_one_only_if_no_other_fits() {
    let p256 = |kid: Option<&str>| match kid {
        Some(kid) => jwk("p256.pem", &json!({ "kid": kid })),
        None => jwk("p256.pem", &json!({})),
    };
    let p384 = jwk("p384.pem", &json!({"kid": "q"}));
    let candidates = |set: Value| {
        let keys = jwks(&[Algorithm::ES256, Algorithm::ES384], &set).unwrap();
        keys.candidates(Algorithm::ES256, None)
            .map(|keys| keys.len())
    };
    assert_eq!(candidates(json!([p256(Some("p")), p384])), Ok(1));
    assert_eq!(candidates(json!([p256(None), p384])), Ok(1));
    assert_eq!(
        candidates(json!([p256(None), p256(Some("p")), p256(None)])),
        Ok(2)
    );
    let several = json!([p256(Some("p")), p256(Some("o")), p384]);
    assert_eq!(candidates(several), Err(NoCandidate::NoKid));
    assert_eq!(candidates(json!([p384])), Err(NoCandidate::NoKey));
}

#[test]
fn a_secret_in_a_set_counts_only_where_hmac_is_allowed() {
    let secret = URL_SAFE_NO_PAD.encode([7; 32]);
    let set = json!([
        {"kty": "oct", "k": secret, "kid": "s"},
        jwk("p256.pem", &json!({"kid": "p"})),
    ]);
    assert_eq!(jwks(&[Algorithm::ES256], &set).unwrap().len(), 1);
    let keys = jwks(&[Algorithm::ES256, Algorithm::HS256], &set).unwrap();
    assert_eq!(tried(&keys, Algorithm::HS256, Some("s")), Some(1));
}

#[test]
fn unusable_sets_are_rejected() {
    let message = |keys: Value| jwks(Algorithm::ALL, &keys).unwrap_err().to_string();
    assert!(message(json!([])).ends_with("no key in it serves one of auth.algorithms"));
    for no_set in [json!("hunter2"), json!({"a": "hunter2"}), json!(null)] {
        let message = message(no_set);
        assert!(
            message.contains("not a JSON Web Key Set (line 1"),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
    let many = json!(vec![jwk("p256.pem", &json!({})); MAX_KEYS + 1]);
    assert!(message(many).contains("65 keys"));
}

#[test]
fn the_key_of_the_last_good_signature_is_tried_first() {
    let set = json!(vec![jwk("p256.pem", &json!({})); 3]);
    let keys = jwks(&[Algorithm::ES256], &set).unwrap();
    let candidates = || keys.candidates(Algorithm::ES256, None).unwrap();
    let private = std::fs::read(fixture("p256.key.pem")).unwrap();
    let private = jsonwebtoken::EncodingKey::from_ec_pem(&private).unwrap();
    let message = b"signed";
    let signature = jsonwebtoken::crypto::sign(message, &private, jose(Algorithm::ES256)).unwrap();
    let before = candidates();
    for place in [1, 2, 0] {
        let key = &before[place];
        assert!(!key.verify("AAAA", message, Algorithm::ES256));
        assert!(key.verify(&signature, message, Algorithm::ES256));
        assert!(Arc::ptr_eq(&candidates()[0], key), "{place}");
    }
}

#[test]
fn a_token_without_kid_is_tried_on_a_bounded_number_of_keys() {
    let keys = jwks(
        &[Algorithm::ES256],
        &json!(vec![jwk("p256.pem", &json!({})); 20]),
    )
    .unwrap();
    assert_eq!(tried(&keys, Algorithm::ES256, None), Some(MAX_TRIES));
}

#[test]
fn a_set_from_a_url_adds_public_keys_but_no_secret() {
    let algorithms = [Algorithm::ES256, Algorithm::HS256];
    let fixed = KeySet::load(&config::Auth {
        secret: Secret::new(&"s".repeat(32)),
        ..auth(&algorithms)
    })
    .unwrap();
    let served = |keys: Value, algorithms: &[Algorithm]| {
        let document = json!({ "keys": keys }).to_string();
        jwks::of_url(document.as_bytes(), algorithms).unwrap()
    };
    let with = |served: jwks::ServedJwks| fixed.with(served.set.unwrap().keys);
    let p256 = jwk("p256.pem", &json!({"kid": "p"}));
    let keys = with(served(json!([p256]), &algorithms)).unwrap();
    assert_eq!(tried(&keys, Algorithm::ES256, Some("p")), Some(1));
    assert_eq!(tried(&keys, Algorithm::HS256, None), Some(1));
    let secret = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 32]), "kid": "s"});
    for algorithms in [&algorithms[..], &[Algorithm::ES256]] {
        let both = served(json!([p256, secret]), algorithms);
        assert_eq!(both.unusable, 1);
        assert_eq!(
            with(both).unwrap().len(),
            2,
            "the configured secret, and p256"
        );
        let alone = served(json!([secret]), algorithms).set.unwrap_err();
        assert!(
            alone.ends_with(
                "keys[0] (kid \"s\") is a shared secret, but a key set at a URL is public"
            ),
            "{alone}"
        );
    }
    let many = json!(vec![jwk("p256.pem", &json!({})); MAX_KEYS]);
    assert!(
        with(served(many, &algorithms)).is_err(),
        "the secret counts, too"
    );
}
