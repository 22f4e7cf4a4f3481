//! metre's own metrics: families that one of its threads writes to, and nobody else.

use crate::model::{Kind, LabelSet, Number};
use crate::store::{cell, FamilySpec, FamilyWriter, Location, Store};

/// A family of metre's own.
pub(super) struct OwnFamily {
    writer: FamilyWriter,
    /// Its series, in the order of the label values given.
    series: Vec<Location>,
}

/// What it is registered with.
pub(super) struct Spec<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    pub(super) unit: &'a str,
    pub(super) help: &'a str,
    /// Its label's name and values, or none.
    pub(super) label: Option<(&'a str, &'a [&'a str])>,
    pub(super) thresholds: &'a [f64],
}

impl OwnFamily {
    /// Registers a family with all its series.
    pub(super) fn register(store: &Store, spec: &Spec<'_>) -> OwnFamily {
        let (mut writer, _) = store.register(FamilySpec {
            kind: spec.kind,
            name: spec.name.into(),
            unit: spec.unit.into(),
            help: spec.help.into(),
            label_keys: spec.label.iter().map(|(key, _)| (*key).into()).collect(),
            thresholds: spec.thresholds.iter().copied().map(Number::Float).collect(),
            own: true,
        });
        let mut sets: Vec<LabelSet> = Vec::new();
        match spec.label {
            None => sets.push(LabelSet::new()),
            Some((_, values)) => sets.extend(values.iter().map(|value| {
                let mut set = LabelSet::new();
                set.push(value.as_bytes());
                set
            })),
        }
        let create = |set: &LabelSet| writer.find_or_create(set.as_bytes()).map(|(at, _)| at);
        let series = sets.iter().filter_map(create).collect();
        OwnFamily { writer, series }
    }

    /// Sets a gauge.
    pub(super) fn set(&self, value: usize) {
        if let Some(at) = self.series.first() {
            let value = Number::Int(i64::try_from(value).unwrap_or(i64::MAX));
            cell::gauge::set(self.writer.record(*at), value, &self.writer.family().cork);
        }
    }

    /// Makes the counter of this number as high as a total that only grows.
    pub(super) fn raise(&self, number: usize, total: u64) {
        if let Some(at) = self.series.get(number) {
            let record = self.writer.record(*at);
            let step = Number::Int(i64::try_from(total).unwrap_or(i64::MAX)).minus(cell::counter::value(record));
            // A step of zero, or one that is refused, changes nothing.
            if step != Number::ZERO {
                let _ = cell::counter::add(record, step);
            }
        }
    }

    /// Takes a sample into a histogram.
    pub(super) fn sample(&self, value: f64) {
        if let Some(at) = self.series.first() {
            let _ = cell::samples::histogram(self.writer.record(*at), Number::Float(value), self.writer.family());
        }
    }
}
