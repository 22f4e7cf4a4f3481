//! A family's series as they were at one moment, for encoders.

pub mod changes;
pub mod reservoir;

use crate::model::{labels, Kind, Number};
use crate::store::{copy_record, read_shape, values, Family, SeriesId, ShownGauges};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Copies of all series of one family, or of a part of them. Its memory is used again for the next family.
#[derive(Default)]
pub struct FamilySnapshot {
    /// Copies of records, little-endian.
    words: Vec<u64>,
    /// How many records of the family come before these copies.
    first: usize,
    /// The serial number of the first series that is too new: it may have the labels of a series that went while the
    /// copies were made.
    end: u64,
}

/// The values of a family's gauges at one moment. Their labels stay in the store, so the records must not become other
/// series'.
pub struct GaugeValues {
    chunks: ShownGauges,
}

impl GaugeValues {
    /// Those of `family`, whose series must not expire.
    pub fn of(family: &Family) -> GaugeValues {
        debug_assert!(!family.expires(), "their records may become other series'");
        GaugeValues {
            chunks: family.copy_gauges(),
        }
    }
}

/// One series: its encoded label set and its values.
pub struct Series<'a> {
    labels: &'a [u8],
    /// Its number among the series of its family. Once it has gone, another series may get the number.
    pub number: usize,
    /// Its serial number, which no other series of the family gets.
    serial: u64,
    has_quantiles: bool,
    /// The head of its record: flags and sequence number.
    head: u64,
    /// What the series holds.
    pub point: Point<'a>,
}

/// The values of a series.
pub enum Point<'a> {
    /// A gauge's value.
    Gauge(Number),
    /// A counter's total, and when it started in seconds since the epoch.
    Counter(Number, f64),
    /// A summary's samples, and how many they are.
    Summary(Samples, u64),
    /// A histogram's samples, and how many fell into each bucket alone.
    Histogram(Samples, BucketCounts<'a>),
}

/// What histograms and summaries have in common.
#[derive(Clone, Copy)]
pub struct Samples {
    /// The sum of all samples.
    pub sum: Number,
    /// Whether a sample was below zero.
    pub negative: bool,
    /// When it started, in seconds since the epoch.
    pub created: f64,
}

impl Samples {
    /// The sum, if it may stand on a page: a histogram or summary with negative samples shows none, and NaN is no
    /// sum (OpenMetrics 1.0, "Histogram", "Summary").
    pub fn exposable_sum(&self) -> Option<Number> {
        (!self.negative && !self.sum.is_nan()).then_some(self.sum)
    }
}

/// How many samples fell into each bucket of a histogram.
#[derive(Clone, Copy)]
pub struct BucketCounts<'a> {
    words: &'a [u64],
}

impl BucketCounts<'_> {
    /// The cumulative counts, bucket by bucket; the last one is the number of samples.
    pub fn cumulative(&self) -> impl Iterator<Item = u64> + '_ {
        self.each().scan(0_u64, |sum, count| {
            *sum = sum.wrapping_add(count);
            Some(*sum)
        })
    }

    /// The counts of each bucket alone.
    fn each(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().map(|word| u64::from_le(*word))
    }
}

impl<'a> Series<'a> {
    /// The series of a copied record and its label set. `position` is the record's position in the family; `None` if
    /// the record has one of the flags `without`, or if the series' serial number is `end` or higher.
    #[inline]
    fn new(
        family: &Family,
        position: usize,
        (record, labels): (&'a [u64], &'a [u8]),
        without: u32,
        end: u64,
    ) -> Option<Series<'a>> {
        let head = word_at(record, values::HEAD);
        let life = family.life_of_copy(|word| word_at(record, word));
        if head as u32 & without != 0 || life.is_some_and(|(id, _)| id.serial >= end) {
            return None;
        }
        Some(Series {
            labels,
            number: life.map_or(position, |(id, _)| id.number as usize),
            serial: life.map_or(0, |(id, _)| id.serial),
            has_quantiles: life.is_some_and(|(_, has_quantiles)| has_quantiles),
            head,
            point: point(family, record),
        })
    }

    /// Its quantiles over the window, each with its value; empty if it has none. They are of this moment, not of the
    /// snapshot's.
    pub fn quantiles<'b>(&self, family: &'b Family) -> impl Iterator<Item = (f64, f64)> + 'b {
        let id = SeriesId {
            number: self.number as u32,
            serial: self.serial,
        };
        let quantiles = family.quantiles().filter(|_| self.has_quantiles);
        quantiles.into_iter().flat_map(move |quantiles| quantiles.read(id))
    }

    fn is(&self, flag: u32) -> bool {
        self.head as u32 & flag != 0
    }

    /// The record's sequence number before the series went, if it has: going is a step of the sequence, too.
    fn sequence(&self) -> u32 {
        let steps = (self.head >> 32) as u32;
        steps.wrapping_sub(if self.is(values::GONE) { 2 } else { 0 })
    }

    /// The encoded label set.
    pub fn labels(&self) -> &'a [u8] {
        self.labels
    }

    /// The label values, in the order of the label names.
    pub fn label_values(&self) -> labels::Values<'a> {
        labels::values(self.labels)
    }
}

