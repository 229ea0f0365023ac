//! The places of users on this node, for the limit of all nodes: who waits for one, and who has got one but is not in
//! the directory yet.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use compact_str::ToCompactString;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::clock::{Clock, millis};
use crate::hub::Limit;
use crate::quiet::Quiet;

/// How old a request may become. If the store takes longer, this node's own limit decides: a storm of clients must
/// not wait for a store that does not keep up.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Names that this node has counted under before, and whose counts it removes when it meets them.
const FORMER_NAMES: usize = 4;
/// Most users for which room is kept between storms. They take some 40 KiB.
const KEPT_ROOM: usize = 1_024;
/// Time between lines about a store that refuses to count.
const QUIET: Duration = Duration::from_secs(60);

/// The places of users on this node.
pub(in crate::engine::redis) struct Places {
    /// This process's name, from which the names are made under which it counts.
    writer: String,
    real: Clock,
    inner: Mutex<Inner>,
    /// Notified when a user is pending.
    filled: Notify,
    /// Batches that the store has answered.
    answered: watch::Sender<u64>,
    /// For the line about a store that refuses to count.
    quiet: Quiet,
}

/// Values by user. The name is the one that the request came with, so it is not copied for each step.
type ByUser<T> = HashMap<Arc<str>, T, ahash::RandomState>;

#[derive(Default)]
struct Inner {
    is_served: bool,
    /// The number of the name under which this node counts.
    number: u64,
    /// All users are stated under this name.
    is_complete: bool,
    /// Users whose count in the store is out of date, each with those who ask for a place.
    pending: ByUser<Vec<PlaceRequest>>,
    /// Since when requests are under way.
    sent_ms: Option<u64>,
    /// Batches that were taken.
    taken: u64,
    /// Places that are not in the directory yet.
    reserved: ByUser<usize>,
    /// Connections that have left for another process of this node, which does not count yet.
    passed_on: ByUser<usize>,
    /// The names under which the process before this one has counted.
    inherited: Vec<String>,
    decided_here: u64,
}

/// A client that asks for a place.
pub(super) struct PlaceRequest {
    pub(super) limit: Limit,
    reply: oneshot::Sender<PlaceAnswer>,
}

/// The answer to a request.
pub(super) enum PlaceAnswer {
    Granted(Granted),
    /// The user has reached the limit.
    Full,
}

/// A place that was granted. It is given back when dropped, unless it was taken.
pub(super) struct Granted {
    places: Arc<Places>,
    /// `None` once it was taken.
    user: Option<Arc<str>>,
}

impl Granted {
    pub(super) fn take(mut self) {
        self.user = None;
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(user) = self.user.take() {
            self.places.cancel(&user);
        }
    }
}

/// The users of one batch, each with those who ask for a place.
pub(super) type Batch = Vec<(Arc<str>, Vec<PlaceRequest>)>;

/// The places are stated in the store as long as this exists.
pub(super) struct Service<'a>(&'a Places);

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.is_served = false;
        inner.sent_ms = None;
        // Who waits for a place learns of it, because the senders are dropped.
        inner.pending = ByUser::default();
    }
}

impl Places {
    /// No places, of the process that is named `writer`.
    pub(in crate::engine::redis) fn new(writer: &str, real: Clock) -> Self {
        Self {
            writer: writer.to_owned(),
            real,
            inner: Mutex::default(),
            filled: Notify::new(),
            answered: watch::Sender::new(0),
            quiet: Quiet::new(QUIET),
        }
    }

    /// The name under which this node counts now. Each service has its own, so that what an earlier one left in the
    /// store does not count any more.
    pub(super) fn name(&self) -> String {
        self.numbered(self.inner.lock().number)
    }

    /// The names whose numbers count: until all users are stated under the new name, also the names before.
    pub(in crate::engine::redis) fn valid_names(&self) -> Vec<String> {
        let is_complete = self.inner.lock().is_complete;
        let mut names = vec![self.name()];
        if !is_complete {
            names.extend(self.former_names());
        }
        names
    }

    /// The names before this one.
    pub(super) fn former_names(&self) -> Vec<String> {
        let inner = self.inner.lock();
        let before = (1..inner.number).rev().take(FORMER_NAMES);
        let before = before.map(|number| self.numbered(number));
        before.chain(inner.inherited.iter().cloned()).collect()
    }

    fn numbered(&self, number: u64) -> String {
        format!("{}.{number}", self.writer)
    }

    /// The next name is used from now on.
    pub(in crate::engine::redis) fn rename(&self) {
        let mut inner = self.inner.lock();
        inner.number += 1;
        inner.is_complete = false;
    }

    /// All users are stated under this name.
    pub(super) fn complete(&self) {
        self.inner.lock().is_complete = true;
    }

