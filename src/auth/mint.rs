//! Signs tokens, for the login and for `idlewild token`. A [`Verifier`] with the same configuration
//! accepts them.
//!
//! [`Verifier`]: super::jwt::Verifier

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use super::jwt::{MAX_PATTERNS, MAX_TOKEN_BYTES};
use super::keys::{KeyKind, KeysError, jose, shared_secret};
use super::random;
use crate::clock::millis;
use crate::config;
use crate::event::is_id;
use crate::topic::{TopicError, TopicPattern};

/// The claims of a new token.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// The user.
    pub user: &'a str,
    /// The session, if any.
    pub session: Option<&'a str>,
    /// The topic patterns it allows.
    pub topics: &'a [String],
    /// Time until it expires.
    pub ttl: Duration,
    /// When it is issued.
    pub now_unix_ms: u64,
}

/// Signs a token with the configured secret and the first `HS*` algorithm of the allow-list.
///
/// # Errors
/// No `HS*` algorithm or no secret is configured, or a verifier would reject the claims.
pub fn mint(auth: &config::Auth, claims: &Claims<'_>) -> Result<String, MintError> {
    let alg = auth
        .algorithms
        .iter()
        .copied()
        .find(|alg| KeyKind::of(*alg) == KeyKind::Secret)
        .ok_or(MintError::NoAlgorithm)?;
    let secret = shared_secret(auth)?.ok_or(MintError::NoSecret)?;
    let token = jsonwebtoken::encode(
        &Header::new(jose(alg)),
        &payload(auth, claims)?,
        &EncodingKey::from_secret(secret),
    )
    .map_err(MintError::Sign)?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(MintError::TooLong(token.len()));
    }
    Ok(token)
}

