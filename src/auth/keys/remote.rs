//! Keys from a URL. They are fetched in the background: every [`REFRESH`], and when a token names an
//! unknown key. They are added to the configured keys, and each fetch replaces only those of the
//! fetch before. While the URL fails or serves something else, the last good set stays.
//!
//! Only a token that may need a new key waits for a fetch, and for a short time.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::error::KeysError;
use super::jwks;
use super::key::{KeyKind, TriedKey};
use super::set::{KeySet, NoCandidate};
use crate::auth::jwt::Rejected;
use crate::base64_bytes::Base64Bytes;
use crate::clock::{Clock, millis};
use crate::config::{self, Algorithm, Jwks};
use crate::outbound::HttpResource;

/// Time between two fetches, and so the time until a withdrawn key is rejected.
pub const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Time between two fetches caused by tokens: anyone can make up the name of a key.
pub(crate) const MIN_BETWEEN_DEMANDS: Duration = Duration::from_secs(10);
/// Longest time that a token, and its client, waits for a fetch.
pub const MAX_WAIT: Duration = Duration::from_secs(2);
/// First pause after a failed fetch; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause after a failed fetch.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Longest fetch. It is longer than a token waits, since a slow answer is still useful.
const MAX_FETCH: Duration = Duration::from_secs(5);
/// Largest key set: 64 RSA keys of 8,192 bits with their certificates.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The keys of a configuration.
#[derive(Debug)]
pub(in crate::auth) enum TokenKeys {
    /// The keys do not change.
    Fixed(KeySet),
    /// Some keys come from a URL.
    Remote(Arc<RemoteKeys>),
}

impl TokenKeys {
    pub(in crate::auth) fn load(auth: &config::Auth) -> Result<Self, KeysError> {
        let fixed = KeySet::load(auth)?;
        Ok(match &auth.jwks {
            None | Some(Jwks::File(_)) => Self::Fixed(fixed),
            Some(Jwks::Url(url)) => {
                let url = url.uri().clone();
                let resource =
                    HttpResource::new(url, MAX_DOCUMENT_BYTES).map_err(KeysError::Trust)?;
                let keys = RemoteKeys::new(resource, fixed, &auth.algorithms);
                Self::Remote(Arc::new(keys))
            }
        })
    }

    /// The keys that may have signed a token with this header.
    pub(in crate::auth) fn choose(
        &self,
        alg: Algorithm,
        kid: Option<&str>,
    ) -> Result<Chosen, Rejected> {
        let chosen = |keys, otherwise| Chosen { keys, otherwise };
        match self {
            Self::Fixed(keys) => keys
                .candidates(alg, kid)
                .map(|keys| chosen(keys, Rejected::Signature))
                .map_err(Rejected::from),
            // Secrets never come from a URL, so its key names and its failures do not matter here.
            Self::Remote(keys) if KeyKind::of(alg) == KeyKind::Secret => keys
                .fixed
                .candidates(alg, kid)
                .map(|keys| chosen(keys, Rejected::Signature))
                .map_err(Rejected::from),
            Self::Remote(keys) => {
                let is_fetched = keys.is_fetched();
                match keys.current.load().candidates(alg, kid) {
                    Ok(found) if is_fetched => Ok(chosen(found, Rejected::Signature)),
                    Ok(found) => Ok(chosen(found, Rejected::KeysAway)),
                    Err(_) if !is_fetched => Err(Rejected::KeysAway),
                    // The configured keys have no names, even if those from the URL have.
                    Err(NoCandidate::UnknownKid) => keys
                        .fixed
                        .candidates(alg, kid)
                        .map(|keys| chosen(keys, Rejected::UnknownKid))
                        .map_err(|_| Rejected::UnknownKid),
                    Err(reason) => Err(reason.into()),
                }
            }
        }
    }

    /// Unusable entries of the key set, counting the newest one even if it was rejected as a whole.
    pub(in crate::auth) fn unusable(&self) -> usize {
        match self {
            Self::Fixed(keys) => keys.unusable(),
            Self::Remote(keys) => keys.state.lock().unusable,
        }
    }
}

/// A key set that was fetched, described for another process of the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchedKeys {
    /// The URL, whose query may contain a secret.
    url: Base64Bytes,
    document: Base64Bytes,
}

