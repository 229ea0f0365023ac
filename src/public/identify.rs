//! Who asks: the first credential that is present decides. Most are judged on the spot. What takes
//! long (the signature of a public key), or is known to others (a key set's URL, the application),
//! is waited for.

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};

use super::connection::HttpConnection;
use super::live::Live;
use super::refusal::Refusal;
use crate::auth::Identity;
use crate::auth::credentials::{self, Credential};
use crate::auth::fair_queue::Busy;
use crate::auth::jwt::{Rejected, SignatureCheck};
use crate::auth::session::NoSession;
use crate::hub::engine::{EngineError, Promise};
use crate::net::Network;

/// Who asks, or why nobody is let in.
pub(super) type Identified = Result<Identity, Refusal>;

/// When that is known. Boxed, and no `async fn`: every request would carry the room of the few
/// that wait.
pub(super) enum Identification<'a> {
    Now(Identified),
    Later(Pin<Box<dyn Future<Output = Identified> + 'a>>),
}

/// Who asks for a stream.
pub(super) fn identify<'a>(
    connection: &'a HttpConnection,
    live: &'a Live,
    request: &'a Request<Incoming>,
) -> Identification<'a> {
    let headers = request.headers();
    let query = request.uri().query();
    let Some(credential) = credentials::find(headers, query, &live.auth.jwt_cookie) else {
        return by_session(connection, live, request);
    };
    let asker = Asker {
        connection,
        credential: credential.label(),
        address: connection.address(headers),
    };
    match credential {
        Credential::Ticket(ticket) => {
            let register = connection.public.hub.register();
            // Who asks for a head wants to use the ticket later.
            let holder = if request.method() == Method::HEAD {
                register.look_at_ticket(&ticket)
            } else {
                register.redeem_ticket(&ticket)
            };
            match holder {
                Promise::Now(holder) => Identification::Now(live.holder(holder, asker)),
                Promise::Later(holder) => {
                    Identification::Later(Box::pin(async move { live.holder(holder.await, asker) }))
                }
            }
        }
        Credential::Bearer(token) | Credential::QueryToken(token) | Credential::Cookie(token) => {
            live.verify(token, asker)
        }
    }
}

fn by_session<'a>(
    connection: &'a HttpConnection,
    live: &'a Live,
    request: &'a Request<Incoming>,
) -> Identification<'a> {
    let headers = request.headers();
    let asker = |credential| Asker {
        connection,
        credential,
        address: connection.address(headers),
    };
    let Some(sessions) = &live.sessions else {
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

/// Whoever sends a credential.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) connection: &'a HttpConnection,
    /// Where the credential stood.
    pub(super) credential: &'static str,
    pub(super) address: Option<IpAddr>,
}

impl<'a> Asker<'a> {
    /// Whoever sends this request for a stream.
    pub(super) fn of(
        connection: &'a HttpConnection,
        live: &Live,
        request: &Request<Incoming>,
    ) -> Self {
        let (headers, query) = (request.headers(), request.uri().query());
        let found = credentials::find(headers, query, &live.auth.jwt_cookie);
        Self {
            connection,
            credential: found.map_or("session", |credential| credential.label()),
            address: connection.address(headers),
        }
    }

    /// Refuses the credential; the reason goes to the log, never to the client.
    pub(super) fn denied(&self, reason: &'static str) -> Refusal {
        let public = &self.connection.public;
        let clock = &public.hub.clock;
        public
            .denials
            .note(clock, reason, self.credential, self.address);
        Refusal::Unauthenticated
    }
}

impl Live {
    /// Whom a ticket stands for, unless its token has ended in the meantime.
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

    /// Checks a token.
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

    /// Whether its key may be one of a set that is to be fetched.
    fn may_get_a_key(&self, reason: Rejected) -> bool {
        matches!(reason, Rejected::UnknownKid | Rejected::KeysAway)
            && self.verifier.remote_keys().is_some()
    }

    /// Checks a token on another thread, and once more when its key has had the time to come.
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
                // Nobody can tell what key that is: not the client's fault, as far as is known.
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
