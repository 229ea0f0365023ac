//! The reasons for refusing a stream. This is the only place that turns a reason into a status, the
//! guide's body and a metric label.

use std::net::IpAddr;

use compact_str::CompactString;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::answer::{EVENT_STREAM, text};
use crate::hub::Rejection;
use crate::metrics::RefusedReason;
use crate::refusals::RefusalNote;
use crate::shard::Declined;
use crate::wire;

/// The reason for refusing a request for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The credential is missing, invalid, expired or revoked.
    Unauthenticated,
    /// No pattern of the token matches the topic.
    TopicNotAllowed,
    /// A page of another origin uses the visitor's cookies for a WebSocket.
    OriginNotAllowed,
    /// The user's limit is reached.
    TooManyConnections,
    /// The server's limit is reached.
    ServerFull,
    /// The credential cannot be checked now, since the key set, the application or the store does not answer.
    AuthUnavailable,
    /// The server is shutting down.
    ShuttingDown,
    /// The request is not a valid request for a stream.
    BadRequest(&'static str),
}

/// A refused request. Names the user if the credential was valid.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Refusal,
    pub(super) user: Option<CompactString>,
}

impl Refused {
    /// Logs the reason, with the peer's address if it is known.
    pub(super) fn log(&self, peer: Option<IpAddr>) {
        tracing::debug!(
            reason = self.reason.reason(),
            peer = peer.map(tracing::field::display),
            "stream refused"
        );
    }

    /// The entry in the operator's list. `counted` is the reason that the metrics count it under.
    pub(super) fn note(self, counted: RefusedReason, remote: Option<IpAddr>) -> RefusalNote {
        RefusalNote {
            reason: counted,
            text: self.reason.reason(),
            status: Some(self.reason.status().as_u16()),
            remote,
            user: self.user,
        }
    }
}

impl From<Refusal> for Refused {
    fn from(reason: Refusal) -> Self {
        Self { reason, user: None }
    }
}

impl From<Declined> for Refused {
    fn from(Declined { reason, user, .. }: Declined) -> Self {
        Self {
            reason: reason.into(),
            user,
        }
    }
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::TopicNotAllowed | Self::OriginNotAllowed => StatusCode::FORBIDDEN,
            Self::TooManyConnections => StatusCode::TOO_MANY_REQUESTS,
            Self::ServerFull | Self::AuthUnavailable | Self::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unauthenticated => "Authentication required",
            Self::TopicNotAllowed => "Topic not allowed",
            Self::OriginNotAllowed => "Origin not allowed",
            Self::TooManyConnections => "Too many connections",
            Self::ServerFull => "Server full",
            Self::AuthUnavailable => "Authentication unavailable",
            Self::ShuttingDown => "Shutting down",
            Self::BadRequest(reason) => reason,
        }
    }

    pub(super) fn metric(self) -> RefusedReason {
        match self {
            Self::Unauthenticated | Self::AuthUnavailable | Self::OriginNotAllowed => {
                RefusedReason::Auth
            }
            Self::TopicNotAllowed => RefusedReason::Topic,
            Self::TooManyConnections => RefusedReason::Limit,
            Self::ServerFull | Self::ShuttingDown => RefusedReason::Full,
            Self::BadRequest(_) => RefusedReason::Handshake,
        }
    }

    /// The response in the guide's format.
    pub(super) fn response(self, retry_after_s: u64) -> Response<Full<Bytes>> {
        let mut response = text(self.status(), wire::refusal(self.reason()));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
        self.add_headers(&mut response, retry_after_s);
        response
    }

    /// Adds the header fields that the status requires. They do not depend on the body's format.
    pub(super) fn add_headers(self, response: &mut Response<Full<Bytes>>, retry_after_s: u64) {
        let headers = response.headers_mut();
        match self.status() {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
            }
            _ => {}
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(reason: Rejection) -> Self {
        match reason {
            Rejection::Draining => Self::ShuttingDown,
            Rejection::Full => Self::ServerFull,
            Rejection::Revoked => Self::Unauthenticated,
            Rejection::Limit => Self::TooManyConnections,
            Rejection::Stale => Self::AuthUnavailable,
        }
    }
}
