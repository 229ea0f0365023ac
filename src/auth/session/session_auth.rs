//! Asks the application, and shares the questions.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::answers::{Answers, Found, Outcome, SessionAnswer, SessionKey};
use crate::auth::allowance::Allowance;
use crate::auth::credentials::cookies;
use crate::auth::fair_queue::{Busy, FairQueue, QueueLimits};
use crate::auth::name::name;
use crate::auth::{Identity, Issued};
use crate::clock::{Clock, millis};
use crate::config::{CookieName, Url};
use crate::event::Position;
use crate::net::Network;
use crate::outbound::{FetchError, HttpResource, NoRootCertificates};
use crate::quiet::Quiet;
use crate::text::without_byte_order_mark;

/// How long an answer holds, from when it was asked for.
pub const KEPT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, until its turn comes included.
pub const MAX_WAIT: Duration = Duration::from_secs(2);
/// Questions under way at once: as many as an application's few processes with their threads
/// answer side by side. At 10 ms a question, 3,200 clients a second get in.
pub const MAX_QUESTIONS: usize = 32;
/// Questions of one address under way at once: a quarter, so that one that makes the application
/// slow leaves the others most turns.
pub const MAX_QUESTIONS_EACH: usize = 8;
/// Questions that wait for a turn. Clients wait with them, so `max_handshakes` bounds them, too.
const MAX_WAITING: usize = 4 * 1024;
/// The same, of one address whose sessions are refused again and again: what it gets through in
/// [`MAX_WAIT`], more or less.
const MAX_WAITING_SUSPECT: usize = 64;
/// Refusals of one address at once: more expired sessions than come back together from an office.
pub const MAX_REFUSALS: u64 = 100;
/// Between two refusals of an address that has used those up.
pub const REFUSAL_EVERY: Duration = Duration::from_millis(100);
/// Answers kept at once, some 3 MiB. More than are asked for in [`KEPT`] at that rate.
const MAX_ANSWERS: usize = 16 * 1024;
/// Longest answer: an id of 256 bytes, and whatever else the application likes to tell.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Between two log lines about an application that does not answer.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

/// Asks the application about cookies, with a cache, a queue and limits.
#[derive(Debug)]
pub(crate) struct SessionAuth {
    resource: HttpResource,
    /// The cookies that the answer depends on.
    cookies: Box<[CookieName]>,
    queue: FairQueue,
    refusals: Allowance,
    answers: Mutex<Answers>,
    /// When the log was last told that there is no answer; `u64::MAX` for never.
    complaints: Quiet,
}

/// Why a request's session signs nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// There is none, or the application refuses it.
    Refused,
    /// The application did not say.
    Unknown,
    /// It is not asked: its address was refused too often.
    NotAsked,
}

impl SessionAuth {
    /// Asks `url` about requests that have one of the `cookies`.
    ///
    /// # Errors
    /// It asks for TLS, and no certificate is trusted here.
    pub(crate) fn new(url: &Url, cookies: &[CookieName]) -> Result<Self, NoRootCertificates> {
        Ok(Self {
            resource: HttpResource::new(url.uri().clone(), MAX_ANSWER_BYTES)?,
            cookies: cookies.into(),
            queue: FairQueue::new(QueueLimits {
                at_once: MAX_QUESTIONS,
                at_once_each: MAX_QUESTIONS_EACH,
                waiting: MAX_WAITING,
                waiting_suspect: MAX_WAITING_SUSPECT,
            }),
            refusals: Allowance::new(MAX_REFUSALS, millis(REFUSAL_EVERY)),
            answers: Mutex::new(Answers::new(MAX_ANSWERS)),
            complaints: Quiet::new(COMPLAINT_EVERY),
        })
    }

