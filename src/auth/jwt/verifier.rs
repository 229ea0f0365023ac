//! Checks tokens: the signature first, then the claims.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::rejected::Rejected;
use super::signature::{SignatureCheck, Signed};
use crate::auth::keys::KeysError;
use crate::auth::keys::remote::{RemoteKeys, TokenKeys};
use crate::auth::name::name;
use crate::auth::raw_object::{RawObject, Text};
use crate::auth::{Identity, Issued, IssuedAt};
use crate::clock::millis;
use crate::config;
use crate::text::json_string;
use crate::topic::TopicPattern;

/// Longest token accepted. It leaves room in the roughly 8 KiB that proxies allow for a header line,
/// and limits the work that an unknown client can cause.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Most patterns in a token's `topics`: each topic of a stream is compared with all of them.
pub(crate) const MAX_PATTERNS: usize = 256;

/// Checks tokens against the configured keys and rules.
#[derive(Debug)]
pub struct Verifier {
    keys: TokenKeys,
    algorithms: Box<[config::Algorithm]>,
    user_claim: Box<str>,
    session_claim: Box<str>,
    token_type_claim: Box<str>,
    audience: Option<Box<str>>,
    issuer: Option<Box<str>>,
    leeway_ms: u64,
    max_life_s: u64,
}

impl Verifier {
    /// Reads the keys of `auth`.
    ///
    /// # Errors
    /// A key cannot be used.
    pub fn new(auth: &config::Auth) -> Result<Self, KeysError> {
        Ok(Self {
            keys: TokenKeys::load(auth)?,
            algorithms: auth.algorithms.as_slice().into(),
            user_claim: auth.user_claim.as_str().into(),
            session_claim: auth.session_claim.as_str().into(),
            token_type_claim: auth.token_type_claim.as_str().into(),
            audience: auth.audience.as_deref().map(Into::into),
            issuer: auth.issuer.as_deref().map(Into::into),
            leeway_ms: millis(auth.leeway),
            max_life_s: auth.max_token_life.as_secs(),
        })
    }

    /// Verifies a token: signature, and claims at `now_unix_ms`.
    ///
    /// # Errors
    /// The token is rejected.
    pub fn verify(&self, token: &str, now_unix_ms: u64) -> Result<Identity, Rejected> {
        let signed = self.begin(token)?.run(token)?;
        self.identity(&signed, now_unix_ms)
    }

    /// Reads the header, and chooses the keys that may have signed the token.
    ///
    /// # Errors
    /// The token is rejected, whatever its signature.
    pub fn begin(&self, token: &str) -> Result<SignatureCheck, Rejected> {
        let [header, _, _] = parts(token)?;
        let header: Header = from_json(&decode(header)?)?;
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: critical fields must be understood, and no extension is supported here.
            return Err(Rejected::Critical);
        }
        let alg = self
            .algorithms
            .iter()
            .copied()
            .find(|alg| alg.as_str() == header.alg)
            .ok_or(Rejected::Algorithm)?;
        let chosen = self.keys.choose(alg, header.kid.as_deref())?;
        Ok(SignatureCheck {
            alg,
            keys: chosen.keys,
            otherwise: chosen.otherwise,
        })
    }

    /// Checks the claims of a well-signed token at `now_unix_ms`.
    ///
    /// # Errors
    /// The token is rejected.
    pub fn identity<T: AsRef<str>>(
        &self,
        signed: &Signed<T>,
        now_unix_ms: u64,
    ) -> Result<Identity, Rejected> {
        let [_, payload, _] = parts(signed.0.as_ref())?;
        let json = decode(payload)?;
        let claims = RawObject::parse(&json).ok_or(Rejected::Malformed)?;
        let expires_at_ms = self.check_times(&claims, now_unix_ms)?;
        self.check_audience_and_issuer(&claims)?;
        self.check_type(&claims)?;
        let named = |claim: &str| claims.get(claim).map(name);
        let user = named(&self.user_claim).ok_or(Rejected::Missing("user"))?;
        let session = named(&self.session_claim)
            .map(|session| session.ok_or(Rejected::Claim("session")))
            .transpose()?;
        Ok(Identity {
            user: user.ok_or(Rejected::Claim("user"))?,
            session: session.map(|session| session.as_str().into()),
            issued: time(&claims, "iat")?
                .map(IssuedAt::from_unix_ms)
                .map(Issued::Token),
            expires_at: expires_at_ms / 1_000,
            topics: topics(&claims)?,
        })
    }

    /// The number of unusable entries in the key set.
    pub fn unusable_keys(&self) -> usize {
        self.keys.unusable()
    }

    /// The keys from a URL, if one is configured.
    pub fn remote_keys(&self) -> Option<&Arc<RemoteKeys>> {
        match &self.keys {
            TokenKeys::Fixed(_) => None,
            TokenKeys::Remote(keys) => Some(keys),
        }
    }

    /// Checks `exp`, `nbf` and `iat`, and returns `exp` in milliseconds.
    fn check_times(&self, claims: &RawObject<'_>, now_ms: u64) -> Result<u64, Rejected> {
        let expires_at_ms = time(claims, "exp")?.ok_or(Rejected::Missing("exp"))?;
        if now_ms >= expires_at_ms.saturating_add(self.leeway_ms) {
            return Err(Rejected::Expired);
        }
        let latest_ms = now_ms.saturating_add(self.leeway_ms);
        if time(claims, "nbf")?.is_some_and(|nbf_ms| nbf_ms > latest_ms) {
            return Err(Rejected::NotYetValid);
        }
        let issued_ms = time(claims, "iat")?;
        if issued_ms.is_some_and(|iat_ms| iat_ms > latest_ms) {
            return Err(Rejected::IssuedInFuture);
        }
        // Without `iat`, the remaining time is compared. Whole seconds, because issuers round `exp` up and
        // `iat` down.
        let life_ms = expires_at_ms.saturating_sub(issued_ms.unwrap_or(now_ms));
        if life_ms / 1_000 > self.max_life_s {
            return Err(Rejected::LivesTooLong);
        }
        Ok(expires_at_ms)
    }

    fn check_audience_and_issuer(&self, claims: &RawObject<'_>) -> Result<(), Rejected> {
        if let Some(audience) = self.audience.as_deref() {
            let aud = claims.get("aud").ok_or(Rejected::Missing("aud"))?;
            let is_meant = match json_string(aud) {
                Ok(one) => one == audience,
                Err(_) => texts(aud)
                    .ok_or(Rejected::Claim("aud"))?
                    .iter()
                    .any(|one| one.0 == audience),
            };
            if !is_meant {
                return Err(Rejected::Audience);
            }
        }
        if let Some(issuer) = self.issuer.as_deref() {
            let iss = claims.get("iss").ok_or(Rejected::Missing("iss"))?;
            if json_string(iss).map_err(|_| Rejected::Claim("iss"))? != issuer {
                return Err(Rejected::Issuer);
            }
        }
        Ok(())
    }

    /// A refresh token is worth more than a stream, so it must not be sent here at all.
    fn check_type(&self, claims: &RawObject<'_>) -> Result<(), Rejected> {
        match claims.get(&self.token_type_claim) {
            None => Ok(()),
            Some(kind) if json_string(kind).is_ok_and(|kind| kind == "access") => Ok(()),
            Some(_) => Err(Rejected::TokenType),
        }
    }
}

