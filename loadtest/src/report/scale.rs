//! The axes of a plot: range and ticks.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::Ranged;

use crate::number::grouped;

/// Limit of ticks per axis; more would overlap.
const MOST_TICKS: f64 = 6.0;
/// Up to this number of decades, a logarithmic axis also has ticks at 2 and 5.
const FINE_DECADES: i32 = 2;
/// Larger values are not real measurements and would ruin the scale.
const LARGEST: f64 = 1e15;
/// Smaller values are zero on a logarithmic axis: a nanosecond, in milliseconds.
const SMALLEST: f64 = 1e-6;
const MILLION: f64 = 1e6;
/// Space left of the first step and right of the last, in steps.
const STEP_MARGIN: f64 = 0.3;

/// The kind of an axis.
#[derive(Clone, Copy, Debug)]
pub(super) enum Axis {
    /// Linear from zero.
    Linear(&'static str),
    /// Logarithmic.
    Log(&'static str),
    /// The values 0, 1, 2 … with names.
    Steps(&'static str, &'static [&'static str]),
}

/// An axis for certain values.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    axis: Axis,
    from: f64,
    to: f64,
    /// Positions, like the ends: logarithms on a logarithmic axis.
    ticks: Vec<f64>,
    decimals: usize,
}

impl Scale {
    /// The axis for `values`.
    pub(super) fn new(axis: Axis, values: impl Iterator<Item = f64>) -> Self {
        let usable = values.filter(|&value| axis.holds(value));
        match axis {
            Axis::Linear(_) => Self::linear(axis, usable.fold(0.0, f64::max)),
            Axis::Log(_) => {
                let (low, high) = usable.fold((f64::MAX, 0.0), |(low, high), value| {
                    (value.min(low), value.max(high))
                });
                Self::log(axis, low.min(high.max(SMALLEST)), high.max(SMALLEST))
            }
            Axis::Steps(_, names) => {
                let ticks: Vec<f64> = (0_u32..).zip(names).map(|(at, _)| f64::from(at)).collect();
                Self {
                    axis,
                    from: -STEP_MARGIN,
                    to: ticks.last().copied().unwrap_or(0.0) + STEP_MARGIN,
                    ticks,
                    decimals: 0,
                }
            }
        }
    }

    /// The label of the axis.
    pub(super) fn name(&self) -> &'static str {
        match self.axis {
            Axis::Linear(name) | Axis::Log(name) | Axis::Steps(name, _) => name,
        }
    }

    /// The position of a value, if the axis can show it.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = if matches!(self.axis, Axis::Log(_)) {
            value.log10()
        } else {
            value
        };
        self.axis.holds(value).then_some(place)
    }

    /// The number of ticks.
    pub(super) fn ticks(&self) -> usize {
        self.ticks.len()
    }

    fn label(&self, tick: f64) -> String {
        match self.axis {
            // Abbreviated, since seven digits per tick would overlap.
            Axis::Linear(_) if self.to >= MILLION => grouped(tick / MILLION, self.decimals) + " M",
            Axis::Linear(_) => grouped(tick, self.decimals),
            Axis::Log(_) => {
                let value = 10_f64.powf(tick);
                grouped(value, decimals(value))
            }
            Axis::Steps(_, names) => {
                let name = self.ticks.iter().position(|&at| (at - tick).abs() < 0.5);
                name.map_or_else(String::new, |at| names[at].to_owned())
            }
        }
    }

