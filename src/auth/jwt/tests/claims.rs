//! The claims that a well-signed token may and may not have.

use std::time::Duration;

use super::*;

#[test]
fn exp_is_required_and_honoured_with_leeway() {
    assert_eq!(
        verify(&without("exp")).unwrap_err(),
        Rejected::Missing("exp")
    );
    assert_eq!(
        verify(&with("exp", json!(NOW_S - 5))).unwrap_err(),
        Rejected::Expired
    );
    assert!(verify(&with("exp", json!(NOW_S - 4))).is_ok());
    let strict = config::Auth {
        leeway: Duration::ZERO,
        max_token_life: Duration::MAX,
        ..auth()
    };
    let at =
        |exp: Value| verify_with(&strict, &with("exp", exp)).map(|identity| identity.expires_at);
    assert_eq!(at(json!(NOW_S)), Err(Rejected::Expired));
    assert_eq!(at(json!(NOW_F + 0.5)), Ok(NOW_S));
    assert_eq!(at(json!(1e300)), Ok(u64::MAX / 1_000));
    assert_eq!(at(json!(u64::MAX)), Ok(u64::MAX / 1_000));
}

#[test]
fn a_time_that_is_not_a_number_rejects_the_token() {
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!("1700000000"),
            json!(-1),
            json!(-0.5),
            json!([1]),
            json!(true),
        ] {
            let rejected = verify(&with(name, value.clone())).unwrap_err();
            assert_eq!(rejected, Rejected::Claim(name), "{value}");
        }
    }
}

#[test]
fn nbf_and_iat_ahead_of_the_leeway_are_refused() {
    for (name, rejected) in [
        ("nbf", Rejected::NotYetValid),
        ("iat", Rejected::IssuedInFuture),
    ] {
        assert!(verify(&with(name, json!(NOW_S + 5))).is_ok());
        assert_eq!(
            verify(&with(name, json!(NOW_F + 5.01))).unwrap_err(),
            rejected
        );
        assert_eq!(verify(&with(name, json!(NOW_S + 6))).unwrap_err(), rejected);
    }
}

#[test]
fn iat_is_optional_and_kept_to_the_millisecond() {
    assert_eq!(verify(&without("iat")).unwrap().issued, None);
    for millis in 0..1_000 {
        let iat = format!("{}.{millis:03}", NOW_S - 1);
        let issued = issued_at(&iat);
        assert_eq!(
            issued,
            IssuedAt::from_unix_ms(NOW_MS - 1_000 + millis),
            "{iat}"
        );
    }
}

fn issued_at(iat: &str) -> IssuedAt {
    IssuedAt::from_unix_ms(unix_ms(iat).unwrap())
}

#[test]
fn aud_is_checked_only_where_configured() {
    assert!(verify(&with("aud", json!("anything"))).is_ok());
    let auth = config::Auth {
        audience: Some("idlewild".to_owned()),
        ..auth()
    };
    let verify = |aud: Value| verify_with(&auth, &with("aud", aud)).map(|identity| identity.user);
    assert!(verify(json!("idlewild")).is_ok());
    assert!(verify(json!(["other", "idlewild"])).is_ok());
    assert_eq!(verify(json!("other")), Err(Rejected::Audience));
    assert_eq!(verify(json!([])), Err(Rejected::Audience));
    assert_eq!(verify(json!(["idlewild", 1])), Err(Rejected::Claim("aud")));
    assert_eq!(verify(json!(null)), Err(Rejected::Missing("aud")));
    assert_eq!(
        verify_with(&auth, &claims()).unwrap_err(),
        Rejected::Missing("aud")
    );
}

#[test]
fn iss_is_checked_only_where_configured() {
    assert!(verify(&with("iss", json!("anything"))).is_ok());
    let auth = config::Auth {
        issuer: Some("https://id".to_owned()),
        ..auth()
    };
    let verify = |iss: Value| verify_with(&auth, &with("iss", iss)).map(|identity| identity.user);
    assert!(verify(json!("https://id")).is_ok());
    assert_eq!(verify(json!("https://other")), Err(Rejected::Issuer));
    assert_eq!(verify(json!(["https://id"])), Err(Rejected::Claim("iss")));
    assert_eq!(
        verify_with(&auth, &claims()).unwrap_err(),
        Rejected::Missing("iss")
    );
}

