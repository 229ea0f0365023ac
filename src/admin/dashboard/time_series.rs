//! The last 15 minutes, with a point every five seconds. A dashboard draws them as soon as it opens.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::rates::Sample;
use crate::admin::{process, timestamp};
use crate::hub::Hub;
use crate::metrics::ShardMetrics;

/// Time between two points.
const INTERVAL_MS: u64 = 5_000;
/// Points in 15 minutes, including both ends: 41 KiB.
const POINTS: usize = 181;

/// The points of the last 15 minutes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct TimeSeries(VecDeque<Point>);

/// The gauges at one moment, and the counters since the start.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    unix_ms: u64,
    counts: Sample,
    connections: u64,
    users: u64,
    resident_bytes: u64,
    cpu_seconds: f64,
    history_bytes: u64,
    backlog_bytes: u64,
}

impl TimeSeries {
    /// Adds a point if it is time for one.
    pub(crate) fn tick(&mut self, hub: &Hub) -> Option<&Point> {
        let now_ms = hub.clock.now_ms();
        let is_due = |last: &Point| now_ms >= last.counts.at_ms() + INTERVAL_MS;
        if !self.0.back().is_none_or(is_due) {
            return None;
        }
        if self.0.len() == POINTS {
            self.0.pop_front();
        }
        self.0.push_back(Point::new(hub, now_ms));
        self.0.back()
    }

    /// All points as JSON, oldest first.
    pub(crate) fn json(&self) -> Value {
        let points: Vec<Value> = self.0.iter().map(Point::json).collect();
        json!({"interval_s": INTERVAL_MS / 1_000, "points": points})
    }
}

impl Point {
    fn new(hub: &Hub, now_ms: u64) -> Self {
        let (history_bytes, _) = hub.log().retained();
        let process = process::read();
        Self {
            unix_ms: hub.clock.unix_ms(),
            counts: Sample::new(now_ms, &hub.metrics),
            connections: hub.metrics.sum(ShardMetrics::connected),
            users: hub.directory().users_online() as u64,
            resident_bytes: process.resident_bytes,
            cpu_seconds: process.cpu_seconds,
            history_bytes: history_bytes as u64,
            backlog_bytes: hub.metrics.sum(|shard| shard.backlog_bytes.value()),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "at": timestamp::of_millis(self.unix_ms),
            "uptime_ms": self.counts.at_ms(),
            "connections": self.connections,
            "users": self.users,
            "resident_bytes": self.resident_bytes,
            "cpu_seconds": self.cpu_seconds,
            "history_bytes": self.history_bytes,
            "backlog_bytes": self.backlog_bytes,
            "connects": self.counts.connects,
            "disconnects": self.counts.disconnects,
            "refused": self.counts.refused,
            "published": self.counts.published,
            "delivered": self.counts.delivered,
            "delivery": self.counts.delivery,
        })
    }
}
