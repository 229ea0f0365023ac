//! One thread's share of the clients: it owns their sockets and is the only one to touch them.
//!
//! A shard is a current-thread runtime with its own listeners, handshakes, [`table`], [`wheel`]
//! and epoll. Others talk to it through its [`Inbox`]. What a stream is told and when stands in
//! [`delivery`], [`timers`] and [`drain`]; every byte leaves through [`write`].

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod acceptor;
mod admission;
mod audience;
mod backlog;
#[cfg(feature = "bench")]
pub mod bench;
mod catch_up;
mod delivery;
mod drain;
mod heartbeat;
mod look;
#[cfg(test)]
mod model;
mod poller;
mod returned;
mod sealed;
mod slot;
mod table;
mod thread;
mod timers;
mod wheel;
mod write;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::sync::Notify;

use crate::clock::{Clock, millis};
use crate::hub::directory::UserHandle;
use crate::hub::log::Entry;
use crate::hub::{ConnectionId, Hub, Permits};
use crate::metrics::{DisconnectReason, Metrics, ShardMetrics, Transport};
use crate::sys;
use crate::tls::Alert;
use crate::wire::End;
use delivery::Deliveries;
use drain::Drain;
use heartbeat::Served;
use poller::{Poller, Readiness};
use returned::Returned;
use slot::Slot;
use table::Table;
use wheel::{Tick, Wheel};

pub use acceptor::Accepted;
pub use admission::{Admission, Declined, Detached, Seat};
pub use returned::{Earlier, Origin};
pub use thread::{Shards, StartError, StartHandshake, Starter};

/// What bounds a client that reads too slowly or not at all, and how often it hears from us.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Silence after which a stream gets a heartbeat.
    pub heartbeat: Duration,
    /// Longest time without progress of a client that has a backlog.
    pub stall_timeout: Duration,
    /// Bytes kept for one client.
    pub max_backlog_bytes: usize,
    /// Reconnect delays told to clients, in milliseconds.
    pub retry_ms: std::ops::RangeInclusive<u64>,
    /// Slots reserved in each shard's table.
    pub table_capacity: usize,
    /// Public connections of one shard that are not (yet) a stream.
    pub max_handshakes: usize,
}

/// What all shards share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Who is connected, what happened, and who is told.
    pub hub: Arc<Hub>,
    /// The hub's clock, at hand for every turn.
    pub clock: Clock,
    /// The hub's metrics.
    pub metrics: Arc<Metrics>,
    /// Bounds and intervals.
    pub settings: Arc<Settings>,
}

impl Shared {
    /// Shards of this hub.
    pub fn new(hub: Arc<Hub>, settings: Settings) -> Self {
        Self {
            clock: hub.clock.clone(),
            metrics: Arc::clone(&hub.metrics),
            hub,
            settings: Arc::new(settings),
        }
    }
}

/// The state of one shard. Only its own thread touches it.
#[derive(Debug)]
pub struct Shard {
    number: u16,
    shared: Shared,
    table: Table,
    /// Of all streams in the table.
    permits: Permits,
    /// Of the test streams among them.
    test_permits: Permits,
    wheel: Wheel,
    poller: Rc<Poller>,
    served: Served,
    heartbeat_ticks: u32,
    stall_ticks: u32,
    deliveries: Deliveries,
    /// Where what one client gets is encoded; empty in between.
    said: Vec<u8>,
    /// Where records for clients with TLS are sealed.
    records: Vec<u8>,
    /// Clients with more to catch up with and no backlog.
    catching_up: VecDeque<ConnectionId>,
    drain: Option<Drain>,
    /// Connections on their way back to HTTP, until the end of the turn.
    returned: Vec<Returned>,
    /// How many of those find a place this turn.
    room_for_returned: usize,
    /// Wakes the shard's loop when a timer was armed earlier than it sleeps to.
    rearmed: Rc<Notify>,
    sleep: Sleep,
}

/// What the shard's loop waits for.
#[derive(Clone, Copy, Debug)]
enum Sleep {
    /// Nothing: it is at work.
    Awake,
    /// The earliest timer it knew of.
    Until(Tick),
    /// Anything but a timer.
    Unbounded,
}

impl Shard {
    /// An empty shard, in the context of its runtime.
    fn new(number: u16, shared: Shared, poller: Poller) -> Self {
        let now = Tick::at_ms(shared.clock.now_ms());
        let settings = &shared.settings;
        Self {
            number,
            table: Table::new(number, settings.table_capacity),
            permits: Permits::of(shared.hub.streams()),
            test_permits: Permits::of(shared.hub.test_streams()),
            wheel: Wheel::new(now),
            poller: Rc::new(poller),
            served: Served::new(),
            heartbeat_ticks: Tick::span(millis(settings.heartbeat)),
            stall_ticks: Tick::span(millis(settings.stall_timeout)),
            deliveries: Deliveries::default(),
            said: Vec::new(),
            records: Vec::new(),
            catching_up: VecDeque::new(),
            drain: None,
            returned: Vec::new(),
            room_for_returned: usize::MAX,
            rearmed: Rc::default(),
            sleep: Sleep::Awake,
            shared,
        }
    }

    /// The shard's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Takes what the sockets have to say; true where there may be more.
    fn poll_sockets(&mut self, happened: &mut Vec<Readiness>) -> bool {
        let more = self.poller.poll(happened);
        for readiness in happened.drain(..) {
            let Some(key) = self.table.find(readiness.connection) else {
                continue;
            };
            if readiness.failed {
                self.close_failed(key);
            } else if readiness.hung_up {
                self.close(key, DisconnectReason::ClientClosed);
            } else {
                if readiness.readable {
                    self.discard_input(key);
                }
                if readiness.writable {
                    self.flush(key);
                }
            }
        }
        more
    }

