//! Asks the application whom a session cookie is of: the last way in, for clients that have no
//! token.
//!
//! Each question costs the application a request, and clients come back in storms. So an answer is
//! kept for [`KEPT`], requests with the same cookies share one question, and at most
//! [`MAX_QUESTIONS`] are under way. What the application did not answer is not kept: it may be
//! back with the next request, and the bounds hold without it.

mod answers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use compact_str::CompactString;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};
use hyper::{StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::jwt::name;
use super::{Identity, IssuedAt};
use crate::clock::{Clock, millis};
use crate::outbound::{NoAnswer, NoTrust, Source};
use answers::{Answer, Answers, Found, Key, Verdict};

/// How long an answer holds, from when it was asked for.
pub const KEPT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, until its turn comes included.
pub const MAX_WAIT: Duration = Duration::from_secs(2);
/// Questions under way at once: as many as an application's few processes with their threads
/// answer side by side. At 10 ms a question, 3,200 clients a second get in.
pub const MAX_QUESTIONS: usize = 32;
/// Answers kept at once, some 3 MiB. More than are asked for in [`KEPT`] at that rate.
pub const MAX_ANSWERS: usize = 16 * 1024;
/// Longest answer: an id of 256 bytes, and whatever else the application likes to tell.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Between two log lines about an application that does not answer.
const QUIET_MS: u64 = 60_000;

/// See the module's text.
#[derive(Debug)]
pub struct SessionAuth {
    source: Source,
    turns: Semaphore,
    answers: Mutex<Answers>,
    /// When the log was last told that there is no answer; `u64::MAX` for never.
    complained_ms: AtomicU64,
}

/// Why a request's session signs nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSession {
    /// There is none, or the application refuses it.
    Refused,
    /// The application did not say.
    Unknown,
}

impl SessionAuth {
    /// Asks `url`.
    ///
    /// # Errors
    /// It asks for TLS, and no certificate is trusted here.
    pub fn new(url: Uri) -> Result<Self, NoTrust> {
        Ok(Self {
            source: Source::new(url, MAX_ANSWER_BYTES)?,
            turns: Semaphore::new(MAX_QUESTIONS),
            answers: Mutex::new(Answers::new(MAX_ANSWERS)),
            complained_ms: AtomicU64::new(u64::MAX),
        })
    }

    /// Whether this asks where the other does.
    pub fn is_same(&self, other: &Self) -> bool {
        self.source.is_same(&other.source)
    }

