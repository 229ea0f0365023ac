//! The streams of one shard. Keeps their slots, timers and sockets consistent.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::{io, mem};

use tokio::sync::Notify;

use super::detached::Detached;
use super::leaving::LeavingConnections;
use super::newcomers::Newcomers;
use super::outbox::Outbox;
use super::poller::Poller;
use super::pong::PongLimit;
use super::returned::Returned;
use super::shared::Shared;
use super::slot::{Opening, Slot};
use super::table::Table;
use super::wheel::{Tick, Wheel};
use crate::clock::millis;
use crate::hub::directory::UserHandle;
use crate::hub::log::Log;
use crate::hub::{ConnectionId, Permits, Place};
use crate::metrics::{ShardMetrics, Transport};
use crate::wire::Checksum;

/// The streams of one shard.
#[derive(Debug)]
pub(super) struct Connections {
    number: u16,
    pub(super) shared: Shared,
    pub(super) table: Table,
    wheel: Wheel,
    pub(super) poller: Rc<Poller>,
    pub(super) outbox: Outbox,
    /// The permits of all streams in the table.
    permits: Permits,
    /// The additional permits of test streams.
    test_permits: Permits,
    /// The time without a write after which a stream gets a heartbeat.
    pub(super) heartbeat_ticks: u32,
    /// The longest time for which a backlog may make no progress.
    pub(super) stall_ticks: u32,
    /// How long a WebSocket client may leave a ping unanswered.
    pub(super) pong_limit: PongLimit,
    /// Where the answers to one client's input are put; empty in between.
    pub(super) answers: Vec<u8>,
    /// Clients with a replay to continue and no backlog.
    pub(super) catching_up: VecDeque<ConnectionId>,
    pub(super) newcomers: Newcomers,
    pub(super) exits: Exits,
    pub(super) leaving: LeavingConnections,
    alarm: Alarm,
}

/// The connections whose stream has ended, and the rules for them.
#[derive(Debug)]
pub(super) struct Exits {
    /// Connections on their way back to HTTP, until the end of the turn.
    pub(super) returned: Vec<Returned>,
    /// The number of connections that can go back this turn.
    pub(super) room: usize,
    /// The server is shutting down: all connections are closed.
    pub(super) is_draining: bool,
}

/// The state of the shard's loop, with respect to timers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sleep {
    /// It does not sleep.
    Awake,
    /// It sleeps at most until the earliest timer that it knew of.
    Until(Tick),
    /// It sleeps without a timer.
    Unbounded,
}

/// Wakes the shard's loop if a timer is armed for an earlier time than the loop sleeps until, or if its next turn has
/// something to do at once.
#[derive(Debug)]
struct Alarm {
    rearmed: Rc<Notify>,
    sleep: Sleep,
}

impl Alarm {
    /// Wakes the loop if it sleeps.
    fn ring(&self) {
        if !matches!(self.sleep, Sleep::Awake) {
            self.rearmed.notify_one();
        }
    }
}

impl Connections {
    /// Creates an empty set. Must be called in the context of the shard's runtime.
    pub(super) fn new(number: u16, shared: Shared, poller: Poller) -> Self {
        let settings = &shared.settings;
        let heartbeat_ticks = Tick::span(millis(settings.heartbeat));
        let stall_ticks = Tick::span(millis(settings.stall_timeout));
        Self {
            number,
            table: Table::new(number, settings.table_capacity),
            wheel: Wheel::new(Tick::at_ms(shared.clock.now_ms())),
            poller: Rc::new(poller),
            outbox: Outbox::new(&shared, number),
            permits: Permits::of(shared.hub.streams()),
            test_permits: Permits::of(shared.hub.test_streams()),
            heartbeat_ticks,
            stall_ticks,
            pong_limit: PongLimit::of_ticks(heartbeat_ticks.saturating_add(stall_ticks)),
            answers: Vec::new(),
            catching_up: VecDeque::new(),
            newcomers: Newcomers::default(),
            exits: Exits {
                returned: Vec::new(),
                room: usize::MAX,
                is_draining: false,
            },
            leaving: LeavingConnections::default(),
            alarm: Alarm {
                rearmed: Rc::default(),
                sleep: Sleep::Awake,
            },
            shared,
        }
    }

