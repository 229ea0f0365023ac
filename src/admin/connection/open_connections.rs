//! The open admin connections of all listeners: limits their number and chooses which one to close.
//!
//! A new connection is always accepted, because it may be a health check. At the limit, the connection
//! that has been idle longest is closed to make room. A connection is idle while the server waits for
//! its client, even in the middle of a request body. It is busy while the server works on a request. If
//! all are busy, a few more are accepted; beyond those, the one that has been busy longest is closed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::admin_connection::AdminConnection;
use crate::clock::Clock;
use crate::quiet::Quiet;

/// All open admin connections, up to the limit.
#[derive(Debug)]
pub(crate) struct OpenConnections {
    clock: Clock,
    max: usize,
    spare: usize,
    table: Mutex<Table>,
    /// Counts activity on all connections, and so puts it in order.
    activity: AtomicU64,
    evictions: Quiet,
}

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<u64, Arc<AdminConnection>>,
    accepted: u64,
}

/// A connection's entry in the table; removed when dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    all: Arc<OpenConnections>,
    number: u64,
    connection: Arc<AdminConnection>,
}

impl OpenConnections {
    pub(crate) fn new(clock: Clock, max: usize, spare: usize) -> Self {
        Self {
            clock,
            max,
            spare,
            table: Mutex::default(),
            // 0 means "before all others", see `AdminConnection::mark_done`.
            activity: AtomicU64::new(1),
            evictions: Quiet::new(Duration::from_secs(1)),
        }
    }

    /// Adds a new connection. Also returns the connection that was evicted for it, if any: its
    /// descriptor is free after [`AdminConnection::wait_until_closed`].
    pub(crate) fn add(
        self: &Arc<Self>,
        peer: Option<SocketAddr>,
    ) -> (OpenConnection, Option<Arc<AdminConnection>>) {
        let now_ms = self.clock.now_ms();
        let connection = Arc::new(AdminConnection::new(peer, self.next_activity(), now_ms));
        let mut table = self.table.lock();
        let evicted = self.make_room(&mut table);
        table.accepted += 1;
        let number = table.accepted;
        table.connections.insert(number, Arc::clone(&connection));
        drop(table);
        if let Some(evicted) = &evicted {
            evicted.abort();
            self.log(evicted, now_ms);
        }
        let open = OpenConnection {
            all: Arc::clone(self),
            number,
            connection,
        };
        (open, evicted)
    }

    /// The number of connections whose response is not a stream.
    pub(crate) fn unfinished(&self) -> usize {
        let table = self.table.lock();
        let connections = table.connections.values();
        connections.filter(|it| !it.is_streaming()).count()
    }

    fn make_room(&self, table: &mut Table) -> Option<Arc<AdminConnection>> {
        let open = table.connections.len();
        if open < self.max {
            return None;
        }
        let connections = table.connections.iter();
        let (number, connection) =
            connections.min_by_key(|(number, connection)| (connection.rank(), **number))?;
        if connection.is_busy() && open < self.max + self.spare {
            return None;
        }
        let number = *number;
        table.connections.remove(&number)
    }

    fn log(&self, evicted: &AdminConnection, now_ms: u64) {
        if let Some(suppressed) = self.evictions.suppressed(now_ms) {
            tracing::warn!(
                admin_max_connections = self.max,
                peer = evicted.peer().map(tracing::field::display),
                idle_ms = evicted.idle_ms(now_ms),
                suppressed,
                "admin: the connection that was idle longest is closed for a new one"
            );
        }
    }

    fn next_activity(&self) -> u64 {
        self.activity.fetch_add(1, Ordering::Relaxed)
    }
}

impl OpenConnection {
    pub(crate) fn connection(&self) -> &Arc<AdminConnection> {
        &self.connection
    }

    /// Records that bytes were received or sent.
    pub(crate) fn record_activity(&self) {
        let order = self.all.next_activity();
        self.connection
            .record_activity(order, self.all.clock.now_ms());
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.table.lock().connections.remove(&self.number);
        self.connection.mark_closed();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connections(max: usize, spare: usize) -> Arc<OpenConnections> {
        Arc::new(OpenConnections::new(Clock::manual(0), max, spare))
    }

    fn is_open(open: &OpenConnection) -> bool {
        let table = open.all.table.lock();
        table.connections.contains_key(&open.number)
    }

    #[test]
    fn the_connection_that_has_been_idle_longest_is_evicted() {
        let connections = connections(3, 1);
        let open: Vec<_> = (0..3).map(|_| connections.add(None).0).collect();
        open[0].record_activity();
        let (new, evicted) = connections.add(None);
        assert!(Arc::ptr_eq(&evicted.unwrap(), open[1].connection()));
        assert!(is_open(&open[0]) && !is_open(&open[1]) && is_open(&open[2]) && is_open(&new));
    }

    #[test]
    fn a_busy_connection_is_evicted_only_when_the_spare_places_are_taken() {
        let connections = connections(2, 1);
        let open: Vec<_> = (0..2).map(|_| connections.add(None).0).collect();
        for open in &open {
            open.connection().set_busy(true);
        }
        let (third, evicted) = connections.add(None);
        assert!(evicted.is_none());
        third.connection().set_busy(true);
        let (_fourth, evicted) = connections.add(None);
        assert!(Arc::ptr_eq(&evicted.unwrap(), open[0].connection()));
    }

    #[test]
    fn a_connection_that_has_had_its_last_response_is_evicted_first() {
        let connections = connections(2, 0);
        let (idle, _) = connections.add(None);
        let (done, _) = connections.add(None);
        done.record_activity();
        done.connection().mark_done();
        let (_, evicted) = connections.add(None);
        assert!(Arc::ptr_eq(&evicted.unwrap(), done.connection()));
        assert!(is_open(&idle));
    }

    proptest! {
        /// Every new connection is accepted, and there are never more than the limit.
        #[test]
        fn there_are_never_more_connections_than_the_limit(
            acts in prop::collection::vec((0_usize..4, any::<prop::sample::Index>()), 1..200),
        ) {
            let connections = connections(4, 2);
            let mut open: Vec<OpenConnection> = Vec::new();
            for (act, index) in acts {
                match act {
                    0 | 1 => {
                        let (new, _) = connections.add(None);
                        prop_assert!(is_open(&new));
                        open.push(new);
                        open.retain(is_open);
                    }
                    2 if !open.is_empty() => drop(open.swap_remove(index.index(open.len()))),
                    _ => open.iter().for_each(|open| open.connection().set_busy(act == 3)),
                }
                let count = connections.table.lock().connections.len();
                prop_assert!(count <= 6 && count == open.len());
            }
        }
    }
}
