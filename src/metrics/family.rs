//! Families: the samples of one name, as plain values at the moment of a scrape.

use std::borrow::Cow;

use super::{Counter, Histogram};

/// A label of a sample: its name and its value.
pub type Label = (&'static str, Cow<'static, str>);

/// The samples of one name.
#[derive(Clone, Debug)]
pub struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) samples: Vec<Sample>,
}

/// What the samples of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A value with its labels.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<Label>,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Counter(f64),
    Gauge(f64),
    Histogram { sum: f64, buckets: Vec<(f64, u64)> },
}

impl Family {
    /// Counters, whose name on the wire ends in `_total`. `name` is without that, as OpenMetrics names the family.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Kind::Counter)
    }

    /// Gauges.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Kind::Gauge)
    }

    /// Histograms.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Kind::Histogram)
    }

    const fn new(name: &'static str, help: &'static str, kind: Kind) -> Self {
        Self { name, help, kind, samples: Vec::new() }
    }

    /// Adds a sample of counters or gauges.
    #[must_use]
    pub fn with<const N: usize>(mut self, labels: [Label; N], value: f64) -> Self {
        self.add(labels, value);
        self
    }

    /// The same, in place.
    pub fn add<const N: usize>(&mut self, labels: [Label; N], value: f64) {
        let value = match self.kind {
            Kind::Counter => Value::Counter(value),
            Kind::Gauge | Kind::Histogram => Value::Gauge(value),
        };
        self.samples.push(Sample { labels: labels.into(), value });
    }

    /// Adds what a counter has counted.
    #[must_use]
    pub fn with_counter<const N: usize>(self, labels: [Label; N], counter: &Counter) -> Self {
        self.with(labels, counter.get() as f64)
    }

    /// Adds what a histogram has observed, of which `units` make one of the family.
    pub fn add_histogram<const N: usize>(&mut self, labels: [Label; N], histogram: &Histogram, units: f64) {
        let sum = histogram.sum() as f64 / units;
        let buckets = histogram.buckets().map(|(bound, count)| (bound / units, count)).collect();
        self.samples.push(Sample { labels: labels.into(), value: Value::Histogram { sum, buckets } });
    }

    /// The same, for a family of one histogram.
    #[must_use]
    pub fn with_histogram<const N: usize>(mut self, labels: [Label; N], histogram: &Histogram, units: f64) -> Self {
        self.add_histogram(labels, histogram, units);
        self
    }

    /// Whether nothing of the name was counted.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}
