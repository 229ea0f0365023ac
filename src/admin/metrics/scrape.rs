//! The metrics of one scrape, family by family. docs/operations.md lists them.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::families::FamilyWriter;
use crate::admin::last_upgrade::LastUpgrade;
use crate::admin::process::{self, Process};
use crate::admin::service::Admin;
use crate::hub::Hub;
use crate::hub::engine::{EngineFigures, Verdict};
use crate::metrics::{
    DisconnectReason, PublishedTo, RefusedReason, ReloadOutcome, ShardMetrics, Transport,
    UpgradeOutcome,
};
use crate::version;

/// The data of one scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    hub: Arc<Hub>,
    engine_up: bool,
    engine: Option<EngineFigures>,
    is_ready: bool,
    is_draining: bool,
    /// Route, status and number of answers.
    admin_requests: Vec<(&'static str, u16, u64)>,
    max_connections: usize,
    started_unix_s: u64,
    last_upgrade: Option<LastUpgrade>,
    process: Process,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut writer = FamilyWriter::new(encoder);
        writer.labelled(
            MetricType::Gauge,
            "idlewild_build_info",
            "The running version and its commit; always 1",
            std::iter::once((
                [("version", version::VERSION), ("commit", version::commit())],
                1,
            )),
        )?;
        self.server(&mut writer)?;
        self.streams(&mut writer)?;
        self.events(&mut writer)?;
        self.process(&mut writer)
    }
}

impl Scrape {
    pub(super) fn of(admin: &Admin) -> Self {
        Self {
            hub: Arc::clone(&admin.hub),
            engine_up: admin.hub.engine().health().is_well(),
            engine: admin.hub.engine().figures(),
            is_ready: admin.not_ready().is_none(),
            is_draining: admin.shutdown.is_draining(),
            admin_requests: admin.requests.all(),
            max_connections: admin.hub.limits().connections,
            started_unix_s: admin.started_unix_s,
            last_upgrade: admin.last_upgrade.get().cloned(),
            process: process::read(),
        }
    }

    fn server(&self, writer: &mut FamilyWriter<'_>) -> Result<(), Error> {
        writer.gauge(
            "idlewild_ready",
            "Whether clients may be sent to this server, as in /readyz",
            u64::from(self.is_ready),
        )?;
        writer.gauge(
            "idlewild_draining",
            "Whether the server is shutting down",
            u64::from(self.is_draining),
        )?;
        writer.by_label(
            MetricType::Counter,
            "idlewild_reloads",
            "Reloads of the configuration",
            "outcome",
            ReloadOutcome::ALL.iter().map(|outcome| {
                let reloads = &self.hub.metrics.reloads;
                (outcome.label(), reloads.at(*outcome as usize).value())
            }),
        )?;
        writer.by_label(
            MetricType::Counter,
            "idlewild_upgrades",
            "Upgrades without a disconnect",
            "outcome",
            UpgradeOutcome::ALL.iter().map(|outcome| {
                let upgrades = &self.hub.metrics.upgrades;
                (outcome.label(), upgrades.at(*outcome as usize).value())
            }),
        )?;
        self.last_upgrade(writer)?;
        let answers = self.admin_requests.iter();
        let answers: Vec<_> = answers
            .map(|(route, status, count)| (*route, status.to_string(), *count))
            .collect();
        writer.labelled(
            MetricType::Counter,
            "idlewild_admin_requests",
            "Answers of the admin listener",
            answers.iter().map(|(route, status, count)| {
                ([("route", *route), ("status", status.as_str())], *count)
            }),
        )
    }

