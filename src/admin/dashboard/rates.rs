//! Rates over the last seconds, from counters that are sampled once per second.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::metrics::{DELIVERY_BOUNDS_MS, Metrics, PublishedTo, RefusedReason, ShardMetrics};

/// Samples that are kept: rates cover the last 10 seconds.
const SAMPLES: usize = 11;

type Buckets = [u64; DELIVERY_BOUNDS_MS.len() + 1];

/// The most recent samples.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<VecDeque<Sample>>);

/// The counters behind the rates, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    at_ms: u64,
    pub(crate) connects: u64,
    pub(crate) disconnects: u64,
    pub(crate) refused: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) heartbeats: u64,
    pub(crate) delivery: Buckets,
}

impl Rates {
    pub(crate) fn sample(&self, now_ms: u64, metrics: &Metrics) {
        let mut samples = self.0.lock();
        samples.push_back(Sample::new(now_ms, metrics));
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// Rates per second since the oldest sample.
    pub(crate) fn per_second(&self, now: &Sample) -> Value {
        let oldest = self.oldest(now);
        let elapsed_ms = now.at_ms.saturating_sub(oldest.at_ms).max(1_000);
        #[allow(clippy::cast_precision_loss)] // counts of a few seconds are small
        let rate = |count: fn(&Sample) -> u64| {
            // The first sample of all may be newer than `now`.
            let count = count(now).saturating_sub(count(&oldest));
            let rate = count as f64 * 1_000.0 / elapsed_ms as f64;
            (rate * 10.0).round() / 10.0
        };
        json!({
            "connects_per_s": rate(|sample| sample.connects),
            "disconnects_per_s": rate(|sample| sample.disconnects),
            "refused_per_s": rate(|sample| sample.refused),
            "published_per_s": rate(|sample| sample.published),
            "delivered_per_s": rate(|sample| sample.delivered),
            "heartbeats_per_s": rate(|sample| sample.heartbeats),
        })
    }

    /// The histogram of delivery times since the oldest sample.
    pub(crate) fn recent_delivery(&self, now: &Sample) -> Buckets {
        let mut recent = now.delivery;
        for (bucket, before) in recent.iter_mut().zip(self.oldest(now).delivery) {
            *bucket = bucket.saturating_sub(before);
        }
        recent
    }

    fn oldest(&self, now: &Sample) -> Sample {
        self.0.lock().front().unwrap_or(now).clone()
    }
}

impl Sample {
    pub(crate) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    pub(crate) fn new(at_ms: u64, metrics: &Metrics) -> Self {
        let refused = RefusedReason::ALL.iter();
        let published = PublishedTo::ALL.iter();
        Self {
            at_ms,
            connects: metrics.sum(ShardMetrics::connects_ever),
            disconnects: metrics.sum(ShardMetrics::disconnects_ever),
            refused: refused
                .map(|reason| metrics.refused.at(*reason as usize).value())
                .sum(),
            published: published
                .map(|to| metrics.published.at(*to as usize).value())
                .sum(),
            delivered: metrics.sum(|shard| shard.delivered.value()),
            heartbeats: metrics.sum(|shard| shard.heartbeats.value()),
            delivery: metrics.delivery.buckets(),
        }
    }
}
