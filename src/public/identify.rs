//! Who asks: the first credential that is present decides. Most are judged on the spot; what others
//! have to say of the rest (a key set's URL, the application) is waited for.

use std::borrow::Cow;
use std::pin::Pin;

use hyper::body::Incoming;
use hyper::{Method, Request};

use super::refusal::Refusal;
use super::{Live, Public};
use crate::auth::Identity;
use crate::auth::credentials::{self, Credential};
use crate::auth::jwt::Rejected;
use crate::auth::keys::remote::RemoteKeys;
use crate::auth::session::NoSession;
use crate::clock::Clock;

/// Who asks, or why nobody is let in.
pub(super) type Identified = Result<Identity, Refusal>;

/// When that is known. Boxed, and no `async fn`: every request would carry the room of the few
/// that wait.
pub(super) enum Verdict<'a> {
    Now(Identified),
    Later(Pin<Box<dyn Future<Output = Identified> + 'a>>),
}

/// Who asks for a stream.
pub(super) fn identify<'a>(
    public: &'a Public,
    live: &'a Live,
    request: &'a Request<Incoming>,
) -> Verdict<'a> {
    let headers = request.headers();
    let query = request.uri().query();
    let Some(credential) = credentials::find(headers, query, &live.auth.jwt_cookie) else {
        return by_session(public, live, request);
    };
    let clock = &public.shards.clock;
    let label = credential.label();
    match credential {
        Credential::Ticket(ticket) => Verdict::Now(
            // Who asks for a head wants to use it later.
            if request.method() == Method::HEAD {
                public.tickets.look(&ticket)
            } else {
                public.tickets.redeem(&ticket)
            }
            // Its token may have ended in the meantime.
            .filter(|identity| {
                let ends_at_s = identity
                    .expires_at
                    .saturating_add(live.auth.leeway.as_secs());
                clock.unix_ms() / 1_000 < ends_at_s
            })
            .ok_or(Refusal::Unauthenticated),
        ),
        Credential::Bearer(token) | Credential::QueryToken(token) | Credential::Cookie(token) => {
            live.verify(token, clock, label)
        }
    }
}

fn by_session<'a>(
    public: &'a Public,
    live: &'a Live,
    request: &'a Request<Incoming>,
) -> Verdict<'a> {
    let Some(sessions) = &live.sessions else {
        return Verdict::Now(Err(Refusal::Unauthenticated));
    };
    Verdict::Later(Box::pin(async {
        let directory = &public.shards.directory;
        let is_allowed = |identity: &Identity| directory.allows(identity);
        let clock = &public.shards.clock;
        sessions
            .identify(request.headers(), is_allowed, clock, &public.control)
            .await
            .map_err(|reason| match reason {
                NoSession::Refused => Refusal::Unauthenticated,
                NoSession::Unknown => Refusal::AuthUnavailable,
            })
    }))
}

impl Live {
    /// Checks a token; the reason of a refusal goes to the log, never to the client.
    pub(super) fn verify<'a>(
        &'a self,
        token: Cow<'a, str>,
        clock: &'a Clock,
        credential: &'static str,
    ) -> Verdict<'a> {
        match self.verifier.verify(&token, clock.unix_ms()) {
            Ok(identity) => Verdict::Now(Ok(identity)),
            Err(reason) => {
                if let Rejected::UnknownKid | Rejected::KeysAway = reason
                    && let Some(keys) = self.verifier.remote_keys()
                {
                    let verified = self.verify_again(token, keys, clock, credential);
                    return Verdict::Later(Box::pin(verified));
                }
                refused(reason, credential);
                Verdict::Now(Err(Refusal::Unauthenticated))
            }
        }
    }

    /// Checks a token once more when its key has had the time to come.
    async fn verify_again(
        &self,
        token: Cow<'_, str>,
        keys: &RemoteKeys,
        clock: &Clock,
        credential: &'static str,
    ) -> Identified {
        let are_fresh = keys.are_fresh(clock).await;
        let verdict = self.verifier.verify(&token, clock.unix_ms());
        verdict.map_err(|reason| {
            refused(reason, credential);
            match reason {
                // Nobody can tell what key that is: not the client's fault, as far as is known.
                Rejected::KeysAway => Refusal::AuthUnavailable,
                Rejected::UnknownKid if !are_fresh => Refusal::AuthUnavailable,
                _ => Refusal::Unauthenticated,
            }
        })
    }
}

fn refused(reason: Rejected, credential: &'static str) {
    tracing::debug!(reason = reason.label(), credential, "token refused");
}
