//! Deliveries of published events: counts and latencies, summed over rounds.

use anyhow::Result;
use hdrhistogram::Histogram;

use super::timetable::Punctuality;
use crate::engine::Tally;
use crate::figures::{Delivery, Percentiles, milliseconds};

/// The deliveries of one or more rounds.
#[derive(Clone, Debug)]
pub(super) struct Deliveries {
    latency_ns: Histogram<u64>,
    to_last_ns: Histogram<u64>,
    expected: u64,
    received: u64,
    missed: u64,
    duplicates: u64,
    out_of_order: u64,
    foreign: u64,
    misdirected: u64,
    punctuality: Punctuality,
}

impl Deliveries {
    /// Evaluates a tally with the number of clients of each event, in the order of the events.
    pub(super) fn new(tally: Tally, recipients: &[u32], punctuality: Punctuality) -> Self {
        let mut to_last_ns = tally.latency_ns.clone();
        to_last_ns.reset();
        let (mut expected, mut missed) = (0, 0);
        // The time to the last client is meaningful for events to many. If there are none, all events are
        // used.
        let most = recipients.iter().copied().max().unwrap_or(0);
        for (event, &clients) in tally.events.iter().zip(recipients) {
            expected += u64::from(clients);
            missed += u64::from(clients.saturating_sub(event.clients));
            let time_ns = event.time_to_last_ns(clients);
            if let Some(time_ns) = time_ns.filter(|_| clients > 1 || most == 1) {
                to_last_ns.saturating_record(time_ns);
            }
        }
        Self {
            to_last_ns,
            expected,
            received: tally.received(),
            missed,
            duplicates: tally.duplicates,
            out_of_order: tally.out_of_order,
            foreign: tally.foreign,
            misdirected: tally.misdirected,
            punctuality,
            latency_ns: tally.latency_ns,
        }
    }

    /// Adds another round.
    pub(super) fn add(&mut self, other: &Self) -> Result<()> {
        self.latency_ns.add(&other.latency_ns)?;
        self.to_last_ns.add(&other.to_last_ns)?;
        self.punctuality.add(&other.punctuality)?;
        self.add_counts(other);
        Ok(())
    }

    /// Adds another's deliveries, but not its latencies.
    pub(super) fn add_counts(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.missed += other.missed;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.foreign += other.foreign;
        self.misdirected += other.misdirected;
    }

    /// The figures of the output.
    pub(super) fn figures(&self) -> Delivery {
        Delivery {
            received: self.received,
            expected: self.expected,
            missed: self.missed,
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
            foreign: self.foreign,
            misdirected: self.misdirected,
            publish_late_ms_max: milliseconds(self.punctuality.late_ns),
            publish_ms: Percentiles::of(&self.punctuality.answer_ns),
            time_to_last_ms: Percentiles::of(&self.to_last_ns),
            latency_ms: Percentiles::of(&self.latency_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Window;

    #[test]
    fn a_surplus_event_for_one_client_does_not_hide_a_missing_one_for_another() {
        let mut tally = Tally::new(Window { first: 0, count: 2 }, 1);
        for _ in 0..3 {
            tally.arrived(0, 1_000, 5_000);
        }
        let figures = Deliveries::new(tally, &[2, 1], Punctuality::new()).figures();
        assert_eq!(
            (figures.received, figures.expected, figures.missed),
            (3, 3, 1)
        );
    }

    #[test]
    fn the_time_to_the_last_client_is_that_of_broadcasts_if_there_are_any() {
        let mut tally = Tally::new(Window { first: 0, count: 2 }, 1);
        tally.arrived(0, 0, 90_000_000);
        tally.arrived(1, 0, 10_000_000);
        tally.arrived(1, 0, 20_000_000);
        let mixed = Deliveries::new(tally.clone(), &[1, 2], Punctuality::new()).figures();
        assert!((mixed.time_to_last_ms.max - 20.0).abs() < 0.1);
        let single = Deliveries::new(tally, &[1, 1], Punctuality::new()).figures();
        assert!((single.time_to_last_ms.max - 90.0).abs() < 0.1);
    }
}
