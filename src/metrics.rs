//! Metrics as plain atomics. Each shard counts on its own cache lines, and readers add the numbers up.
//! Formatting them is the task of the admin side.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only increases.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that increases and decreases, never below zero.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Subtracts `amount`.
    pub fn sub(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares an enum whose variants index counters and have metric labels.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All variants, in index order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The metric label and log field.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

labels! {
    /// The kind of a stream.
    Transport {
        /// Server-sent events.
        Sse = "sse",
        /// WebSocket.
        WebSocket = "ws",
        /// The connectivity test.
        Test = "test",
    }
}

labels! {
    /// Why a stream ended.
    DisconnectReason {
        /// The client closed the connection.
        ClientClosed = "client_closed",
        /// The server shut down.
        Drained = "drained",
        /// Its backlog exceeded `max_backlog_bytes`.
        Slow = "slow",
        /// It made no progress for `stall_timeout`.
        Stalled = "stalled",
        /// Its token expired.
        Expired = "expired",
        /// Its session was ended.
        LoggedOut = "logged_out",
        /// It gave way to a newer stream, or an operator ended it.
        Evicted = "evicted",
        /// The client of a WebSocket violated the protocol, or sent too much.
        Protocol = "protocol",
        /// The node was away from the shared store for longer than the history reaches back.
        Resync = "resync",
        /// The socket or TLS failed, or the client of an event stream sent too much.
        Error = "error",
    }
}

labels! {
    /// Why a stream was refused.
    RefusedReason {
        /// No valid credential.
        Auth = "auth",
        /// The user has too many streams.
        Limit = "limit",
        /// The server is full or shutting down.
        Full = "full",
        /// A topic that the token does not allow.
        Topic = "topic",
        /// A test stream, whatever the reason. Anyone may request one.
        Test = "test",
        /// The connection never completed a request.
        Handshake = "handshake",
    }
}

labels! {
    /// The target of an event.
    PublishedTo {
        /// One user.
        User = "user",
        /// Several users.
        Users = "users",
        /// A topic.
        Topic = "topic",
        /// All clients.
        All = "all",
    }
}

labels! {
    /// What became of a request to read the configuration again.
    ReloadOutcome {
        /// The new configuration is in use.
        Applied = "applied",
        /// It has an error, and nothing has changed.
        Refused = "refused",
    }
}

labels! {
    /// What became of a request to upgrade without a disconnect.
    UpgradeOutcome {
        /// The new process has taken over.
        Done = "done",
        /// It did not begin, and nothing has changed.
        Declined = "declined",
        /// It began and was not completed. Clients may have been disconnected.
        Failed = "failed",
    }
}

/// A value for each label.
#[derive(Debug)]
pub struct ByLabel<T, const N: usize>([T; N]);

impl<T: Default, const N: usize> Default for ByLabel<T, N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T, const N: usize> ByLabel<T, N> {
    /// The value at a label's index (`label as usize`).
    pub fn at(&self, index: usize) -> &T {
        // The enums above have exactly N variants each.
        &self.0[index]
    }

    /// The same, mutable.
    pub fn at_mut(&mut self, index: usize) -> &mut T {
        &mut self.0[index]
    }
}

/// The metrics of one shard. Aligned so that two shards never write to the same cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Open streams, by transport.
    pub connections: ByLabel<Gauge, { Transport::ALL.len() }>,
    /// Streams ever opened, by transport.
    pub connects: ByLabel<Counter, { Transport::ALL.len() }>,
    /// Ended streams, by reason.
    pub disconnects: ByLabel<Counter, { DisconnectReason::ALL.len() }>,
    /// Events written to a client's socket or backlog.
    pub delivered: Counter,
    /// Events replayed to a client that had missed them.
    pub replayed: Counter,
    /// Replays that could not be complete, because missed events are no longer retained.
    pub replay_gaps: Counter,
    /// Heartbeats sent.
    pub heartbeats: Counter,
    /// Failed sends.
    pub send_errors: Counter,
    /// Bytes that backlogs hold in memory: whole frames, even if only a part is unsent.
    pub backlog_bytes: Gauge,
    /// Connections with a backlog.
    pub backlogged: Gauge,
    /// Public connections that are not (yet) a stream.
    pub handshakes: Gauge,
    /// Connections that could not be accepted for lack of descriptors.
    pub accept_errors: Counter,
}

impl ShardMetrics {
    /// Open streams, over all transports.
    pub fn connected(&self) -> u64 {
        self.connections.0.iter().map(Gauge::value).sum()
    }

    /// Streams ever opened, over all transports.
    pub fn connects_ever(&self) -> u64 {
        self.connects.0.iter().map(Counter::value).sum()
    }

    /// Ended streams, over all reasons.
    pub fn disconnects_ever(&self) -> u64 {
        self.disconnects.0.iter().map(Counter::value).sum()
    }
}

/// Upper bounds of [`Histogram`]'s buckets, in milliseconds. They range from a hand-over between threads
/// to a broadcast to a million clients.
pub(crate) const DELIVERY_BOUNDS_MS: [u64; 14] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
];

/// A histogram of durations with the buckets of [`DELIVERY_BOUNDS_MS`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: ByLabel<Counter, { DELIVERY_BOUNDS_MS.len() + 1 }>,
    sum_ms: Counter,
}

impl Histogram {
    /// Records a duration.
    pub fn observe(&self, duration_ms: u64) {
        let bucket = DELIVERY_BOUNDS_MS.partition_point(|bound| *bound < duration_ms);
        self.buckets.at(bucket).increment();
        self.sum_ms.add(duration_ms);
    }

    /// The count of each bucket; the last one has no upper bound.
    pub fn buckets(&self) -> [u64; DELIVERY_BOUNDS_MS.len() + 1] {
        std::array::from_fn(|bucket| self.buckets.at(bucket).value())
    }

    /// The sum of all durations.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms.value()
    }
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    /// The metrics of each shard.
    pub shards: Box<[ShardMetrics]>,
    /// Refused streams, by reason.
    pub refused: ByLabel<Counter, { RefusedReason::ALL.len() }>,
    /// Accepted events, by target.
    pub published: ByLabel<Counter, { PublishedTo::ALL.len() }>,
    /// Time from acceptance to the last client's send.
    pub delivery: Histogram,
    /// Unusable entries of the key set.
    pub jwks_unusable_keys: Gauge,
    /// Reloads, by outcome.
    pub reloads: ByLabel<Counter, { ReloadOutcome::ALL.len() }>,
    /// Upgrades without a disconnect, by outcome.
    pub upgrades: ByLabel<Counter, { UpgradeOutcome::ALL.len() }>,
}

impl Metrics {
    /// All metrics start at zero.
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| ShardMetrics::default()).collect(),
            refused: ByLabel::default(),
            published: ByLabel::default(),
            delivery: Histogram::default(),
            jwks_unusable_keys: Gauge::default(),
            reloads: ByLabel::default(),
            upgrades: ByLabel::default(),
        }
    }

    /// Counts a refused stream.
    pub fn refuse(&self, reason: RefusedReason) {
        self.refused.at(reason as usize).increment();
    }

    /// The sum of a value over all shards.
    pub fn sum(&self, of: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.shards.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_counts_below_it() {
        let histogram = Histogram::default();
        for duration_ms in [0, 1, 2, 31_000] {
            histogram.observe(duration_ms);
        }
        let buckets = histogram.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[14]), (2, 1, 1));
        assert_eq!(histogram.sum_ms(), 31_003);
    }
}
