//! The timeline of a round: connections, memory and CPU of the server, about twice a second.

use crate::clock;
use crate::figures::{Sample, mib, total};
use crate::subject::{Processes, Subject};

const FIRST_INTERVAL_NS: u64 = 500_000_000;
/// At this number of samples, every second one is dropped and the interval doubles: soaks of days stay
/// drawable.
const MAX_SAMPLES: usize = 2_000;

/// Takes the samples of a round.
#[derive(Debug)]
pub(super) struct Timeline {
    processes: Processes,
    start_ns: u64,
    next_ns: u64,
    interval_ns: u64,
    samples: Vec<Sample>,
}

impl Timeline {
    /// Starts with the round.
    pub(super) fn start(subject: &Subject) -> Self {
        let now_ns = clock::now_ns();
        Self {
            processes: subject.processes(),
            start_ns: now_ns,
            next_ns: now_ns,
            interval_ns: FIRST_INTERVAL_NS,
            samples: Vec::new(),
        }
    }

    /// Takes a sample if one is due.
    pub(super) fn watch(&mut self, connected: u64) {
        let now_ns = clock::now_ns();
        if now_ns >= self.next_ns {
            self.next_ns = now_ns + self.interval_ns;
            self.take(connected, now_ns);
        }
    }

    fn take(&mut self, connected: u64, now_ns: u64) {
        // If the server is gone, the counts show it; a missing sample does not end the run.
        let pss_bytes = self.processes.pss_bytes().unwrap_or_default();
        let cpu_s = self.processes.cpu_s().unwrap_or_default();
        let sample = Sample {
            at_s: clock::seconds_between(self.start_ns, now_ns),
            connected,
            pss_mib: total(&pss_bytes).map(mib),
            server_cpu_s: total(&cpu_s),
        };
        if self.samples.len() >= MAX_SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.interval_ns *= 2;
        }
        self.samples.push(sample);
    }

    /// The samples.
    pub(super) fn into_samples(self) -> Vec<Sample> {
        self.samples
    }
}
