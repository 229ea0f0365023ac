//! A request for a stream over WebSocket. If the handshake is valid, a client is refused with a close frame, because
//! browsers tell a page nothing about a failed handshake.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};

use super::handshake::OpeningHandshake;
use super::origin;
use crate::public::answer::error;
use crate::public::connection::HttpConnection;
use crate::public::identify::{Asker, identify};
use crate::public::offer::offer;
use crate::public::refusal::{Refusal, Refused};
use crate::public::reloadable::Reloadable;
use crate::public::subscription::{StreamForm, admission};
use crate::shard::Admission;
use crate::wire::Wire;
use crate::wire::websocket::{CloseCode, close_frame};

/// The connection ends with the WebSocket.
const FORM: StreamForm = StreamForm {
    wire: Wire::WebSocket,
    keep_alive: false,
};

/// Checks the request and offers it to the driver; returns only if it is refused.
pub(in crate::public) async fn answer(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let handshake = match OpeningHandshake::of(request) {
        Ok(handshake) => handshake,
        Err(malformed) => {
            let refused = Refusal::BadRequest(malformed.text()).into();
            connection.refused(refused, false, request.headers());
            return malformed.response();
        }
    };
    let refused = match check(connection, reloadable, request).await {
        Ok(admission) => {
            let head = |_: &Admission| handshake.head();
            offer(connection, reloadable, request, admission, head).await
        }
        Err(refused) => refused,
    };
    let refusal = refused.reason;
    refused.log(connection.peer());
    connection.refused(refused, false, request.headers());
    if refusal == Refusal::OriginNotAllowed {
        return error(StatusCode::FORBIDDEN, refusal.reason());
    }
    connection.close_with(close_frame(close_code(refusal)));
    handshake.response()
}

async fn check(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    request: &Request<Incoming>,
) -> Result<Admission, Refused> {
    if connection.public.is_draining() {
        return Err(Refusal::ShuttingDown.into());
    }
    let identity = identify(connection, reloadable, request).await?;
    let asker = Asker::of(connection, reloadable, request);
    if asker.is_known_by_cookies() && !origin::is_allowed(&reloadable.cors, request.headers()) {
        asker.denied("origin_not_allowed");
        return Err(Refused {
            reason: Refusal::OriginNotAllowed,
            user: Some(identity.user),
        });
    }
    admission(connection, reloadable, request, Some(identity), FORM)
}

fn close_code(refusal: Refusal) -> CloseCode {
    match refusal {
        Refusal::Unauthenticated => CloseCode::Unauthenticated,
        Refusal::TopicNotAllowed => CloseCode::TopicNotAllowed,
        Refusal::TooManyConnections => CloseCode::TooManyConnections,
        Refusal::ServerFull => CloseCode::ServerFull,
        Refusal::AuthUnavailable => CloseCode::AuthUnavailable,
        Refusal::ShuttingDown => CloseCode::ShuttingDown,
        Refusal::BadRequest(reason) => CloseCode::BadRequest(reason),
        // Refused without a WebSocket.
        Refusal::OriginNotAllowed => CloseCode::BadRequest(refusal.reason()),
    }
}
