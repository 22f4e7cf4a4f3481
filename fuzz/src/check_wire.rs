//! Whether a statsd server has what the model has counted, under the names that `docs/statsd.md` promises.

use crate::model::{Labels, Series};
use crate::number::{compare, float, fnv};
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

    /// The samples, if there are any.
    fn samples(&self) -> Option<Vec<f64>> {
        match self {
            Expected::Samples(samples) if !samples.is_empty() => Some(sorted(samples.iter().copied())),
            _ => None,
        }
    }
}

/// What is expected under a name, and whether of a series that is still there.
type All = Vec<(bool, Expected)>;

/// Every name, as long as it isn't somebody else's.
struct Wire<'a> {
    options: &'a Options,
    dialect: Dialect,
    names: BTreeMap<Name, All>,
}

/// Series that have one name but for what tells them apart, which must do so.
#[derive(Debug, Default)]
struct Group<'a> {
    expected: All,
    found: Vec<&'a Stored>,
    /// The longest line there may be, at least.
    line: usize,
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
    let mut groups: BTreeMap<Name, Group<'_>> = BTreeMap::new();
    for (name, expected) in &wire.names {
        let tags: usize = name.1.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        // With the number and all that tells it from others, and twice for a gauge below zero.
        let line = name.0.len() + tags + 80;
        let is_gauge = |(_, expected): &(_, Expected)| matches!(expected, Expected::Gauge(_));
        let line = if expected.iter().any(is_gauge) { 2 * line } else { line };
        let group = groups.entry(plain(name)).or_default();
        group.expected.extend_from_slice(expected);
        group.line = group.line.max(line);
    }
    for (name, stored) in &server.stored {
        let Some(group) = groups.get_mut(&plain(name)) else {
            panic!("a line from nowhere: {name:?}\n{:?}", wire.names);
        };
        group.found.push(stored);
    }
    for (name, group) in groups.iter().filter(|(_, group)| group.line <= longest) {
        if let Err(what) = group.check() {
            panic!("{what} of {name:?}: {group:?}");
        }
    }
}

impl Group<'_> {
    fn check(&self) -> Result<(), &'static str> {
        let all = || self.expected.iter().map(|(_, expected)| expected);
        let there = || self.expected.iter().filter(|(is_there, _)| *is_there);
        // Names of series that have gone may be others' later, but no two series share one at a time.
        let apart = self.expected.iter().all(|(is_there, _)| *is_there);
        let known = !all().any(|expected| matches!(expected, Expected::Anything));

        let counted = sorted(self.found.iter().filter_map(|stored| stored.counter));
        let totals = sorted(all().filter_map(Expected::total));
        if known && totals.iter().sum::<f64>() != counted.iter().sum::<f64>() {
            return Err("the total");
        }
        if known && apart && totals != counted {
            return Err("the totals of each");
        }
        // Each has a name with its total, and maybe with those of others that had the name before.
        let own = sorted(there().filter_map(|(_, expected)| expected.total()));
        if own.len() > counted.len() || own.iter().rev().zip(counted.iter().rev()).any(|(own, all)| own > all) {
            return Err("the totals of those still there");
        }

        let mut gauges: Vec<f64> = self.found.iter().filter_map(|stored| stored.gauge).collect();
        for expected in all() {
            if let Expected::Gauge(Some(value)) = expected {
                let at = gauges.iter().position(|gauge| gauge == value).ok_or("a gauge")?;
                gauges.swap_remove(at);
            }
        }

        let mut samples: Vec<Vec<f64>> = all().filter_map(Expected::samples).collect();
        let mut seen: Vec<Vec<f64>> = self
            .found
            .iter()
            .map(|stored| sorted(stored.samples.iter().copied()))
            .collect();
        seen.retain(|samples| !samples.is_empty());
        if !apart {
            samples = vec![sorted(samples.concat())];
            seen = vec![sorted(seen.concat())];
        }
        samples.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        seen.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        let stand_for: f64 = self.found.iter().map(|stored| stored.stand_for).sum();
        if samples != seen || stand_for != samples.concat().len() as f64 {
            return Err("the samples");
        }

        let types = |stored: &Stored| {
            let types = [
                stored.counter.is_some(),
                stored.gauge.is_some(),
                !stored.samples.is_empty(),
            ];
            types.iter().filter(|has| **has).count()
        };
        match apart && self.found.iter().any(|stored| types(stored) > 1) {
            true => Err("two types"),
            false => Ok(()),
        }
    }
}

/// In their order, and zeros without a sign.
fn sorted(numbers: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = numbers.into_iter().map(|number| number + 0.0).collect();
    all.sort_by(f64::total_cmp);
    all
}

