//! The text formats that Prometheus reads, written by `prometheus-client`: its own and OpenMetrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::family::{Family, Kind, Sample, Value};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The name by which clients ask for OpenMetrics, without its version.
    pub const OPEN_METRICS: &'static str = "application/openmetrics-text";

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What the text ends with.
    pub const fn end(self) -> &'static str {
        match self {
            Self::Prometheus => "",
            Self::OpenMetrics => "# EOF\n",
        }
    }
}

/// Writes families. One without samples is left out.
pub fn render(families: Vec<Family>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut out = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

/// The value of a label between quotes, in either format.
pub fn escaped(value: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        use fmt::Write as _;
        value.chars().try_for_each(|letter| match letter {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    })
}

/// What one scrape has gathered.
#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, kind, samples } in self.0.iter().filter(|family| !family.is_empty()) {
            let kind = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
            for Sample { labels, value } in samples {
                if labels.is_empty() {
                    write(value, &mut encoder)?;
                } else {
                    write(value, &mut encoder.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn write(value: &Value, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    match value {
        Value::Counter(count) => encoder.encode_counter::<NoLabelSet, f64, f64>(count, None),
        Value::Gauge(value) => encoder.encode_gauge(value),
        Value::Histogram { sum, buckets } => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Counter, Histogram};
    use super::*;

    fn families() -> Vec<Family> {
        let counter = Counter::default();
        counter.add(3);
        let histogram = Histogram::new(&[500, 1_000]);
        histogram.observe(700);
        histogram.observe(2_000);
        vec![
            Family::counter("aetherium_things", "Things").with_counter([("kind", "a \"b\"\n".into())], &counter),
            Family::gauge("aetherium_empty", "Nothing"),
            Family::gauge("aetherium_revision", "The revision").with([], 812.0),
            Family::histogram("aetherium_wait_seconds", "The wait").with_histogram([], &histogram, 1e3),
        ]
    }

    #[test]
    fn counters_have_their_suffix_in_both_formats() {
        let expected = "# HELP aetherium_things_total Things\n\
                        # TYPE aetherium_things_total counter\n\
                        aetherium_things_total{kind=\"a \\\"b\\\"\\n\"} 3.0\n\
                        # HELP aetherium_revision The revision\n\
                        # TYPE aetherium_revision gauge\n\
                        aetherium_revision 812.0\n\
                        # HELP aetherium_wait_seconds The wait\n\
                        # TYPE aetherium_wait_seconds histogram\n\
                        aetherium_wait_seconds_bucket{le=\"0.5\"} 0\n\
                        aetherium_wait_seconds_bucket{le=\"1\"} 1\n\
                        aetherium_wait_seconds_bucket{le=\"+Inf\"} 2\n\
                        aetherium_wait_seconds_sum 2.7\n\
                        aetherium_wait_seconds_count 2\n";
        assert_eq!(render(families(), Format::Prometheus).unwrap(), expected);
        let open = render(families(), Format::OpenMetrics).unwrap();
        assert!(open.starts_with("# HELP aetherium_things Things\n# TYPE aetherium_things counter\n"), "{open}");
        assert!(open.ends_with(Format::OpenMetrics.end()), "{open}");
    }
}
