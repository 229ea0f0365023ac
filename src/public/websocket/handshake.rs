//! The opening handshake (RFC 6455 §4.2).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Request, Response, StatusCode, Version};

use crate::public::answer::{empty, error};
use crate::request::list;

/// The text that is appended to the client's key (§1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a client's key (§4.1).
const KEY_BYTES: usize = 16;
const VERSION: &str = "13";
/// The only subprotocol. docs/websocket.md describes its messages.
const SUBPROTOCOL: &str = "idlewild.v1";

/// A valid handshake of a client.
#[derive(Debug)]
pub(super) struct OpeningHandshake {
    accept: String,
    has_subprotocol: bool,
}

/// What is wrong with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHandshake {
    /// No upgrade to WebSocket is requested, or the request is HTTP/1.0, which has none (RFC 9110, 7.8).
    NoUpgrade,
    /// Another version of the protocol.
    OtherVersion,
    /// No key, several, or one that is not 16 bytes in base64.
    BadKey,
    /// A handshake has no body, and expects nothing.
    HasBody,
}

impl OpeningHandshake {
    /// Checks a GET request.
    pub(super) fn of(request: &Request<Incoming>) -> Result<Self, BadHandshake> {
        let headers = request.headers();
        let is_upgrade = request.version() == Version::HTTP_11
            && has_token(headers, &CONNECTION, "upgrade")
            && has_token(headers, &UPGRADE, "websocket");
        if !is_upgrade {
            return Err(BadHandshake::NoUpgrade);
        }
        if only(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION) {
            return Err(BadHandshake::OtherVersion);
        }
        let has_body = request.body().size_hint().exact() != Some(0)
            || headers.contains_key(TRANSFER_ENCODING)
            || headers.contains_key(EXPECT);
        if has_body {
            return Err(BadHandshake::HasBody);
        }
        let key = only(headers, &SEC_WEBSOCKET_KEY).ok_or(BadHandshake::BadKey)?;
        Ok(Self {
            accept: accept(key).ok_or(BadHandshake::BadKey)?,
            has_subprotocol: list(headers, &SEC_WEBSOCKET_PROTOCOL)
                .any(|it| it == SUBPROTOCOL.as_bytes()),
        })
    }

    fn fields(&self) -> impl Iterator<Item = (HeaderName, &str)> {
        let subprotocol = self.has_subprotocol.then_some(SUBPROTOCOL);
        [
            (UPGRADE, "websocket"),
            (CONNECTION, "Upgrade"),
            (SEC_WEBSOCKET_ACCEPT, self.accept.as_str()),
        ]
        .into_iter()
        .chain(subprotocol.map(|name| (SEC_WEBSOCKET_PROTOCOL, name)))
    }

    /// The head of the response, for a stream.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
        for (name, value) in self.fields() {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The same as hyper's response, for a client that is refused with a close frame.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
        for (name, value) in self.fields() {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl BadHandshake {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NoUpgrade => "Upgrade to WebSocket over HTTP/1.1",
            Self::OtherVersion => "Only version 13 of WebSocket is served",
            Self::BadKey => "Send one Sec-WebSocket-Key of 16 bytes in base64",
            Self::HasBody => "A WebSocket handshake has no body and expects nothing",
        }
    }

    /// The response (§4.2.2, §4.4, and RFC 9110, 15.5.22).
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let status = match self {
            Self::NoUpgrade | Self::OtherVersion => StatusCode::UPGRADE_REQUIRED,
            Self::BadKey | Self::HasBody => StatusCode::BAD_REQUEST,
        };
        let mut response = error(status, self.text());
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        }
        response
    }
}

/// The value that proves that the server has read the key.
fn accept(key: &str) -> Option<String> {
    let bytes = STANDARD.decode(key).ok()?;
    if bytes.len() != KEY_BYTES {
        return None;
    }
    // The standard's choice (§1.3); nothing depends on its strength.
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    Some(STANDARD.encode(hash))
}

/// The value of a field that has to be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim())
}

/// Returns true if a list has this token, in any case (RFC 9110 §7.6.1 and §7.8).
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list(headers, name).any(|it| it.eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_standard() {
        let accept = accept("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn a_key_is_sixteen_bytes() {
        for key in [
            "",
            "short",
            "AAAA",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZSE=",
        ] {
            assert_eq!(accept(key), None, "{key}");
        }
    }
}
