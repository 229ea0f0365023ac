//! `broadcast`: how long an event takes to every client.
//!
//! Open loop: event `n` of a round is due at `start + n / rate` whatever became of those before, and its
//! payload says so. Rounds connect anew (one process cannot hold both sets of sockets at once) and server
//! and floor take turns in going first, so that a drift of the machine falls on both.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{connection_figures, cpu_s, floor, merge_into, ramp, since};
use crate::cli::Broadcast;
use crate::clock::{self, Deadline};
use crate::engine::{Engine, Tally, Window};
use crate::figures::{Delivery, Figures, Percentiles, milliseconds};
use crate::outcome::Outcome;
use crate::progress::{Stage, rest};
use crate::subject::Subject;

/// Quiet time around a round: after the ramp, and for the server to see the cut.
const SETTLE: Duration = Duration::from_secs(1);
/// The first event's distance from the start of the timetable.
const LEAD_NS: u64 = 100_000_000;
/// How long without any arrival until the rest is given up as missed, and how long at most.
const QUIET: Duration = Duration::from_secs(5);
const LAST_WAIT: Duration = Duration::from_secs(60);
/// How long to watch for doubles once all has come.
const AFTERWATCH: Duration = Duration::from_millis(300);

/// Runs the scenario; whether it passed.
pub(crate) fn run(broadcast: &Broadcast) -> Result<bool> {
    let mut subject = Subject::open(&broadcast.common)?;
    let mut floor = floor(&broadcast.common)?;
    let (mut of_subject, mut of_floor) = (Rounds::default(), Rounds::default());
    for round in 0..broadcast.rounds {
        let window = Window {
            first: round * broadcast.events,
            count: broadcast.events,
        };
        if round % 2 == 0 {
            of_subject.measure(&mut subject, broadcast, window)?;
        }
        if let Some(floor) = &mut floor {
            of_floor.measure(floor, broadcast, window)?;
        }
        if round % 2 == 1 {
            of_subject.measure(&mut subject, broadcast, window)?;
        }
    }
    subject.stop()?;
    let beside = floor.is_some().then(|| of_floor.figures());
    Outcome::new("broadcast", &broadcast.common, of_subject.figures(), beside)
        .finish(&broadcast.common)
}

/// The rounds of one subject, added up.
#[derive(Debug, Default)]
struct Rounds {
    figures: Option<Figures>,
    latency_ns: Option<Histogram<u64>>,
    times_to_last_ns: Vec<u64>,
    expected: u64,
    received: u64,
    duplicates: u64,
    out_of_order: u64,
    foreign: u64,
    publish_late_ns: u64,
}

impl Rounds {
    /// Runs one more round.
    fn measure(
        &mut self,
        subject: &mut Subject,
        broadcast: &Broadcast,
        window: Window,
    ) -> Result<()> {
        let connections = broadcast.common.connections();
        let mut engine = Engine::start(subject.target(), &broadcast.common.limits(), window)?;
        let ramp_s = ramp(&mut engine, connections, "ramp")?;
        rest("settling", SETTLE);
        let open = engine.counts().open;
        let expected = open * u64::from(window.count);
        let (cpu_before, start_ns) = (cpu_s(subject)?, clock::now_ns());
        let publish_late_ns = publish(subject, broadcast.rate, window)?;
        wait_for(&engine, expected);
        let cpu = since(cpu_before, cpu_s(subject)?);
        let measured_s = clock::seconds_between(start_ns, clock::now_ns());
        std::thread::sleep(AFTERWATCH);
        let mut figures = connection_figures(&engine, open)?;
        figures.connects_per_s = Some(f64::from(connections) / ramp_s);
        figures.server_cpu_s = cpu;
        figures.measured_s = Some(measured_s);
        merge_into(&mut self.figures, figures);
        self.publish_late_ns = self.publish_late_ns.max(publish_late_ns);
        self.expected += expected;
        self.count(engine.collect()?, open)?;
        drop(engine);
        rest("settling, all cut", SETTLE);
        Ok(())
    }

    fn count(&mut self, tally: Tally, open: u64) -> Result<()> {
        self.received += tally.received();
        self.duplicates += tally.duplicates;
        self.out_of_order += tally.out_of_order;
        self.foreign += tally.foreign;
        self.times_to_last_ns
            .extend(tally.times_to_last_ns(u32::try_from(open)?));
        match &mut self.latency_ns {
            Some(all) => all.add(tally.latency_ns)?,
            None => self.latency_ns = Some(tally.latency_ns),
        }
        Ok(())
    }

    fn figures(self) -> Figures {
        let (Some(mut figures), Some(latency_ns)) = (self.figures, self.latency_ns) else {
            return Figures::default();
        };
        let mut to_last = latency_ns.clone();
        to_last.reset();
        for time_ns in self.times_to_last_ns {
            to_last.saturating_record(time_ns);
        }
        figures.delivery = Some(Delivery {
            received: self.received,
            expected: self.expected,
            missed: self.expected.saturating_sub(self.received),
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
            foreign: self.foreign,
            publish_late_ms_max: milliseconds(self.publish_late_ns),
            time_to_last_ms: Percentiles::of(&to_last),
            latency_ms: Percentiles::of(&latency_ns),
        });
        figures
    }
}

/// Publishes by the timetable; returns the most that one began late.
fn publish(subject: &mut Subject, rate: f64, window: Window) -> Result<u64> {
    let mut stage = Stage::new("publishing", window.count.into());
    let interval_ns = clock::duration_ns(Duration::from_secs_f64(1.0 / rate));
    let start_ns = clock::now_ns() + LEAD_NS;
    let mut late_ns = 0;
    for offset in 0..window.count {
        let scheduled_ns = start_ns + u64::from(offset) * interval_ns;
        clock::sleep_until_ns(scheduled_ns);
        late_ns = late_ns.max(clock::now_ns() - scheduled_ns);
        subject.publish(window.first + offset, scheduled_ns)?;
        stage.at(u64::from(offset) + 1);
    }
    Ok(late_ns)
}

/// Waits until `expected` have arrived, or none has for a while.
fn wait_for(engine: &Engine, expected: u64) {
    let mut stage = Stage::new("arriving", expected);
    let limit = Deadline::after(LAST_WAIT);
    let mut quiet = Deadline::after(QUIET);
    let mut received = 0;
    while received < expected && !quiet.passed() && !limit.passed() {
        std::thread::sleep(Duration::from_millis(5));
        let now = engine.counts().received;
        if now > received {
            quiet = Deadline::after(QUIET);
        }
        received = now;
        stage.at(received);
    }
}
