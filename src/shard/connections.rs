//! The streams of one shard: their slots, their timers and their sockets, which are always the same
//! ones.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::{io, mem};

use tokio::sync::Notify;

use super::detached::Detached;
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
use crate::hub::{ConnectionId, Permits, Place};
use crate::metrics::{ShardMetrics, Transport};

/// The streams of one shard.
#[derive(Debug)]
pub(super) struct Connections {
    number: u16,
    pub(super) shared: Shared,
    pub(super) table: Table,
    wheel: Wheel,
    pub(super) poller: Rc<Poller>,
    pub(super) outbox: Outbox,
    /// Of all streams in the table.
    permits: Permits,
    /// Of the test streams among them.
    test_permits: Permits,
    /// Silence after which a stream gets a heartbeat.
    pub(super) heartbeat_ticks: u32,
    /// Longest time without progress of a client that has a backlog.
    pub(super) stall_ticks: u32,
    /// How long a WebSocket client may leave a ping unanswered.
    pub(super) pong_limit: PongLimit,
    /// Where the answers to one client's input are put; empty in between.
    pub(super) answers: Vec<u8>,
    /// Clients with more to catch up with and no backlog.
    pub(super) catching_up: VecDeque<ConnectionId>,
    pub(super) exits: Exits,
    alarm: Alarm,
}

/// What becomes of connections whose stream has ended.
#[derive(Debug)]
pub(super) struct Exits {
    /// Connections on their way back to HTTP, until the end of the turn.
    pub(super) returned: Vec<Returned>,
    /// How many of those find a place this turn.
    pub(super) room: usize,
    /// The server goes down: all are closed.
    pub(super) is_draining: bool,
}

/// What the shard's loop waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sleep {
    /// Nothing: it is at work.
    Awake,
    /// The earliest timer it knew of.
    Until(Tick),
    /// Anything but a timer.
    Unbounded,
}

/// Wakes the shard's loop when a timer is armed earlier than it sleeps to.
#[derive(Debug)]
struct Alarm {
    rearmed: Rc<Notify>,
    sleep: Sleep,
}

impl Connections {
    /// None yet, in the context of the shard's runtime.
    pub(super) fn new(number: u16, shared: Shared, poller: Poller) -> Self {
        let settings = &shared.settings;
        let heartbeat_ticks = Tick::span(millis(settings.heartbeat));
        let stall_ticks = Tick::span(millis(settings.stall_timeout));
        Self {
            number,
            table: Table::new(number, settings.table_capacity),
            wheel: Wheel::new(Tick::at_ms(shared.clock.now_ms())),
            poller: Rc::new(poller),
            outbox: Outbox::new(
                settings.max_backlog_bytes,
                std::sync::Arc::clone(&shared.metrics),
                number,
            ),
            permits: Permits::of(shared.hub.streams()),
            test_permits: Permits::of(shared.hub.test_streams()),
            heartbeat_ticks,
            stall_ticks,
            pong_limit: PongLimit::of_ticks(heartbeat_ticks.saturating_add(stall_ticks)),
            answers: Vec::new(),
            catching_up: VecDeque::new(),
            exits: Exits {
                returned: Vec::new(),
                room: usize::MAX,
                is_draining: false,
            },
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

    /// Streams held.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Puts a socket into the vacancy of its place, and watches it; says which slot that is.
    ///
    /// # Errors
    /// What epoll says; the socket is closed and the place given up.
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
        if let Some(permits) = place.take() {
            self.permits.put(permits.stream);
            if let Some(permit) = permits.test_stream {
                self.test_permits.put(permit);
            }
        }
        let slot = self.table.at_mut(key);
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
        metrics.connects.at(transport as usize).increment();
        Ok(key)
    }

    /// Gives up a place that was reserved and not used.
    pub(super) fn give_up(&mut self, place: Place) {
        // It stood in the directory for a moment: what was sent there must not reach the next one.
        self.table.skip_generation();
        drop(place);
    }

    /// Takes a stream out everywhere. Its end has been counted, or is counted by the caller.
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

    /// Takes a stream that has not ended yet out of the directory: it is no target any more.
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
            Ok(()) => self.exits.returned.push(slot.into_returned()),
            Err(error) => tracing::warn!(%error, "a connection could not be given back to HTTP"),
        }
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
            self.alarm.rearmed.notify_one();
        }
    }

    /// A connection whose timer is due, disarmed.
    pub(super) fn pop_due(&mut self, now: Tick) -> Option<u32> {
        self.wheel.pop_due(&mut self.table, now)
    }

    /// When the earliest timer may be due.
    pub(super) fn next_tick(&mut self) -> Option<Tick> {
        self.wheel.next_tick()
    }

    /// Notes what the shard's loop waits for from now on.
    pub(super) fn set_sleep(&mut self, sleep: Sleep) {
        self.alarm.sleep = sleep;
    }

    /// What wakes the loop for timers.
    pub(super) fn rearmed(&self) -> Rc<Notify> {
        Rc::clone(&self.alarm.rearmed)
    }

    /// What wakes the loop for sockets.
    pub(super) fn poller(&self) -> Rc<Poller> {
        Rc::clone(&self.poller)
    }

    /// The connections that are going back to HTTP.
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

    /// Gives memory that a burst left behind back.
    pub(super) fn release_memory(&mut self) {
        self.table.release();
        self.outbox.release();
        self.answers = Vec::new();
    }

    /// What table, wheel and directory have to agree on. For tests: it looks at every slot.
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