#[test]
fn the_user_is_a_short_text_or_an_integer() {
    let user = |value: Value| verify(&with("user_id", value)).map(|identity| identity.user);
    assert_eq!(user(json!(42)), Ok("42".into()));
    assert_eq!(user(json!(u64::MAX)), Ok("18446744073709551615".into()));
    assert_eq!(user(json!(-1)), Ok("-1".into()));
    assert_eq!(user(json!("jörg")), Ok("jörg".into()));
    for value in [
        json!(""),
        json!("a\nb"),
        json!("x".repeat(257)),
        json!(4.2),
        json!(4.0),
        json!([1]),
        json!(true),
    ] {
        assert_eq!(user(value), Err(Rejected::Claim("user")));
    }
    assert_eq!(
        verify(&without("user_id")).unwrap_err(),
        Rejected::Missing("user")
    );
}

#[test]
fn the_claims_names_come_from_the_configuration() {
    let auth = config::Auth {
        user_claim: "sub".to_owned(),
        session_claim: "sid".to_owned(),
        token_type_claim: "typ".to_owned(),
        ..auth()
    };
    let claims =
        json!({"sub": "u", "sid": 7, "typ": "access", "token_type": "refresh", "exp": NOW_S + 1});
    let identity = verify_with(&auth, &claims).unwrap();
    assert_eq!(
        (identity.user.as_str(), identity.session.as_deref()),
        ("u", Some("7"))
    );
}

#[test]
fn a_refresh_token_is_rejected() {
    assert!(verify(&with("token_type", json!("access"))).is_ok());
    for kind in [json!("refresh"), json!(["access"]), json!("")] {
        assert_eq!(
            verify(&with("token_type", kind)).unwrap_err(),
            Rejected::TokenType
        );
    }
}

#[test]
fn a_session_is_optional_but_of_the_right_type() {
    let session =
        |value: Value| verify(&with("session_id", value)).map(|identity| identity.session);
    assert_eq!(verify(&claims()).unwrap().session, None);
    assert_eq!(session(json!("abc")), Ok(Some("abc".into())));
    assert_eq!(session(json!(7)), Ok(Some("7".into())));
    for value in [json!(""), json!({}), json!(1.5), json!("x".repeat(257))] {
        assert_eq!(session(value), Err(Rejected::Claim("session")));
    }
}

#[test]
fn topics_are_patterns_or_the_token_is_refused() {
    let topics =
        |value: Value| verify(&with("topics", value)).map(|identity| identity.topics.len());
    assert_eq!(verify(&claims()).unwrap().topics.len(), 0);
    assert_eq!(topics(json!(["a", "b/*", "c/**"])), Ok(3));
    assert_eq!(topics(json!(vec!["t"; 256])), Ok(256));
    for value in [
        json!("a"),
        json!([1]),
        json!([null]),
        json!(["a//b"]),
        json!(["**/a"]),
        json!(vec!["t"; 257]),
    ] {
        assert_eq!(topics(value), Err(Rejected::Claim("topics")));
    }
}

#[test]
fn a_claim_that_is_null_counts_as_absent() {
    let auth = config::Auth {
        audience: Some("a".to_owned()),
        issuer: Some("i".to_owned()),
        ..auth()
    };
    let whole = json!({
        "user_id": 42, "session_id": "s", "token_type": "access", "topics": ["t"],
        "exp": NOW_S + 60, "iat": NOW_S, "nbf": NOW_S, "aud": "a", "iss": "i", "jti": "x",
    });
    assert!(verify_with(&auth, &whole).is_ok());
    let described = |claims: &Value| match verify_with(&auth, claims) {
        Ok(identity) => format!("{identity:?}"),
        Err(reason) => reason.label().to_owned(),
    };
    for name in whole.as_object().unwrap().keys() {
        let (mut null, mut absent) = (whole.clone(), whole.clone());
        null[name] = Value::Null;
        absent.as_object_mut().unwrap().remove(name);
        assert_eq!(described(&null), described(&absent), "{name}");
    }
    let mut no_end = whole;
    no_end["exp"] = Value::Null;
    assert_eq!(described(&no_end), "exp_missing");
}

