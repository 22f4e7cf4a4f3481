//! Who uses which name on the wire.

use super::escape;
use super::parts::Suffixes;
use super::renames::TagNames;
use super::{Options, Tags};
use crate::snapshot::Series;
use crate::store::Family;
use std::collections::hash_map::RandomState;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};

/// Hashes of all the names in use. They are seeded, so that nobody can find two names that seem to be one.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<u64>,
    seed: RandomState,
}

impl Names {
    /// Takes all of `names`, or none if one is in use.
    fn take(&mut self, names: &[u64]) -> bool {
        let free = !names.iter().any(|name| self.taken.contains(name));
        if free {
            self.taken.extend(names);
        }
        free
    }

    fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }

    fn give_back(&mut self, names: &[u64]) {
        for name in names {
            self.taken.remove(name);
        }
    }
}

/// How a series is called.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Naming {
    /// Nothing has been sent of it yet.
    #[default]
    Unknown,
    /// By its family's name and its labels.
    Plain,
    /// The same was taken, so a hash follows.
    Hashed,
    /// That was taken too, which takes somebody who wants it to be. Nobody can know this one, but it is another one after
    /// a restart.
    Seeded,
    /// Even that was taken.
    Nameless,
}

/// The names of a family's lines.
pub(super) struct FamilyNames {
    /// The family's name, with the prefix.
    pub(super) base: Vec<u8>,
    /// What follows in each of a series' lines.
    pub(super) suffixes: Suffixes,
    /// Whether the base itself couldn't be had in any form.
    nameless: bool,
    /// What its labels are called, where they are tags.
    tags: TagNames,
    series: Vec<Naming>,
}

/// The name of one series of a family, put together once for all its lines. Series have much in common with the one before, so what
/// the first labels made is kept as long as they stay the same.
#[derive(Default)]
pub(super) struct SeriesName {
    /// Everything before the suffix.
    pub(super) path: Vec<u8>,
    /// The tags, as they stand on the line, without what begins them.
    pub(super) tags: Vec<u8>,
    hashes: Vec<u64>,
    /// The encoded label set that was written last.
    labels: Vec<u8>,
    /// For each value of it where it ends there, and where what it made ends in the path or among the tags.
    ends: Vec<(usize, usize)>,
}

impl SeriesName {
    /// Whether nothing has been written yet.
    fn is_new(&self) -> bool {
        self.path.is_empty()
    }

    /// Sets the encoded label set. Returns how many of its values are those that were written last, and where what they made ends.
    fn keep(&mut self, labels: &[u8]) -> (usize, Option<usize>) {
        let same = common_prefix(labels, &self.labels);
        let kept = self.ends.iter().take_while(|(end, _)| *end <= same).count();
        self.ends.truncate(kept);
        self.labels.truncate(same);
        self.labels.extend_from_slice(&labels[same..]);
        (kept, self.ends.last().map(|(_, end)| *end))
    }
}

impl FamilyNames {
    /// Finds names for `family`.
    pub(super) fn new(family: &Family, options: &Options, names: &mut Names) -> FamilyNames {
        let mut base = options.prefix.clone().into_bytes();
        escape::path(&mut base, &family.raw_name);
        let mut this = FamilyNames {
            base,
            suffixes: Suffixes::new(family, options),
            nameless: false,
            tags: match options.tags {
                Tags::None => TagNames::default(),
                Tags::DogStatsd | Tags::Influx => TagNames::of(family, options),
            },
            series: Vec::new(),
        };
        // With tags the names of series are the names of families. Without, only the whole paths matter.
        if options.tags != Tags::None && !names.take(&this.own_hashes(names)) {
            add_hash(&mut this.base, escape::hash(&family.raw_name));
            this.nameless = !names.take(&this.own_hashes(names));
        }
        this
    }

    fn own_hashes(&self, names: &Names) -> Vec<u64> {
        let mut hashes: Vec<u64> = self
            .suffixes
            .all()
            .map(|suffix| names.hash(&[&self.base, suffix.as_bytes()]))
            .collect();
        hashes.dedup();
        hashes
    }

    /// Gives back the family's own names.
    pub(super) fn give_back(&self, options: &Options, names: &mut Names) {
        if options.tags != Tags::None && !self.nameless {
            let hashes = self.own_hashes(names);
            names.give_back(&hashes);
        }
    }

    /// Writes the name of the series of this number into `out`, once it is settled that no other has it. False if there
    /// is none.
    pub(super) fn name(
        &mut self,
        family: &Family,
        number: usize,
        series: &Series<'_>,
        options: &Options,
        names: &mut Names,
        out: &mut SeriesName,
    ) -> bool {
        if self.series.len() <= number {
            self.series.resize(number + 1, Naming::Unknown);
        }
        if self.series[number] == Naming::Unknown {
            self.series[number] = [Naming::Plain, Naming::Hashed, Naming::Seeded]
                .into_iter()
                .find(|naming| {
                    self.write(family, *naming, series, options, names, out);
                    self.hash(options, names, out);
                    !self.nameless && names.take(&out.hashes)
                })
                .unwrap_or(Naming::Nameless);
        } else {
            self.write(family, self.series[number], series, options, names, out);
        }
        self.series[number] != Naming::Nameless
    }