    /// From now on, changes are collected for the store, and requests wait for it.
    pub(super) fn serve(&self) -> Service<'_> {
        let mut inner = self.inner.lock();
        inner.is_served = true;
        // They may enter the directory when its users have been read already.
        let reserved: Vec<Arc<str>> = inner.reserved.keys().cloned().collect();
        for user in reserved {
            inner.pending.entry(user).or_default();
        }
        Service(self)
    }

    /// Asks for a place. `None` if this node's own limit decides; then a place counts as reserved.
    pub(super) fn ask(
        &self,
        user: &Arc<str>,
        limit: Limit,
    ) -> Option<oneshot::Receiver<PlaceAnswer>> {
        let mut inner = self.inner.lock();
        let is_slow = inner
            .sent_ms
            .is_some_and(|sent_ms| self.real.now_ms().saturating_sub(sent_ms) > millis(PATIENCE));
        if !inner.is_served || is_slow {
            inner.decide_here(user);
            return None;
        }
        let (reply, answer) = oneshot::channel();
        let request = PlaceRequest { limit, reply };
        let pending = inner.pending.entry(Arc::clone(user));
        pending
            .or_insert_with(|| Vec::with_capacity(1))
            .push(request);
        drop(inner);
        self.filled.notify_one();
        Some(answer)
    }

    /// This node's own limit decides about a request that is not answered in time.
    pub(super) fn decide_here(&self, user: &Arc<str>) {
        self.inner.lock().decide_here(user);
        self.filled.notify_one();
    }

    /// This node's own limit decides about a client that takes no place.
    pub(super) fn count_decided_here(&self) {
        self.inner.lock().decided_here += 1;
    }

    /// How often this node's own limit has decided.
    pub(in crate::engine::redis) fn decided_here(&self) -> u64 {
        self.inner.lock().decided_here
    }

    /// A reserved place is in the directory now.
    pub(super) fn admitted(&self, user: &str) {
        self.inner.lock().remove_reserved(user);
    }

    /// A reserved place is not needed.
    pub(super) fn cancel(&self, user: &str) {
        let mut inner = self.inner.lock();
        inner.remove_reserved(user);
        inner.change(user);
        drop(inner);
        self.filled.notify_one();
    }

    /// Connections of the user have left the directory.
    pub(super) fn change(&self, user: &dyn Display) {
        // Most names are short enough for a compact string to hold them inline.
        let user = user.to_compact_string();
        self.inner.lock().change(&user);
        self.filled.notify_one();
    }

    /// The user's places that are not in the directory: reserved ones, and those of connections that were passed on.
    /// Called under the directory's lock.
    pub(in crate::engine::redis) fn besides_directory(&self, user: &str) -> usize {
        let inner = self.inner.lock();
        let of = |places: &ByUser<usize>| places.get(user).copied().unwrap_or(0);
        of(&inner.reserved) + of(&inner.passed_on)
    }

    /// A connection of the user is about to leave the directory for another process of this node. Until that one counts,
    /// it is counted here.
    pub(super) fn pass_on(&self, user: &str) {
        let mut inner = self.inner.lock();
        *inner.passed_on.entry(user.into()).or_default() += 1;
    }

    /// The other process has ended, and so have the connections that were passed on to it.
    pub(in crate::engine::redis) fn end_passed_on(&self) {
        let mut inner = self.inner.lock();
        for user in std::mem::take(&mut inner.passed_on).into_keys() {
            inner.change(&user);
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Continues what another process of this node has counted under these names. They are valid until all users are
    /// stated here.
    pub(in crate::engine::redis) fn inherit(&self, names: Vec<String>) {
        self.inner.lock().inherited = names;
    }

    /// Takes up to `most` users whose count is out of date. Requests of clients that have left are dropped.
    pub(super) fn take(&self, most: usize) -> Batch {
        let mut inner = self.inner.lock();
        let mut batch: Batch = inner.pending.extract_if(|_, _| true).take(most).collect();
        if inner.pending.is_empty() {
            // Frees the memory that a storm used.
            inner.pending.shrink_to(KEPT_ROOM);
        }
        for (_, requests) in &mut batch {
            requests.retain(|request| !request.reply.is_closed());
        }
        if !batch.is_empty() {
            inner.sent_ms = Some(self.real.now_ms());
            inner.taken += 1;
        }
        batch
    }

    /// Nothing is under way any more.
    pub(super) fn settle(&self) {
        let mut inner = self.inner.lock();
        inner.sent_ms = None;
        self.answered.send_replace(inner.taken);
    }

    /// Waits until the store knows what has changed before, but not for long.
    pub(in crate::engine::redis) async fn stated(&self) {
        let batch = {
            let inner = self.inner.lock();
            if !inner.is_served {
                return;
            }
            inner.taken + u64::from(!inner.pending.is_empty())
        };
        let mut answered = self.answered.subscribe();
        let answered = answered.wait_for(|answered| *answered >= batch);
        self.real.within(PATIENCE, answered).await;
    }

    /// Answers requests: the first `granted` of them get a place.
    pub(super) fn answer(
        self: &Arc<Self>,
        user: &Arc<str>,
        requests: Vec<PlaceRequest>,
        granted: usize,
    ) {
        if granted > 0 {
            let mut inner = self.inner.lock();
            *inner.reserved.entry(Arc::clone(user)).or_default() += granted;
        }
        for (number, request) in requests.into_iter().enumerate() {
            let answer = if number < granted {
                PlaceAnswer::Granted(Granted {
                    places: Arc::clone(self),
                    user: Some(Arc::clone(user)),
                })
            } else {
                PlaceAnswer::Full
            };
            // If the client has left, the place is given back with the answer.
            let _ = request.reply.send(answer);
        }
    }

    /// Limits the line about a store that refuses to count.
    pub(super) fn quiet(&self) -> &Quiet {
        &self.quiet
    }

    /// Waits until there may be pending users.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }
}

impl Inner {
    fn change(&mut self, user: &str) {
        if self.is_served && !self.pending.contains_key(user) {
            self.pending.insert(user.into(), Vec::new());
        }
    }

    fn decide_here(&mut self, user: &Arc<str>) {
        self.decided_here += 1;
        *self.reserved.entry(Arc::clone(user)).or_default() += 1;
        self.change(user);
    }

    fn remove_reserved(&mut self, user: &str) {
        if let Some(reserved) = self.reserved.get_mut(user) {
            *reserved -= 1;
            if *reserved == 0 {
                self.reserved.remove(user);
                if self.reserved.is_empty() {
                    // Frees the memory that a storm used.
                    self.reserved.shrink_to(KEPT_ROOM);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "places/tests.rs"]
mod tests;