    /// Zeros if this process has not taken over from another.
    #[allow(clippy::cast_precision_loss)] // times of an upgrade
    fn last_upgrade(&self, writer: &mut FamilyWriter<'_>) -> Result<(), Error> {
        let value = |of: fn(&LastUpgrade) -> u64| self.last_upgrade.as_ref().map_or(0, of);
        let seconds = |of| value(of) as f64 / 1_000.0;
        writer.seconds(
            "idlewild_last_upgrade_timestamp_seconds",
            "When this process took over from another, in Unix seconds; 0 if it was started otherwise",
            seconds(|upgrade| upgrade.at_unix_ms),
        )?;
        writer.seconds(
            "idlewild_last_upgrade_duration_seconds",
            "From the request for that upgrade to its end",
            seconds(|upgrade| upgrade.took_ms),
        )?;
        writer.seconds(
            "idlewild_last_upgrade_pause_seconds",
            "Longest time for which one stream was served by neither process",
            seconds(|upgrade| upgrade.longest_pause_ms),
        )?;
        let streams = [
            ("moved", value(|upgrade| upgrade.connections)),
            ("lost", value(|upgrade| upgrade.lost)),
        ];
        writer.by_label(
            MetricType::Gauge,
            "idlewild_last_upgrade_streams",
            "Streams that moved in that upgrade, or ended",
            "outcome",
            streams.into_iter(),
        )
    }

    fn streams(&self, writer: &mut FamilyWriter<'_>) -> Result<(), Error> {
        let metrics = &self.hub.metrics;
        let by_transport = |of: fn(&ShardMetrics, usize) -> u64| {
            Transport::ALL.iter().map(move |transport| {
                let value = metrics.sum(|shard| of(shard, *transport as usize));
                (transport.label(), value)
            })
        };
        writer.by_label(
            MetricType::Gauge,
            "idlewild_connections",
            "Streams held",
            "transport",
            by_transport(|shard, transport| shard.connections.at(transport).value()),
        )?;
        writer.gauge(
            "idlewild_max_connections",
            "Streams that may be held",
            self.max_connections as u64,
        )?;
        writer.by_label(
            MetricType::Counter,
            "idlewild_connects",
            "Streams opened",
            "transport",
            by_transport(|shard, transport| shard.connects.at(transport).value()),
        )?;
        writer.by_label(
            MetricType::Counter,
            "idlewild_disconnects",
            "Streams that ended",
            "reason",
            DisconnectReason::ALL.iter().map(|reason| {
                let count = metrics.sum(|shard| shard.disconnects.at(*reason as usize).value());
                (reason.label(), count)
            }),
        )?;
        writer.by_label(
            MetricType::Counter,
            "idlewild_refused",
            "Streams that were not opened",
            "reason",
            RefusedReason::ALL
                .iter()
                .map(|reason| (reason.label(), metrics.refused.at(*reason as usize).value())),
        )?;
        writer.gauge(
            "idlewild_users",
            "Users with at least one stream",
            self.hub.directory().users_online() as u64,
        )?;
        writer.gauge(
            "idlewild_handshakes_in_flight",
            "Public connections that are not a stream",
            metrics.sum(|shard| shard.handshakes.value()),
        )?;
        writer.gauge(
            "idlewild_jwks_unusable_keys",
            "Keys of auth.jwks that cannot be used",
            metrics.jwks_unusable_keys.value(),
        )?;
        writer.gauge(
            "idlewild_backlog_bytes",
            "Unsent bytes that slow clients keep in memory, in whole frames",
            metrics.sum(|shard| shard.backlog_bytes.value()),
        )?;
        writer.gauge(
            "idlewild_backlogged_connections",
            "Clients with unsent bytes in memory",
            metrics.sum(|shard| shard.backlogged.value()),
        )?;
        writer.counter(
            "idlewild_heartbeats",
            "Heartbeats sent",
            metrics.sum(|shard| shard.heartbeats.value()),
        )?;
        writer.counter(
            "idlewild_send_errors",
            "Sends that failed",
            metrics.sum(|shard| shard.send_errors.value()),
        )?;
        writer.counter(
            "idlewild_accept_errors",
            "Accepts that failed for lack of descriptors or memory",
            metrics.sum(|shard| shard.accept_errors.value()),
        )
    }