    fn linear(axis: Axis, high: f64) -> Self {
        let step = round_step(high / MOST_TICKS);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to MOST_TICKS"
        )]
        let count = (high / step).ceil().max(1.0) as u32;
        let to = f64::from(count) * step;
        Self {
            axis,
            from: 0.0,
            to,
            ticks: (0..=count).map(|at| f64::from(at) * step).collect(),
            decimals: decimals(if to >= MILLION { step / MILLION } else { step }),
        }
    }

    fn log(axis: Axis, low: f64, high: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "logarithms of bounded values, -6 to 15"
        )]
        let decade = |value: f64| value as i32;
        let (from, mut to) = (decade(low.log10().floor()), decade(high.log10().ceil()));
        to = to.max(from + 1);
        let every = if to - from <= FINE_DECADES {
            [1.0, 2.0, 5.0].as_slice()
        } else {
            &[1.0]
        };
        let ticks: Vec<f64> = (from..=to)
            .flat_map(|decade| {
                every
                    .iter()
                    .map(move |&first| f64::from(decade) + f64::log10(first))
            })
            .collect();
        // From the last tick below the values to the first above them.
        let (low, high) = (low.log10() + 1e-9, high.log10() - 1e-9);
        let start = ticks.iter().rposition(|&tick| tick <= low).unwrap_or(0);
        let end = ticks.iter().position(|&tick| tick >= high);
        let end = end.unwrap_or(ticks.len() - 1).max(start + 1);
        let ticks = ticks.get(start..=end).unwrap_or(&ticks).to_vec();
        let thin = usize::from(ticks.len() > 10) + 1;
        Self {
            axis,
            from: ticks[0],
            to: ticks[ticks.len() - 1],
            ticks: ticks.into_iter().step_by(thin).collect(),
            decimals: 0,
        }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "pixels of a plot")]
    fn map(&self, &place: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (place - self.from) / (self.to - self.from);
        first + (f64::from(last - first) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, &tick: &f64) -> String {
        self.label(tick)
    }
}

impl From<Scale> for Range<f64> {
    fn from(scale: Scale) -> Self {
        scale.from..scale.to
    }
}

impl Axis {
    fn holds(self, value: f64) -> bool {
        let least = match self {
            Self::Log(_) => SMALLEST,
            Self::Linear(_) | Self::Steps(..) => 0.0,
        };
        (least..=LARGEST).contains(&value)
    }
}

/// The smallest of 1, 2 or 5 times a power of ten that is at least `least`.
fn round_step(least: f64) -> f64 {
    let least = least.max(SMALLEST);
    let decade = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * decade >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * decade
}

/// Decimal places for ticks of this size.
fn decimals(size: f64) -> usize {
    (0..6)
        .find(|&places| {
            let scaled = size * 10_f64.powi(places);
            (scaled - scaled.round()).abs() < scaled * 1e-6
        })
        .map_or(6, |places| places.unsigned_abs() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, values: &[f64]) -> Vec<String> {
        let scale = Scale::new(axis, values.iter().copied());
        scale.ticks.iter().map(|&tick| scale.label(tick)).collect()
    }

    #[test]
    fn a_linear_axis_starts_at_nothing_and_has_round_ticks() {
        let connections = labels(Axis::Linear(""), &[400.0, 14_900.0]);
        assert_eq!(connections, ["0", "5,000", "10,000", "15,000"]);
        let million = labels(Axis::Linear(""), &[1_250_000.0]);
        assert_eq!(million, ["0.0 M", "0.5 M", "1.0 M", "1.5 M"]);
        assert_eq!(
            labels(Axis::Linear(""), &[0.9]),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
    }

    #[test]
    fn a_logarithmic_axis_holds_its_values_between_round_ticks() {
        assert_eq!(labels(Axis::Log(""), &[14.0, 48.3]), ["10", "20", "50"]);
        assert_eq!(
            labels(Axis::Log(""), &[0.3, 4_000.0]),
            ["0.1", "1", "10", "100", "1,000", "10,000"]
        );
    }

    #[test]
    fn an_axis_of_one_value_or_none_still_has_room() {
        for values in [
            &[][..],
            &[0.0],
            &[1.0],
            &[10.0],
            &[f64::MAX, -5.0, f64::NAN],
        ] {
            for axis in [
                Axis::Linear(""),
                Axis::Log(""),
                Axis::Steps("", &["min", "max"]),
            ] {
                let scale = Scale::new(axis, values.iter().copied());
                assert!(
                    scale.from < scale.to && scale.ticks.len() >= 2,
                    "{axis:?} {values:?}"
                );
            }
        }
    }

    #[test]
    fn what_an_axis_cannot_show_has_no_place_on_it() {
        let scale = Scale::new(Axis::Log(""), [1.0, 100.0].into_iter());
        assert_eq!(scale.place(100.0), Some(2.0));
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(scale.place(value), None);
        }
    }
}
