//! Chooses the credential of a request that counts, without checking it. If it is bad, the others are
//! not tried.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::COOKIE;

use crate::request::{bearer, query_pairs};

/// A credential as the client sent it, after percent-decoding.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A JWT in the `Authorization` header; empty if the header has nothing but the scheme.
    Bearer(Cow<'a, str>),
    /// A one-time ticket in the query.
    Ticket(Cow<'a, str>),
    /// A JWT in the query.
    QueryToken(Cow<'a, str>),
    /// A JWT in a cookie.
    Cookie(Cow<'a, str>),
}

/// The first credential present, in the contract's order: header, ticket, token, cookie.
///
/// An `Authorization` of another scheme, such as a proxy's Basic, is ignored. A parameter or cookie
/// without a value counts as absent: forms and log-outs leave such. Bytes that are not UTF-8 become
/// U+FFFD, which no credential contains.
pub fn find<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    jwt_cookie: &str,
) -> Option<Credential<'a>> {
    bearer(headers)
        .map(Credential::Bearer)
        .or_else(|| parameter(query?, "ticket").map(Credential::Ticket))
        .or_else(|| parameter(query?, "token").map(Credential::QueryToken))
        .or_else(|| cookie(headers, jwt_cookie).map(Credential::Cookie))
}

impl Credential<'_> {
    /// The source of the credential, as a log field.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Bearer(_) => "bearer",
            Self::Ticket(_) => "ticket",
            Self::QueryToken(_) => "query_token",
            Self::Cookie(_) => "cookie",
        }
    }
}

/// Shows the source of the credential, never the credential.
impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query_pairs(query).find_map(|(key, value)| (key == name && !value.is_empty()).then_some(value))
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    cookies(headers).find_map(|(key, value)| {
        let value = match value {
            [b'"', inside @ .., b'"'] => inside,
            plain => plain,
        };
        (key == name.as_bytes() && !value.is_empty()).then(|| String::from_utf8_lossy(value))
    })
}

/// Names and values of all cookies, in order.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.split_at(equals);
            Some((name.trim_ascii(), value.strip_prefix(b"=")?.trim_ascii()))
        })
}

#[cfg(test)]
mod tests {
    use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[track_caller]
    #[allow(clippy::needless_pass_by_value)] // the call sites read better
    fn finds(pairs: &[(HeaderName, &str)], query: Option<&str>, expected: Option<Credential<'_>>) {
        assert!(find(&headers(pairs), query, "access_token") == expected);
    }

    #[test]
    fn the_first_credential_present_decides() {
        let cookie = (COOKIE, "access_token=c");
        let all = [(AUTHORIZATION, "Bearer h"), cookie.clone()];
        let query = Some("token=q&ticket=t");
        finds(&all, query, Some(Credential::Bearer("h".into())));
        let cookie = [cookie];
        finds(&cookie, query, Some(Credential::Ticket("t".into())));
        finds(
            &cookie,
            Some("token=q"),
            Some(Credential::QueryToken("q".into())),
        );
        finds(
            &cookie,
            Some("topic=a"),
            Some(Credential::Cookie("c".into())),
        );
        finds(&[], Some("topic=a"), None);
        finds(&[], None, None);
    }

    #[test]
    fn the_bearer_scheme_is_read_in_any_case() {
        for value in [
            "Bearer x",
            "bearer x",
            "BEARER x",
            "Bearer   x ",
            "Bearer\tx",
        ] {
            finds(
                &[(AUTHORIZATION, value)],
                None,
                Some(Credential::Bearer("x".into())),
            );
        }
    }

    #[test]
    fn an_authorization_of_another_scheme_is_ignored() {
        for value in ["Basic dXNlcg==", "Bearerx y", "", "Token x"] {
            let pairs = [(AUTHORIZATION, value)];
            finds(
                &pairs,
                Some("token=q"),
                Some(Credential::QueryToken("q".into())),
            );
        }
        let both = [
            (AUTHORIZATION, "Basic dXNlcg=="),
            (AUTHORIZATION, "Bearer x"),
        ];
        finds(&both, None, Some(Credential::Bearer("x".into())));
    }

    #[test]
    fn an_empty_bearer_still_decides() {
        for value in ["Bearer", "Bearer "] {
            finds(
                &[(AUTHORIZATION, value)],
                Some("token=q"),
                Some(Credential::Bearer("".into())),
            );
        }
    }

    #[test]
    fn an_empty_parameter_or_cookie_is_absent() {
        let cookie = [(COOKIE, "access_token=c")];
        finds(
            &cookie,
            Some("ticket=&token="),
            Some(Credential::Cookie("c".into())),
        );
        finds(
            &cookie,
            Some("ticket&token=q"),
            Some(Credential::QueryToken("q".into())),
        );
        finds(&[(COOKIE, "access_token=; b=c")], None, None);
        finds(&[(COOKIE, "access_token=\"\"")], None, None);
    }

    #[test]
    fn parameters_are_percent_decoded() {
        finds(
            &[],
            Some("a=1&t%6Fken=x%2Ey"),
            Some(Credential::QueryToken("x.y".into())),
        );
    }

    #[test]
    fn cookies_are_found_among_others_over_several_headers() {
        let pairs = [
            (COOKIE, "a=b; not_access_token=1; ;x"),
            (COOKIE, "c=d;access_token=\"v=1\"; access_token=second"),
        ];
        finds(&pairs, None, Some(Credential::Cookie("v=1".into())));
        finds(&[(COOKIE, "Access_Token=x")], None, None);
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let shown = format!("{:?}", Credential::Bearer("secret".into()));
        assert_eq!(shown, "bearer");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            authorization: Vec<u8>, cookie: Vec<u8>, query: String, prefix in "(Bearer |access_token=|)"
        ) {
            let mut headers = HeaderMap::new();
            for (name, bytes) in [(AUTHORIZATION, authorization), (COOKIE, cookie)] {
                let bytes = [prefix.as_bytes(), &bytes].concat();
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    headers.insert(name, value);
                }
            }
            let _ = find(&headers, Some(&query), "access_token");
        }
    }
}