/// The keys to try on a token.
#[derive(Debug)]
pub(in crate::auth) struct Chosen {
    /// At least one key.
    pub(in crate::auth) keys: Vec<Arc<TriedKey>>,
    /// The reason to reject the token if its signature matches none of them.
    pub(in crate::auth) otherwise: Rejected,
}

impl From<NoCandidate> for Rejected {
    fn from(reason: NoCandidate) -> Self {
        match reason {
            NoCandidate::UnknownKid => Self::UnknownKid,
            NoCandidate::NoKid => Self::NoKid,
            NoCandidate::NoKey => Self::NoKey,
        }
    }
}

/// The configured keys together with those of the last good fetch.
#[derive(Debug)]
pub struct RemoteKeys {
    resource: HttpResource,
    /// The configured keys without those from the URL.
    fixed: KeySet,
    algorithms: Box<[Algorithm]>,
    /// All keys.
    current: ArcSwap<KeySet>,
    state: Mutex<State>,
    /// Wakes the task that fetches; dropping it ends the task.
    demands: watch::Sender<()>,
    /// The number of fetches that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// The last good key set, as received.
    document: Option<Bytes>,
    /// A fetch is in flight or about to start.
    is_coming: bool,
    /// The error of the last fetch.
    failure: Option<String>,
    /// Failed fetches since the last good one.
    failures: u32,
    /// Unusable entries of the last document.
    unusable: usize,
    demanded_ms: Option<u64>,
}

impl RemoteKeys {
    fn new(resource: HttpResource, fixed: KeySet, algorithms: &[Algorithm]) -> Self {
        Self {
            resource,
            current: ArcSwap::from_pointee(fixed.clone()),
            fixed,
            algorithms: algorithms.into(),
            state: Mutex::new(State {
                document: None,
                is_coming: true,
                failure: None,
                failures: 0,
                unusable: 0,
                demanded_ms: None,
            }),
            demands: watch::Sender::new(()),
            ended: watch::Sender::new(0),
        }
    }

    /// Starts with the set that `before` fetched, if it has the same URL.
    ///
    /// # Errors
    /// [`KeysError`] if that set serves none of the algorithms that are allowed now.
    pub fn take_over(&self, before: &Self) -> Result<(), KeysError> {
        let document = before.state.lock().document.clone();
        match document {
            Some(document) if self.resource.is_same(&before.resource) => {
                self.adopt(&document).map_err(|reason| KeysError::Jwks {
                    from: self.resource.to_string(),
                    reason,
                })
            }
            _ => Ok(()),
        }
    }

    /// The last good set, for another process; `None` if there was none yet.
    pub(crate) fn fetched(&self) -> Option<FetchedKeys> {
        let document = self.state.lock().document.clone()?;
        Some(FetchedKeys {
            url: self.resource.url().to_string().as_bytes().into(),
            document: (&*document).into(),
        })
    }

    /// Starts with the set that another process fetched, if it has the same URL and nothing was fetched here.
    pub(crate) fn take_fetched(&self, fetched: &FetchedKeys) {
        let is_same = self.resource.url().to_string().as_bytes() == *fetched.url.0;
        if !is_same || self.is_fetched() {
            return;
        }
        if let Err(error) = self.adopt(&Bytes::copy_from_slice(&fetched.document.0)) {
            let url = &self.resource;
            tracing::warn!(%url, %error, "auth.jwks: the old process's key set cannot be used");
        }
    }

    /// Fetches on `control` from now on, until this is dropped.
    pub fn keep_fresh(self: &Arc<Self>, control: &Handle, clock: Clock) {
        let keys = Arc::downgrade(self);
        let mut demands = self.demands.subscribe();
        control.spawn(async move {
            loop {
                let Some(keys) = keys.upgrade() else { return };
                let pause = keys.fetch(&clock).await;
                drop(keys);
                tokio::select! {
                    () = clock.sleep(pause) => {}
                    demand = demands.changed() => if demand.is_err() { return },
                }
            }
        });
    }

    /// Waits for a fetch that is in flight or that this call may start. It starts none shortly after a
    /// fetch for another token. Returns true if the last fetch was good and no other is in flight, so that
    /// asking again would not help.
    pub async fn wait_until_fresh(&self, clock: &Clock) -> bool {
        let mut ended = self.ended.subscribe();
        // The wait begins here, before anybody can see the request of the fetch.
        let now_ms = clock.now_ms();
        if self.demand(now_ms) {
            tokio::select! {
                biased;
                () = clock.sleep_until(now_ms + millis(MAX_WAIT)) => {}
                _ = ended.changed() => {}
            }
        }
        let state = self.state.lock();
        !state.is_coming && state.failure.is_none()
    }

