//! Reasons to reject a token.

/// Why a token is rejected. No variant contains any part of the token, so all can be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Longer than `MAX_TOKEN_BYTES`.
    TooLong,
    /// Not three parts, not base64url, or not JSON.
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
    /// The key may be in a set that was not fetched yet.
    KeysAway,
    /// The signature matches none of the keys.
    Signature,
    /// A required claim is absent.
    Missing(&'static str),
    /// A claim has a wrong type or form.
    Claim(&'static str),
    /// Past `exp`.
    Expired,
    /// Before `nbf`.
    NotYetValid,
    /// `iat` is in the future.
    IssuedInFuture,
    /// Valid for longer than `auth.max_token_life`.
    LivesTooLong,
    /// Meant for another audience.
    Audience,
    /// From another issuer.
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