#[test]
fn a_token_that_lives_too_long_is_refused() {
    let auth = config::Auth {
        max_token_life: Duration::from_secs(100),
        ..auth()
    };
    let life = |claims: Value| verify_with(&auth, &claims).map(|identity| identity.expires_at);
    let token = |exp: Value, iat: Value| json!({"user_id": 1, "exp": exp, "iat": iat});
    let too_long = Err(Rejected::LivesTooLong);
    assert_eq!(
        life(token(json!(NOW_S + 100), json!(NOW_S))),
        Ok(NOW_S + 100)
    );
    assert_eq!(life(token(json!(NOW_S + 101), json!(NOW_S))), too_long);
    assert_eq!(
        life(token(json!(NOW_S + 1), json!(NOW_S - 99))),
        Ok(NOW_S + 1)
    );
    assert_eq!(life(token(json!(NOW_S + 1), json!(NOW_S - 100))), too_long);
    // `exp` rounded up, `iat` with its fraction.
    assert_eq!(
        life(token(json!(NOW_S + 101), json!(NOW_F + 0.5))),
        Ok(NOW_S + 101)
    );
    // Without `iat`, the remaining time counts.
    assert_eq!(
        life(token(json!(NOW_S + 100), json!(null))),
        Ok(NOW_S + 100)
    );
    assert_eq!(life(token(json!(NOW_S + 101), json!(null))), too_long);
    assert_eq!(life(token(json!(1e300), json!(NOW_S))), too_long);
    assert_eq!(life(token(json!(u64::MAX), json!(0))), too_long);
}

#[test]
fn a_user_id_may_be_an_integer_of_any_size() {
    for digits in [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551617",
        "-9223372036854775809",
        "340282366920938463463374607431768211456",
    ] {
        let payload = format!(
            "{{\"user_id\": {digits}, \"session_id\" : {digits} , \"exp\": {}}}",
            NOW_S + 60
        );
        let identity = verify_text(&payload).unwrap();
        assert_eq!(identity.user, digits);
        assert_eq!(identity.session.as_deref(), Some(digits));
    }
}

#[test]
fn only_the_claims_that_are_read_have_to_make_sense() {
    let exp = NOW_S + 60;
    let with = |more: &str| verify_text(&format!(r#"{{"user_id": 1, {more}, "exp": {exp}}}"#));
    for unread in [
        r#""x": 1e999"#,
        r#""x": "\ud800""#,
        r#""x": [[{"y": null}]]"#,
    ] {
        assert_eq!(with(unread).unwrap().user, "1", "{unread}");
    }
    let session = |value: &str| with(&format!(r#""session_id": {value}"#)).unwrap_err();
    for value in ["1e999", r#""\ud800""#] {
        assert_eq!(session(value), Rejected::Claim("session"), "{value}");
    }
    // Nothing that is not JSON passes, read or not.
    for broken in [
        r#""x": 01"#,
        r#""x": "\q""#,
        r#""x": [1,]"#,
        r#""x": nul"#,
        "x: 1",
    ] {
        assert_eq!(with(broken).unwrap_err(), Rejected::Malformed, "{broken}");
    }
    // Of several, the last one counts.
    assert_eq!(with(r#""user_id": 2"#).unwrap().user, "2");
}

/// Verifies a well-signed token whose claims are this text.
fn verify_text(claims: &str) -> Result<Identity, Rejected> {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(claims));
    let alg = jose(Algorithm::HS256);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret(), alg).unwrap();
    Verifier::new(&auth())
        .unwrap()
        .verify(&format!("{message}.{signature}"), NOW_MS)
}
