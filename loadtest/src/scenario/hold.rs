//! `hold`: bytes per connection.
//!
//! Memory is read before the first client. Then a warm-up burst is connected and closed, so that pools and slabs reach
//! their working size. Then two plateaus are reached, each followed by a rest and a reading. The result is the slope
//! between them. CPU and heartbeats are measured in the last rest. At the end all are closed, and memory is read once
//! more.

use anyhow::{Result, ensure};

use super::crowd::Crowd;
use super::rounds::{self, Order, Round};
use crate::cli::Hold;
use crate::engine::Window;
use crate::figures::{Plateaus, mib, total};
use crate::subject::Subject;
use crate::subject::proc::{self, Slab};

/// Runs the scenario; returns true if it passed.
pub(super) fn run(hold: &Hold) -> Result<bool> {
    let connections = hold.common.connections();
    let plateau = hold.plateau.unwrap_or(connections / 3);
    ensure!(
        plateau < connections,
        "--plateau {plateau} must be below --connections {connections}"
    );
    rounds::run("hold", &hold.common, 1, Order::Alternating, |subject, _| {
        measure(subject, hold, plateau)
    })
}

/// The subject's streams and memory, by node, and the machine's slab at one time.
#[derive(Debug)]
struct Reading {
    open: Vec<u64>,
    /// Empty if the processes are not known.
    pss_bytes: Vec<u64>,
    /// The part of it that is pages of files.
    pss_file_bytes: Vec<u64>,
    slab: Option<Slab>,
}

fn measure(subject: &Subject, hold: &Hold, plateau: u32) -> Result<Round> {
    let connections = hold.common.connections();
    let mut crowd = Crowd::start(subject, &hold.common.limits(), Window::default())?;
    let empty = read(subject, &crowd)?;
    crowd.ramp(connections.min(hold.warm_up), "warm-up burst")?;
    crowd.engine.close_all()?;
    crowd.rest("rest, all cut", hold.rest);
    let warm = read(subject, &crowd)?;

    let first_s = crowd.ramp(plateau, "ramp")?;
    crowd.rest("rest on the plateau", hold.rest);
    let low = read(subject, &crowd)?;

    let second_s = crowd.ramp(connections, "ramp")?;
    let (meter, before) = (crowd.meter()?, crowd.engine.counts());
    crowd.rest("rest at the top", hold.rest);
    let used = meter.read(&crowd)?;
    let heartbeats = crowd.engine.counts().heartbeats - before.heartbeats;
    let high = read(subject, &crowd)?;

    crowd.engine.close_all()?;
    crowd.rest("rest, all cut", hold.rest);
    let after = read(subject, &crowd)?;

    let mut figures = crowd.end(&high.open)?;
    figures.connects_per_s = Some(f64::from(connections) / (first_s + second_s));
    figures.used(&used);
    figures.heartbeats = Some(heartbeats);
    let readings = [&empty, &warm, &low, &high, &after];
    figures.pss_mib = plateaus(readings.map(|reading| total(&reading.pss_bytes)));
    figures.pss_file_mib = plateaus(readings.map(|reading| total(&reading.pss_file_bytes)));
    for (index, node) in figures.nodes.iter_mut().enumerate() {
        node.pss_mib = plateaus(readings.map(|reading| reading.pss_bytes.get(index).copied()));
        let more = more(low.open[index], high.open[index])?;
        node.user_bytes_per_connection = user_bytes(node.pss_mib, more);
    }
    let more = more(low.open.iter().sum(), high.open.iter().sum())?;
    figures.user_bytes_per_connection = user_bytes(figures.pss_mib, more);
    if more > 0.0
        && let (Some(low), Some(high)) = (&low.slab, &high.slab)
    {
        figures.kernel_bytes_by_object = slopes(low, high, more);
        figures.kernel_bytes_both_ends = Some(figures.kernel_bytes_by_object.values().sum());
    }
    Ok(Round {
        figures,
        ..Round::default()
    })
}

fn read(subject: &Subject, crowd: &Crowd) -> Result<Reading> {
    Ok(Reading {
        open: crowd.open()?,
        pss_bytes: subject.processes().pss_bytes()?,
        pss_file_bytes: subject.processes().pss_file_bytes()?,
        slab: proc::slab(),
    })
}

/// The connections between two plateaus.
fn more(low: u64, high: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(high.saturating_sub(low))?))
}

/// The PSS slope of a process, or of all, over this many connections.
fn user_bytes(pss: Option<Plateaus>, more: f64) -> Option<f64> {
    let grown = |pss: Plateaus| (pss.full - pss.plateau) * 1_048_576.0;
    pss.filter(|_| more > 0.0).map(|pss| grown(pss) / more)
}

fn plateaus(pss_bytes: [Option<u64>; 5]) -> Option<Plateaus> {
    let [empty, warm, plateau, full, after] = pss_bytes.map(|bytes| bytes.map(mib));
    Some(Plateaus {
        empty: empty?,
        warm: warm?,
        plateau: plateau?,
        full: full?,
        after: after?,
    })
}

/// Bytes per connection of each cache that changed with the ramp. Less than a byte is noise.
fn slopes(low: &Slab, high: &Slab, more: f64) -> std::collections::BTreeMap<String, f64> {
    let slope = |(cache, bytes): (&String, &i64)| {
        #[expect(clippy::cast_precision_loss, reason = "bytes of slab, far below 2^53")]
        let grown = (bytes - low.get(cache).copied().unwrap_or(0)) as f64 / more;
        (grown.abs() >= 1.0).then(|| (cache.clone(), grown))
    };
    high.iter().filter_map(slope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_growth_over_connections() {
        let slab =
            |tcp, dentry| Slab::from([("TCP".to_owned(), tcp), ("dentry".to_owned(), dentry)]);
        let slopes = slopes(&slab(1_000, 500), &slab(24_680, 501), 10.0);
        assert_eq!(
            slopes.into_iter().collect::<Vec<_>>(),
            [("TCP".to_owned(), 2_368.0)]
        );
    }
}
