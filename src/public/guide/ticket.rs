//! `POST {base}/sse/ticket/`: exchanges a JWT for a ticket that is safe to put into a URL. A long-lived
//! token is not, because logs and browser histories keep URLs.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use serde_json::json;

use crate::auth::Identity;
use crate::auth::credentials::{self, Credential};
use crate::public::answer::{error, json};
use crate::public::connection::HttpConnection;
use crate::public::identify::{Asker, Identification, Identified};
use crate::public::refusal::Refusal;
use crate::public::reloadable::Reloadable;

pub(crate) async fn answer(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let public = &connection.public;
    let ttl = reloadable.auth.ticket_ttl;
    let issued = match identify(connection, reloadable, request).await {
        Ok(identity) => issue(connection, identity, ttl).await,
        Err(refusal) => Err(refusal),
    };
    match issued {
        Ok(ticket) => json(
            StatusCode::CREATED,
            &json!({"ticket": ticket, "expires_in": ttl.as_secs()}),
        ),
        Err(refusal) => {
            connection.refused(refusal.into(), false, request.headers());
            let mut response = error(refusal.status(), refusal.reason());
            refusal.add_headers(&mut response, public.retry_after_s);
            response
        }
    }
}

async fn issue(
    connection: &HttpConnection,
    identity: Identity,
    ttl: Duration,
) -> Result<String, Refusal> {
    let register = connection.public.hub.register();
    let issued = connection.answer_of(register.issue_ticket(identity, ttl));
    issued.await.map_err(|_| Refusal::AuthUnavailable)
}

/// Accepts a token only from the header or the cookie, since tickets exist to keep tokens out of URLs.
async fn identify(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    request: &Request<Incoming>,
) -> Identified {
    let headers = request.headers();
    let found = credentials::find(headers, None, &reloadable.auth.jwt_cookie);
    let asker = Asker {
        connection,
        credential: found.as_ref().map_or("none", Credential::label),
        address: connection.address(headers),
    };
    let Some(Credential::Bearer(token) | Credential::Cookie(token)) = found else {
        return Err(asker.denied("no_credential"));
    };
    let identity = match reloadable.verify(token, asker) {
        Identification::Now(identified) => identified,
        Identification::Later(identified) => connection.run_protected(identified).await,
    }?;
    if connection.public.hub.allows(&identity) {
        Ok(identity)
    } else {
        Err(asker.denied("session_ended"))
    }
}