    /// Whether this asks where the other does, about the same requests.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.resource.is_same(&other.resource) && self.cookies == other.cookies
    }

    /// Who sends a request with these headers, from `address`. An answer from before a session
    /// change of its user, which `is_allowed` knows of, counts no more: the application is
    /// asked again.
    ///
    /// The question itself runs on `control`, and to its end even where the client goes away.
    ///
    /// # Errors
    /// [`NoSession`]
    pub(crate) async fn identify(
        self: &Arc<Self>,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        is_allowed: impl Fn(&Identity) -> bool,
        clock: &Clock,
        head: impl Fn() -> Position + Send + Sync + 'static,
        control: &Handle,
    ) -> Result<Identity, NoSession> {
        let key = key(headers, &self.cookies).ok_or(NoSession::Refused)?;
        let network = Network::of(address);
        let holds = |answer: &SessionAnswer| answer.identity().is_none_or(|who| is_allowed(&who));
        let found = self.answers.lock().find(key, clock.now_ms(), holds);
        let mut coming = match found {
            Found::Kept(answer) => return answer.identity().ok_or(NoSession::Refused),
            Found::Coming(coming) => coming,
            Found::Unasked(outcome) => {
                if !self.refusals.has_some(network, clock.now_ms()) {
                    self.answers.lock().forget(key);
                    return Err(NoSession::NotAsked);
                }
                let coming = outcome.subscribe();
                let headers = forwarded(headers, address);
                let (this, clock) = (Arc::clone(self), clock.clone());
                control.spawn(async move {
                    let question = this.ask(key, headers, network, &outcome, &clock, head);
                    question.await;
                });
                coming
            }
        };
        // An error means that nobody asks any more, as the server ends.
        match coming.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Outcome::Answered(answer))) => answer.identity().ok_or(NoSession::Refused),
            Ok(Some(Outcome::NotAsked)) => Err(NoSession::NotAsked),
            _ => Err(NoSession::Unknown),
        }
    }

    /// Asks when its turn comes, unless by then nobody wants to know.
    async fn ask(
        &self,
        key: SessionKey,
        headers: HeaderMap,
        network: Network,
        outcome: &watch::Sender<Option<Outcome>>,
        clock: &Clock,
        head: impl Fn() -> Position + Send,
    ) {
        let asked_ms = clock.now_ms();
        let reputation = self.refusals.reputation(network, asked_ms);
        let question = async {
            let grant = tokio::select! {
                grant = self.queue.enter(network, reputation) => grant,
                () = self.is_given_up(key, outcome) => return None,
            };
            let _grant = match grant {
                Ok(grant) => grant,
                Err(Busy) => return Some(Err("too many questions wait".to_owned())),
            };
            // In advance: those that are asked together must not all be refused.
            if !self.refusals.take(network, clock.now_ms()) {
                return Some(Ok(None));
            }
            // Before the question: a log-out that comes during it is later than what it is told.
            let asked = head();
            let answer = read(self.resource.get(headers).await, asked);
            if !matches!(answer, Ok(SessionAnswer::Refused)) {
                self.refusals.give_back(network);
            }
            Some(answer.map(Some))
        };
        let answer = match clock.within(MAX_WAIT, question).await {
            Some(None) => return,
            Some(Some(answer)) => answer,
            None => Err(format!("no answer in {MAX_WAIT:?}")),
        };
        let outcome_now = match answer {
            Ok(Some(answer)) => Outcome::Answered(answer),
            Ok(None) => Outcome::NotAsked,
            Err(error) => {
                self.complain(&error, clock.now_ms());
                Outcome::Unknown
            }
        };
        let answer = match &outcome_now {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Unknown | Outcome::NotAsked => None,
        };
        let kept_until_ms = asked_ms + millis(KEPT);
        self.answers
            .lock()
            .settle(key, answer, kept_until_ms, clock.now_ms());
        outcome.send_replace(Some(outcome_now));
    }

    /// Comes true when every client that waited for a question has gone; it is then forgotten.
    async fn is_given_up(&self, key: SessionKey, outcome: &watch::Sender<Option<Outcome>>) {
        loop {
            outcome.closed().await;
            let mut answers = self.answers.lock();
            // Clients come under this lock.
            if outcome.receiver_count() == 0 {
                answers.forget(key);
                return;
            }
        }
    }

    /// Says that there is no answer, at most once a minute: a client may be the cause.
    fn complain(&self, error: &str, now_ms: u64) {
        let url = &self.resource;
        if let Some(suppressed) = self.complaints.suppressed(now_ms) {
            tracing::warn!(%url, %error, suppressed, "auth.session_auth_url: a session was not checked");
        } else {
            tracing::debug!(%url, %error, "auth.session_auth_url: a session was not checked");
        }
    }
}

/// What the application gets of a request: its cookies, on one line, its `Authorization`, and
/// where it comes from.
fn forwarded(headers: &HeaderMap, address: Option<IpAddr>) -> HeaderMap {
    let mut forwarded = HeaderMap::new();
    forwarded.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for value in headers.get_all(AUTHORIZATION) {
        forwarded.append(AUTHORIZATION, value.clone());
    }
    // HTTP/2 lets a client send several, and a proxy may pass them on as they are; an application
    // behind HTTP/1.1 expects one (RFC 9113, section 8.2.3).
    let lines: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(cookies) = HeaderValue::from_bytes(&lines.join(&b"; "[..]))
        && !lines.is_empty()
    {
        forwarded.insert(COOKIE, cookies);
    }
    let address = address.map(|address| HeaderValue::from_str(&address.to_string()));
    if let Some(Ok(address)) = address {
        forwarded.insert(X_FORWARDED_FOR, address);
    }
    forwarded
}

/// Stands for the session of a request: its session cookies and its `Authorization`; `None` where
/// there is neither. No cookie is kept, and none can be made up that gets another's answer:
/// lengths go in, so that no value can pass for two.
fn key(headers: &HeaderMap, session_cookies: &[CookieName]) -> Option<SessionKey> {
    let mut hash = Sha256::new();
    let mut has_any = false;
    let mut add = |name: &[u8], value: &[u8]| {
        has_any |= !value.is_empty();
        for part in [name, value] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    };
    for (name, value) in cookies(headers) {
        if session_cookies.iter().any(|own| own.as_bytes() == name) {
            add(name, value);
        }
    }
    for value in headers.get_all(AUTHORIZATION) {
        // With a colon, which no cookie's name has.
        add(b"authorization:", value.as_bytes());
    }
    has_any.then(|| hash.finalize().into())
}

/// What an answer says; of one that says nothing, why.
fn read(answer: Result<Bytes, FetchError>, asked: Position) -> Result<SessionAnswer, String> {
    let user = |body: &[u8]| -> Option<CompactString> {
        let body = without_byte_order_mark(body);
        let fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
        name(fields.get("user_id")?, body, "user_id")
    };
    match answer {
        Ok(body) => match user(&body) {
            Some(user) => Ok(SessionAnswer::SignedIn { user, asked }),
            None => Err("the answer names no user: {\"user_id\": …} is a text of 1 to 256 bytes or an integer".to_owned()),
        },
        Err(FetchError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
            Ok(SessionAnswer::Refused)
        }
        Err(error) => Err(error.to_string()),
    }
}

impl SessionAnswer {
    /// Who is signed in, if somebody is.
    fn identity(&self) -> Option<Identity> {
        match self {
            Self::Refused => None,
            Self::SignedIn { user, asked } => Some(Identity {
                user: user.clone(),
                session: None,
                issued: Some(Issued::Answer(*asked)),
                expires_at: Identity::NO_END,
                topics: Box::default(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
