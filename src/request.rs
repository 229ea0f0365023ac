//! Checks that apply to all HTTP requests, and reading their bearer tokens.

use std::borrow::Cow;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode, Version};

/// Why a request is refused before routing. The connection should be closed after the response: client
/// and server may disagree on where the next request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidRequest {
    /// No `Host` header, which HTTP/1.1 requires (RFC 9112, 3.2).
    NoHost,
    /// Two `Host` headers, or an invalid one.
    BadHost,
    /// A transfer coding that this server does not support (RFC 9112, 6.1).
    TransferCoding,
}

impl InvalidRequest {
    /// Checks a request; returns the first problem.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (None, _) if request.version() >= Version::HTTP_11 => return Some(Self::NoHost),
            (Some(_), Some(_)) => return Some(Self::BadHost),
            (Some(host), None) if !is_host(host) => return Some(Self::BadHost),
            _ => {}
        }
        has_other_coding(headers).then_some(Self::TransferCoding)
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoHost | Self::BadHost => StatusCode::BAD_REQUEST,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoHost => "The Host header is missing",
            Self::BadHost => "Send exactly one Host header: a name or address, and perhaps a port",
            Self::TransferCoding => "The only transfer coding served here is chunked",
        }
    }
}

/// The credential of the first `Authorization` header with the scheme Bearer: a client's token or a
/// publisher's key. Empty if nothing follows the scheme. Bytes that are not UTF-8 become U+FFFD, which
/// no credential contains.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    headers.get_all(AUTHORIZATION).iter().find_map(|value| {
        let value = value.as_bytes().trim_ascii();
        let end = value.iter().position(u8::is_ascii_whitespace);
        let (scheme, credential) = value.split_at(end.unwrap_or(value.len()));
        scheme
            .eq_ignore_ascii_case(b"Bearer")
            .then(|| String::from_utf8_lossy(credential.trim_ascii()))
    })
}

/// The names and values of a query (`application/x-www-form-urlencoded`), in order. Only what is encoded is decoded, and
/// borrowed otherwise: most of a query is a token, which needs no decoding.
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let mut rest = Some(query);
    let pairs = std::iter::from_fn(move || {
        let (pair, after) = split_at(rest?, b'&');
        rest = after;
        Some(pair)
    });
    pairs.filter(|pair| !pair.is_empty()).filter_map(|pair| {
        if memchr::memchr2(b'%', b'+', pair.as_bytes()).is_some() {
            return form_urlencoded::parse(pair.as_bytes()).next();
        }
        let (name, value) = split_at(pair, b'=');
        Some((name.into(), value.unwrap_or_default().into()))
    })
}

/// What precedes the first such byte, which is ASCII, and what follows it. `str::split_once` looks at one byte at a time.
fn split_at(text: &str, byte: u8) -> (&str, Option<&str>) {
    memchr::memchr(byte, text.as_bytes())
        .and_then(|at| Some((text.get(..at)?, Some(text.get(at + 1..)?))))
        .unwrap_or((text, None))
}

/// A name or address, with an optional port. Empty if the client's URI has none.
fn is_host(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    value.is_empty() || (!value.contains(&b'@') && Authority::try_from(value).is_ok())
}

/// The elements of a field that is a list (RFC 9110 §5.6.1).
pub(crate) fn list<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| {
        let elements = value.as_bytes().split(|byte| *byte == b',');
        elements.map(<[u8]>::trim_ascii)
    })
}

/// hyper has checked that the last coding is `chunked`, and decodes no other.
fn has_other_coding(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => false,
        (Some(coding), None) => !coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_query_is_read_as_by_the_standard(query in "([a-c=&+%2é]|%2[0B5]){0,40}") {
            let pairs: Vec<_> = query_pairs(&query).collect();
            let expected: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
            prop_assert_eq!(pairs, expected);
        }
    }

    fn fault(version: Version, fields: &[(&str, &str)]) -> Option<InvalidRequest> {
        let mut request = Request::builder().version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        InvalidRequest::of(&request.body(()).unwrap())
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        let http_11 = |fields: &[(&str, &str)]| fault(Version::HTTP_11, fields);
        for host in [
            "example.org",
            "example.org:8000",
            "[::1]:80",
            "my_service",
            "",
        ] {
            assert_eq!(http_11(&[("host", host)]), None, "{host:?}");
        }
        assert_eq!(http_11(&[]), Some(InvalidRequest::NoHost));
        for host in ["a b", "user@a", "a/b", "a, b", "a:b:c"] {
            assert_eq!(
                http_11(&[("host", host)]),
                Some(InvalidRequest::BadHost),
                "{host:?}"
            );
        }
        let twice = [("host", "a"), ("host", "a")];
        assert_eq!(http_11(&twice), Some(InvalidRequest::BadHost));
        assert_eq!(
            fault(Version::HTTP_10, &twice),
            Some(InvalidRequest::BadHost)
        );
        assert_eq!(fault(Version::HTTP_10, &[]), None);
    }

    #[test]
    fn chunked_is_the_only_coding() {
        let coded = |value| {
            fault(
                Version::HTTP_11,
                &[("host", "a"), ("transfer-encoding", value)],
            )
        };
        assert_eq!(coded("chunked"), None);
        assert_eq!(coded("Chunked "), None);
        for value in ["gzip, chunked", "chunked, chunked", "gzip"] {
            assert_eq!(
                coded(value),
                Some(InvalidRequest::TransferCoding),
                "{value}"
            );
        }
    }
}
