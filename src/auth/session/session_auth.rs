//! Sends questions to the application, and shares the answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::answers::{Answers, Found, Outcome, SessionAnswer, SessionKey};
use crate::auth::allowance::Allowance;
use crate::auth::credentials::cookies;
use crate::auth::fair_queue::{Busy, FairQueue, QueueLimits};
use crate::auth::name::name;
use crate::auth::raw_object::RawObject;
use crate::auth::{Identity, Issued};
use crate::clock::{Clock, millis};
use crate::config::{CookieName, Url};
use crate::event::Position;
use crate::net::Network;
use crate::outbound::{FetchError, HttpResource, NoRootCertificates};
use crate::quiet::Quiet;
use crate::text::without_byte_order_mark;

/// How long an answer is valid, counted from its question.
pub const KEPT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, including the time in the queue.
pub const MAX_WAIT: Duration = Duration::from_secs(2);
/// Questions in flight: as many as an application's few processes and threads can answer at once. At
/// 10 ms per question, 3,200 clients per second get in.
pub const MAX_QUESTIONS: usize = 32;
/// Questions in flight per address: a quarter, so that slow questions of one address leave most of the
/// capacity to others.
pub const MAX_QUESTIONS_EACH: usize = 8;
/// Questions in the queue. Clients wait with them, so `max_handshakes` bounds them, too.
const MAX_WAITING: usize = 4 * 1024;
/// The same per address with many refused sessions: roughly what it gets through in [`MAX_WAIT`].
const MAX_WAITING_SUSPECT: usize = 64;
/// Burst of refusals per address: more expired sessions than return together from one office.
pub const MAX_REFUSALS: u64 = 100;
/// Time until one refusal is forgiven.
pub const REFUSAL_EVERY: Duration = Duration::from_millis(100);
/// Answers kept, some 3 MiB: more than arrive within [`KEPT`] at the rate above.
const MAX_ANSWERS: usize = 16 * 1024;
/// Longest answer: an id of 256 bytes, and whatever else the application includes.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Shortest time between two log lines about missing answers.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

/// Asks the application about cookies, with a cache, a queue and limits.
#[derive(Debug)]
pub(crate) struct SessionAuth {
    resource: HttpResource,
    /// The cookies on which the answer depends.
    cookies: Box<[CookieName]>,
    queue: FairQueue,
    refusals: Allowance,
    answers: Mutex<Answers>,
    /// Limits the log lines about missing answers.
    complaints: Quiet,
}

/// Why a request's session identifies no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// The request has no session, or the application refuses it.
    Refused,
    /// The application did not answer.
    Unknown,
    /// The application was not asked: the address had too many refusals.
    NotAsked,
}

impl SessionAuth {
    /// Asks `url` about requests that have one of the `cookies`.
    ///
    /// # Errors
    /// The URL is https, and the system trusts no certificate.
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

    /// Returns true if both ask the same URL about the same requests.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.resource.is_same(&other.resource) && self.cookies == other.cookies
    }

    /// Identifies the sender of a request with these headers, from `address`. A cached answer does not
    /// count if `is_allowed` knows a later session change of its user; then the application is asked again.
    ///
    /// The question runs on `control`, and to its end even if the client goes away.
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
        let holds = |answer: &SessionAnswer| {
            answer
                .identity()
                .is_none_or(|identity| is_allowed(&identity))
        };
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
        // An error means that the question was dropped because the server stops.
        match coming.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Outcome::Answered(answer))) => answer.identity().ok_or(NoSession::Refused),
            Ok(Some(Outcome::NotAsked)) => Err(NoSession::NotAsked),
            _ => Err(NoSession::Unknown),
        }
    }

    /// Asks, after waiting in the queue. Stops if no client waits any more.
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
                () = self.wait_until_abandoned(key, outcome) => return None,
            };
            let _grant = match grant {
                Ok(grant) => grant,
                Err(Busy) => return Some(Err("too many questions wait".to_owned())),
            };
            // Counted in advance, so that questions sent together cannot all be refused uncounted.
            if !self.refusals.take(network, clock.now_ms()) {
                return Some(Ok(None));
            }
            // Read before the question: a log-out during the question is then later than its answer.
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

    /// Returns when no client waits for the question any more, after forgetting it.
    async fn wait_until_abandoned(
        &self,
        key: SessionKey,
        outcome: &watch::Sender<Option<Outcome>>,
    ) {
        loop {
            outcome.closed().await;
            let mut answers = self.answers.lock();
            // Clients subscribe under this lock.
            if outcome.receiver_count() == 0 {
                answers.forget(key);
                return;
            }
        }
    }

    /// Logs a missing answer, at most once a minute: a client may be the cause.
    fn complain(&self, error: &str, now_ms: u64) {
        let url = &self.resource;
        if let Some(suppressed) = self.complaints.suppressed(now_ms) {
            tracing::warn!(%url, %error, suppressed, "auth.session_auth_url: a session was not checked");
        } else {
            tracing::debug!(%url, %error, "auth.session_auth_url: a session was not checked");
        }
    }
}

/// The headers that the application receives: cookies on one line, `Authorization`, and the client's
/// address.
fn forwarded(headers: &HeaderMap, address: Option<IpAddr>) -> HeaderMap {
    let mut forwarded = HeaderMap::new();
    forwarded.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for value in headers.get_all(AUTHORIZATION) {
        forwarded.append(AUTHORIZATION, value.clone());
    }
    // HTTP/2 allows several cookie headers, and a proxy may pass them on unchanged. An application behind
    // HTTP/1.1 expects one (RFC 9113, section 8.2.3).
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

/// Identifies the session of a request by a hash of its session cookies and `Authorization`; `None` if
/// there is neither. Lengths are hashed, too, so that no other set of cookies has the same input.
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
        // The colon keeps it apart from cookies: no cookie name has one.
        add(b"authorization:", value.as_bytes());
    }
    has_any.then(|| hash.finalize().into())
}

/// Parses an answer; the error says why it gives no information.
fn read(answer: Result<Bytes, FetchError>, asked: Position) -> Result<SessionAnswer, String> {
    let user = |body: &[u8]| -> Option<CompactString> {
        let body = without_byte_order_mark(body);
        name(RawObject::parse(body)?.get("user_id")?)
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
    /// The user who is signed in, if any.
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
