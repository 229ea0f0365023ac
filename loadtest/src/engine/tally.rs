//! Counts of the workers. Each has its own tally, and these are merged at the end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::window::Window;
use crate::tls;

/// Latencies are recorded up to a minute; longer ones count as a minute.
const MAX_LATENCY_NS: u64 = 60_000_000_000;

/// The counts of one worker, or of all after merging.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// The events that are counted.
    pub(crate) window: Window,
    /// From the scheduled time to the client's read, in nanoseconds, per event and client.
    pub(crate) latency_ns: Histogram<u64>,
    /// By offset in the window: the number of clients that received it, and when the last did.
    pub(crate) events: Vec<Spread>,
    /// Heartbeat events.
    pub(crate) heartbeats: u64,
    /// WebSocket pings.
    pub(crate) pings: u64,
    /// Duplicate events, per client.
    pub(crate) duplicates: u64,
    /// Events that arrived after a later one.
    pub(crate) out_of_order: u64,
    /// Events that this run did not publish.
    pub(crate) foreign: u64,
    /// Events for one user that another user received.
    pub(crate) misdirected: u64,
    /// The counts of each node.
    pub(crate) nodes: Vec<NodeCounts>,
    /// TLS handshakes and faults.
    pub(crate) tls: tls::TlsCounts,
    /// Why connections failed or ended, with the number of each.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// The counts of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeCounts {
    /// Streams at present.
    pub(crate) open: u64,
    /// Connections that never became a stream.
    pub(crate) failed: u64,
    /// Streams that the node ended or that broke.
    pub(crate) lost: u64,
    /// Distinct (event, client) pairs.
    pub(crate) received: u64,
    /// Clients that were told of events that they cannot have.
    pub(crate) replay_gaps: u64,
}

/// The delivery of one event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) clients: u32,
    pub(crate) last_ns: u64,
    pub(crate) scheduled_ns: u64,
    /// Its id.
    id: Option<Box<str>>,
}

impl Tally {
    /// An empty tally for the events of `window`, from this number of nodes.
    pub(crate) fn new(window: Window, nodes: usize) -> Self {
        Self {
            window,
            latency_ns: Histogram::new_with_bounds(1_000, MAX_LATENCY_NS, 3)
                .expect("the bounds are constants"),
            events: vec![Spread::default(); window.count as usize],
            heartbeats: 0,
            pings: 0,
            duplicates: 0,
            out_of_order: 0,
            foreign: 0,
            misdirected: 0,
            nodes: vec![NodeCounts::default(); nodes],
            tls: tls::TlsCounts::default(),
            failures: BTreeMap::new(),
        }
    }

    /// Counts another client that has read the event at `offset`.
    pub(crate) fn arrived(&mut self, offset: u32, scheduled_ns: u64, now_ns: u64) {
        self.latency_ns
            .saturating_record(now_ns.saturating_sub(scheduled_ns));
        let Some(event) = self.events.get_mut(offset as usize) else {
            return;
        };
        event.clients += 1;
        event.last_ns = event.last_ns.max(now_ns);
        event.scheduled_ns = scheduled_ns;
    }

    /// Notes the id of the event at `offset`, which is the same for all clients.
    pub(crate) fn named(&mut self, offset: u32, id: &[u8]) {
        if let Some(event) = self.events.get_mut(offset as usize)
            && event.id.is_none()
            && let Ok(id) = std::str::from_utf8(id)
        {
            event.id = Some(id.into());
        }
    }

    /// The id of the event at `offset`.
    pub(crate) fn id(&self, offset: u32) -> Option<&str> {
        self.events.get(offset as usize)?.id.as_deref()
    }

    /// The counts of the node with this index.
    pub(crate) fn on(&mut self, node: u8) -> &mut NodeCounts {
        &mut self.nodes[usize::from(node)]
    }

    /// Counts a connection that ended, by reason.
    pub(crate) fn failed(&mut self, reason: String) {
        *self.failures.entry(reason).or_default() += 1;
    }

    /// Adds another worker's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.latency_ns
            .add(&other.latency_ns)
            .expect("both have the same bounds");
        for (mine, theirs) in self.events.iter_mut().zip(&other.events) {
            mine.clients += theirs.clients;
            mine.last_ns = mine.last_ns.max(theirs.last_ns);
            mine.scheduled_ns = mine.scheduled_ns.max(theirs.scheduled_ns);
            if mine.id.is_none() {
                mine.id.clone_from(&theirs.id);
            }
        }
        self.heartbeats += other.heartbeats;
        self.pings += other.pings;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.foreign += other.foreign;
        self.misdirected += other.misdirected;
        for (mine, theirs) in self.nodes.iter_mut().zip(&other.nodes) {
            mine.add(*theirs);
        }
        self.tls.merge(other.tls);
        for (reason, count) in &other.failures {
            *self.failures.entry(reason.clone()).or_default() += count;
        }
    }

    /// Distinct (event, client) pairs that arrived.
    pub(crate) fn received(&self) -> u64 {
        self.events
            .iter()
            .map(|event| u64::from(event.clients))
            .sum()
    }
}

impl NodeCounts {
    fn add(&mut self, other: Self) {
        self.open += other.open;
        self.failed += other.failed;
        self.lost += other.lost;
        self.received += other.received;
        self.replay_gaps += other.replay_gaps;
    }
}

impl Spread {
    /// Nanoseconds from the scheduled time to the last of `clients`; `None` if not all received it.
    pub(crate) fn time_to_last_ns(&self, clients: u32) -> Option<u64> {
        let whole = clients > 0 && self.clients == clients;
        whole.then(|| self.last_ns.saturating_sub(self.scheduled_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_client_is_the_last_of_all_workers() {
        let window = Window { first: 0, count: 2 };
        let (mut one, mut two) = (Tally::new(window, 2), Tally::new(window, 2));
        one.arrived(0, 1_000, 5_000);
        two.arrived(0, 1_000, 9_000);
        two.arrived(1, 2_000, 9_000);
        two.failed("status 503".to_owned());
        one.on(0).open += 1;
        two.on(0).open += 1;
        two.on(1).received += 2;
        one.merge(&two);
        assert_eq!(one.received(), 3);
        assert_eq!(one.events[0].time_to_last_ns(2), Some(8_000));
        assert_eq!(one.events[1].time_to_last_ns(2), None, "one of two");
        assert_eq!(one.failures["status 503"], 1);
        assert_eq!(one.latency_ns.len(), 3);
        let counts: Vec<_> = one
            .nodes
            .iter()
            .map(|node| (node.open, node.received))
            .collect();
        assert_eq!(counts, [(2, 0), (0, 2)]);
    }
}
