//! A token becomes an [`Identity`], or a reason why not. The signature comes first, and with it
//! the rule that the header may choose among what is configured but never beyond it; then the
//! claims, each strictly: one of the wrong type refuses the token rather than counting as absent.
//! One that is `null` counts as absent, since serialisers write it for what is not set.
//!
//! Checking a public key's signature is slow, so it is a step of its own ([`SignatureCheck`]) that
//! another thread can take.
//!
//! Time is an argument, so that nothing here reads a clock.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::remote::{Keys, RemoteKeys};
use super::keys::{KeysError, Kind, TriedKey};
use super::name::name;
use super::{Identity, Issued, IssuedAt};
use crate::clock::millis;
use crate::config;
use crate::topic::TopicPattern;

/// Longest token that is looked at. It fits beside everything else into the 8 KiB or so that
/// proxies allow for a header line, and bounds what a stranger can make us decode.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Most patterns in a token's `topics`: every topic a stream asks for is held against them.
pub const MAX_PATTERNS: usize = 256;

/// Checks tokens against the configured keys and rules.
#[derive(Debug)]
pub struct Verifier {
    keys: Keys,
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
    /// Reads the keys that `auth` names.
    ///
    /// # Errors
    /// Where the keys cannot be used, and which.
    pub fn new(auth: &config::Auth) -> Result<Self, KeysError> {
        Ok(Self {
            keys: Keys::load(auth)?,
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

    /// Who the token says its bearer is, if that can be believed at `now_unix_ms`.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &str, now_unix_ms: u64) -> Result<Identity, Rejected> {
        let signed = self.begin(token)?.run(token)?;
        self.identity(&signed, now_unix_ms)
    }

    /// Reads the header, and chooses the keys that the token may be signed with.
    ///
    /// # Errors
    /// Why the token is refused whatever its signature is.
    pub fn begin(&self, token: &str) -> Result<SignatureCheck, Rejected> {
        let [header, _, _] = parts(token)?;
        let header: Header = from_json(&decode(header)?)?;
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: what is marked critical must be understood; we extend nothing.
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

    /// Who a token whose signature holds says its bearer is, if it is in force at `now_unix_ms`.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn identity<T: AsRef<str>>(
        &self,
        signed: &Signed<T>,
        now_unix_ms: u64,
    ) -> Result<Identity, Rejected> {
        let [_, payload, _] = parts(signed.0.as_ref())?;
        let json = decode(payload)?;
        let mut claims: Map<String, Value> = from_json(&json)?;
        claims.retain(|_, value| !value.is_null());
        let expires_at_ms = self.check_times(&claims, now_unix_ms)?;
        self.check_audience_and_issuer(&claims)?;
        self.check_type(&claims)?;
        let named = |claim: &str| claims.get(claim).map(|value| name(value, &json, claim));
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

    /// How many keys of the key set cannot be used.
    pub fn unusable_keys(&self) -> usize {
        self.keys.unusable()
    }

    /// The keys that come from a URL, where some do.
    pub fn remote_keys(&self) -> Option<&Arc<RemoteKeys>> {
        match &self.keys {
            Keys::Fixed(_) => None,
            Keys::Remote(keys) => Some(keys),
        }
    }

    /// Checks `exp`, `nbf` and `iat`, and returns `exp` in milliseconds.
    fn check_times(&self, claims: &Map<String, Value>, now_ms: u64) -> Result<u64, Rejected> {
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
        // Without `iat`, what is left of its life is all that is known of it. Whole seconds,
        // because issuers round `exp` up and `iat` down.
        let life_ms = expires_at_ms.saturating_sub(issued_ms.unwrap_or(now_ms));
        if life_ms / 1_000 > self.max_life_s {
            return Err(Rejected::LivesTooLong);
        }
        Ok(expires_at_ms)
    }

    fn check_audience_and_issuer(&self, claims: &Map<String, Value>) -> Result<(), Rejected> {
        if let Some(audience) = self.audience.as_deref() {
            let meant = match claims.get("aud").ok_or(Rejected::Missing("aud"))? {
                Value::String(one) => one == audience,
                Value::Array(many) => {
                    if !many.iter().all(Value::is_string) {
                        return Err(Rejected::Claim("aud"));
                    }
                    many.iter().any(|one| one == audience)
                }
                _ => return Err(Rejected::Claim("aud")),
            };
            if !meant {
                return Err(Rejected::Audience);
            }
        }
        if let Some(issuer) = self.issuer.as_deref() {
            match claims.get("iss").ok_or(Rejected::Missing("iss"))? {
                Value::String(one) if one == issuer => {}
                Value::String(_) => return Err(Rejected::Issuer),
                _ => return Err(Rejected::Claim("iss")),
            }
        }
        Ok(())
    }

    /// A refresh token is worth more than a stream: it must not travel here, let alone open one.
    fn check_type(&self, claims: &Map<String, Value>) -> Result<(), Rejected> {
        match claims.get(&*self.token_type_claim) {
            None => Ok(()),
            Some(kind) if kind == "access" => Ok(()),
            Some(_) => Err(Rejected::TokenType),
        }
    }
}

/// The part of the work that takes long where the key is public: up to 0.3 ms a key.
#[derive(Debug)]
pub struct SignatureCheck {
    alg: config::Algorithm,
    keys: Vec<Arc<TriedKey>>,
    otherwise: Rejected,
}

impl SignatureCheck {
    /// Whether it takes so long that it must not be done on a shard's thread.
    pub fn is_slow(&self) -> bool {
        Kind::of(self.alg).is_slow()
    }

    /// Checks the token's signature with each key until one fits.
    ///
    /// # Errors
    /// The signature is of none of them, and what that means.
    pub fn run<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, Rejected> {
        self.run_with(&self.keys, token).map_err(|_| self.otherwise)
    }

    /// Checks it with the key that is the most likely one.
    pub(super) fn run_first<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, T> {
        self.run_with(self.keys.get(..1).unwrap_or_default(), token)
    }

    /// Whether there is more than that key.
    pub(super) fn has_more(&self) -> bool {
        self.keys.len() > 1
    }

    /// Checks it with the others.
    pub(super) fn run_rest<T: AsRef<str>>(&self, token: T) -> Result<Signed<T>, Rejected> {
        self.run_with(self.keys.get(1..).unwrap_or_default(), token)
            .map_err(|_| self.otherwise)
    }

    fn run_with<T: AsRef<str>>(&self, keys: &[Arc<TriedKey>], token: T) -> Result<Signed<T>, T> {
        let text = token.as_ref();
        // Without a dot it is no token; the signature of nothing is of no key.
        let (message, signature) = text.rsplit_once('.').unwrap_or((text, ""));
        let holds = |key: &Arc<TriedKey>| key.holds(signature, message.as_bytes(), self.alg);
        if keys.iter().any(holds) {
            Ok(Signed(token))
        } else {
            Err(token)
        }
    }
}

/// A token whose signature holds. Made by [`SignatureCheck::run`] alone.
pub struct Signed<T>(T);

/// Why a token is refused. No variant holds any of it, so that all of it may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// More than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// Not three parts, not base64url, not JSON.
    Malformed,
    /// An `alg` that is not in the allow-list.
    Algorithm,
    /// A header with `crit`.
    Critical,
    /// A `kid` that no key has.
    UnknownKid,
    /// No `kid`, and several named keys fit.
    NoKid,
    /// No key of the kind that the `alg` needs.
    NoKey,
    /// The key may be one of a set that was not fetched yet.
    KeysAway,
    /// The signature is not of the chosen key.
    Signature,
    /// This claim is required and not there.
    Missing(&'static str),
    /// This claim has a wrong type or form.
    Claim(&'static str),
    /// Past `exp`.
    Expired,
    /// Before `nbf`.
    NotYetValid,
    /// `iat` lies ahead.
    IssuedInFuture,
    /// Valid for longer than `auth.max_token_life`.
    LivesTooLong,
    /// Meant for someone else.
    Audience,
    /// From someone else.
    Issuer,
    /// Not an access token.
    TokenType,
}

impl Rejected {
    /// The reason as a log field.
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::Algorithm => "alg_not_allowed",
            Self::Critical => "crit_header",
            Self::UnknownKid => "kid_unknown",
            Self::NoKid => "kid_missing",
            Self::NoKey => "no_key_for_alg",
            Self::KeysAway => "keys_not_fetched",
            Self::Signature => "bad_signature",
            Self::Missing("exp") => "exp_missing",
            Self::Missing("aud") => "aud_missing",
            Self::Missing("iss") => "iss_missing",
            Self::Missing(_) => "user_missing",
            Self::Claim("exp") => "exp_invalid",
            Self::Claim("nbf") => "nbf_invalid",
            Self::Claim("iat") => "iat_invalid",
            Self::Claim("aud") => "aud_invalid",
            Self::Claim("iss") => "iss_invalid",
            Self::Claim("session") => "session_invalid",
            Self::Claim("topics") => "topics_invalid",
            Self::Claim(_) => "user_invalid",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::LivesTooLong => "over_max_token_life",
            Self::Audience => "wrong_audience",
            Self::Issuer => "wrong_issuer",
            Self::TokenType => "not_an_access_token",
        }
    }
}

/// What of a header decides; the rest (`jku`, `x5c`, an embedded `jwk`) is a stranger's word.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Present even where it is `null`, which is no valid list either.
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
    let (message, signature) = token.rsplit_once('.').ok_or(Rejected::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Rejected::Malformed)?;
    if payload.contains('.') {
        return Err(Rejected::Malformed);
    }
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
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Rejected> {
    claims
        .get(name)
        .map(unix_ms)
        .transpose()
        .map_err(|NotATime| Rejected::Claim(name))
}

struct NotATime;

/// A NumericDate (RFC 7519 §2: seconds, perhaps with a fraction) in whole milliseconds.
fn unix_ms(value: &Value) -> Result<u64, NotATime> {
    if let Some(seconds) = value.as_u64() {
        return Ok(seconds.saturating_mul(1_000));
    }
    let seconds = value.as_f64().ok_or(NotATime)?;
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(NotATime);
    }
    // An f64 of today's seconds is exact to a quarter of a microsecond, so .123 may stand there as
    // .12299998. A microsecond more, and rounding down gives the millisecond that was written.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    Ok((seconds * 1_000.0 + 0.001) as u64)
}

fn topics(claims: &Map<String, Value>) -> Result<Box<[TopicPattern]>, Rejected> {
    let bad = Rejected::Claim("topics");
    match claims.get("topics") {
        None => Ok(Box::default()),
        Some(Value::Array(list)) if list.len() <= MAX_PATTERNS => list
            .iter()
            .map(|pattern| TopicPattern::parse(pattern.as_str().ok_or(bad)?).map_err(|_| bad))
            .collect(),
        Some(_) => Err(bad),
    }
}

#[cfg(test)]
mod tests;