    /// The shard's number.
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// The number of streams.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Reads from the log what was dispatched last, if no entry up to there is still on its way to this shard's streams.
    /// `has_entries` is true if the shard has taken entries from its inbox and not delivered them yet.
    pub(super) fn served_up_to<T>(
        &self,
        has_entries: bool,
        dispatched: impl FnOnce(&Log) -> T,
    ) -> Option<T> {
        let hub = &self.shared.hub;
        // The order matters: an entry that is dispatched by now is in the inbox, or was taken from there.
        let dispatched = dispatched(hub.log());
        let has_entries = has_entries || hub.inbox(self.number).has_entries();
        (!has_entries).then_some(dispatched)
    }

    /// Notes that streams may leave for another process from now on.
    pub(super) fn begin_leaving(&mut self) {
        self.leaving.begin(self.table.next_generation());
    }

    /// Puts a socket into the slot that its place reserved, and watches it. Returns the slot's key.
    ///
    /// # Errors
    /// If epoll does not accept the socket. The socket is closed and the place given up.
    pub(super) fn insert(
        &mut self,
        place: Place,
        detached: Detached,
        opening: Opening,
        keeps_alive: bool,
    ) -> io::Result<u32> {
        let Detached {
            fd,
            secrets,
            origin,
            lost_input,
        } = detached;
        if let Err(error) = self.poller.add(fd.as_fd(), place.connection()) {
            self.give_up(place);
            return Err(error);
        }
        let now = self.now();
        let unix_s = self.shared.clock.unix_ms() / 1_000;
        let key = self.table.insert(fd, opening, now, unix_s).key();
        self.newcomers.remove(key);
        if let Some(permits) = place.take() {
            self.permits.put(permits.stream);
            if let Some(permit) = permits.test_stream {
                self.test_permits.put(permit);
            }
        }
        let slot = self.table.at_mut(key);
        if slot.carrier.wire().has_checksum() {
            self.outbox.checksums.open(key, Checksum::default());
        }
        if let Some(secrets) = secrets {
            slot.carrier.set_secrets(secrets);
        }
        slot.set_origin(origin);
        if keeps_alive && !lost_input {
            slot.carrier.set_keeps_alive();
        }
        let transport = slot.transport();
        let metrics = self.metrics();
        metrics.connections.at(transport as usize).add(1);
        Ok(key)
    }

    /// Gives up a place that was reserved but not used.
    pub(super) fn give_up(&mut self, place: Place) {
        // The id was in the directory for a moment. Commands for it must not reach the slot's next stream.
        self.table.skip_generation();
        drop(place);
    }

    /// Removes a stream from all tables. The caller counts its end, unless that was counted before.
    pub(super) fn remove(&mut self, key: u32) -> Option<Slot> {
        self.leave_directory(key);
        self.wheel.disarm(&mut self.table, key);
        let slot = self.table.remove(key)?;
        let transport = slot.transport();
        let metrics = self.metrics();
        metrics.connections.at(transport as usize).sub(1);
        if let Some(backlog) = slot.carrier.backlog() {
            metrics.backlog_bytes.sub(backlog.pinned() as u64);
            metrics.backlogged.sub(1);
        }
        self.permits.release();
        if transport == Transport::Test {
            self.test_permits.release();
        }
        Some(slot)
    }

    /// Removes a stream that has not ended from the directory, so that it receives no more deliveries.
    pub(super) fn leave_directory(&mut self, key: u32) {
        if let Some(slot) = self.table.get(key)
            && slot.stream.user() != UserHandle::NONE
            && !slot.stream.is_ended()
            && let Some(connection) = self.table.id(key)
        {
            self.shared.hub.leave(slot.stream.user(), connection);
        }
    }

