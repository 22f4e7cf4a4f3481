//! A family that metre writes to, and nobody else.

use crate::model::{Kind, LabelSet, Number};
use crate::store::{updates, values, FamilySpec, FamilyWriter, Location, Store};

/// A family of metre's own. Whoever has it is its only writer.
pub(in crate::runtime) struct OwnFamily {
    writer: FamilyWriter,
}

/// Describes a gauge; its name includes the unit.
pub(in crate::runtime) fn gauge(name: &str, help: &str) -> FamilySpec {
    FamilySpec::new(Kind::Gauge, name).help(help)
}

/// Describes a counter.
pub(in crate::runtime) fn counter(name: &str, help: &str) -> FamilySpec {
    FamilySpec::new(Kind::Counter, name).help(help)
}

/// Describes a histogram of times, in seconds.
pub(in crate::runtime) fn times(name: &str, help: &str, thresholds: &[f64]) -> FamilySpec {
    let spec = FamilySpec::new(Kind::Histogram, name).unit("seconds");
    spec.help(help).buckets(thresholds)
}

impl OwnFamily {
    /// Registers a family, with its series if it has no labels. Gauges have none until they are set.
    pub(in crate::runtime) fn register(store: &Store, spec: FamilySpec) -> OwnFamily {
        let starts = spec.label_keys.is_empty() && spec.kind != Kind::Gauge;
        let writer = store.register_own(spec);
        let mut family = OwnFamily { writer };
        if starts {
            family.at(&[]);
        }
        family
    }

    /// The series with these label values, new if there is none yet.
    fn at(&mut self, labels: &[&str]) -> Option<Location> {
        let mut set = LabelSet::new();
        labels.iter().for_each(|value| set.push(value.as_bytes()));
        Some(self.writer.find_or_create(set.as_bytes())?.0)
    }

    /// Sets a gauge.
    pub(in crate::runtime) fn set(&mut self, labels: &[&str], value: impl Into<Number>) {
        if let Some(at) = self.at(labels) {
            updates::gauge::set(self.writer.record(at), value.into(), &self.writer.family().cork);
        }
    }

    /// Adds to a counter.
    pub(in crate::runtime) fn add(&mut self, labels: &[&str], step: u64) {
        if let Some(at) = self.at(labels) {
            // A step that is refused changes nothing.
            let _ = updates::counter::add(self.writer.record(at), step.into());
        }
    }

    /// Makes a counter as high as a total that only grows.
    pub(in crate::runtime) fn raise(&mut self, labels: &[&str], total: impl Into<Number>) {
        if let Some(at) = self.at(labels) {
            let record = self.writer.record(at);
            let step = total.into().minus(values::value(record));
            // A step of zero, or one that is refused, changes nothing.
            if step != Number::ZERO {
                let _ = updates::counter::add(record, step);
            }
        }
    }

    /// Says when a counter started, in seconds since the epoch.
    pub(in crate::runtime) fn started(&mut self, labels: &[&str], time: f64) {
        if let Some(at) = self.at(labels) {
            updates::counter::started(self.writer.record(at), time);
        }
    }

    /// Takes a sample into a histogram or a summary.
    pub(in crate::runtime) fn sample(&mut self, labels: &[&str], value: f64) {
        let Some(at) = self.at(labels) else {
            return;
        };
        let (record, value) = (self.writer.record(at), Number::Float(value));
        let _ = match self.writer.family().kind {
            Kind::Summary => updates::samples::summary(record, value, self.writer.family()),
            Kind::Histogram => updates::samples::histogram(record, value, self.writer.family()),
            Kind::Gauge | Kind::Counter => return,
        };
    }
}
