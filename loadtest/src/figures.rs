//! The figures of a run, by their JSON keys, and how those of several rounds are combined.

mod node;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

pub(crate) use node::{OfNode, OnNode};

use crate::engine::Limits;
use crate::tls;

/// The figures of one subject. A scenario omits what it does not measure.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Streams open during the measurement.
    pub(crate) connected: u64,
    /// Connections that never became a stream, including the warm-up.
    pub(crate) failed: u64,
    /// Streams that ended before the load closed them.
    pub(crate) lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connects_per_s: Option<f64>,
    /// PSS slope of the server's process, in bytes per connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_bytes_per_connection: Option<f64>,
    /// Slab slope of the machine without the client's end: half of what the floor's connections use, or half
    /// of its own if no floor was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel_bytes_per_connection: Option<f64>,
    /// Slab slope of the machine, including both ends of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel_bytes_both_ends: Option<f64>,
    /// The same by slab cache.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) kernel_bytes_by_object: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pss_mib: Option<Plateaus>,
    /// The part of it that is pages of files: the program and its libraries, as far as they were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pss_file_mib: Option<Plateaus>,
    /// CPU time of the server's process during the measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_s: Option<f64>,
    /// Seconds of the measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) measured_s: Option<f64>,
    /// Heartbeats that the clients read during the measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeats: Option<u64>,
    /// WebSocket only: the pings that the clients read, including the warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pings: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) delivery: Option<Delivery>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) publishing: Option<Publishing>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) storm: Option<Recovery>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) slow: Option<Unread>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) soak: Option<Soak>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) upgrades: Option<Upgrades>,
    /// TLS handshakes of the clients, including the warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<tls::TlsCounts>,
    /// Of each node, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) nodes: Vec<OfNode>,
    /// The timeline of the first round.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) timeline: Vec<Sample>,
    /// Why connections failed or were lost.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) failures: BTreeMap<String, u64>,
}

/// PSS during a `hold`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Plateaus {
    /// Before the first client.
    pub(crate) empty: f64,
    /// After the warm-up burst, without connections.
    pub(crate) warm: f64,
    pub(crate) plateau: f64,
    pub(crate) full: f64,
    /// After all connections were closed, and a rest.
    pub(crate) after: f64,
}

/// CPU used in a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    /// CPU seconds of each process of the subject; empty if they are not known.
    pub(crate) cpu_s: Vec<f64>,
    /// Seconds of the measurement.
    pub(crate) measured_s: f64,
}

/// The deliveries of published events.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delivery {
    /// Distinct (event, client) pairs.
    pub(crate) received: u64,
    pub(crate) expected: u64,
    pub(crate) missed: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    /// Events that this run did not publish.
    pub(crate) foreign: u64,
    /// Events for one user that another user received.
    pub(crate) misdirected: u64,
    /// The longest delay of a publish against its timetable. It is part of the latency.
    pub(crate) publish_late_ms_max: f64,
    /// From a publish request to its answer.
    pub(crate) publish_ms: Percentiles,
    /// From the scheduled time to the last client's read, per event.
    pub(crate) time_to_last_ms: Percentiles,
    /// From the scheduled time to a client's read, per event and client.
    pub(crate) latency_ms: Percentiles,
}

/// Publishing over several connections, without waiting for answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Publishing {
    /// Connections of the publisher.
    pub(crate) publishers: u32,
    /// Events that the server has accepted.
    pub(crate) accepted: u64,
    /// Events that it has not.
    pub(crate) refused: u64,
    /// Events per second of the timetable.
    pub(crate) rate_asked: f64,
    /// Events per second that were accepted, from the first one's scheduled time to the last answer.
    pub(crate) rate_reached: f64,
    /// From an event's scheduled time to its answer.
    pub(crate) answer_from_schedule_ms: Percentiles,
    /// CPU time of the server per accepted event, in microseconds; delivery included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us_per_event: Option<f64>,
    /// CPU time of the publisher's thread per accepted event, in microseconds.
    pub(crate) publisher_cpu_us_per_event: f64,
}

