//! Signs the clients' tokens: HS256 JWTs for users `0..users`, with the server's secret.
//!
//! Implemented from RFC 7515 and 7519 instead of with the server's JWT crate: the two should agree on the
//! wire format, not share a library. A token is made when its connection opens, and is not stored.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::clock;

/// Signs access tokens for users by number.
#[derive(Clone, Debug)]
pub(crate) struct Minter {
    keyed: Hmac<Sha256>,
    users: u32,
    ttl: Duration,
}

impl Minter {
    /// A minter for users `0..users` whose tokens live for `ttl`.
    pub(crate) fn new(secret: &[u8], users: u32, ttl: Duration) -> Self {
        let keyed = Hmac::new_from_slice(secret).expect("HMAC takes a key of any length");
        Self {
            keyed,
            users: users.max(1),
            ttl,
        }
    }

    /// The token of the connection with this number.
    pub(super) fn mint(&self, connection: u32) -> String {
        self.mint_at(self.user(connection), clock::unix_s())
    }

    /// The user of a connection. Further connections share the users in turn.
    pub(super) fn user(&self, connection: u32) -> u32 {
        connection % self.users
    }

    fn mint_at(&self, user: u32, iat: u64) -> String {
        let exp = iat + self.ttl.as_secs();
        let claims =
            format!(r#"{{"user_id":{user},"token_type":"access","iat":{iat},"exp":{exp}}}"#);
        let mut token = String::with_capacity(192);
        URL_SAFE_NO_PAD.encode_string(br#"{"alg":"HS256","typ":"JWT"}"#, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self
            .keyed
            .clone()
            .chain_update(&token)
            .finalize()
            .into_bytes();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minter() -> Minter {
        Minter::new(
            b"0123456789abcdef0123456789abcdef",
            3,
            Duration::from_secs(60),
        )
    }

    #[test]
    fn a_token_has_the_claims_of_the_contract() {
        let token = minter().mint_at(2, 1_700_000_000);
        let parts: Vec<_> = token
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .collect();
        assert_eq!(parts.len(), 3);
        let header: serde_json::Value = serde_json::from_slice(&parts[0]).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&parts[1]).unwrap();
        assert_eq!(header["alg"], "HS256");
        assert_eq!(
            claims,
            serde_json::json!({"user_id": 2, "token_type": "access", "iat": 1_700_000_000, "exp": 1_700_000_060})
        );
        assert_eq!(parts[2].len(), 32);
    }

    #[test]
    fn the_signature_is_the_one_another_implementation_computes() {
        // python3: hmac.new(key, b"<header>.<claims>", "sha256"), url-safe base64 without padding
        let token = minter().mint_at(2, 1_700_000_000);
        assert_eq!(
            token.rsplit('.').next(),
            Some("7b8B8PxaNjnreRMeMYfPn2wQ98cH_UhxY-L4VaWbg6g")
        );
    }

    #[test]
    fn further_connections_share_the_users_in_turn() {
        let users: Vec<_> = (0..5).map(|number| minter().user(number)).collect();
        assert_eq!(users, [0, 1, 2, 0, 1]);
    }
}