    fn events(&self, writer: &mut FamilyWriter<'_>) -> Result<(), Error> {
        let metrics = &self.hub.metrics;
        writer.by_label(
            MetricType::Counter,
            "idlewild_published",
            "Events accepted",
            "to",
            PublishedTo::ALL
                .iter()
                .map(|to| (to.label(), metrics.published.at(*to as usize).value())),
        )?;
        writer.counter(
            "idlewild_delivered",
            "Events handed to a client's socket or backlog",
            metrics.sum(|shard| shard.delivered.value()),
        )?;
        writer.counter(
            "idlewild_replayed",
            "Events handed to a client that had missed them",
            metrics.sum(|shard| shard.replayed.value()),
        )?;
        writer.counter(
            "idlewild_replay_gaps",
            "Clients that had missed events which are no longer retained",
            metrics.sum(|shard| shard.replay_gaps.value()),
        )?;
        let (history_bytes, history_events) = self.hub.log().retained();
        writer.gauge(
            "idlewild_history_bytes",
            "Bytes retained in the log",
            history_bytes as u64,
        )?;
        writer.gauge(
            "idlewild_history_events",
            "Entries retained in the log",
            history_events as u64,
        )?;
        writer.gauge(
            "idlewild_engine_up",
            "Whether events can be stored",
            u64::from(self.engine_up),
        )?;
        self.engine(writer)?;
        writer.delivery(&metrics.delivery)
    }

    /// A node whose log nobody shares is the only one, and is never behind.
    fn engine(&self, writer: &mut FamilyWriter<'_>) -> Result<(), Error> {
        let figures = self.engine.unwrap_or(EngineFigures {
            nodes: 1,
            ..EngineFigures::default()
        });
        writer.seconds(
            "idlewild_engine_lag_seconds",
            "How far this node is behind the newest entry of the shared log",
            figures.lag.as_secs_f64(),
        )?;
        writer.seconds(
            "idlewild_engine_beat_age_seconds",
            "Time since the shared store was last heard of",
            figures.beat_age.as_secs_f64(),
        )?;
        writer.by_label(
            MetricType::Counter,
            "idlewild_engine_resyncs",
            "Connections to the shared store, by what the log there had in common with this node's",
            "verdict",
            Verdict::ALL
                .iter()
                .zip(figures.attached)
                .map(|(verdict, count)| (verdict.label(), count)),
        )?;
        writer.counter(
            "idlewild_engine_unknown",
            "Requests whose outcome was not known in time",
            figures.unknown,
        )?;
        writer.counter(
            "idlewild_limit_local",
            "Streams for which this node's own limit per user was decisive, because the shared store was away or slow",
            figures.limited_here,
        )?;
        writer.gauge(
            "idlewild_nodes",
            "Nodes that share the log, this one included",
            figures.nodes,
        )?;
        #[allow(clippy::cast_precision_loss)]
        // milliseconds of a clock that is wrong by less than ages
        let offset_s = figures.clock_offset_ms as f64 / 1_000.0;
        writer.seconds(
            "idlewild_clock_offset_seconds",
            "How far the shared store's clock is ahead of this machine's",
            offset_s,
        )
    }

    fn process(&self, writer: &mut FamilyWriter<'_>) -> Result<(), Error> {
        let Process {
            cpu_seconds,
            resident_bytes,
            virtual_bytes,
            threads,
            open_fds,
            max_fds,
        } = self.process;
        writer.counter_of_seconds(
            "process_cpu_seconds",
            "User and system CPU time",
            cpu_seconds,
        )?;
        writer.gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            resident_bytes,
        )?;
        writer.gauge(
            "process_virtual_memory_bytes",
            "Virtual memory",
            virtual_bytes,
        )?;
        writer.gauge("process_threads", "Threads", threads)?;
        writer.gauge(
            "process_open_fds",
            "Open descriptors of the main thread's table",
            open_fds,
        )?;
        writer.gauge("process_max_fds", "Limit of open descriptors", max_fds)?;
        writer.gauge(
            "process_start_time_seconds",
            "When the process started, in Unix seconds",
            self.started_unix_s,
        )
    }
}
