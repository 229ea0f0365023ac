//! `GET /v1/stats`: how much of everything, at a glance.

use std::collections::VecDeque;

use hyper::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::answer::{Answer, json};
use super::{Admin, process};
use crate::metrics::{DisconnectReason, Metrics, PublishedTo, ShardMetrics, Transport};

/// Samples that rates are made over, one a second.
const SAMPLES: usize = 11;

/// The last seconds of the counters that rates are made of.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<VecDeque<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ms: u64,
    connects: u64,
    disconnects: u64,
    published: u64,
    delivered: u64,
}

impl Rates {
    pub(super) fn sample(&self, now_ms: u64, metrics: &Metrics) {
        let mut samples = self.0.lock();
        samples.push_back(Sample::new(now_ms, metrics));
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// Events a second since the oldest sample.
    fn per_second(&self, now: Sample) -> Value {
        let oldest = self.0.lock().front().copied().unwrap_or(now);
        let elapsed_ms = now.at_ms.saturating_sub(oldest.at_ms).max(1_000);
        #[allow(clippy::cast_precision_loss)] // a rate of seconds
        let rate = |count: fn(&Sample) -> u64| {
            let rate = (count(&now) - count(&oldest)) as f64 * 1_000.0 / elapsed_ms as f64;
            (rate * 10.0).round() / 10.0
        };
        json!({
            "connects_per_s": rate(|sample| sample.connects),
            "disconnects_per_s": rate(|sample| sample.disconnects),
            "published_per_s": rate(|sample| sample.published),
            "delivered_per_s": rate(|sample| sample.delivered),
        })
    }
}

impl Sample {
    fn new(at_ms: u64, metrics: &Metrics) -> Self {
        Self {
            at_ms,
            connects: metrics.sum(connects),
            disconnects: metrics.sum(disconnects),
            published: published(metrics),
            delivered: metrics.sum(|shard| shard.delivered.value()),
        }
    }
}

pub(super) fn answer(admin: &Admin) -> Answer {
    let metrics = &admin.shards.metrics;
    let now_ms = admin.shards.clock.now_ms();
    let (history_bytes, history_events) = admin.shards.log.retained();
    let process = process::read();
    let shards: Vec<Value> = metrics
        .shards
        .iter()
        .enumerate()
        .map(|(number, shard)| {
            json!({
                "shard": number,
                "connections": shard.connected(),
                "handshakes_in_flight": shard.handshakes.value(),
                "backlogged_connections": shard.backlogged.value(),
                "backlog_bytes": shard.backlog_bytes.value(),
                "delivered": shard.delivered.value(),
                "heartbeats": shard.heartbeats.value(),
            })
        })
        .collect();
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": now_ms / 1_000,
        "connections": metrics.sum(ShardMetrics::connected),
        "users": admin.shards.directory.users_online(),
        "rates": admin.rates.per_second(Sample::new(now_ms, metrics)),
        "totals": {
            "connects": metrics.sum(connects),
            "disconnects": metrics.sum(disconnects),
            "published": published(metrics),
            "delivered": metrics.sum(|shard| shard.delivered.value()),
            "replayed": metrics.sum(|shard| shard.replayed.value()),
            "replay_gaps": metrics.sum(|shard| shard.replay_gaps.value()),
            "heartbeats": metrics.sum(|shard| shard.heartbeats.value()),
        },
        "memory": {
            "resident_bytes": process.resident_bytes,
            "history_bytes": history_bytes,
            "history_events": history_events,
            "backlog_bytes": metrics.sum(|shard| shard.backlog_bytes.value()),
        },
        "shards": shards,
    });
    json(StatusCode::OK, &body)
}

fn connects(shard: &ShardMetrics) -> u64 {
    let all = Transport::ALL.iter();
    all.map(|transport| shard.connects.at(*transport as usize).value())
        .sum()
}

fn disconnects(shard: &ShardMetrics) -> u64 {
    let all = DisconnectReason::ALL.iter();
    all.map(|reason| shard.disconnects.at(*reason as usize).value())
        .sum()
}

fn published(metrics: &Metrics) -> u64 {
    let all = PublishedTo::ALL.iter();
    all.map(|to| metrics.published.at(*to as usize).value())
        .sum()
}
