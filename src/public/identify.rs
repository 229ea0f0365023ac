//! Identifies a client by the first credential that is present. Most credentials are checked without
//! waiting. Two kinds of checks have to be awaited: slow ones (a public-key signature), and those that
//! need an answer from elsewhere (a key set's URL, the application).

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};

use super::connection::HttpConnection;
use super::refusal::Refusal;
use super::reloadable::Reloadable;
use crate::auth::Identity;
use crate::auth::credentials::{self, Credential};
use crate::auth::fair_queue::Busy;
use crate::auth::jwt::{Rejected, SignatureCheck};
use crate::auth::session::NoSession;
use crate::hub::engine::{EngineError, Promise};
use crate::net::Network;

/// The client's identity, or why the request is refused.
pub(super) type Identified = Result<Identity, Refusal>;

/// An identity that is known now or later. An `async fn` would reserve space in every request for a
/// future that few requests need, so these futures are boxed. They are not a [`Promise`], because they
/// are not `Send`.
pub(super) enum Identification<'a> {
    Now(Identified),
    Later(Pin<Box<dyn Future<Output = Identified> + 'a>>),
}

/// Identifies the client of a request for a stream, unless the client closes its side meanwhile.
pub(super) async fn identify(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    request: &Request<Incoming>,
) -> Identified {
    match by_credential(connection, reloadable, request) {
        Identification::Now(identified) => identified,
        Identification::Later(identified) => {
            let identified = connection.run_protected(identified);
            connection.run_until_closed(identified).await
        }
    }
}

fn by_credential<'a>(
    connection: &'a HttpConnection,
    reloadable: &'a Reloadable,
    request: &'a Request<Incoming>,
) -> Identification<'a> {
    let headers = request.headers();
    let query = request.uri().query();
    let Some(credential) = credentials::find(headers, query, &reloadable.auth.jwt_cookie) else {
        return by_session(connection, reloadable, request);
    };
    let asker = Asker {
        connection,
        credential: credential.label(),
        address: connection.address(headers),
    };
    match credential {
        Credential::Ticket(ticket) => {
            let register = connection.public.hub.register();
            // A HEAD request must not consume the ticket: the client uses it later to open the stream.
            let holder = if request.method() == Method::HEAD {
                register.look_at_ticket(&ticket)
            } else {
                register.redeem_ticket(&ticket)
            };
            match holder {
                Promise::Now(holder) => Identification::Now(reloadable.holder(holder, asker)),
                Promise::Later(holder) => Identification::Later(Box::pin(async move {
                    reloadable.holder(holder.await, asker)
                })),
            }
        }
        Credential::Bearer(token) | Credential::QueryToken(token) | Credential::Cookie(token) => {
            reloadable.verify(token, asker)
        }
    }
}

fn by_session<'a>(
    connection: &'a HttpConnection,
    reloadable: &'a Reloadable,
    request: &'a Request<Incoming>,
) -> Identification<'a> {
    let headers = request.headers();
    let asker = |credential| Asker {
        connection,
        credential,
        address: connection.address(headers),
    };
    let Some(sessions) = &reloadable.sessions else {
        return Identification::Now(Err(asker("none").denied("no_credential")));
    };
    Identification::Later(Box::pin(async move {
        let public = &connection.public;
        let asker = asker("session");
        let is_allowed = |identity: &Identity| public.hub.allows(identity);
        let clock = &public.hub.clock;
        let log = Arc::clone(public.hub.log());
        let (address, control) = (asker.address, &public.control);
        sessions
            .identify(
                headers,
                address,
                is_allowed,
                clock,
                move || log.head(),
                control,
            )
            .await
            .map_err(|reason| match reason {
                NoSession::Refused => asker.denied("no_session"),
                NoSession::Unknown => Refusal::AuthUnavailable,
                NoSession::NotAsked => {
                    asker.denied("address_refused_too_often");
                    Refusal::AuthUnavailable
                }
            })
    }))
}

/// The sender of a credential, for the log lines about 401.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) connection: &'a HttpConnection,
    /// Where in the request the credential was found.
    pub(super) credential: &'static str,
    pub(super) address: Option<IpAddr>,
}

impl<'a> Asker<'a> {
    /// The sender of this request for a stream.
    pub(super) fn of(
        connection: &'a HttpConnection,
        reloadable: &Reloadable,
        request: &Request<Incoming>,
    ) -> Self {
        let (headers, query) = (request.headers(), request.uri().query());
        let found = credentials::find(headers, query, &reloadable.auth.jwt_cookie);
        Self {
            connection,
            credential: found.map_or("session", |credential| credential.label()),
            address: connection.address(headers),
        }
    }