impl FamilySnapshot {
    /// An empty snapshot.
    pub fn new() -> FamilySnapshot {
        FamilySnapshot::default()
    }

    /// A snapshot of `family`.
    pub fn of(family: &Family) -> FamilySnapshot {
        let mut snapshot = FamilySnapshot::new();
        snapshot.take(family);
        snapshot
    }

    /// Copies `family`, in place of what was copied before. Waits for nothing but a writer that is in the middle of a
    /// few instructions.
    pub fn take(&mut self, family: &Family) {
        self.end = family.next_serial();
        self.first = 0;
        family.copy_records(&mut self.words);
    }

    /// The same part by part, for families of counters, histograms or summaries: calls `use_it` with each part in turn,
    /// whose memory the next part uses. A part fits into a processor's cache.
    pub fn take_parts<E>(
        &mut self,
        family: &Family,
        mut use_it: impl FnMut(&FamilySnapshot) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end = family.next_serial();
        self.first = 0;
        for chunk in family.chunks().iter() {
            self.words.clear();
            let mut records = 0;
            for record in chunk.records() {
                copy_record(record, &mut self.words, values::LOST);
                records += 1;
            }
            use_it(self)?;
            self.first += records;
        }
        Ok(())
    }

    /// The same for a family of gauges, with these values.
    pub fn take_gauges<E>(
        &mut self,
        gauges: &GaugeValues,
        mut use_it: impl FnMut(&FamilySnapshot) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end = u64::MAX;
        self.first = 0;
        for (chunk, shown) in &gauges.chunks {
            self.words.clear();
            let mut records = 0;
            // The last chunk may have got more since.
            for (record, value) in chunk.records().zip(shown) {
                let start = self.words.len();
                // The shape and the labels, which never change here; all else stands in `shown`.
                self.words.extend(record.iter().map(|word| word.load(Relaxed).to_le()));
                let copy = &mut self.words[start..];
                let flags = match value {
                    None => values::HIDDEN,
                    Some(value) => {
                        let (bits, is_float) = value.to_bits();
                        copy[values::SHOWN] = bits.to_le();
                        if is_float {
                            values::SHOWN_FLOAT
                        } else {
                            0
                        }
                    }
                };
                copy[values::HEAD] = u64::from(flags).to_le();
                records += 1;
            }
            use_it(self)?;
            self.first += records;
        }
        Ok(())
    }

    /// Copies one record alone.
    fn take_record(&mut self, record: &[AtomicU64]) {
        self.words.clear();
        self.first = 0;
        copy_record(record, &mut self.words, values::LOST);
    }

    /// The series of `family`, which the snapshot was taken of, in the order of their creation.
    pub fn series<'a>(&'a self, family: &'a Family) -> impl Iterator<Item = Series<'a>> {
        self.without(family, values::HIDDEN | values::GONE | values::FREE)
    }

    /// The same, with the gauges that were made while corked, and with series that have gone and whose end may still
    /// have to be reported.
    pub fn all<'a>(&'a self, family: &'a Family) -> impl Iterator<Item = Series<'a>> {
        self.without(family, values::FREE)
    }

    fn without<'a>(&'a self, family: &'a Family, flags: u32) -> impl Iterator<Item = Series<'a>> {
        let records = (self.first..).zip(self.records());
        records.filter_map(move |(position, record)| Series::new(family, position, record, flags, self.end))
    }

    /// All copied records, each with its label set.
    fn records(&self) -> impl Iterator<Item = (&[u64], &[u8])> {
        let mut rest = self.words.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (words, label_bytes) = read_shape(word_at(rest, 0));
            let (record, after) = rest.split_at_checked(words)?;
            rest = after;
            let labels = record.get(words - label_bytes.div_ceil(8)..)?;
            Some((record, bytemuck::cast_slice(labels).get(..label_bytes)?))
        })
    }
}

#[inline]
fn word_at(words: &[u64], index: usize) -> u64 {
    u64::from_le(words[index])
}

fn flags(record: &[u64]) -> u32 {
    word_at(record, values::HEAD) as u32
}

#[inline]
fn point<'a>(family: &Family, record: &'a [u64]) -> Point<'a> {
    let flags = flags(record);
    let value = word_at(record, values::VALUE);
    let number = |bits, flag| Number::from_bits(bits, flags & flag != 0);
    let created = f64::from_bits(word_at(record, values::CREATED));
    let samples = Samples {
        sum: number(value, values::FLOAT),
        negative: flags & values::NEGATIVE != 0,
        created,
    };
    match family.kind {
        Kind::Gauge => Point::Gauge(number(word_at(record, values::SHOWN), values::SHOWN_FLOAT)),
        Kind::Counter => Point::Counter(number(value, values::FLOAT), created),
        Kind::Summary => Point::Summary(samples, word_at(record, values::COUNTS)),
        Kind::Histogram => Point::Histogram(
            samples,
            BucketCounts {
                words: &record[values::COUNTS..][..family.buckets.len()],
            },
        ),
    }
}
