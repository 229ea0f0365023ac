//! `[auth]`: who may open a stream.

use std::path::PathBuf;
use std::time::Duration;

use super::checks::{at_least, not_blank, not_empty};
use super::choice::choice;
use super::input_file::InputFile;
use super::names::CookieName;
use super::secret::Secret;
use super::section::section;
use super::url::{Jwks, Url};

section! {
    /// `[auth]`: who may open a stream.
    pub struct Auth {
        /// HS256/384/512 RS256/384/512 PS256 ES256/384 EdDSA.
        pub algorithms: Vec<Algorithm> = vec![Algorithm::HS256],
            check not_empty("no token could be valid ([\"HS256\"])");
        /// Shared secret for HS*, at least 32 bytes; or secret_file.
        ///
        /// After loading, it is here even if it came from the file.
        pub secret: Option<Secret> = None;
        /// A file with the shared secret.
        pub secret_file: Option<PathBuf> = None;
        /// PEM files.
        pub public_keys: Vec<InputFile> = Vec::new();
        /// A JSON Web Key Set: a file or an http(s) URL (below).
        pub jwks: Option<Jwks> = None;
        /// The claim with the user's id.
        pub user_claim: String = "user_id".to_owned(),
            check not_blank("name the claim (user_id)");
        /// The claim with the session's id.
        pub session_claim: String = "session_id".to_owned();
        /// If the claim is present, it must be "access".
        pub token_type_claim: String = "token_type".to_owned();
        /// Required `aud`; empty: not checked.
        pub audience: Option<String> = None;
        /// Required `iss`; empty: not checked.
        pub issuer: Option<String> = None;
        /// Clock difference allowed on `exp`, `nbf` and `iat`.
        pub leeway: Duration = Duration::from_secs(5);
        /// Longest `exp` - `iat`; a log-out is remembered for this long.
        pub max_token_life: Duration = Duration::from_secs(30 * 24 * 60 * 60),
            check at_least(Duration::from_secs(1));
        /// The cookie that may hold the JWT.
        pub jwt_cookie: CookieName = CookieName::of("access_token");
        /// URL of the application, which tells whose session a cookie is (below).
        pub session_auth_url: Option<Url> = None;
        /// Every cookie that the application's answer depends on.
        ///
        /// A request without one of them, or `Authorization`, causes no question.
        pub session_cookie: Vec<CookieName> = vec![CookieName::of("sessionid")];
        /// A stream ends at its token's `exp`; or "keep": it stays open.
        pub on_expiry: OnExpiry = OnExpiry::Close;
        /// Time within which a ticket must be used.
        pub ticket_ttl: Duration = Duration::from_secs(30),
            check at_least(Duration::from_secs(1));
    }
}

choice! {
    /// A JWS signature algorithm (RFC 7518 §3.1, RFC 8037) that Idlewild accepts.
    #[allow(missing_docs)] // the names are the standard's
    pub enum Algorithm {
        HS256 = "HS256",
        HS384 = "HS384",
        HS512 = "HS512",
        RS256 = "RS256",
        RS384 = "RS384",
        RS512 = "RS512",
        PS256 = "PS256",
        ES256 = "ES256",
        ES384 = "ES384",
        EdDSA = "EdDSA",
    }
}

impl Algorithm {
    /// Returns true if it signs with the shared secret.
    pub(super) fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

choice! {
    /// What happens to a stream at its token's `exp`.
    pub enum OnExpiry {
        /// The stream gets `event: token_expired` and ends.
        Close = "close",
        /// The stream stays.
        Keep = "keep",
    }
}