    /// Sends the entry that ends a stream, where there is one, and its end. As soon as all of it is
    /// out, the connection goes back to HTTP or closes.
    fn end(&mut self, key: u32, end: End, entry: Option<&Entry>) {
        let is_draining = self.is_draining();
        let Some(slot) = self.table.get_mut(key) else {
            return;
        };
        if slot.is_ending() {
            return;
        }
        // A client whose input was thrown away may wait for an answer to it. Closed, it knows that
        // none will come. Whoever has to come back, for a new server or new keys, is closed too, and
        // whoever finds no place among the handshakes: the end and the FIN then leave together.
        let reason = reason_of(end);
        let is_over = is_draining || reason == DisconnectReason::Drained || slot.is_worn();
        let has_place = self.returned.len() < self.room_for_returned;
        if is_over || !has_place || slot.discarded_bytes > 0 {
            slot.set_closes();
        }
        let now = self.now();
        self.leave_directory(key);
        if !self.send_end(key, end, entry) {
            return;
        }
        let Some(slot) = self.table.get_mut(key) else {
            return;
        };
        slot.set_ending();
        let is_waiting = slot
            .backlog_mut()
            .map(|backlog| backlog.start_timeout(now))
            .is_some();
        self.metrics().disconnects.at(reason as usize).increment();
        if is_waiting {
            // What is left has `stall_timeout` to leave, however it trickles.
            self.arm(key);
        } else {
            self.finish(key);
        }
    }

    /// Gives a connection whose last byte is out back to HTTP, or closes it. Its input is read
    /// empty before it is closed: over unread bytes the kernel would reset the connection, and the
    /// client could lose the end it was sent.
    fn finish(&mut self, key: u32) {
        let is_draining = self.is_draining();
        let Some(slot) = self.table.get(key) else {
            return;
        };
        if slot.keeps_alive() {
            if !is_draining {
                self.give_back(key);
                return;
            }
            self.say_goodbye(key, Alert::CloseNotify);
        }
        if let Some(slot) = self.table.get(key) {
            // Sends what was held back for it: the last bytes and the FIN leave together.
            let _ = shutdown(&slot.fd, Shutdown::Write);
        }
        self.drain_input(key);
        self.close(key, DisconnectReason::ClientClosed);
    }

    fn give_back(&mut self, key: u32) {
        let Some(slot) = self.take_out(key, DisconnectReason::ClientClosed) else {
            return;
        };
        match self.poller.remove(slot.fd.as_fd()) {
            Ok(()) => self.returned.push(slot.into_returned()),
            Err(error) => tracing::warn!(%error, "a connection could not be given back to HTTP"),
        }
    }

    /// Closes a socket and gives its place up. The reason counts unless an end was counted.
    fn close(&mut self, key: u32, reason: DisconnectReason) {
        self.close_with(key, reason, Alert::CloseNotify);
    }

    /// The same, telling a client with TLS why.
    fn close_with(&mut self, key: u32, reason: DisconnectReason, alert: Alert) {
        let Some(slot) = self.table.get(key) else {
            return;
        };
        if slot.is_tls() && !slot.is_ending() {
            // Over unread input the kernel would reset the connection, and the goodbye with it.
            self.drain_input(key);
            self.say_goodbye(key, alert);
        }
        self.take_out(key, reason);
    }

    /// Gives a stream's place up.
    fn take_out(&mut self, key: u32, reason: DisconnectReason) -> Option<Slot> {
        self.leave_directory(key);
        self.wheel.disarm(&mut self.table, key);
        let slot = self.table.remove(key)?;
        let transport = slot.transport();
        let metrics = self.metrics();
        if !slot.is_ending() {
            metrics.disconnects.at(reason as usize).increment();
        }
        metrics.connections.at(transport as usize).sub(1);
        if let Some(backlog) = slot.backlog() {
            metrics.backlog_bytes.sub(backlog.pinned() as u64);
            metrics.backlogged.sub(1);
        }
        self.permits.release();
        if transport == Transport::Test {
            self.test_permits.release();
        }
        Some(slot)
    }

    fn leave_directory(&mut self, key: u32) {
        let Some(slot) = self.table.get(key) else {
            return;
        };
        if slot.user != UserHandle::NONE
            && !slot.is_ending()
            && let Some(connection) = self.table.id(key)
        {
            self.shared.hub.directory().remove(slot.user, connection);
        }
    }

    fn draw_retry_ms(&self) -> u64 {
        fastrand::u64(self.shared.settings.retry_ms.clone())
    }

    fn now(&self) -> Tick {
        Tick::at_ms(self.shared.clock.now_ms())
    }

    #[allow(clippy::indexing_slicing)] // a shard has metrics of its own number
    fn metrics(&self) -> &ShardMetrics {
        &self.shared.metrics.shards[usize::from(self.number)]
    }

    /// Gives memory that a burst left behind back to the kernel.
    fn release_memory(&mut self) {
        self.table.release();
        (self.said, self.records) = (Vec::new(), Vec::new());
        sys::collect_memory();
    }

    /// Streams held.
    fn len(&self) -> usize {
        self.table.len()
    }
}

/// What an end is counted as.
fn reason_of(end: End) -> DisconnectReason {
    match end {
        End::LoggedOut => DisconnectReason::LoggedOut,
        End::Expired => DisconnectReason::Expired,
        End::Evicted | End::Disconnected => DisconnectReason::Evicted,
        End::GoingAway { .. } => DisconnectReason::Drained,
    }
}