/// The header fields that matter. Others (`jku`, `x5c`, an embedded `jwk`) cannot be trusted.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Present even if it is `null`, which is not a valid list either.
    #[serde(default, deserialize_with = "present")]
    crit: Option<()>,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<()>, D::Error> {
    serde::de::IgnoredAny::deserialize(value).map(|_| Some(()))
}

/// Header, payload and signature.
fn parts(token: &str) -> Result<[&str; 3], Rejected> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Rejected::TooLong);
    }
    let mut dots = memchr::memchr_iter(b'.', token.as_bytes());
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(Rejected::Malformed);
    };
    let part = |range: std::ops::Range<usize>| token.get(range).ok_or(Rejected::Malformed);
    let header = part(0..first)?;
    let payload = part(first + 1..second)?;
    let signature = part(second + 1..token.len())?;
    Ok([header, payload, signature])
}

fn decode(part: &str) -> Result<Vec<u8>, Rejected> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Rejected::Malformed)
}

fn from_json<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, Rejected> {
    serde_json::from_slice(json).map_err(|_| Rejected::Malformed)
}

/// A claim that is a time, in milliseconds.
fn time(claims: &RawObject<'_>, name: &'static str) -> Result<Option<u64>, Rejected> {
    let time = claims
        .get(name)
        .map(|json| unix_ms(json).ok_or(Rejected::Claim(name)));
    time.transpose()
}

/// A NumericDate (RFC 7519 §2: seconds, perhaps with a fraction) in whole milliseconds.
pub(super) fn unix_ms(json: &str) -> Option<u64> {
    if let Ok(seconds) = json.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let seconds: f64 = serde_json::from_str(json).ok()?;
    if !seconds.is_finite() || seconds < 0.0 {
        return None;
    }
    // An f64 is exact to a quarter of a microsecond at present, so .123 may be stored as .12299998. Adding
    // a microsecond before rounding down gives the millisecond that was written.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    Some((seconds * 1_000.0 + 0.001) as u64)
}

/// The strings of a list. `None` for any other value.
fn texts(json: &str) -> Option<Vec<Text<'_>>> {
    serde_json::from_str(json).ok()
}

fn topics(claims: &RawObject<'_>) -> Result<Box<[TopicPattern]>, Rejected> {
    let bad = Rejected::Claim("topics");
    let Some(topics) = claims.get("topics") else {
        return Ok(Box::default());
    };
    let patterns = texts(topics).filter(|list| list.len() <= MAX_PATTERNS);
    let patterns = patterns.ok_or(bad)?;
    patterns
        .iter()
        .map(|pattern| TopicPattern::parse(&pattern.0).map_err(|_| bad))
        .collect()
}
