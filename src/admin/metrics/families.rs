//! Writes families of metrics: their name, help and type, and their values.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::metrics::{DELIVERY_BOUNDS_MS, Histogram};

/// Writes metric families. The format appends `_total` to counters.
pub(super) struct FamilyWriter<'a>(DescriptorEncoder<'a>);

impl<'a> FamilyWriter<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }
}

impl FamilyWriter<'_> {
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&gauge_value(value))
    }

    pub(super) fn counter_of_seconds(
        &mut self,
        name: &str,
        help: &str,
        seconds: f64,
    ) -> Result<(), Error> {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, f64, u64>(&seconds, None)
    }

    /// Writes a family of counters or gauges, each with a value of its only label.
    pub(super) fn by_label(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (&'static str, u64)>,
    ) -> Result<(), Error> {
        let series = values.map(|(value, number)| ([(label, value)], number));
        self.labelled(kind, name, help, series)
    }

    pub(super) fn seconds(&mut self, name: &str, help: &str, seconds: f64) -> Result<(), Error> {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&seconds)
    }

    /// Writes a family of counters or gauges, each with its labels.
    pub(super) fn labelled<'v, const COUNT: usize>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        series: impl Iterator<Item = ([(&'static str, &'v str); COUNT], u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, number) in series {
            let mut metric = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => {
                    metric.encode_counter::<NoLabelSet, u64, u64>(&number, None)?;
                }
                _ => metric.encode_gauge(&gauge_value(number))?,
            }
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss)] // seconds of a histogram
    pub(super) fn delivery(&mut self, delivery: &Histogram) -> Result<(), Error> {
        let counts = delivery.buckets();
        let bounds = DELIVERY_BOUNDS_MS
            .iter()
            .map(|bound_ms| *bound_ms as f64 / 1_000.0)
            .chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        self.0
            .encode_descriptor(
                "idlewild_delivery_seconds",
                "From accepted to the last client's send",
                None,
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(
                delivery.sum_ms() as f64 / 1_000.0,
                counts.iter().sum(),
                &buckets,
                None,
            )
    }
}

fn gauge_value(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