/// The recovery of clients that were disconnected all at once.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Recovery {
    /// Streams that were open again.
    pub(crate) back: u64,
    /// Seconds from the cut until the last of them was open; the slowest round's.
    pub(crate) back_s: f64,
}

/// The effect of clients that never read.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Unread {
    pub(crate) slow_clients: u64,
    /// Those among them whose stream the server ended.
    pub(crate) slow_dropped: u64,
    /// The others' latency in the same run without them, if that was measured; `latency_ms` is the latency with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ms_without: Option<Percentiles>,
    /// The same for the time to the last client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_to_last_ms_without: Option<Percentiles>,
}

/// Clients that leave and are replaced.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Soak {
    /// Clients that left and were replaced.
    pub(crate) churned: u64,
    /// PSS growth from the end of the first quarter to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pss_growth_mib: Option<f64>,
}

/// Upgrades of the server while clients are connected, as it reports them.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the keys of the output")]
pub(crate) struct Upgrades {
    pub(crate) upgrades: u32,
    /// Streams that moved, in all upgrades together.
    pub(crate) streams_moved: u64,
    /// Streams that did not move.
    pub(crate) streams_not_moved: u64,
    /// The longest upgrade.
    pub(crate) upgrade_ms_max: u64,
    /// The longest time for which no process served a stream.
    pub(crate) pause_ms_max: u64,
}

/// A sample of the timeline.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the start of the round.
    pub(crate) at_s: f64,
    pub(crate) connected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pss_mib: Option<f64>,
    /// CPU seconds used so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_s: Option<f64>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Percentiles {
    /// The minimum: the value least disturbed by other load on the machine.
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Figures {
    /// Adds the clients that never read, if any. The latency without them is added later.
    pub(crate) fn slow_clients(&mut self, limits: &Limits, connections: u32, dropped: u64) {
        let slow_clients = u64::from(connections - limits.reading(connections));
        self.slow = (slow_clients > 0).then_some(Unread {
            slow_clients,
            slow_dropped: dropped,
            latency_ms_without: None,
            time_to_last_ms_without: None,
        });
    }

    /// Adds another round of the same subject. Counts and times are summed; of other figures the worse stays.
    pub(crate) fn merge(&mut self, round: Self) {
        let plus = |one: Option<f64>, other: Option<f64>| Some(one? + other?);
        self.connected = self.connected.min(round.connected);
        self.connects_per_s = self
            .connects_per_s
            .zip(round.connects_per_s)
            .map(|(one, other)| one.min(other));
        self.server_cpu_s = plus(self.server_cpu_s, round.server_cpu_s);
        self.measured_s = plus(self.measured_s, round.measured_s);
        self.heartbeats = self
            .heartbeats
            .zip(round.heartbeats)
            .map(|(one, other)| one + other);
        self.storm = self.storm.zip(round.storm).map(|(one, other)| Recovery {
            back: one.back.min(other.back),
            back_s: one.back_s.max(other.back_s),
        });
        if let Some((one, other)) = self.slow.as_mut().zip(round.slow) {
            one.slow_clients += other.slow_clients;
            one.slow_dropped += other.slow_dropped;
        }
        for (one, other) in self.nodes.iter_mut().zip(&round.nodes) {
            one.merge(other);
        }
        self.add_failures(round);
    }

    /// Adds the failed and lost connections of another round with their reasons, its pings and its handshakes, and
    /// the deliveries of each node.
    pub(crate) fn add_failures(&mut self, round: Self) {
        self.failed += round.failed;
        self.lost += round.lost;
        self.pings = self.pings.zip(round.pings).map(|(one, other)| one + other);
        if let Some((one, other)) = self.tls.as_mut().zip(round.tls) {
            one.merge(other);
        }
        for (one, other) in self.nodes.iter_mut().zip(&round.nodes) {
            one.add_counts(other);
        }
        for (reason, count) in round.failures {
            *self.failures.entry(reason).or_default() += count;
        }
    }

    /// Sets the CPU time of the subject and of each node, and the time measured.
    pub(crate) fn used(&mut self, used: &Used) {
        self.server_cpu_s = total(&used.cpu_s);
        self.measured_s = Some(used.measured_s);
        for (node, &cpu_s) in self.nodes.iter_mut().zip(&used.cpu_s) {
            node.server_cpu_s = Some(cpu_s);
        }
    }

    /// The reasons why a run with these figures fails, each in a few words.
    pub(crate) fn problems(&self, whose: &str) -> Vec<String> {
        let mut counts = vec![
            ("connections failed", self.failed),
            ("streams lost", self.lost),
        ];
        if let Some(publishing) = &self.publishing {
            counts.push(("events refused", publishing.refused));
        }
        if let Some(delivery) = &self.delivery {
            counts.extend([
                ("events missed", delivery.missed),
                ("events doubled", delivery.duplicates),
                ("events out of order", delivery.out_of_order),
                ("events for another user", delivery.misdirected),
            ]);
        }
        if let Some(upgrades) = &self.upgrades {
            counts.push(("streams not moved", upgrades.streams_not_moved));
        }
        counts.retain(|&(_, count)| count > 0);
        let mut problems: Vec<String> = counts
            .iter()
            .map(|(what, count)| format!("{whose}{count} {what}"))
            .collect();
        problems.extend(
            self.failures
                .iter()
                .map(|(reason, count)| format!("{whose}{count} × {reason}")),
        );
        problems
    }
}