/// Why a token could not be signed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum MintError {
    #[error("auth.algorithms: none of HS256, HS384, HS512; tokens are minted with a shared secret")]
    NoAlgorithm,
    #[error("auth.secret: not set; tokens are minted with a shared secret")]
    NoSecret,
    #[error(transparent)]
    Secret(#[from] KeysError),
    #[error("{0}: 1 to 256 bytes without control characters are needed")]
    Name(&'static str),
    #[error("topic {0:?}: {1}")]
    Topic(String, TopicError),
    #[error("{0:?} is longer than auth.max_token_life, {1:?}; the token would be refused")]
    LivesTooLong(Duration, Duration),
    #[error("{0} topics, a token holds at most 256")]
    TooManyTopics(usize),
    #[error("the token has {0} bytes, at most 8192 are accepted; name fewer topics or a pattern")]
    TooLong(usize),
    #[error("signing failed: {0}")]
    Sign(jsonwebtoken::errors::Error),
}

fn payload(auth: &config::Auth, claims: &Claims<'_>) -> Result<Map<String, Value>, MintError> {
    if !is_id(claims.user) {
        return Err(MintError::Name("user"));
    }
    if claims.session.is_some_and(|session| !is_id(session)) {
        return Err(MintError::Name("session"));
    }
    if claims.ttl > auth.max_token_life {
        return Err(MintError::LivesTooLong(claims.ttl, auth.max_token_life));
    }
    if claims.topics.len() > MAX_PATTERNS {
        return Err(MintError::TooManyTopics(claims.topics.len()));
    }
    for topic in claims.topics {
        TopicPattern::parse(topic).map_err(|error| MintError::Topic(topic.clone(), error))?;
    }

    // Rounded up, so that the token is valid for the whole of its last second.
    let expires_at = claims
        .now_unix_ms
        .saturating_add(millis(claims.ttl))
        .div_ceil(1_000);
    let mut payload = Map::new();
    let mut set = |name: &str, value: Value| payload.insert(name.to_owned(), value);
    if let Some(audience) = &auth.audience {
        set("aud", audience.as_str().into());
    }
    if let Some(issuer) = &auth.issuer {
        set("iss", issuer.as_str().into());
    }
    if !claims.topics.is_empty() {
        set("topics", claims.topics.into());
    }
    if let Some(session) = claims.session {
        set(&auth.session_claim, session.into());
    }
    set(&auth.token_type_claim, "access".into());
    set(&auth.user_claim, user(claims.user));
    // With a fraction, so that tokens from just before and just after a revocation can be told apart.
    #[allow(clippy::cast_precision_loss)] // exact to far below a millisecond for 10,000 years
    set("iat", (claims.now_unix_ms as f64 / 1_000.0).into());
    set("exp", expires_at.into());
    set("jti", URL_SAFE_NO_PAD.encode(random::<16>()).into());
    Ok(payload)
}

/// Writes an id of digits as a number, as SimpleJWT does. Anything that would read back differently
/// stays a string.
fn user(user: &str) -> Value {
    match user.parse::<u64>() {
        Ok(id) if id.to_string() == user => id.into(),
        _ => user.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::jwt::Verifier;
    use super::super::{Issued, IssuedAt};
    use super::*;
    use crate::config::{Algorithm, Secret};

    const NOW_MS: u64 = 1_700_000_000_123;

    fn auth() -> config::Auth {
        config::Auth {
            secret: Secret::new("a secret of the tests, 32 bytes and more"),
            ..config::Auth::default()
        }
    }

    fn issued(unix_ms: u64) -> Issued {
        Issued::Token(IssuedAt::from_unix_ms(unix_ms))
    }

    fn claims(user: &str) -> Claims<'_> {
        Claims {
            user,
            session: None,
            topics: &[],
            ttl: Duration::from_secs(60),
            now_unix_ms: NOW_MS,
        }
    }

    fn claims_of(token: &str) -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    #[test]
    fn a_minted_token_is_accepted_by_the_same_configuration() {
        let auth = config::Auth {
            algorithms: vec![Algorithm::EdDSA, Algorithm::HS384, Algorithm::HS256],
            audience: Some("idlewild".to_owned()),
            issuer: Some("login".to_owned()),
            ..auth()
        };
        let topics = ["a/*".to_owned(), "b".to_owned()];
        let claims = Claims {
            session: Some("s"),
            topics: &topics,
            ..claims("42")
        };
        let token = mint(&auth, &claims).unwrap();
        let identity = Verifier::new(&auth)
            .unwrap()
            .verify(&token, NOW_MS)
            .unwrap();
        assert_eq!(identity.user, "42");
        assert_eq!(identity.session.as_deref(), Some("s"));
        assert_eq!(identity.expires_at, 1_700_000_061);
        assert_eq!(identity.topics.len(), 2);
        assert_eq!(identity.issued, Some(issued(NOW_MS)));
        assert_eq!(claims_of(&token)["token_type"], "access");
    }

    #[test]
    fn a_user_of_digits_is_written_as_simplejwt_writes_it() {
        let user = |user| claims_of(&mint(&auth(), &claims(user)).unwrap())["user_id"].clone();
        assert_eq!(user("42"), 42);
        assert_eq!(user("0"), 0);
        for text in ["007", "+7", "-7", "4x", "18446744073709551616"] {
            assert_eq!(user(text), text);
        }
    }

    #[test]
    fn a_token_of_the_longest_life_is_accepted_whatever_the_millisecond() {
        for ms in [0, 1, 500, 999] {
            let claims = Claims {
                ttl: auth().max_token_life,
                now_unix_ms: NOW_MS + ms,
                ..claims("42")
            };
            let token = mint(&auth(), &claims).unwrap();
            let verifier = Verifier::new(&auth()).unwrap();
            assert!(verifier.verify(&token, NOW_MS + ms).is_ok(), "{ms}");
        }
    }

    #[test]
    fn two_tokens_of_one_moment_differ() {
        let mint = || mint(&auth(), &claims("42")).unwrap();
        assert_ne!(mint(), mint());
    }

    #[test]
    fn an_error_says_why_a_token_cannot_be_minted() {
        let error =
            |auth: &config::Auth, claims: &Claims<'_>| mint(auth, claims).unwrap_err().to_string();
        let no_hmac = config::Auth {
            algorithms: vec![Algorithm::RS256],
            ..auth()
        };
        assert!(error(&no_hmac, &claims("42")).starts_with("auth.algorithms: none of HS256"));
        let no_secret = config::Auth {
            secret: None,
            ..auth()
        };
        assert!(error(&no_secret, &claims("42")).starts_with("auth.secret: not set"));
        let for_long = Claims {
            ttl: auth().max_token_life + Duration::from_secs(1),
            ..claims("42")
        };
        assert!(error(&auth(), &for_long).contains("is longer than auth.max_token_life"));
        assert!(error(&auth(), &claims("")).starts_with("user: 1 to 256 bytes"));
        let topics = ["a//b".to_owned()];
        let bad_topic = Claims {
            topics: &topics,
            ..claims("42")
        };
        assert!(error(&auth(), &bad_topic).contains("no empty segment"));
        let topics = vec!["t".repeat(200); 100];
        let too_long = Claims {
            topics: &topics,
            ..claims("42")
        };
        assert!(error(&auth(), &too_long).contains("at most 8192"));
    }

    proptest! {
        #[test]
        fn every_name_survives_a_round_trip_through_a_token(
            user in "\\PC{1,40}", session in "\\PC{1,40}", now_ms in 0..4_000_000_000_000_u64
        ) {
            let claims = Claims { session: Some(&session), now_unix_ms: now_ms, ..claims(&user) };
            let token = mint(&auth(), &claims).unwrap();
            let identity = Verifier::new(&auth()).unwrap().verify(&token, now_ms).unwrap();
            prop_assert_eq!(identity.user.as_str(), user.as_str());
            prop_assert_eq!(identity.session.as_deref(), Some(session.as_str()));
            prop_assert_eq!(identity.issued, Some(issued(now_ms)));
        }
    }
}
