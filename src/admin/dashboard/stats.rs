//! `GET /v1/stats`: the current numbers. `openapi.json` describes the fields.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::rates::Sample;
use crate::admin::api::response::{ApiResponse, json};
use crate::admin::service::Admin;
use crate::admin::{LastUpgrade, process, timestamp};
use crate::clock::millis;
use crate::metrics::{
    DELIVERY_BOUNDS_MS, DisconnectReason, Metrics, PublishedTo, RefusedReason, ShardMetrics,
    Transport,
};
use crate::version;

pub(crate) fn response(admin: &Admin) -> ApiResponse {
    json(StatusCode::OK, &now(admin))
}

pub(crate) fn now(admin: &Admin) -> Value {
    let metrics = &admin.hub.metrics;
    let now_ms = admin.hub.clock.now_ms();
    let sample = Sample::new(now_ms, metrics);
    let limits = admin.hub.limits();
    let (history_bytes, history_events) = admin.hub.log().retained();
    let process = process::read();
    let not_ready = admin.not_ready();
    let engine = admin.hub.engine().figures();
    let users = admin.hub.directory().users_online() as u64;
    let sum = |of: fn(&ShardMetrics) -> u64| metrics.sum(of);
    json!({
        "version": version::VERSION,
        "started_at": timestamp::of_seconds(admin.started_unix_s),
        "uptime_s": now_ms / 1_000,
        "ready": not_ready.is_none(),
        "reason": not_ready,
        "engine": {
            "kind": admin.hub.engine().kind(),
            "up": admin.hub.engine().health().is_well(),
            "lag_ms": engine.map(|figures| millis(figures.lag)),
            "beat_age_ms": engine.map(|figures| millis(figures.beat_age)),
            "nodes": engine.map_or(1, |figures| figures.nodes),
            "users": engine.map_or(users, |figures| figures.users),
        },
        "limits": {
            "max_connections": limits.connections,
            "max_connections_per_user": limits.per_user.connections,
            "max_handshakes": admin.max_handshakes,
            "max_publish_bytes": admin.max_publish_bytes(),
            "max_history_bytes": admin.max_history_bytes,
            "max_history_age_s": millis(admin.max_history_age) / 1_000,
        },
        "connections": sum(ShardMetrics::connected),
        "connections_by_transport": by_label(Transport::ALL, Transport::label, |transport| {
            metrics.sum(|shard| shard.connections.at(transport as usize).value())
        }),
        "users": users,
        "handshakes_in_flight": sum(|shard| shard.handshakes.value()),
        "rates": admin.rates.per_second(&sample),
        "delivery": delivery(admin, &sample),
        "totals": {
            "connects": sample.connects,
            "disconnects": sample.disconnects,
            "refused": sample.refused,
            "published": sample.published,
            "delivered": sample.delivered,
            "replayed": sum(|shard| shard.replayed.value()),
            "replay_gaps": sum(|shard| shard.replay_gaps.value()),
            "heartbeats": sample.heartbeats,
            "send_errors": sum(|shard| shard.send_errors.value()),
            "accept_errors": sum(|shard| shard.accept_errors.value()),
        },
        "published": by_label(PublishedTo::ALL, PublishedTo::label, |to| {
            metrics.published.at(to as usize).value()
        }),
        "refused": by_label(RefusedReason::ALL, RefusedReason::label, |reason| {
            metrics.refused.at(reason as usize).value()
        }),
        "disconnects": by_label(DisconnectReason::ALL, DisconnectReason::label, |reason| {
            metrics.sum(|shard| shard.disconnects.at(reason as usize).value())
        }),
        "memory": {
            "resident_bytes": process.resident_bytes,
            "history_bytes": history_bytes,
            "history_events": history_events,
            "backlog_bytes": sum(|shard| shard.backlog_bytes.value()),
        },
        "process": {
            "cpu_seconds": process.cpu_seconds,
            "threads": process.threads,
            "open_fds": process.open_fds,
            "max_fds": process.max_fds,
        },
        "shards": shards(metrics),
        "last_upgrade": admin.last_upgrade.get().map(LastUpgrade::to_json),
    })
}

fn shards(metrics: &Metrics) -> Vec<Value> {
    let shards = metrics.shards.iter().enumerate();
    shards
        .map(|(number, shard)| {
            json!({
                "shard": number,
                "connections": shard.connected(),
                "handshakes_in_flight": shard.handshakes.value(),
                "backlogged_connections": shard.backlogged.value(),
                "backlog_bytes": shard.backlog_bytes.value(),
                "connects": shard.connects_ever(),
                "disconnects": shard.disconnects_ever(),
                "delivered": shard.delivered.value(),
                "replayed": shard.replayed.value(),
                "heartbeats": shard.heartbeats.value(),
                "send_errors": shard.send_errors.value(),
            })
        })
        .collect()
}

/// The histogram of delivery times since the start, and percentiles of the last seconds. A percentile is
/// `null` if nothing was delivered.
fn delivery(admin: &Admin, now: &Sample) -> Value {
    let bounds = DELIVERY_BOUNDS_MS.iter().map(|bound_ms| json!(bound_ms));
    let buckets: Vec<Value> = bounds
        .chain([Value::Null])
        .zip(now.delivery)
        .map(|(le_ms, count)| json!({"le_ms": le_ms, "count": count}))
        .collect();
    let recent = admin.rates.recent_delivery(now);
    json!({
        "count": now.delivery.iter().sum::<u64>(),
        "sum_ms": admin.hub.metrics.delivery.sum_ms(),
        "buckets": buckets,
        "recent_p50_ms": quantile_ms(&recent, 50),
        "recent_p99_ms": quantile_ms(&recent, 99),
    })
}

/// The upper bound of the bucket that contains a percentile. The last bucket has no upper bound, so its
/// lower bound is returned.
fn quantile_ms(buckets: &[u64], percent: u64) -> Option<u64> {
    let count: u64 = buckets.iter().sum();
    let rank = (count * percent).div_ceil(100);
    let mut below = 0;
    let bucket = buckets.iter().position(|bucket| {
        below += bucket;
        below >= rank
    });
    let last_ms = DELIVERY_BOUNDS_MS.last()?;
    let bound_ms = DELIVERY_BOUNDS_MS.get(bucket?).unwrap_or(last_ms);
    (count > 0).then_some(*bound_ms)
}

fn by_label<L: Copy>(all: &[L], label: fn(L) -> &'static str, value: impl Fn(L) -> u64) -> Value {
    let numbers = all
        .iter()
        .map(|of| (label(*of).to_owned(), value(*of).into()));
    Value::Object(numbers.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_upper_bound_of_its_bucket() {
        let mut buckets = [0; DELIVERY_BOUNDS_MS.len() + 1];
        assert_eq!(quantile_ms(&buckets, 50), None);
        buckets[0] = 98;
        buckets[3] = 1;
        buckets[14] = 1;
        assert_eq!(quantile_ms(&buckets, 50), Some(1));
        assert_eq!(quantile_ms(&buckets, 99), Some(10));
        assert_eq!(quantile_ms(&buckets, 100), Some(30_000));
    }
}