    /// Gives back the names of the series of this number, if it has any. Another series may have its number next.
    pub(super) fn give_back_series(
        &mut self,
        family: &Family,
        number: usize,
        series: &Series<'_>,
        options: &Options,
        names: &mut Names,
    ) {
        let naming = self.series.get_mut(number).map(std::mem::take);
        if let Some(naming @ (Naming::Plain | Naming::Hashed | Naming::Seeded)) = naming {
            let mut name = SeriesName::default();
            self.write(family, naming, series, options, names, &mut name);
            self.hash(options, names, &mut name);
            names.give_back(&name.hashes);
        }
    }

    fn write(
        &self,
        family: &Family,
        naming: Naming,
        series: &Series<'_>,
        options: &Options,
        names: &Names,
        out: &mut SeriesName,
    ) {
        if out.is_new() {
            out.path.extend_from_slice(&self.base);
        }
        match options.tags {
            Tags::None => self.write_path(family, series, out),
            Tags::DogStatsd => self.write_tags(out, b':', family, series, options),
            Tags::Influx => self.write_tags(out, b'=', family, series, options),
        }
        let hash = match naming {
            Naming::Hashed => Some(escape::hash(&[&family.raw_name, series.labels()].concat())),
            Naming::Seeded => Some(names.hash(&[&family.raw_name, series.labels()])),
            Naming::Plain | Naming::Unknown | Naming::Nameless => None,
        };
        if let Some(hash) = hash {
            match options.tags {
                Tags::None => add_hash(&mut out.path, hash),
                // A tag of its own, since values of the others mean something to somebody.
                Tags::DogStatsd => add_tag(&mut out.tags, ':', &self.tags.of_hash(options), hash),
                Tags::Influx => add_tag(&mut out.tags, '=', &self.tags.of_hash(options), hash),
            }
        }
    }

    /// The label values as parts of the path.
    fn write_path(&self, family: &Family, series: &Series<'_>, out: &mut SeriesName) {
        let (kept, end) = out.keep(series.labels());
        out.path.truncate(end.unwrap_or(self.base.len()));
        let mut values = series.label_values();
        if kept > 0 {
            values.nth(kept - 1);
        }
        while let Some(value) = values.next() {
            out.path.push(b'.');
            escape::path(&mut out.path, value);
            out.ends
                .push((series.labels().len() - values.rest().len(), out.path.len()));
        }
        for (_, value) in family.constant_labels.iter() {
            out.path.push(b'.');
            escape::path(&mut out.path, value.as_bytes());
        }
    }

    /// `vhost:example.org,type:c2s`, then the constant tags. A label without a value is as good as none, and dialects don't
    /// know empty tags.
    fn write_tags(&self, out: &mut SeriesName, separator: u8, family: &Family, series: &Series<'_>, options: &Options) {
        let (kept, end) = out.keep(series.labels());
        let SeriesName { tags, ends, .. } = out;
        tags.truncate(end.unwrap_or(0));
        let begin = |out: &mut Vec<u8>, name: &str| {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(separator);
        };
        let mut values = series.label_values();
        for (number, name) in self.tags.labels.iter().enumerate() {
            let Some(value) = values.next() else { break };
            if number < kept {
                continue;
            }
            if !value.is_empty() {
                begin(tags, name);
                escape::tag(tags, value);
            }
            ends.push((series.labels().len() - values.rest().len(), tags.len()));
        }
        let constant = family.constant_labels.iter().map(|(_, value)| value.as_bytes());
        let constant = self.tags.constant.iter().zip(constant);
        for (name, value) in constant.clone().filter(|(_, value)| !value.is_empty()) {
            begin(tags, name);
            escape::tag(tags, value);
        }
        if options.constant_tags.is_empty() {
            return;
        }
        let labels = self.tags.labels.iter().zip(series.label_values()).chain(constant);
        for (name, value) in &options.constant_tags {
            if !labels.clone().any(|(label, value)| label == name && !value.is_empty()) {
                begin(tags, name);
                tags.extend_from_slice(value.as_bytes());
            }
        }
    }

    /// Hashes what no other series may have.
    fn hash(&self, options: &Options, names: &Names, of: &mut SeriesName) {
        let SeriesName { path, tags, hashes, .. } = of;
        hashes.clear();
        match options.tags {
            Tags::None => hashes.extend(self.suffixes.all().map(|suffix| names.hash(&[path, suffix.as_bytes()]))),
            // The names are the family's own, so the tags matter alone, in whatever order. Families that share the
            // path differ in all suffixes.
            Tags::DogStatsd | Tags::Influx => {
                let suffix = self.suffixes.all().next().unwrap_or_default();
                let tags = tags.split(|byte| *byte == b',').map(|tag| names.hash(&[tag]));
                let tags = tags.fold(0, u64::wrapping_add).to_ne_bytes();
                hashes.push(names.hash(&[path, suffix.as_bytes(), &[0], &tags]));
            }
        }
    }
}

/// How many bytes both begin with.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));
    let start = 8 * words.take_while(|(a, b)| a == b).count();
    let bytes = a[start..].iter().zip(&b[start..]);
    start + bytes.take_while(|(a, b)| a == b).count()
}

fn add_hash(name: &mut Vec<u8>, hash: u64) {
    name.extend_from_slice(format!("-{hash:016x}").as_bytes());
}

fn add_tag(tags: &mut Vec<u8>, separator: char, name: &str, hash: u64) {
    let comma = if tags.is_empty() { "" } else { "," };
    tags.extend_from_slice(format!("{comma}{name}{separator}{hash:016x}").as_bytes());
}
