//! Room for a newcomer whose user holds all they may: connections that are gone already give way.
//!
//! A client that reconnects at once may come before the shard has looked at the end of its last
//! connection, and after a network change the server is not told of that end at all. So, before a
//! newcomer is refused:
//!
//! 1. connections whose end the kernel knows are closed ([`Shard::look`]);
//! 2. with none of those, all get a heartbeat, and those whose kernel has not acknowledged it
//!    after [`PATIENCE`] are closed. This is done once per user in a while ([`Questions`]); whoever
//!    comes meanwhile waits for the outcome.
//!
//! A request for the head alone is answered by the same rules, but connections that do not answer
//! stay: only a stream takes their place.
//!
//! Behind a proxy the kernel that answers is the proxy's: a client that it still believes in does
//! not give way.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use tokio::sync::{oneshot, watch};

use super::dispatch::by_shard;
use super::inbox::{Command, Inbox};
use super::table::SlotRef;
use super::{Shard, Shared};
use crate::clock::millis;
use crate::directory::{ConnectionRef, Silent, Turn};
use crate::metrics::{DisconnectReason, Transport};
use crate::sys::{self, InFlight};

/// How long a kernel may take to acknowledge a heartbeat: several round trips of a slow network.
const PATIENCE: Duration = Duration::from_secs(1);
/// Connections looked at for one newcomer, the oldest; bounds what a refusal costs where the limit
/// is high.
const MAX_LOOKED_AT: usize = 64;
/// Between the first looks for an acknowledgement. The pause doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// A kernel that has acknowledged something this recently is there. Its clock ticks every few
/// milliseconds, so that shorter times cannot be told apart.
const RECENTLY_MS: u32 = 50;

/// A connection that is still there, as far as its kernel knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    connection: ConnectionRef,
    /// What is on the way to it; `None` where that says nothing.
    in_flight: Option<InFlight>,
}

impl Seen {
    /// Whether it has acknowledged nothing since it was seen as `before`.
    fn is_silent_since(&self, before: &Self) -> bool {
        let (Some(now), Some(before)) = (self.in_flight, before.in_flight) else {
            return false;
        };
        now.packets > 0
            && before.last_ack_ms >= RECENTLY_MS
            && now.last_ack_ms >= before.last_ack_ms
    }
}

/// Closes those of the user's connections that are gone; true if it is worth trying again.
pub async fn make_room(shared: &Shared, user: &str, limit: usize) -> bool {
    if look(shared, user, limit, Look::Only).await.has_room {
        return true;
    }
    let now_ms = shared.clock.now_ms();
    match shared.directory.questions().turn(user, now_ms) {
        Turn::Ask(_question) => drop_silent(shared, user, limit).await,
        Turn::Wait(outcome) => {
            // What a request for a head has left open is closed without another question: requests
            // for heads in a loop must not keep streams waiting.
            close_all(shared, &outcome_of(outcome).await).await;
            true
        }
        Turn::Asked => false,
    }
}

/// Whether [`make_room`] would make room. Closes only connections whose end the kernel knows.
pub async fn would_make_room(shared: &Shared, user: &str, limit: usize) -> bool {
    let has_room = || count(shared, user) < limit;
    look(shared, user, limit, Look::Only).await;
    if has_room() {
        return true;
    }
    let now_ms = shared.clock.now_ms();
    match shared.directory.questions().turn(user, now_ms) {
        Turn::Ask(question) => {
            let silent = silent(shared, user, limit).await.unwrap_or_default();
            let has_room = count(shared, user) < limit + silent.len();
            question.send_replace(silent.into());
            has_room
        }
        Turn::Wait(outcome) => !outcome_of(outcome).await.is_empty() || has_room(),
        Turn::Asked => false,
    }
}

/// Waits for the end of somebody's question; the silent connections that they have left open.
async fn outcome_of(mut outcome: watch::Receiver<Silent>) -> Silent {
    // The question is dropped with its outcome.
    while outcome.changed().await.is_ok() {}
    outcome.borrow().clone()
}

fn count(shared: &Shared, user: &str) -> usize {
    let mut held = 0;
    shared.directory.connections(user, |_| held += 1);
    held
}

/// Closes the connections that do not answer a heartbeat; true if there is room then.
async fn drop_silent(shared: &Shared, user: &str, limit: usize) -> bool {
    let Some(silent) = silent(shared, user, limit).await else {
        return true;
    };
    close_all(shared, &silent).await
}

/// False if all of them had gone by themselves.
async fn close_all(shared: &Shared, silent: &[ConnectionRef]) -> bool {
    let closed = every(shared, silent, |tenants, reply| Command::Drop {
        tenants,
        reply,
    });
    !closed.await.is_empty()
}

