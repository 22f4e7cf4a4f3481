//! Whether a statsd server has what the model has counted, under the names that `docs/statsd.md` promises.

use crate::model::{Labels, Series};
use crate::number::{compare, float};
use crate::statsd::{Dialect, Name, Server, Stored};
use crate::world::World;
use metre::encode::statsd::{Histograms, Options};
use metre::model::Kind;
use metre::store::FamilyFields;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What a name must have, each in turn for one series.
#[derive(Clone, Debug)]
enum Expected {
    Counter(f64),
    /// Of a series that is still there, if it was ever set.
    Gauge(Option<f64>),
    Samples(Vec<f64>),
    /// What depends on when it was sent.
    Anything,
}

impl Expected {
    /// What was counted, if anything was.
    fn total(&self) -> Option<f64> {
        match self {
            Expected::Counter(total) if *total > 0.0 => Some(*total),
            _ => None,
        }
    }
}

/// Every name, as long as it isn't somebody else's.
struct Wire<'a> {
    options: &'a Options,
    dialect: Dialect,
    names: BTreeMap<Name, Vec<Expected>>,
}

/// Panics unless the server has just that. Lines may be up to `longest` bytes; longer ones are left out.
pub fn check(world: &World, server: &Server, options: &Options, dialect: Dialect, longest: usize) {
    let mut wire = Wire {
        options,
        dialect,
        names: BTreeMap::new(),
    };
    for family in &world.families {
        for (labels, series) in &family.series {
            wire.expect(family.writer.family(), labels, series, family.on_page);
        }
    }
    for (fields, labels, series) in &world.past {
        wire.expect(fields, labels, series, false);
    }
    let mut found: BTreeMap<&Name, Vec<&Stored>> = BTreeMap::new();
    for (name, stored) in &server.stored {
        let plain = wire.plain(name);
        let Some((plain, _)) = wire.names.get_key_value(&plain) else {
            panic!("a line from nowhere: {name:?}\n{:?}", wire.names);
        };
        found.entry(plain).or_default().push(stored);
    }
    let apart = world.past.is_empty() && world.families.iter().all(|family| family.on_page);
    for (name, expected) in &wire.names {
        let tags: usize = name.1.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        // Twice for a gauge below zero, with the number and whatever tells it from others.
        if 2 * (name.0.len() + tags + 60) > longest {
            continue;
        }
        let found = found.get(name).map_or(&[][..], Vec::as_slice);
        compare_all(name, expected, found, apart);
    }
}

fn compare_all(name: &Name, expected: &[Expected], found: &[&Stored], apart: bool) {
    if expected.iter().any(|expected| matches!(expected, Expected::Anything)) {
        return;
    }
    let told = |what: &str| panic!("{what} of {name:?}: {expected:?}, and not {found:?}");
    let totals = expected.iter().filter_map(Expected::total);
    let counted: f64 = found.iter().filter_map(|stored| stored.counter).sum();
    if totals.sum::<f64>() != counted {
        told("the total");
    }
    // Names of series that have gone may be others' later, but no two series share one at a time.
    if apart {
        let mut totals: Vec<f64> = expected.iter().filter_map(Expected::total).collect();
        let mut names: Vec<f64> = found.iter().filter_map(|stored| stored.counter).collect();
        totals.sort_by(f64::total_cmp);
        names.sort_by(f64::total_cmp);
        if totals != names {
            told("the totals of each");
        }
    }
    let mut samples: Vec<f64> = Vec::new();
    for expected in expected {
        match expected {
            Expected::Samples(all) => samples.extend(all),
            // Zero is written without a sign.
            Expected::Gauge(Some(value)) if !found.iter().any(|stored| stored.gauge == Some(*value)) => told("a gauge"),
            _ => {}
        }
    }
    let mut seen: Vec<f64> = found.iter().flat_map(|stored| stored.samples.clone()).collect();
    samples.sort_by(|a, b| (a + 0.0).total_cmp(&(b + 0.0)));
    seen.sort_by(f64::total_cmp);
    if samples != seen || found.iter().map(|stored| stored.stand_for).sum::<f64>() != samples.len() as f64 {
        told("the samples");
    }
}

