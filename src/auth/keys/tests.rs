use std::io::Write as _;

use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use super::*;

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
        public_keys: vec![fixture(name)],
        ..auth(&[alg])
    })
}

fn jwks(algorithms: &[Algorithm], keys: &Value) -> Result<KeySet, KeysError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{}", json!({ "keys": keys })).unwrap();
    KeySet::load(&config::Auth {
        jwks: file.path().to_str().unwrap().to_owned(),
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

fn tried(keys: &KeySet, alg: Algorithm, kid: Option<&str>) -> Option<usize> {
    keys.candidates(alg, kid).ok().map(Iterator::count)
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
        for other in ALGORITHMS {
            let fits = Kind::of(other) == Kind::of(alg);
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
        public_keys: vec![file.path().to_owned()],
        ..auth(&[Algorithm::ES256, Algorithm::ES384])
    });
    assert_eq!(keys.unwrap().len(), 2);
}

#[test]
fn unfit_pem_files_are_refused_by_name() {
    let message = |name| pem(Algorithm::RS256, name).unwrap_err().to_string();
    assert!(message("rsa1024.pem").contains("rsa1024.pem is an RSA key of fewer than 2048"));
    assert!(message("rsa.key.pem").contains("holds a private key"));
    assert!(message("secp256k1.pem").contains("is none of"));
    assert!(message("README.md").contains("holds no PEM block"));
    assert!(message("absent.pem").contains("absent.pem: No such file"));
    assert!(message("p256.pem").contains("is a P-256 key, but auth.algorithms names"));
}

#[test]
fn a_secret_is_long_enough_and_serves_hmac_alone() {
    let with = |secret: &str| {
        KeySet::load(&config::Auth {
            secret: secret.to_owned(),
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
fn a_secret_file_loses_its_trailing_newline_only() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, " {} \r\n", "s".repeat(32)).unwrap();
    let auth = config::Auth {
        secret_file: file.path().to_owned(),
        ..auth(&[Algorithm::HS256])
    };
    let secret = shared_secret(&auth).unwrap().unwrap();
    assert_eq!(secret, format!(" {} ", "s".repeat(32)).as_bytes());
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

#[test]
fn entries_that_do_not_sign_or_are_unknown_are_skipped() {
    let keys = jwks(
        &[Algorithm::RS256, Algorithm::ES256],
        &json!([
            jwk("p256.pem", &json!({"kid": "same"})),
            jwk("rsa.pem", &json!({"kid": "same", "use": "enc"})),
            jwk("rsa.pem", &json!({"key_ops": ["encrypt"]})),
            jwk("rsa.pem", &json!({"alg": "RSA-OAEP"})),
            jwk("rsa.pem", &json!({"alg": "PS384"})),
            jwk("ed25519.pem", &json!({"kid": "not allowed"})),
            {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
            {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        ]),
    );
    assert_eq!(keys.unwrap().len(), 1);
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
fn unfit_sets_are_refused_with_the_entry() {
    let message = |keys: Value| jwks(&ALGORITHMS, &keys).unwrap_err().to_string();
    let p256 = jwk("p256.pem", &json!({"kid": "k"}));
    let p384 = jwk("p384.pem", &json!({"kid": "k"}));
    assert!(message(json!([p256, p384])).contains("two keys have the kid \"k\""));
    assert!(message(json!([])).contains("no key in it serves"));
    assert!(message(json!(["x"])).contains("keys[0]"));
    for quoted in [
        json!("hunter2"),
        json!(["hunter2"]),
        json!([{"kty": "hunter2"}]),
    ] {
        assert!(!message(quoted).contains("hunter2"));
    }
    assert!(message(json!([jwk("rsa1024.pem", &json!({}))])).contains("keys[0] is an RSA key of"));
    assert!(message(json!([{"kty": "oct", "k": "AAAA"}])).contains("fewer than 32 bytes"));
    assert!(message(json!([jwk("p256.pem", &json!({"x": "AAAA"}))])).contains("wrong length"));
    let many = json!(vec![jwk("p256.pem", &json!({})); MAX_KEYS + 1]);
    assert!(message(many).contains("65 keys"));
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
fn a_set_of_a_url_adds_public_keys_and_none_that_is_a_secret() {
    let algorithms = [Algorithm::ES256, Algorithm::HS256];
    let fixed = KeySet::load(&config::Auth {
        secret: "s".repeat(32),
        ..auth(&algorithms)
    })
    .unwrap();
    let with = |keys: Value, algorithms: &[Algorithm]| {
        let document = json!({ "keys": keys }).to_string();
        fixed.with_document(document.as_bytes(), "https://id/", algorithms)
    };
    let p256 = jwk("p256.pem", &json!({"kid": "p"}));
    let keys = with(json!([p256]), &algorithms).unwrap();
    assert_eq!(tried(&keys, Algorithm::ES256, Some("p")), Some(1));
    assert_eq!(tried(&keys, Algorithm::HS256, None), Some(1));
    let secret = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 32]), "kid": "s"});
    for algorithms in [&algorithms[..], &[Algorithm::ES256]] {
        let error = with(json!([p256, secret]), algorithms).unwrap_err();
        assert_eq!(
            error.to_string(),
            "auth.jwks: https://id/: keys[1] is a shared secret, and what a URL serves is public"
        );
    }
    let many = json!(vec![jwk("p256.pem", &json!({})); MAX_KEYS]);
    assert!(with(many, &algorithms).is_err(), "the secret counts, too");
}
