//! The state of one shard, and its operations.

use super::catch_up;
use super::connections::Connections;
use super::delivery::Deliveries;
use super::drain::Drain;
use super::heartbeat::Served;
use super::poller::{Poller, Readiness};
use super::shared::Shared;
use super::timers;
use super::wheel::Tick;
use crate::event::Position;
use crate::hub::log::Log;
use crate::sys;

/// The state of one shard. Only its own thread touches it.
#[derive(Debug)]
pub struct Shard {
    pub(super) connections: Connections,
    pub(super) deliveries: Deliveries,
    pub(super) served: Served,
    pub(super) drain: Option<Drain>,
}

impl Shard {
    /// Creates an empty shard. Must be called in the context of its runtime.
    pub(super) fn new(number: u16, shared: Shared, poller: Poller) -> Self {
        Self {
            connections: Connections::new(number, shared, poller),
            deliveries: Deliveries::default(),
            served: Served::new(),
            drain: None,
        }
    }

    /// The shard's number.
    pub(crate) fn number(&self) -> u16 {
        self.connections.number()
    }

    /// The state that all shards share.
    pub(super) fn shared(&self) -> &Shared {
        &self.connections.shared
    }

    /// Obeys the orders that bypass the inbox's queue: drain and stop. Returns true if it has been stopped.
    pub(super) fn take_orders(&mut self, now_ms: u64) -> bool {
        let inbox = self.shared().hub.inbox(self.number());
        inbox.note_turn();
        let (rate, is_stopped) = (inbox.drain_order(), inbox.is_stopped());
        let rate = rate.or(is_stopped.then_some(u32::MAX));
        if let (None, Some(streams_per_s)) = (&self.drain, rate) {
            self.drain = Some(Drain::begin(&mut self.connections, streams_per_s, now_ms));
        }
        if is_stopped {
            Drain::stop(&mut self.connections);
        }
        is_stopped
    }

    /// Handles the events of the sockets. Returns true if there may be more.
    pub(super) fn poll_sockets(&mut self, happened: &mut Vec<Readiness>) -> bool {
        self.connections.poll(happened)
    }

    /// Fires the timers that are due at `now`. Returns true if there may be more.
    pub(super) fn run_timers(&mut self, now: Tick) -> bool {
        timers::run(
            &mut self.connections,
            &mut self.served,
            || self.deliveries.under_way(),
            now,
        )
    }

    /// Delivers one slice. Returns true if there is more to do.
    pub(super) fn deliver(&mut self) -> bool {
        let has_more = self.deliveries.run(&mut self.connections, &mut self.served);
        if !has_more
            && !self.connections.newcomers.is_empty()
            && let Some(served) = self.served_position()
        {
            self.connections.newcomers.settle(served);
        }
        has_more
    }

    /// What was dispatched up to this position has reached this shard's streams. `None` while deliveries are under way.
    pub(super) fn served_position(&self) -> Option<Position> {
        let has_entries = self.deliveries.under_way().has_entries;
        self.connections
            .served_up_to(has_entries, Log::dispatched_position)
    }

    /// Sends the next pieces of replays. Returns true if there are more.
    pub(super) fn run_catch_ups(&mut self) -> bool {
        catch_up::run(&mut self.connections)
    }

    /// Ends the streams that the drain's rate allows to end by now.
    pub(super) fn run_drain(&mut self, now_ms: u64) {
        if let Some(drain) = &mut self.drain {
            drain.run(&mut self.connections, now_ms);
        }
    }

    /// Returns true if the shard accepts no more connections.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// The time at which the drain continues; `None` if there is no drain or it has ended every stream.
    pub(super) fn drain_due_ms(&self) -> Option<u64> {
        self.drain.as_ref()?.due_ms(&self.connections)
    }

    /// Returns memory that a burst left unused to the kernel.
    pub(super) fn release_memory(&mut self) {
        self.connections.release_memory();
        sys::collect_memory();
        sys::collect_c_memory();
    }

    /// The number of streams.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }
}
