//! `hold`: bytes a connection.
//!
//! A warm-up burst is connected and cut, so that pools and slabs have their working size; then two
//! plateaus are climbed, each followed by a rest and a reading. The figure is the slope between them.
//! CPU and heartbeats are those of the last rest. At the end all are cut, and memory is read once more.

use anyhow::{Result, ensure};

use super::{connection_figures, cpu_s, floor, ramp, since};
use crate::cli::Hold;
use crate::engine::{Engine, Window};
use crate::figures::{Figures, Plateaus, mib};
use crate::outcome::Outcome;
use crate::progress::rest;
use crate::subject::Subject;
use crate::subject::proc::{self, Slab};

/// Connections of the warm-up burst.
const WARM_UP: u32 = 2_000;

/// Runs the scenario; whether it passed.
pub(crate) fn run(hold: &Hold) -> Result<bool> {
    let connections = hold.common.connections();
    let plateau = hold.plateau.unwrap_or(connections / 3);
    ensure!(
        plateau < connections,
        "--plateau {plateau} must be below --connections {connections}"
    );
    let subject = Subject::open(&hold.common)?;
    let figures = measure(&subject, hold, plateau)?;
    let beside = match floor(&hold.common)? {
        Some(floor) => Some(measure(&floor, hold, plateau)?),
        None => None,
    };
    subject.stop()?;
    Outcome::new("hold", &hold.common, figures, beside).finish(&hold.common)
}

/// The subject's memory and the machine's slab at one time.
#[derive(Debug)]
struct Reading {
    open: u64,
    pss_bytes: Option<u64>,
    slab: Option<Slab>,
}

fn measure(subject: &Subject, hold: &Hold, plateau: u32) -> Result<Figures> {
    let connections = hold.common.connections();
    let mut engine = Engine::start(subject.target(), &hold.common.limits(), Window::default())?;
    ramp(&mut engine, connections.min(WARM_UP), "warm-up burst")?;
    engine.close_all()?;
    rest("rest, all cut", hold.rest);
    let warm = read(subject, &engine)?;

    let first_s = ramp(&mut engine, plateau, "ramp")?;
    rest("rest on the plateau", hold.rest);
    let low = read(subject, &engine)?;

    let second_s = ramp(&mut engine, connections, "ramp")?;
    let (cpu_before, heartbeats_before) = (cpu_s(subject)?, engine.counts().heartbeats);
    rest("rest at the top", hold.rest);
    let cpu = since(cpu_before, cpu_s(subject)?);
    let heartbeats = engine.counts().heartbeats - heartbeats_before;
    let high = read(subject, &engine)?;

    let mut figures = connection_figures(&engine, high.open)?;
    engine.close_all()?;
    rest("rest, all cut", hold.rest);
    let after = read(subject, &engine)?;

    figures.connects_per_s = Some(f64::from(connections) / (first_s + second_s));
    figures.server_cpu_s = cpu;
    figures.measured_s = Some(hold.rest.as_secs_f64());
    figures.heartbeats = Some(heartbeats);
    figures.pss_mib = plateaus([&warm, &low, &high, &after]);
    let more = f64::from(u32::try_from(high.open.saturating_sub(low.open))?);
    if more > 0.0 {
        figures.user_bytes_per_connection = figures
            .pss_mib
            .map(|pss| (pss.full - pss.plateau) * 1_048_576.0 / more);
        if let (Some(low), Some(high)) = (&low.slab, &high.slab) {
            figures.kernel_bytes_by_object = slopes(low, high, more);
            figures.kernel_bytes_both_ends = Some(figures.kernel_bytes_by_object.values().sum());
        }
    }
    Ok(figures)
}

fn read(subject: &Subject, engine: &Engine) -> Result<Reading> {
    let pss_bytes = subject.pid().map(proc::pss_bytes).transpose()?;
    Ok(Reading {
        open: engine.counts().open,
        pss_bytes,
        slab: proc::slab(),
    })
}

fn plateaus(readings: [&Reading; 4]) -> Option<Plateaus> {
    let [warm, plateau, full, after] = readings.map(|reading| reading.pss_bytes.map(mib));
    Some(Plateaus {
        warm: warm?,
        plateau: plateau?,
        full: full?,
        after: after?,
    })
}

/// Bytes a connection of each cache that moved with the ramp; what moved by less than a byte is noise.
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
