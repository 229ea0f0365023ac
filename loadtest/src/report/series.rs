//! Extracts the points of a run's timeline for the charts.

use crate::run::{Sample, Side};

/// The points of a line, in order.
pub(super) type Points = Vec<(f64, f64)>;

/// Limit of points per line: more than a plot has pixels in width.
const MAX_POINTS: usize = 2_000;
/// A step of this many times the usual one is a gap in the measurement, and interrupts the line.
const PAUSE_STEPS: f64 = 4.0;
/// Shorter steps never count as a gap: samples may be late on a loaded machine.
const PAUSE_S: f64 = 3.0;

/// Connections by seconds since the first sample.
pub(super) fn ramp(side: &Side) -> Vec<Points> {
    over_time(side, |sample| Some(sample.connected))
}

/// Memory in MiB by seconds since the first sample.
pub(super) fn memory_over_time(side: &Side) -> Vec<Points> {
    over_time(side, |sample| sample.pss_mib)
}

fn over_time(side: &Side, value: impl Fn(&Sample) -> Option<f64>) -> Vec<Points> {
    let samples = ordered(&side.timeline);
    let start_s = samples.first().map_or(0.0, |sample| sample.at_s);
    let point = |sample: &Sample| Some((sample.at_s - start_s, value(sample)?));
    segments(&samples)
        .map(|part| part.iter().filter_map(point).collect())
        .collect()
}

/// CPU as a percentage of a core by seconds since the first sample, from differences of CPU time.
pub(super) fn cpu(side: &Side) -> Vec<Points> {
    let mut samples = ordered(&side.timeline);
    let start_s = samples.first().map_or(0.0, |sample| sample.at_s);
    samples.retain(|sample| sample.server_cpu_s.is_some());
    let percent = |pair: &[Sample]| {
        let [one, other] = pair else { return None };
        let used_s = other.server_cpu_s? - one.server_cpu_s?;
        let took_s = other.at_s - one.at_s;
        // A lower value means a new process: the server was restarted.
        (used_s >= 0.0).then_some((other.at_s - start_s, 100.0 * used_s / took_s))
    };
    segments(&samples)
        .map(|part| part.windows(2).filter_map(percent).collect())
        .collect()
}

/// Memory in MiB by connections, on the way from none to the largest number.
pub(super) fn memory(side: &Side) -> Points {
    let samples = ordered(&side.timeline);
    let most = samples
        .iter()
        .map(|sample| sample.connected)
        .fold(0.0, f64::max);
    let full = |sample: &Sample| sample.connected >= most;
    let Some(top) = samples.iter().position(full) else {
        return Points::new();
    };
    let (climb, from_top) = samples.split_at(top);
    let nobody = climb.iter().rposition(|sample| sample.connected == 0.0);
    let climb = climb.iter().skip(nobody.unwrap_or(0));
    climb
        .chain(from_top.iter().take_while(|sample| full(sample)))
        .filter_map(|sample| Some((sample.connected, sample.pss_mib?)))
        .collect()
}

/// The readings of `hold`: memory in MiB without connections, on the first plateau, and with all.
pub(super) fn plateaus(side: &Side) -> Points {
    let figure = |key| side.figure(key);
    let warm = figure("pss_mib.warm").map(|mib| (0.0, mib));
    let full = figure("connected").zip(figure("pss_mib.full"));
    let between = || {
        let (connected, full_mib) = full?;
        let plateau_mib = figure("pss_mib.plateau")?;
        let slope = figure("user_bytes_per_connection")?;
        // The file has no number of connections for it, but the values from which the slope was computed.
        let at = connected - (full_mib - plateau_mib) * 1_048_576.0 / slope;
        (at > 0.0 && at < connected).then(|| (at.round(), plateau_mib))
    };
    [warm, between(), full].into_iter().flatten().collect()
}

/// The samples in order of time, thinned out evenly.
fn ordered(timeline: &[Sample]) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::with_capacity(timeline.len().min(MAX_POINTS + 1));
    let every = timeline.len().div_ceil(MAX_POINTS).max(1);
    for (at, sample) in timeline.iter().enumerate() {
        let drawn = at.is_multiple_of(every) || at + 1 == timeline.len();
        if drawn && samples.last().is_none_or(|last| last.at_s < sample.at_s) {
            samples.push(*sample);
        }
    }
    samples
}

