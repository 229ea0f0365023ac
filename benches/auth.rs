//! Authenticating a client. It happens once per connection, so the signature check decides how fast a
//! node accepts its clients again after a restart.

#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderValue};
use idlewild::auth::credentials;
use idlewild::auth::jwt::Verifier;
use idlewild::auth::mint::{Claims, mint};
use idlewild::config::{Algorithm, Auth, InputFile, Secret};
use jsonwebtoken::{EncodingKey, Header};

const NOW_MS: u64 = 1_700_000_000_000;

fn verify(c: &mut Criterion) {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let hs256 = Auth {
        secret: Secret::new("a secret of the benches, 32 bytes and more"),
        ..Auth::default()
    };
    let claims = Claims {
        user: "42",
        session: Some("0b9d5f4e"),
        topics: &[],
        ttl: Duration::from_secs(900),
        now_unix_ms: NOW_MS,
    };
    let token = mint(&hs256, &claims).expect("the secret is long enough");
    let verifier = Verifier::new(&hs256).expect("the secret is long enough");
    c.bench_function("verify_hs256", |b| {
        b.iter(|| verifier.verify(black_box(&token), NOW_MS).is_ok());
    });

    let says = serde_json::json!({"user_id": 42, "session_id": "0b9d5f4e", "exp": 1_700_000_900});
    for (name, alg, jose, public) in [
        (
            "verify_rs256",
            Algorithm::RS256,
            jsonwebtoken::Algorithm::RS256,
            "rsa",
        ),
        (
            "verify_es256",
            Algorithm::ES256,
            jsonwebtoken::Algorithm::ES256,
            "p256",
        ),
    ] {
        let auth = Auth {
            algorithms: vec![alg],
            public_keys: vec![
                InputFile::read(keys.join(format!("{public}.pem"))).expect("a fixture"),
            ],
            ..Auth::default()
        };
        let pem = std::fs::read(keys.join(format!("{public}.key.pem"))).expect("a fixture");
        let private = EncodingKey::from_rsa_pem(&pem)
            .or_else(|_| EncodingKey::from_ec_pem(&pem))
            .expect("a fixture");
        let token = jsonwebtoken::encode(&Header::new(jose), &says, &private).expect("signs");
        let verifier = Verifier::new(&auth).expect("a fixture");
        assert!(verifier.verify(&token, NOW_MS).is_ok());
        c.bench_function(name, |b| {
            b.iter(|| verifier.verify(black_box(&token), NOW_MS).is_ok());
        });
    }
}

fn find(c: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert(
        COOKIE,
        HeaderValue::from_static("sessionid=abc; theme=dark; access_token=x.y.z"),
    );
    let query = "topic=orders%2Feu&topic=news&last_event_id=1700000000000-1";
    c.bench_function("find_cookie", |b| {
        b.iter(|| credentials::find(black_box(&headers), Some(query), "access_token").is_some());
    });
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x.y.z"));
    c.bench_function("find_bearer", |b| {
        b.iter(|| credentials::find(black_box(&headers), Some(query), "access_token").is_some());
    });
}

criterion_group!(benches, verify, find);
criterion_main!(benches);