    /// Who sends a request with these headers. An answer from before a log-out or a session change
    /// of its user, which `is_allowed` knows of, counts no more: the application is asked again.
    ///
    /// The question itself runs on `control`, and to its end even where the client goes away.
    ///
    /// # Errors
    /// [`NoSession`]
    pub async fn identify(
        self: &Arc<Self>,
        headers: &HeaderMap,
        is_allowed: impl Fn(&Identity) -> bool,
        clock: &Clock,
        control: &Handle,
    ) -> Result<Identity, NoSession> {
        let headers = forwarded(headers);
        if headers.is_empty() {
            return Err(NoSession::Refused);
        }
        let key = key(&headers);
        let holds = |answer: &Answer| answer.identity().is_none_or(|who| is_allowed(&who));
        let found = self.answers.lock().find(key, clock.now_ms(), holds);
        let mut coming = match found {
            Found::Kept(answer) => return answer.identity().ok_or(NoSession::Refused),
            Found::Coming(coming) => coming,
            Found::Unasked(verdict) => {
                let coming = verdict.subscribe();
                let (this, clock) = (Arc::clone(self), clock.clone());
                control.spawn(async move { this.ask(key, headers, &verdict, &clock).await });
                coming
            }
        };
        // An error means that nobody asks any more, as the server ends.
        match coming.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Verdict::Answered(answer))) => answer.identity().ok_or(NoSession::Refused),
            _ => Err(NoSession::Unknown),
        }
    }

    /// Asks when its turn comes, unless by then nobody wants to know.
    async fn ask(
        &self,
        key: Key,
        mut headers: HeaderMap,
        verdict: &watch::Sender<Option<Verdict>>,
        clock: &Clock,
    ) {
        let asked_ms = clock.now_ms();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let question = async {
            let turn = tokio::select! {
                turn = self.turns.acquire() => turn,
                () = self.is_given_up(key, verdict) => return None,
            };
            // Before the question: a log-out that comes during it is later than what it is told.
            let asked_unix_ms = clock.unix_ms();
            let answer = self.source.get(headers).await;
            drop(turn);
            Some(read(answer, asked_unix_ms))
        };
        let answer = match clock.within(MAX_WAIT, question).await {
            Some(None) => return,
            Some(Some(answer)) => answer,
            None => Err(format!("no answer in {MAX_WAIT:?}")),
        };
        let answer = answer.map_err(|error| self.complain(&error, clock.now_ms()));
        let kept_until_ms = asked_ms + millis(KEPT);
        let mut answers = self.answers.lock();
        answers.settle(key, answer.as_ref().ok(), kept_until_ms, clock.now_ms());
        verdict.send_replace(Some(answer.map_or(Verdict::Unknown, Verdict::Answered)));
    }

    /// Comes true when every client that waited for a question has gone; it is then forgotten.
    async fn is_given_up(&self, key: Key, verdict: &watch::Sender<Option<Verdict>>) {
        loop {
            verdict.closed().await;
            let mut answers = self.answers.lock();
            // Clients come under this lock.
            if verdict.receiver_count() == 0 {
                answers.forget(key);
                return;
            }
        }
    }

    /// Says that there is no answer, at most once a minute: a client may be the cause.
    fn complain(&self, error: &str, now_ms: u64) {
        let url = &self.source;
        let said_ms = self.complained_ms.load(Ordering::Relaxed);
        if said_ms == u64::MAX || now_ms.saturating_sub(said_ms) >= QUIET_MS {
            self.complained_ms.store(now_ms, Ordering::Relaxed);
            tracing::warn!(%url, %error, "auth.session_auth_url: a session was not checked");
        } else {
            tracing::debug!(%url, %error, "auth.session_auth_url: a session was not checked");
        }
    }
}

/// What the application gets of a request: its cookies and its `Authorization`, as they are.
fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut forwarded = HeaderMap::new();
    for name in [COOKIE, AUTHORIZATION] {
        for value in headers.get_all(&name) {
            forwarded.append(&name, value.clone());
        }
    }
    forwarded
}

/// Stands for what is forwarded: no cookie is kept, and none can be made up that gets another's
/// answer. Lengths go in, so that no header can pass for two.
fn key(forwarded: &HeaderMap) -> Key {
    let mut hash = Sha256::new();
    for (name, value) in forwarded {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

/// What an answer says; of one that says nothing, why.
fn read(answer: Result<Bytes, NoAnswer>, asked_unix_ms: u64) -> Result<Answer, String> {
    let user = |body: &[u8]| -> Option<CompactString> {
        let body: Map<String, Value> = serde_json::from_slice(body).ok()?;
        name(body.get("user_id")?)
    };
    match answer {
        Ok(body) => match user(&body) {
            Some(user) => Ok(Answer::SignedIn {
                user,
                asked_unix_ms,
            }),
            None => Err("the answer names no user: {\"user_id\": …} is a text of 1 to 256 bytes or an integer".to_owned()),
        },
        Err(NoAnswer::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
            Ok(Answer::Refused)
        }
        Err(error) => Err(error.to_string()),
    }
}

impl Answer {
    /// Who is signed in, if somebody is. It counts as issued when it was asked for.
    fn identity(&self) -> Option<Identity> {
        match self {
            Self::Refused => None,
            Self::SignedIn {
                user,
                asked_unix_ms,
            } => Some(Identity {
                user: user.clone(),
                session: None,
                issued: Some(IssuedAt::from_unix_ms(*asked_unix_ms)),
                expires_at: Identity::NO_END,
                topics: Box::default(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