/// The parts without a gap.
fn segments(samples: &[Sample]) -> impl Iterator<Item = &[Sample]> {
    let mut steps_s: Vec<f64> = samples
        .windows(2)
        .map(|pair| pair[1].at_s - pair[0].at_s)
        .collect();
    steps_s.sort_by(f64::total_cmp);
    let usual_s = steps_s.get(steps_s.len() / 2).copied().unwrap_or(0.0);
    let pause_s = (PAUSE_STEPS * usual_s).max(PAUSE_S);
    samples.chunk_by(move |one, other| other.at_s - one.at_s <= pause_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(samples: &[(f64, f64, f64, f64)]) -> Side {
        let sample = |&(at_s, connected, pss_mib, cpu_s): &(f64, f64, f64, f64)| Sample {
            at_s,
            connected,
            pss_mib: Some(pss_mib),
            server_cpu_s: Some(cpu_s),
        };
        Side {
            timeline: samples.iter().map(sample).collect(),
            ..Side::default()
        }
    }

    #[test]
    fn cpu_is_the_difference_between_samples_and_a_pause_breaks_the_line() {
        let side = side(&[
            (10.0, 0.0, 1.0, 0.0),
            (10.5, 0.0, 1.0, 0.25),
            (11.0, 0.0, 1.0, 0.25),
            (21.0, 0.0, 1.0, 0.75),
            (21.5, 0.0, 1.0, 1.0),
        ]);
        assert_eq!(
            cpu(&side),
            [vec![(0.5, 50.0), (1.0, 0.0)], vec![(11.5, 50.0)]]
        );
        assert_eq!((ramp(&side).len(), memory_over_time(&side).len()), (2, 2));
    }

    #[test]
    fn memory_is_drawn_for_the_climb_to_the_top_not_for_the_warm_up_or_the_end() {
        let side = side(&[
            (0.0, 0.0, 5.0, 0.0),
            (1.0, 2.0, 6.0, 0.0),
            (2.0, 0.0, 6.1, 0.0),
            (3.0, 4.0, 6.5, 0.0),
            (4.0, 9.0, 7.0, 0.0),
            (5.0, 9.0, 7.1, 0.0),
            (6.0, 0.0, 6.2, 0.0),
            (7.0, 9.0, 7.2, 0.0),
        ]);
        assert_eq!(
            memory(&side),
            [(0.0, 6.1), (4.0, 6.5), (9.0, 7.0), (9.0, 7.1)]
        );
    }

    #[test]
    fn the_place_of_the_first_plateau_follows_from_the_slope() {
        let figures = [
            ("connected", 6_000.0),
            ("user_bytes_per_connection", 262.144),
            ("pss_mib.warm", 6.0),
            ("pss_mib.plateau", 7.0),
            ("pss_mib.full", 8.0),
        ];
        let mut side = Side::default();
        side.figures
            .extend(figures.map(|(key, value)| (key.to_owned(), value)));
        assert_eq!(
            plateaus(&side),
            [(0.0, 6.0), (2_000.0, 7.0), (6_000.0, 8.0)]
        );
        side.figures
            .insert("user_bytes_per_connection".to_owned(), 0.0);
        assert_eq!(plateaus(&side).len(), 2);
    }

    #[test]
    fn a_long_timeline_is_thinned_out_and_keeps_its_end() {
        let long: Vec<_> = (0..9_999)
            .map(|at| (f64::from(at), 1.0, 1.0, 0.0))
            .collect();
        let long = side(&long);
        let thinned = ordered(&long.timeline);
        assert!(thinned.len() <= MAX_POINTS + 1);
        assert_eq!(thinned.last(), long.timeline.last());
    }

    #[test]
    fn samples_out_of_order_and_no_samples_are_borne() {
        let mixed = side(&[
            (1.0, 1.0, 1.0, 1.0),
            (0.0, 1.0, 1.0, 1.0),
            (1.0, 1.0, 1.0, 1.0),
        ]);
        assert_eq!(ramp(&mixed), [vec![(0.0, 1.0)]]);
        let none = Side::default();
        assert!(ramp(&none).is_empty() && cpu(&none).is_empty() && memory(&none).is_empty());
    }
}