impl Wire<'_> {
    fn expect(&mut self, fields: &FamilyFields, labels: &Labels, series: &Series, is_there: bool) {
        let count = Expected::Counter(series.ever.len() as f64);
        match (fields.kind, self.options.histograms) {
            (Kind::Gauge, _) => {
                let value = (is_there && series.set).then(|| float(series.shown));
                self.add(fields, labels, "", None, Expected::Gauge(value));
            }
            (Kind::Counter, _) => self.add(fields, labels, "", None, Expected::Counter(series.counted)),
            (Kind::Summary, _) => {
                let only_grew = series.ever.iter().all(|sample| float(*sample) >= 0.0);
                let sum = series.ever.iter().map(|sample| float(*sample)).sum();
                let sum = if only_grew {
                    Expected::Counter(sum)
                } else {
                    Expected::Anything
                };
                self.add(fields, labels, ".sum", None, sum);
                self.add(fields, labels, ".count", None, count);
            }
            (Kind::Histogram, Histograms::Buckets) => {
                for bucket in fields.buckets.as_slice() {
                    let inside = |sample: &&_| compare(**sample, bucket.threshold) != Some(Ordering::Greater);
                    let count = series.ever.iter().filter(inside).count();
                    let suffix = match self.dialect {
                        Dialect::Plain => format!(".bucket.{}", bucket.le.replace('.', "_")),
                        _ => ".bucket".to_owned(),
                    };
                    self.add(
                        fields,
                        labels,
                        &suffix,
                        Some(&bucket.le),
                        Expected::Counter(count as f64),
                    );
                }
                let sum = (is_there && !series.ever.is_empty()).then(|| float(series.value));
                self.add(fields, labels, ".sum", None, Expected::Gauge(sum));
                self.add(fields, labels, ".count", None, count);
            }
            (Kind::Histogram, how) => {
                let in_seconds = fields.raw_name == b"seconds" || fields.raw_name.ends_with(b"_seconds");
                let as_time = how == Histograms::Timing && (in_seconds || self.dialect == Dialect::Plain);
                let mut samples: Vec<f64> = series.ever.iter().map(|sample| float(*sample)).collect();
                if as_time {
                    samples.retain(|sample| *sample >= 0.0);
                }
                if as_time && in_seconds {
                    samples.iter_mut().for_each(|sample| *sample *= 1000.0);
                }
                self.add(fields, labels, "", None, Expected::Samples(samples));
            }
        }
    }

    fn add(&mut self, fields: &FamilyFields, labels: &Labels, suffix: &str, le: Option<&str>, expected: Expected) {
        let constant = fields.constant_labels.iter().map(|(name, value)| (name, value));
        let all = fields.label_names.iter().zip(labels).chain(constant);
        let mut name = format!("{}{}", self.options.prefix, path(&fields.raw_name));
        let mut tags = Vec::new();
        if self.dialect == Dialect::Plain {
            all.for_each(|(_, value)| name += &format!(".{}", path(value.as_bytes())));
        } else {
            let present = all.filter(|(_, value)| !value.is_empty());
            tags.extend(present.map(|(name, value)| (name.clone(), tag(value))));
            for (name, value) in &self.options.constant_tags {
                if !tags.iter().any(|(other, _)| other == name) {
                    tags.push((name.clone(), value.clone()));
                }
            }
            tags.extend(le.map(|le| ("le".to_owned(), le.to_owned())));
        }
        self.names.entry((name + suffix, tags)).or_default().push(expected);
    }

    /// The name without what tells it from another one that is the same.
    fn plain(&self, name: &Name) -> Name {
        if self.names.contains_key(name) {
            return name.clone();
        }
        let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let mut plain = name.clone();
        plain.1.retain(|(name, value)| name != "metre_hash" || !is_hash(value));
        if self.names.contains_key(&plain) {
            return plain;
        }
        for (at, _) in name.0.match_indices('-') {
            if name.0.get(at + 1..at + 17).is_some_and(is_hash) {
                plain.0 = format!("{}{}", &name.0[..at], &name.0[at + 17..]);
                if self.names.contains_key(&plain) {
                    return plain;
                }
            }
        }
        plain
    }
}

/// The parts of a name that a text makes.
fn path(text: &[u8]) -> String {
    let lossy = String::from_utf8_lossy(text);
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let part = |part: &str| match part {
        "" => "_".to_owned(),
        part => part.replace(|c| !legal(c), "_"),
    };
    let parts: Vec<String> = lossy.split('/').map(part).collect();
    let hash = match lossy.chars().all(|c| legal(c) || "./".contains(c)) {
        true => String::new(),
        false => hash(text),
    };
    parts.join(".") + &hash
}

fn tag(text: &str) -> String {
    let legal = |c: char| c.is_alphanumeric() || "_-./+".contains(c);
    let hash = match text.chars().all(legal) {
        true => String::new(),
        false => hash(text.as_bytes()),
    };
    text.replace(|c| !legal(c), "_") + &hash
}

/// The upper half of FNV-1a, which must never be another one.
fn hash(text: &[u8]) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
    format!("-{:08x}", text.iter().fold(14_695_981_039_346_656_037, step) >> 32)
}