/// The sum over all nodes; `None` if it is not known for them.
pub(crate) fn total<T: Copy + std::iter::Sum>(of_nodes: &[T]) -> Option<T> {
    (!of_nodes.is_empty()).then(|| of_nodes.iter().copied().sum())
}

impl Percentiles {
    /// Those of a histogram of nanoseconds.
    pub(crate) fn of(histogram_ns: &Histogram<u64>) -> Self {
        let at = |quantile| milliseconds(histogram_ns.value_at_quantile(quantile));
        Self {
            min: milliseconds(histogram_ns.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(histogram_ns.max()),
        }
    }
}

/// Nanoseconds as milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "times of a run, far below 2^53 ns"
)]
pub(crate) fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Bytes as MiB.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of a process, far below 2^53 bytes"
)]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pings_of_all_rounds_are_added() {
        let round = |pings| Figures {
            pings,
            ..Figures::default()
        };
        let mut sum = round(Some(2));
        sum.merge(round(Some(3)));
        assert_eq!(sum.pings, Some(5));
    }

    #[test]
    fn the_rounds_of_a_node_are_added_and_its_fewest_connections_stay() {
        let round = |connected, received, cpu_s: [f64; 2]| {
            let node = OfNode {
                connected,
                lost: 1,
                delivery: Some(OnNode {
                    received,
                    replay_gaps: 1,
                }),
                ..OfNode::default()
            };
            let mut figures = Figures {
                nodes: vec![node, OfNode::default()],
                ..Figures::default()
            };
            figures.used(&Used {
                cpu_s: cpu_s.into(),
                measured_s: 2.0,
            });
            figures
        };
        let mut sum = round(5, 40, [0.25, 0.5]);
        sum.merge(round(4, 30, [0.5, 0.5]));
        let node = &sum.nodes[0];
        assert_eq!((node.connected, node.lost), (4, 2));
        let (received, replay_gaps) = (70, 2);
        assert_eq!(
            node.delivery,
            Some(OnNode {
                received,
                replay_gaps
            })
        );
        assert_eq!(
            (node.server_cpu_s, sum.server_cpu_s),
            (Some(0.75), Some(1.75))
        );
        assert_eq!(sum.measured_s, Some(4.0));
    }
}