/// The connections whose kernel does not acknowledge a heartbeat in time; `None` if there is room
/// without them.
async fn silent(shared: &Shared, user: &str, limit: usize) -> Option<Vec<ConnectionRef>> {
    let until_ms = shared.clock.now_ms() + millis(PATIENCE);
    let Looked { seen, has_room } = look(shared, user, limit, Look::Heartbeat).await;
    let mut silent = seen;
    let mut has_room = has_room;
    let mut pause = FIRST_PAUSE;
    let mut is_over = false;
    while !has_room && !is_over {
        silent.retain(|one| one.is_silent_since(one));
        if silent.is_empty() {
            return Some(Vec::new());
        }
        // Acknowledgements come in real time, whatever clock the server runs on.
        let paused = tokio::time::timeout(pause, std::future::pending::<()>());
        tokio::select! {
            biased;
            () = shared.clock.sleep_until(until_ms) => is_over = true,
            _ = paused => pause *= 2,
        }
        let now = look(shared, user, limit, Look::Only).await;
        has_room = now.has_room;
        silent.retain(|before| {
            let now = now
                .seen
                .iter()
                .find(|now| now.connection == before.connection);
            now.is_some_and(|now| now.is_silent_since(before))
        });
    }
    (!has_room).then(|| silent.iter().map(|one| one.connection).collect())
}

/// What to do to connections besides looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Only,
    Heartbeat,
}

struct Looked {
    seen: Vec<Seen>,
    /// Some were gone.
    has_room: bool,
}

async fn look(shared: &Shared, user: &str, limit: usize, look: Look) -> Looked {
    let mut connections = Vec::new();
    let mut held = 0;
    shared.directory.connections(user, |connection| {
        held += 1;
        if connections.len() < MAX_LOOKED_AT {
            connections.push(connection);
        }
    });
    let seen: Vec<Seen> = every(shared, &connections, |tenants, reply| Command::Look {
        tenants,
        look,
        reply,
    })
    .await;
    Looked {
        // A shard may have seen the end of one by itself, after the newcomer was declined.
        has_room: held < limit || seen.len() < connections.len(),
        seen,
    }
}

/// What the shards answer that own these connections.
async fn every<T>(
    shared: &Shared,
    connections: &[ConnectionRef],
    command: impl Fn(Vec<SlotRef>, oneshot::Sender<Vec<T>>) -> Command,
) -> Vec<T> {
    let asked = by_shard(shared.inboxes.iter(), connections);
    let answers: Vec<_> = asked
        .into_iter()
        .map(|(inbox, tenants): (&Inbox, _)| {
            let (reply, answer) = oneshot::channel();
            inbox.push(command(tenants, reply));
            answer
        })
        .collect();
    let mut all = Vec::new();
    for answer in answers {
        // A shard that has ended holds nothing.
        all.extend(answer.await.unwrap_or_default());
    }
    all
}

impl Shard {
    /// Closes those of the tenants whose end the kernel knows, and tells of the others.
    pub(super) fn look(&mut self, tenants: &[SlotRef], look: Look) -> Vec<Seen> {
        let is_there = |tenant: &&SlotRef| self.look_at(**tenant, look);
        let there: Vec<&SlotRef> = tenants.iter().filter(is_there).collect();
        let seen = |tenant: &SlotRef| {
            let slot = self.table.get(self.table.find(*tenant)?)?;
            let tells = slot.transport() == Transport::Sse && !slot.is_backlogged();
            Some(Seen {
                connection: self.connection(*tenant),
                in_flight: sys::in_flight(slot.fd.as_fd()).ok().filter(|_| tells),
            })
        };
        there.into_iter().filter_map(seen).collect()
    }

    /// False where the tenant is gone.
    fn look_at(&mut self, tenant: SlotRef, look: Look) -> bool {
        let Some(key) = self.table.find(tenant) else {
            return false;
        };
        let Some(slot) = self.table.get(key).filter(|slot| !slot.is_ending()) else {
            return true;
        };
        let mut polled = [PollFd::new(&slot.fd, PollFlags::IN | PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Interrupted or not, it is looked at again when the socket has something to say.
        let _ = poll(&mut polled, Some(&at_once));
        let flags = polled[0].revents();
        if flags.contains(PollFlags::ERR) {
            self.close_failed(key);
        } else if flags.intersects(PollFlags::RDHUP | PollFlags::HUP) {
            self.close(key, DisconnectReason::ClientClosed);
        } else if flags.contains(PollFlags::IN) {
            // TLS has a word of its own for the end.
            self.discard_input(key);
        }
        let is_idle = |slot: &super::slot::Slot| {
            slot.transport() == Transport::Sse && !slot.is_ending() && !slot.is_backlogged()
        };
        if look == Look::Heartbeat
            && self.table.find(tenant).is_some()
            && self.table.get(key).is_some_and(is_idle)
        {
            self.send_heartbeat(key);
        }
        self.table.find(tenant).is_some()
    }

    /// Closes the tenants, and says which were there.
    pub(super) fn drop_silent(&mut self, tenants: &[SlotRef]) -> Vec<ConnectionRef> {
        let mut dropped = Vec::new();
        for tenant in tenants {
            if let Some(key) = self.table.find(*tenant) {
                dropped.push(self.connection(*tenant));
                self.close(key, DisconnectReason::Stalled);
            }
        }
        dropped
    }
}