    /// Returns true if a browser sends the credential without the page's doing.
    pub(super) fn is_known_by_cookies(&self) -> bool {
        matches!(self.credential, "cookie" | "session")
    }

    /// Refuses the credential. The reason is logged, but never sent to the client.
    pub(super) fn denied(&self, reason: &'static str) -> Refusal {
        let public = &self.connection.public;
        let clock = &public.hub.clock;
        public
            .denials
            .note(clock, reason, self.credential, self.address);
        Refusal::Unauthenticated
    }
}

impl Reloadable {
    /// The identity behind a ticket, unless the token it was issued for has expired since.
    fn holder(
        &self,
        holder: Result<Option<Identity>, EngineError>,
        asker: Asker<'_>,
    ) -> Identified {
        let identity = holder
            .map_err(|_| Refusal::AuthUnavailable)?
            .ok_or_else(|| asker.denied("ticket_used_unknown_or_late"))?;
        let leeway_s = self.auth.leeway.as_secs();
        let ends_s = identity.expires_at.saturating_add(leeway_s);
        if ends_s.saturating_mul(1_000) <= asker.connection.public.hub.unix_ms() {
            return Err(asker.denied(Rejected::Expired.label()));
        }
        Ok(identity)
    }

    /// Checks a token: at once if its signature is fast to check and its key is known.
    pub(super) fn verify<'a>(
        &'a self,
        token: Cow<'a, str>,
        asker: Asker<'a>,
    ) -> Identification<'a> {
        let begun = self.verifier.begin(&token);
        if begun.as_ref().is_ok_and(SignatureCheck::is_slow) {
            return Identification::Later(Box::pin(self.verify_slowly(begun, token, asker)));
        }
        let hub = &asker.connection.public.hub;
        let verdict = begun
            .and_then(|check| check.run(&*token))
            .and_then(|signed| self.verifier.identity(&signed, hub.unix_ms()));
        match verdict {
            Ok(identity) => Identification::Now(Ok(identity)),
            Err(reason) if self.may_get_a_key(reason) => {
                Identification::Later(Box::pin(self.verify_slowly(Err(reason), token, asker)))
            }
            Err(reason) => Identification::Now(Err(asker.denied(reason.label()))),
        }
    }

    /// Returns true if fetching the key set may provide the token's key.
    fn may_get_a_key(&self, reason: Rejected) -> bool {
        matches!(reason, Rejected::UnknownKid | Rejected::KeysAway)
            && self.verifier.remote_keys().is_some()
    }

    /// Checks a token on another thread. If its key is missing, fetches the key set and checks it again.
    async fn verify_slowly(
        &self,
        begun: Result<SignatureCheck, Rejected>,
        token: Cow<'_, str>,
        asker: Asker<'_>,
    ) -> Identified {
        let refused = |reason: Rejected| asker.denied(reason.label());
        match self.finish(begun, &token, asker).await? {
            Ok(identity) => return Ok(identity),
            Err(reason) if !self.may_get_a_key(reason) => return Err(refused(reason)),
            Err(_) => {}
        }
        let clock = &asker.connection.public.hub.clock;
        let are_fresh = match self.verifier.remote_keys() {
            Some(keys) => keys.wait_until_fresh(clock).await,
            None => true,
        };
        let begun = self.verifier.begin(&token);
        self.finish(begun, &token, asker)
            .await?
            .map_err(|reason| match reason {
                // Without the key set, the token may still be valid, so this is not the client's fault.
                Rejected::KeysAway => Refusal::AuthUnavailable,
                Rejected::UnknownKid if !are_fresh => Refusal::AuthUnavailable,
                reason => refused(reason),
            })
    }

    async fn finish(
        &self,
        begun: Result<SignatureCheck, Rejected>,
        token: &str,
        asker: Asker<'_>,
    ) -> Result<Result<Identity, Rejected>, Refusal> {
        let check = match begun {
            Ok(check) => check,
            Err(reason) => return Ok(Err(reason)),
        };
        let public = &asker.connection.public;
        let network = Network::of(asker.address);
        let checked = public.checks.run(check, token.to_owned(), network).await;
        let signed = checked.map_err(|Busy| Refusal::AuthUnavailable)?;
        let unix_ms = public.hub.unix_ms();
        Ok(signed.and_then(|signed| self.verifier.identity(&signed, unix_ms)))
    }
}