    /// Gives a socket back to HTTP.
    pub(super) fn give_back(&mut self, slot: Slot) {
        match self.poller.remove(slot.carrier.fd().as_fd()) {
            Ok(()) => {
                self.exits.returned.push(slot.into_returned());
                self.alarm.ring();
            }
            Err(error) => tracing::warn!(%error, "a connection could not be given back to HTTP"),
        }
    }

    /// Queues a client whose replay goes on in the next turn.
    pub(super) fn catch_up_later(&mut self, id: ConnectionId) {
        self.catching_up.push_back(id);
        self.alarm.ring();
    }

    /// Arms a connection's timer.
    pub(super) fn arm(&mut self, key: u32, due: Tick) {
        self.wheel.arm(&mut self.table, key, due);
        let is_overslept = match self.alarm.sleep {
            Sleep::Awake => false,
            Sleep::Until(until) => !due.reached(until),
            Sleep::Unbounded => true,
        };
        if is_overslept {
            self.alarm.ring();
        }
    }

    /// Disarms a timer that is due, and returns its key.
    pub(super) fn pop_due(&mut self, now: Tick) -> Option<u32> {
        self.wheel.pop_due(&mut self.table, now)
    }

    /// The earliest tick at which a timer may be due.
    pub(super) fn next_tick(&mut self) -> Option<Tick> {
        self.wheel.next_tick()
    }

    /// Records the state of the shard's loop.
    pub(super) fn set_sleep(&mut self, sleep: Sleep) {
        self.alarm.sleep = sleep;
    }

    /// The notification that wakes the loop for an earlier timer, or for its next turn.
    pub(super) fn rearmed(&self) -> Rc<Notify> {
        Rc::clone(&self.alarm.rearmed)
    }

    /// The poller that wakes the loop for sockets.
    pub(super) fn poller(&self) -> Rc<Poller> {
        Rc::clone(&self.poller)
    }

    /// Adds a connection of another process between two requests.
    pub(super) fn take_in(&mut self, connection: Returned) {
        self.exits.returned.push(connection);
        self.alarm.ring();
    }

    /// Returns true if the next turn has something to do at once.
    pub(super) fn has_work(&self) -> bool {
        !self.catching_up.is_empty() || !self.exits.returned.is_empty()
    }

    /// Takes the connections that are going back to HTTP.
    pub(super) fn take_returned(&mut self) -> Vec<Returned> {
        mem::take(&mut self.exits.returned)
    }

    pub(super) fn draw_retry_ms(&self) -> u64 {
        fastrand::u64(self.shared.settings.retry_ms.clone())
    }

    pub(super) fn now(&self) -> Tick {
        Tick::at_ms(self.shared.clock.now_ms())
    }

    #[allow(clippy::indexing_slicing)] // a shard has metrics of its own number
    pub(super) fn metrics(&self) -> &ShardMetrics {
        &self.shared.metrics.shards[usize::from(self.number)]
    }

    /// Frees memory that a burst left unused.
    pub(super) fn release_memory(&mut self) {
        self.table.release();
        self.outbox.release();
        if self.table.len() == 0 {
            self.outbox.checksums.release();
        }
        self.answers = Vec::new();
    }

    /// Checks that table, wheel and directory agree. Only for tests, since it looks at every slot.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut held = 0;
        for key in 0..self.table.end() {
            let Some(slot) = self.table.get(key) else {
                continue;
            };
            held += 1;
            let id = self.table.id(key).unwrap();
            assert!(slot.stream.is_armed(), "{id} has no timer");
            let user = slot.stream.user();
            if user != UserHandle::NONE {
                let is_known = self.shared.hub.directory().holds(user, id);
                assert!(!slot.stream.is_ended() || !is_known, "{id} has ended");
            }
            slot.check();
        }
        assert_eq!(held, self.table.len());
        let counted = self.metrics().connected();
        assert_eq!(counted, held as u64);
    }
}
