//! What is counted, as plain atomics. Shards count for themselves, each on its own cache lines;
//! readers sum. How the numbers are written out is the admin side's business.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only rises.
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

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls, never below zero.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes `amount` back.
    pub fn sub(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Makes it `value`.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares an enum that indexes counters and names itself as a metric label.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The metric label and log field.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

labels! {
    /// How a stream reaches its client.
    Transport {
        /// Server-sent events.
        Sse = "sse",
        /// The connectivity test stream.
        Test = "test",
    }
}

labels! {
    /// Why a stream ended.
    DisconnectReason {
        /// The client went away.
        ClientClosed = "client_closed",
        /// The server is going down.
        Drained = "drained",
        /// More waited for it than `max_backlog_bytes`.
        Slow = "slow",
        /// It took nothing for `stall_timeout`.
        Stalled = "stalled",
        /// Its token ended.
        Expired = "expired",
        /// Its session was ended.
        LoggedOut = "logged_out",
        /// It gave way to a newer one, or an operator ended it.
        Evicted = "evicted",
        /// The socket failed, or the client sent what no client sends.
        Error = "error",
    }
}

labels! {
    /// Why a stream was not opened.
    RefusedReason {
        /// No good credential.
        Auth = "auth",
        /// Too many of this user.
        Limit = "limit",
        /// The server is full or going down.
        Full = "full",
        /// A topic that the token does not allow.
        Topic = "topic",
        /// A test stream, which anybody may ask for, whatever the reason.
        Test = "test",
        /// It never became a request.
        Handshake = "handshake",
    }
}

labels! {
    /// Who an event was for.
    PublishedTo {
        /// One user.
        User = "user",
        /// Several users.
        Users = "users",
        /// A topic.
        Topic = "topic",
        /// Everybody.
        All = "all",
    }
}

/// A number for each label.
#[derive(Debug)]
pub struct ByLabel<T, const N: usize>([T; N]);

impl<T: Default, const N: usize> Default for ByLabel<T, N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T, const N: usize> ByLabel<T, N> {
    /// The number at a label's index (`label as usize`).
    pub fn at(&self, index: usize) -> &T {
        // The enums above have exactly N variants each.
        &self.0[index]
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, index: usize) -> &mut T {
        &mut self.0[index]
    }
}

/// What one shard counts. Aligned so that no two shards write to one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Streams held, by transport.
    pub connections: ByLabel<Gauge, { Transport::ALL.len() }>,
    /// Streams ever held, by transport.
    pub connects: ByLabel<Counter, { Transport::ALL.len() }>,
    /// Streams that ended, by reason.
    pub disconnects: ByLabel<Counter, { DisconnectReason::ALL.len() }>,
    /// Events handed to a client's socket or backlog.
    pub delivered: Counter,
    /// Events handed to a client that had missed them.
    pub replayed: Counter,
    /// Clients told that what they missed is not all retained.
    pub replay_gaps: Counter,
    /// Heartbeats sent.
    pub heartbeats: Counter,
    /// Sends that failed.
    pub send_errors: Counter,
    /// Bytes that backlogs keep in memory: whole frames, also if few of their bytes wait.
    pub backlog_bytes: Gauge,
    /// Connections with a backlog.
    pub backlogged: Gauge,
    /// Public connections that are not (yet) a stream.
    pub handshakes: Gauge,
    /// Connections that the acceptor could not take for want of descriptors.
    pub accept_errors: Counter,
}

impl ShardMetrics {
    /// Streams held, over all transports.
    pub fn connected(&self) -> u64 {
        self.connections.0.iter().map(Gauge::value).sum()
    }

    /// Streams ever held, over all transports.
    pub fn connects_ever(&self) -> u64 {
        self.connects.0.iter().map(Counter::value).sum()
    }

    /// Streams that ended, over all reasons.
    pub fn disconnects_ever(&self) -> u64 {
        self.disconnects.0.iter().map(Counter::value).sum()
    }
}

/// Upper bounds of [`Histogram`]'s buckets, in milliseconds: from a hand-over between threads to
/// a broadcast to a million.
pub(crate) const DELIVERY_BOUNDS_MS: [u64; 14] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
];

/// Counts durations by [`DELIVERY_BOUNDS_MS`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: ByLabel<Counter, { DELIVERY_BOUNDS_MS.len() + 1 }>,
    sum_ms: Counter,
}

impl Histogram {
    /// Notes one duration.
    pub fn observe(&self, duration_ms: u64) {
        let bucket = DELIVERY_BOUNDS_MS.partition_point(|bound| *bound < duration_ms);
        self.buckets.at(bucket).increment();
        self.sum_ms.add(duration_ms);
    }

    /// Durations in each bucket, the last one without an upper bound.
    pub fn buckets(&self) -> [u64; DELIVERY_BOUNDS_MS.len() + 1] {
        std::array::from_fn(|bucket| self.buckets.at(bucket).value())
    }

    /// All durations together.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms.value()
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// By shard.
    pub shards: Box<[ShardMetrics]>,
    /// Streams not opened, by reason.
    pub refused: ByLabel<Counter, { RefusedReason::ALL.len() }>,
    /// Events accepted, by target.
    pub published: ByLabel<Counter, { PublishedTo::ALL.len() }>,
    /// From accepted to the last client's send.
    pub delivery: Histogram,
    /// Keys of the key set that were skipped.
    pub jwks_unusable_keys: Gauge,
}

impl Metrics {
    /// All zero.
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| ShardMetrics::default()).collect(),
            refused: ByLabel::default(),
            published: ByLabel::default(),
            delivery: Histogram::default(),
            jwks_unusable_keys: Gauge::default(),
        }
    }

    /// Notes a stream that was not opened.
    pub fn refuse(&self, reason: RefusedReason) {
        self.refused.at(reason as usize).increment();
    }

    /// The sum of one number over the shards.
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
