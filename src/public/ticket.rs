//! `POST {base}/sse/ticket/`: trades a JWT for a ticket, so that no long-lived token stands in a
//! URL, where logs and histories keep it.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use serde_json::json;

use super::Live;
use super::answer::{error, json};
use super::connection::Connection;
use super::identify::{Identified, Verdict};
use super::refusal::Refusal;
use crate::auth::credentials::{self, Credential};

pub(super) async fn answer(
    connection: &Connection,
    live: &Live,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let public = &connection.public;
    let ttl = live.auth.ticket_ttl;
    let issued = identify(connection, live, request)
        .await
        .and_then(|identity| {
            public
                .tickets
                .issue(identity, ttl)
                .map_err(|_| Refusal::ServerFull)
        });
    match issued {
        Ok(ticket) => json(
            StatusCode::CREATED,
            &json!({"ticket": ticket, "expires_in": ttl.as_secs()}),
        ),
        Err(refusal) => {
            connection.refused(refusal.into(), request.headers());
            let mut response = error(refusal.status(), refusal.reason());
            refusal.add_headers(&mut response, public.retry_after_s);
            response
        }
    }
}

/// Header or cookie only: a URL is what the ticket is to keep the token out of.
async fn identify(connection: &Connection, live: &Live, request: &Request<Incoming>) -> Identified {
    let public = &connection.public;
    let found = credentials::find(request.headers(), None, &live.auth.jwt_cookie);
    let Some(credential) = found else {
        return Err(Refusal::Unauthenticated);
    };
    let label = credential.label();
    let (Credential::Bearer(token) | Credential::Cookie(token)) = credential else {
        return Err(Refusal::Unauthenticated);
    };
    let identity = match live.verify(token, &public.shards.clock, label) {
        Verdict::Now(identified) => identified,
        Verdict::Later(identified) => connection.working(identified).await,
    }?;
    if public.shards.directory.allows(&identity) {
        Ok(identity)
    } else {
        Err(Refusal::Unauthenticated)
    }
}