    /// Why there are no keys from the URL yet; `None` once a set was fetched.
    pub fn missing(&self) -> Option<String> {
        let state = self.state.lock();
        if state.document.is_some() {
            return None;
        }
        let why = state.failure.as_deref().unwrap_or("it does not answer");
        Some(format!("auth.jwks: {}: no keys yet: {why}", self.resource))
    }

    fn is_fetched(&self) -> bool {
        self.state.lock().document.is_some()
    }

    /// Starts a fetch unless there was one a moment ago. Returns true if a fetch is in flight.
    fn demand(&self, now_ms: u64) -> bool {
        let mut state = self.state.lock();
        if state.is_coming {
            return true;
        }
        let is_too_soon = state
            .demanded_ms
            .is_some_and(|at_ms| now_ms < at_ms + millis(MIN_BETWEEN_DEMANDS));
        if is_too_soon {
            return false;
        }
        state.demanded_ms = Some(now_ms);
        state.is_coming = true;
        self.demands.send_replace(());
        true
    }

    /// Fetches once, and returns the pause until the next fetch.
    async fn fetch(&self, clock: &Clock) -> Duration {
        self.state.lock().is_coming = true;
        let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
        let headers = HeaderMap::from_iter([(ACCEPT, accept)]);
        let fetched = match clock.within(MAX_FETCH, self.resource.get(headers)).await {
            Some(Ok(document)) => self.adopt(&document),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("no answer in {MAX_FETCH:?}")),
        };
        let pause = self.settle(fetched);
        self.ended.send_modify(|ended| *ended += 1);
        pause
    }

    fn adopt(&self, document: &Bytes) -> Result<(), String> {
        let url = self.resource.to_string();
        let served = jwks::of_url(document, &self.algorithms)?;
        self.state.lock().unusable = served.unusable;
        let set = served.set?;
        let before = self.state.lock().document.clone();
        let is_news = before.as_ref() != Some(document);
        if is_news {
            set.warn(&url);
        }
        let count = set.keys.len();
        let keys = self.fixed.with(set.keys);
        let keys = keys.map_err(|error| error.to_string())?;
        self.current.store(Arc::new(keys));
        self.state.lock().document = Some(document.clone());
        if is_news {
            tracing::info!(%url, keys = count, "auth.jwks: the key set was fetched");
        }
        Ok(())
    }

    fn settle(&self, fetched: Result<(), String>) -> Duration {
        let (pause, is_news, has_keys) = {
            let mut state = self.state.lock();
            state.is_coming = false;
            state.failures = if fetched.is_ok() {
                0
            } else {
                state.failures + 1
            };
            state.failure = fetched.as_ref().err().cloned();
            let pause = match state.failures {
                0 => REFRESH,
                failures => retry_after(failures),
            };
            (pause, state.failures == 1, state.document.is_some())
        };
        if let Err(error) = fetched {
            let url = &self.resource;
            // Once per outage: tokens that name unknown keys may cause many more fetches.
            if is_news {
                tracing::warn!(%url, %error, has_keys, "auth.jwks: the key set was not fetched; trying again, with the keys that there are");
            } else {
                tracing::debug!(%url, %error, has_keys, "auth.jwks: the key set was not fetched");
            }
        }
        pause
    }
}

/// The pause doubles, and is drawn from its upper half. So servers that lost the same URL do not all
/// return to it at once.
fn retry_after(failures: u32) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
    let longest_ms = millis(doubled.min(RETRY_MAX));
    Duration::from_millis(fastrand::u64(longest_ms / 2..=longest_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_up_to_a_minute() {
        let longest_s = [1, 2, 4, 8, 16, 32, 60, 60];
        for (failures, longest_s) in (1..).zip(longest_s) {
            for _ in 0..50 {
                let pause = retry_after(failures);
                let longest = Duration::from_secs(longest_s);
                assert!(
                    pause >= longest / 2 && pause <= longest,
                    "{failures}: {pause:?}"
                );
            }
        }
        assert!(retry_after(u32::MAX) <= RETRY_MAX);
    }
}