impl Wire<'_> {
    fn expect(&mut self, fields: &FamilyFields, labels: &Labels, series: &Series, is_there: bool) {
        let (options, dialect) = (self.options, self.dialect);
        let mut add = |suffix: &str, le: Option<&str>, expected: Expected| {
            self.add(fields, labels, suffix, le, (is_there, expected));
        };
        let count = Expected::Counter(series.ever.len() as f64);
        match (fields.kind, options.histograms) {
            (Kind::Gauge, _) => {
                let value = (is_there && series.set).then(|| float(series.shown));
                add("", None, Expected::Gauge(value));
            }
            (Kind::Counter, _) => add("", None, Expected::Counter(series.counted)),
            (Kind::Summary, _) => {
                let only_grew = series.ever.iter().all(|sample| float(*sample) >= 0.0);
                let sum = series.ever.iter().map(|sample| float(*sample)).sum();
                let sum = if only_grew {
                    Expected::Counter(sum)
                } else {
                    Expected::Anything
                };
                add(".sum", None, sum);
                add(".count", None, count);
            }
            (Kind::Histogram, Histograms::Buckets) => {
                for bucket in fields.buckets.as_slice() {
                    let inside = |sample: &&_| compare(**sample, bucket.threshold) != Some(Ordering::Greater);
                    let count = series.ever.iter().filter(inside).count();
                    let suffix = match dialect {
                        Dialect::Plain => format!(".bucket.{}", bucket.le.replace('.', "_")),
                        _ => ".bucket".to_owned(),
                    };
                    add(&suffix, Some(&bucket.le), Expected::Counter(count as f64));
                }
                let sum = (is_there && !series.ever.is_empty()).then(|| float(series.value));
                add(".sum", None, Expected::Gauge(sum));
                add(".count", None, count);
            }
            (Kind::Histogram, how) => {
                let in_seconds = fields.raw_name == b"seconds" || fields.raw_name.ends_with(b"_seconds");
                let as_time = how == Histograms::Timing && (in_seconds || dialect == Dialect::Plain);
                let mut samples: Vec<f64> = series.ever.iter().map(|sample| float(*sample)).collect();
                if as_time {
                    samples.retain(|sample| *sample >= 0.0);
                }
                if as_time && in_seconds {
                    samples.iter_mut().for_each(|sample| *sample *= 1000.0);
                }
                add("", None, Expected::Samples(samples));
            }
        }
    }

    fn add(
        &mut self,
        fields: &FamilyFields,
        labels: &Labels,
        suffix: &str,
        le: Option<&str>,
        expected: (bool, Expected),
    ) {
        let constant = fields.constant_labels.iter().map(|(name, value)| (name, value));
        let all = fields.label_names.iter().zip(labels).chain(constant);
        let mut name = format!("{}{}", self.options.prefix, path(&fields.raw_name));
        let mut tags = Vec::new();
        if self.dialect == Dialect::Plain {
            all.for_each(|(_, value)| name += &format!(".{}", path(value.as_bytes())));
        } else {
            let called = called(fields, self.options);
            let present = all.zip(called).filter(|((_, value), _)| !value.is_empty());
            tags.extend(present.map(|((_, value), name)| (name, tag(value))));
            for (name, value) in &self.options.constant_tags {
                if !tags.iter().any(|(other, _)| other == name) {
                    tags.push((name.clone(), value.clone()));
                }
            }
            tags.extend(le.map(|le| ("le".to_owned(), le.to_owned())));
        }
        tags.sort();
        self.names.entry((name + suffix, tags)).or_default().push(expected);
    }
}

/// What a module's label is called as a tag, where receivers take its name for themselves.
const RESERVED: &str = "host vhost device exported_device source exported_source service exported_service env exported_env \
                        version exported_version team exported_team s exported_s metric_type exported_metric_type container \
                        exported_container time exported_time _measurement exported_measurement _field exported_field \
                        le exported_le quantile exported_quantile";

/// What the tags of all labels are called: the module's, then those of all series.
fn called(fields: &FamilyFields, options: &Options) -> Vec<String> {
    let words: Vec<&str> = RESERVED.split_whitespace().collect();
    let reserved: BTreeMap<&str, &str> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let renames = &options.renames;
    let own = fields.label_names.iter().map(|name| (name, !renames.keeps_reserved));
    let all: Vec<_> = own
        .chain(fields.constant_labels.iter().map(|(name, _)| (name, false)))
        .collect();
    let target = |(name, by_itself): &(&String, bool)| {
        let given = renames.given.get(*name).cloned();
        let other = reserved.get(name.as_str()).filter(|_| *by_itself);
        given
            .or_else(|| other.map(|other| (*other).to_owned()))
            .unwrap_or_else(|| (*name).clone())
    };
    let mut called: Vec<String> = all.iter().map(target).collect();
    for place in 0..all.len() {
        if called[place] == *all[place].0 {
            continue;
        }
        let base = called[place].clone();
        let mut number = 1;
        // Those that keep their names come first, wherever they stand.
        let is_taken = |name: &String, called: &[String]| {
            let kept = |at: usize| called[at] == *all[at].0;
            (0..all.len()).any(|at| at != place && called[at] == *name && (at < place || kept(at)))
        };
        while is_taken(&called[place], &called) {
            number += 1;
            called[place] = format!("{base}_{number}");
        }
    }
    called
}

/// The name without all that looks as if it told one from others. Some of it may come from modules that try to have
/// others' names.
fn plain(name: &Name) -> Name {
    let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let (mut path, mut rest) = (String::new(), name.0.as_str());
    while let Some(at) = rest.find('-') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        path += before;
        rest = match after.get(..16).is_some_and(is_hash) {
            true => &after[16..],
            false => {
                path.push('-');
                after
            }
        };
    }
    let mut tags = name.1.clone();
    tags.retain(|(name, value)| !name.starts_with("metre_hash") || !is_hash(value));
    (path + rest, tags)
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

/// The upper half, which must never be another one.
fn hash(text: &[u8]) -> String {
    format!("-{:08x}", fnv(text) >> 32)
}
