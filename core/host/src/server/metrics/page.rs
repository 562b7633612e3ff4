//! A page of metrics in the text form of OpenMetrics, made anew each time that somebody asks.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

/// What the names of all metrics begin with.
const PREFIX: &str = "crtmp";

/// Names and values of labels; values may hold anything.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A metric, as `docs/metrics.md` lists it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) kind: Kind,
    /// Without prefix, unit and what the kind adds.
    pub(super) name: &'static str,
    pub(super) unit: Measure,
    /// What it says, without a full stop.
    pub(super) help: &'static str,
}

/// What kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The state now.
    Gauge,
    /// Grows from the start.
    Counter,
    /// Says nothing but its labels.
    Info,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Metric {
    /// The name under which a scraper sees it.
    #[cfg(test)]
    pub(super) fn full_name(&self) -> String {
        let unit = self.unit.unit().map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let end = match self.kind {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        };
        format!("{PREFIX}_{}{unit}{end}", self.name)
    }
}

impl Measure {
    fn unit(self) -> Option<Unit> {
        match self {
            Self::Count => None,
            Self::Bytes => Some(Unit::Bytes),
            Self::Seconds => Some(Unit::Seconds),
        }
    }
}

/// A page that grows.
pub(super) struct Page {
    registry: Registry,
}

impl Page {
    pub(super) fn new() -> Self {
        Self { registry: Registry::with_prefix(PREFIX) }
    }

    /// A metric with one value.
    pub(super) fn one(&mut self, metric: &Metric, value: f64) {
        match metric.kind {
            Kind::Counter => {
                let counter: Counter = Counter::default();
                counter.inc_by(whole(value));
                self.register(metric, counter);
            }
            Kind::Gauge | Kind::Info => {
                let gauge: Gauge<f64, AtomicU64> = Gauge::default();
                gauge.set(value);
                self.register(metric, gauge);
            }
        }
    }

    /// A metric with a value for each set of labels; values of the same labels are added up.
    pub(super) fn many(&mut self, metric: &Metric, samples: impl IntoIterator<Item = (Labels, f64)>) {
        match metric.kind {
            Kind::Counter => {
                let family: Family<Labels, Counter> = Family::default();
                for (labels, value) in samples {
                    family.get_or_create(&labels).inc_by(whole(value));
                }
                self.register(metric, family);
            }
            Kind::Gauge | Kind::Info => {
                let family: Family<Labels, Gauge<f64, AtomicU64>> = Family::default();
                for (labels, value) in samples {
                    family.get_or_create(&labels).inc_by(value);
                }
                self.register(metric, family);
            }
        }
    }

    /// A metric that says nothing but its labels.
    pub(super) fn info(&mut self, metric: &Metric, labels: Labels) {
        self.register(metric, Info::new(labels));
    }

    /// The text, with its end mark.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail, and no metric here is of a kind that can.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn register(&mut self, metric: &Metric, values: impl prometheus_client::registry::Metric) {
        match metric.unit.unit() {
            Some(unit) => self.registry.register_with_unit(metric.name, metric.help, unit, values),
            None => self.registry.register(metric.name, metric.help, values),
        }
    }
}

/// Counts are made as numbers of any kind and shown as whole ones; they stay exact up to 2^53.
fn whole(value: f64) -> u64 {
    value as u64
}
