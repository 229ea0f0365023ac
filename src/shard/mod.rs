//! One thread's share of the clients: it owns their sockets and is the only one to touch them.
//!
//! A shard is a current-thread runtime with its own listeners, handshakes and epoll. Others talk to it
//! through its [`Inbox`](crate::hub::Inbox).
//!
//! | module | one purpose |
//! |---|---|
//! | [`connections`] | the streams: slots, timers and sockets, which are always the same ones |
//! | [`connection`] | one that is there, and everything that can become of it |
//! | [`table`], [`slot`], [`audience`] | where a stream is kept, what it costs, and who asked for which topic |
//! | [`wheel`], [`poller`] | when something is due, and what the sockets have to say |
//! | [`outbox`], [`backlog`] | the one place where bytes leave, and those that wait |
//! | [`reader`] | what clients send |
//! | [`delivery`], [`catch_up`], [`timers`], [`heartbeat`], [`drain`], [`look`], [`answer`] | what happens to streams, one act each |
//! | [`admission`], [`returned`] | how a socket becomes a stream, and goes back to HTTP |
//! | [`thread`], [`acceptor`] | the thread and its turns; new connections |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod acceptor;
mod admission;
mod answer;
mod audience;
mod backlog;
#[cfg(feature = "bench")]
pub mod bench;
mod catch_up;
mod connection;
mod connections;
mod delivery;
mod drain;
mod heartbeat;
mod look;
#[cfg(test)]
mod model;
mod outbox;
mod poller;
mod reader;
mod returned;
mod slot;
mod table;
mod thread;
mod timers;
mod wheel;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::sys;
use connections::Connections;
use delivery::Deliveries;
use drain::Drain;
use heartbeat::Served;
use poller::{Poller, Readiness};
use wheel::Tick;

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
    connections: Connections,
    deliveries: Deliveries,
    served: Served,
    drain: Option<Drain>,
}

impl Shard {
    /// An empty shard, in the context of its runtime.
    fn new(number: u16, shared: Shared, poller: Poller) -> Self {
        Self {
            connections: Connections::new(number, shared, poller),
            deliveries: Deliveries::default(),
            served: Served::new(),
            drain: None,
        }
    }

    /// The shard's number.
    pub fn number(&self) -> u16 {
        self.connections.number()
    }

    /// What all shards share.
    fn shared(&self) -> &Shared {
        &self.connections.shared
    }

    /// Does what was ordered past the queue; true once everything has been ended.
    fn take_orders(&mut self, now_ms: u64) -> bool {
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

    /// Takes what the sockets have to say; true where there may be more.
    fn poll_sockets(&mut self, happened: &mut Vec<Readiness>) -> bool {
        self.connections.poll(happened)
    }

    /// Does what is due at `now`; true where there may be more.
    fn run_timers(&mut self, now: Tick) -> bool {
        timers::run(
            &mut self.connections,
            &mut self.served,
            &self.deliveries,
            now,
        )
    }

    /// Delivers one slice; true where there is more to do.
    fn deliver(&mut self) -> bool {
        self.deliveries.run(&mut self.connections, &mut self.served)
    }

    /// Sends pieces to clients that missed something; true where there are more.
    fn run_catch_ups(&mut self) -> bool {
        catch_up::run(&mut self.connections)
    }

    /// Ends the streams whose turn has come.
    fn run_drain(&mut self, now_ms: u64) {
        if let Some(drain) = &mut self.drain {
            drain.run(&mut self.connections, now_ms);
        }
    }

    /// Whether the shard accepts no more.
    fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// When the drain goes on; `None` without one, and when all streams have been told.
    fn drain_due_ms(&self) -> Option<u64> {
        self.drain.as_ref()?.due_ms(&self.connections)
    }

    /// Gives memory that a burst left behind back to the kernel.
    fn release_memory(&mut self) {
        self.connections.release_memory();
        sys::collect_memory();
    }

    /// Streams held.
    fn len(&self) -> usize {
        self.connections.len()
    }
}
