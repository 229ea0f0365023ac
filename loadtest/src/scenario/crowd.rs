//! The clients of a round: the engine, with the steps that scenarios share.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::timeline::Timeline;
use super::timetable::{Punctuality, Timetable};
use crate::clock::{self, Deadline};
use crate::engine::{Counts, Engine, Limits, Nodes, Tally, Window};
use crate::figures::{Figures, OfNode, OnNode, Used};
use crate::progress::{self, Stage};
use crate::subject::{Processes, Subject};

/// Rest after a ramp or a cut, so that the server can finish; longer for more clients.
const SETTLE: Duration = Duration::from_secs(1);
const SETTLED_PER_S: u32 = 50_000;
/// Time without any arrival after which the rest counts as missed, and the overall limit.
const QUIET: Duration = Duration::from_secs(5);
const LAST_WAIT: Duration = Duration::from_secs(60);
/// Time to wait for duplicates after everything has arrived.
const AFTERWATCH: Duration = Duration::from_millis(300);

/// The clients of a round, and the samples of the server during it.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) engine: Engine,
    pub(super) timeline: Timeline,
    processes: Processes,
    /// The nodes' addresses, if there are several.
    addresses: Vec<SocketAddr>,
    by_tls: bool,
    by_websocket: bool,
}

impl Crowd {
    /// The clients' threads, without connections.
    pub(super) fn start(subject: &Subject, limits: &Limits, window: Window) -> Result<Self> {
        let nodes = &subject.target().nodes;
        let several = (!nodes.is_one_server()).then_some(nodes);
        let addresses = several.into_iter().flat_map(Nodes::iter);
        Ok(Self {
            engine: Engine::start(subject.target(), limits, window)?,
            timeline: Timeline::start(subject),
            processes: subject.processes(),
            addresses: addresses.map(|node| node.address).collect(),
            by_tls: nodes.secure(),
            by_websocket: nodes.by_websocket(),
        })
    }

    /// Opens streams up to this number; returns the seconds it took.
    pub(super) fn ramp(&mut self, connections: u32, label: &str) -> Result<f64> {
        let mut stage = Stage::new(format!("{label} to {connections}"), connections.into());
        let timeline = &mut self.timeline;
        self.engine.ramp_to(connections, &mut |counts: Counts| {
            stage.at(counts.open);
            timeline.watch(counts.open);
        })
    }

    /// Publishes a timetable.
    pub(super) fn publish(
        &mut self,
        table: &Timetable,
        subject: &mut Subject,
        window: Window,
    ) -> Result<Punctuality> {
        let (engine, timeline) = (&self.engine, &mut self.timeline);
        table.publish(subject, window, &mut || {
            timeline.watch(engine.counts().open);
        })
    }

    /// Waits for this time.
    pub(super) fn rest(&mut self, label: &str, duration: Duration) {
        let (engine, timeline) = (&self.engine, &mut self.timeline);
        progress::rest(label, duration, &mut || {
            timeline.watch(engine.counts().open);
        });
    }

    /// Lets the server rest after a ramp or cut of this many clients.
    pub(super) fn settle(&mut self, connections: u32) {
        self.rest("settling", settle_time(connections));
    }

    /// Waits until `expected` events have arrived in total, or none has for a while.
    pub(super) fn wait_for(&mut self, expected: u64) {
        let mut stage = Stage::new("arriving", expected);
        let limit = Deadline::after(LAST_WAIT);
        let mut quiet = Deadline::after(QUIET);
        let mut received = 0;
        while received < expected && !quiet.passed() && !limit.passed() {
            std::thread::sleep(Duration::from_millis(5));
            let counts = self.engine.counts();
            if counts.received > received {
                quiet = Deadline::after(QUIET);
            }
            received = counts.received;
            stage.at(received);
            self.timeline.watch(counts.open);
        }
    }

    /// Waits briefly for unexpected events, then returns the counts.
    pub(super) fn tally(&self) -> Result<Tally> {
        std::thread::sleep(AFTERWATCH);
        self.engine.collect()
    }

    /// The number of clients that never read and that the server has disconnected.
    pub(super) fn dropped(&mut self, limits: &Limits, connections: u32) -> Result<u64> {
        if limits.reading(connections) < connections {
            self.engine.hear()?;
            self.rest("the slow ones read", SETTLE);
        }
        Ok(self.engine.counts().dropped)
    }

    /// The streams at present, by node.
    pub(super) fn open(&self) -> Result<Vec<u64>> {
        let tally = self.engine.collect()?;
        Ok(tally.nodes.iter().map(|node| node.open).collect())
    }

    /// Starts a measurement of CPU and time.
    pub(super) fn meter(&self) -> Result<Meter> {
        Ok(Meter {
            cpu_s: self.processes.cpu_s()?,
            start_ns: clock::now_ns(),
        })
    }

    /// The counts of connections and failures; `connected` is the number during the measurement, by node. Then
    /// closes all connections and ends the threads.
    pub(super) fn end(self, connected: &[u64]) -> Result<Figures> {
        let counts = self.engine.counts();
        let tally = self.engine.collect()?;
        Ok(Figures {
            connected: connected.iter().sum(),
            nodes: of_nodes(&self.addresses, connected, &tally),
            failed: counts.failed,
            lost: counts.lost,
            pings: self.by_websocket.then_some(tally.pings),
            tls: self.by_tls.then_some(tally.tls),
            failures: tally.failures,
            timeline: self.timeline.into_samples(),
            ..Figures::default()
        })
    }
}

/// The figures of each of several nodes; none for a single server, whose figures are those of the run.
fn of_nodes(addresses: &[SocketAddr], connected: &[u64], tally: &Tally) -> Vec<OfNode> {
    let publishes = tally.window.count > 0;
    let nodes = addresses.iter().zip(connected).zip(&tally.nodes);
    let figures = nodes.map(|((address, &connected), node)| OfNode {
        address: address.to_string(),
        connected,
        failed: node.failed,
        lost: node.lost,
        delivery: publishes.then_some(OnNode {
            received: node.received,
            replay_gaps: node.replay_gaps,
        }),
        ..OfNode::default()
    });
    figures.collect()
}

/// Waits until the subject has seen all clients leave, before the next connect.
pub(super) fn rest_after_cut(connections: u32) {
    progress::rest("settling, all cut", settle_time(connections), &mut || {});
}

fn settle_time(connections: u32) -> Duration {
    SETTLE + Duration::from_secs((connections / SETTLED_PER_S).into())
}

/// CPU and time since its start.
#[derive(Debug)]
pub(super) struct Meter {
    cpu_s: Vec<f64>,
    start_ns: u64,
}

impl Meter {
    /// The measurement.
    pub(super) fn read(&self, crowd: &Crowd) -> Result<Used> {
        let now_s = crowd.processes.cpu_s()?;
        let used = self
            .cpu_s
            .iter()
            .zip(now_s)
            .map(|(before, now)| now - before);
        Ok(Used {
            cpu_s: used.collect(),
            measured_s: clock::seconds_between(self.start_ns, clock::now_ns()),
        })
    }
}
