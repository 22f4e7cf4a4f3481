//! What each metric type keeps in the body of its record, and the updates to it.
//!
//! These are the calls that Prosody's thread makes thousands of times a second: no lock, no allocation.

use super::cork::Cork;
use super::family::Family;
use super::journal::Ended;
use super::life;
use super::quantiles::SeriesId;
pub(crate) use super::record::HEAD;
use super::record::{self, BODY};
use crate::model::{clock, Buckets, Kind, Number};
use crate::sync::atomic::{AtomicU64, Ordering::*};

/// The value (or the sum) is a float.
pub(crate) const FLOAT: u32 = 1;
/// Gauge: the value that readers see is a float.
pub(crate) const SHOWN_FLOAT: u32 = 2;
/// Gauge: was made or written while corked.
pub(crate) const PENDING: u32 = 4;
/// Gauge: was made while corked, so that readers don't see it yet.
pub(crate) const HIDDEN: u32 = 8;
/// Histogram, summary: has seen a sample below zero.
pub(crate) const NEGATIVE: u32 = 16;
/// Gauge: was written while corked, not only made.
const WRITTEN: u32 = 32;
/// Gauge: nobody has set it yet, though its record may have been another one's.
pub(crate) const UNSET: u32 = 256;
/// The series has gone from the page. Whoever tells differences may still tell the last of it.
pub(crate) const GONE: u32 = 64;
/// And that is done: the record may be another series' next.
pub(crate) const FREE: u32 = 128;

/// Nobody can tell what it holds: readers leave it out this time.
pub(crate) const LOST: u32 = GONE | FREE;

/// Words: gauge, value and the value shown; counter, value and created.
pub(crate) const VALUE: usize = BODY;
pub(crate) const SHOWN: usize = BODY + 1;
/// Counter, histogram, summary: when it started.
pub(crate) const CREATED: usize = BODY + 1;
/// Histogram, summary: the sum is where the others have their value.
const SUM: usize = VALUE;
/// Summary: how many samples. Histogram: the first bucket's own count (not the cumulative one).
pub(crate) const COUNTS: usize = BODY + 2;

/// The number of words that values take.
pub(crate) fn value_words(kind: Kind, buckets: &Buckets) -> usize {
    match kind {
        Kind::Gauge | Kind::Counter => 2,
        Kind::Summary => 3,
        Kind::Histogram => 2 + buckets.len(),
    }
}

/// Words of a gauge's or a counter's record before the label set.
pub const VALUE_WORDS: usize = BODY + 2;
/// Words of a summary's record before the label set.
pub const SUMMARY_WORDS: usize = BODY + 3;

/// How a value was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Like any other.
    Plainly,
    /// As zero, since it was below that and what is measured can't be.
    Clamped,
    /// As the series' first sample below zero, after which the page shows no sum.
    FirstNegative,
}

/// A value that an update brought and that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a number at all.
    NotANumber,
    /// NaN where only numbers make sense.
    Nan,
    /// A step or value of a counter that is below zero.
    Negative,
    /// An infinity, or a total beyond the range of numbers, in a counter.
    Infinite,
    /// Anything assigned to a field.
    ReadOnly,
}

impl Refused {
    /// All reasons, in the order of the enum.
    pub const ALL: [Refused; 5] = [
        Refused::NotANumber,
        Refused::Nan,
        Refused::Negative,
        Refused::Infinite,
        Refused::ReadOnly,
    ];

    /// Its name as a label value.
    pub fn name(self) -> &'static str {
        match self {
            Refused::NotANumber => "not_a_number",
            Refused::Nan => "nan",
            Refused::Negative => "negative",
            Refused::Infinite => "infinite",
            Refused::ReadOnly => "read_only",
        }
    }

    /// Why, as the end of a sentence that begins with the value.
    pub fn reason(self) -> &'static str {
        match self {
            Refused::NotANumber => "is not a number",
            Refused::Nan => "is NaN",
            Refused::Negative => "is negative, and a counter only grows",
            Refused::Infinite => "is infinite, and a counter could never come back from that",
            Refused::ReadOnly => "can't be assigned to a field; use set() or sample()",
        }
    }
}

/// Fills the values of a new record, and returns its flags.
pub(crate) fn init(kind: Kind, record: &[AtomicU64], cork: &Cork) -> u32 {
    if kind != Kind::Gauge {
        record[CREATED].store(clock::created_now().to_bits(), Relaxed);
    } else if cork.is_corked() {
        cork.note_pending();
        return HIDDEN | PENDING | UNSET;
    } else {
        return UNSET;
    }
    0
}

/// The series of `family` goes from the page.
pub(crate) fn retire(record: &[AtomicU64], family: &Family) {
    let flags = record::flags(&record[HEAD]);
    if flags & NEGATIVE != 0 {
        samples::note_sum_back(record, family);
    }
    record::step(&record[HEAD], flags | GONE, || {});
}

/// Nobody has anything to tell of it any more.
pub(crate) fn release(record: &[AtomicU64]) {
    record::step(&record[HEAD], GONE | FREE, || {});
}

/// Whether the series has gone.
pub(crate) fn is_gone(record: &[AtomicU64]) -> bool {
    record::flags(&record[HEAD]) & GONE != 0
}

/// Whether the series has gone, and somebody may still tell the last of it. Until that is done, the record stays what it is.
pub(crate) fn is_leaving(record: &[AtomicU64]) -> bool {
    record::flags(&record[HEAD]) & LOST == GONE
}

/// The serial number of a series, if it has one.
pub(crate) fn serial(record: &[AtomicU64], family: &Family) -> u64 {
    life(record, family).map_or(0, |life| life.id().serial)
}

/// What is known of a series' life, if its family's series have one.
#[inline(always)]
pub(super) fn life<'a>(record: &'a [AtomicU64], family: &Family) -> Option<life::Words<'a>> {
    let words = record.get(family.life_at()?..)?;
    words.get(..life::WORDS).map(life::Words)
}

/// The same of a copy, whose words `word` gives: what it is known by, and whether it has quantiles.
pub(crate) fn life_of_copy(family: &Family, word: impl Fn(usize) -> u64) -> Option<(SeriesId, bool)> {
    let at = family.life_at()?;
    let words = [word(at), word(at + 1), word(at + 2)].map(AtomicU64::new);
    let life = life::Words(&words);
    Some((life.id(), life.has_quantiles()))
}

#[inline(always)]
fn value(record: &[AtomicU64]) -> Number {
    let float = record::flags(&record[HEAD]) & FLOAT != 0;
    Number::from_bits(record[VALUE].load(Relaxed), float)
}

#[inline(always)]
fn flag(on: bool, flag: u32) -> u32 {
    if on {
        flag
    } else {
        0
    }
}

/// When the counter, histogram or summary started, in seconds since the epoch.
pub fn created(record: &[AtomicU64]) -> f64 {
    f64::from_bits(record[CREATED].load(Relaxed))
}

/// What a record is known by outside of its family: records don't move.
#[inline(always)]
pub(crate) fn address(record: &[AtomicU64]) -> usize {
    record.as_ptr() as usize
}

/// When the counter, histogram or summary, which is about to start again, will have started. What it holds until
/// then goes into the journal.
fn note_restart(record: &[AtomicU64], family: &Family) -> f64 {
    let restarted = clock::restart_after(created(record));
    if let Some(journal) = family.journal() {
        let counters = match family.kind {
            Kind::Histogram | Kind::Summary => family.count_words(),
            Kind::Counter | Kind::Gauge => 0,
        };
        let count = |word: &AtomicU64| word.load(Relaxed);
        let ended = Ended {
            restarted,
            value: value(record),
            counts: record[COUNTS..].iter().take(counters).map(count).collect(),
        };
        journal.note_restart(address(record), ended);
    }
    restarted
}

/// A gauge's updates.
pub mod gauge {
    use super::*;

    /// The value that Prosody's thread sees.
    #[inline(always)]
    pub fn value(record: &[AtomicU64]) -> Number {
        super::value(record)
    }

    /// Sets the value; while corked, readers go on seeing the old one.
    #[inline(always)]
    pub fn set(record: &[AtomicU64], to: Number, cork: &Cork) {
        let (bits, float) = to.to_bits();
        if cork.is_corked() {
            let kept = record::flags(&record[HEAD]) & (SHOWN_FLOAT | HIDDEN | UNSET);
            record::set_flags(&record[HEAD], kept | flag(float, FLOAT) | PENDING | WRITTEN);
            record[VALUE].store(bits, Relaxed);
            cork.note_pending();
        } else {
            record::step(&record[HEAD], flag(float, FLOAT | SHOWN_FLOAT), || {
                record[VALUE].store(bits, Relaxed);
                record[SHOWN].store(bits, Relaxed);
            });
        }
    }

    /// Adds to the value.
    #[inline(always)]
    pub fn add(record: &[AtomicU64], step: Number, cork: &Cork) {
        set(record, value(record).plus(step), cork);
    }

    /// The value that readers see; `None` if they see none. For any thread.
    #[inline]
    pub(crate) fn shown(record: &[AtomicU64]) -> Option<Number> {
        let (head, bits) = record::read(record, || record[SHOWN].load(Relaxed))?;
        let flags = head as u32;
        let is_shown = flags & (HIDDEN | GONE | FREE) == 0;
        is_shown.then(|| Number::from_bits(bits, flags & SHOWN_FLOAT != 0))
    }

    /// Shows readers what was made or written while corked.
    pub(crate) fn show(record: &[AtomicU64]) {
        let flags = record::flags(&record[HEAD]);
        if flags & PENDING != 0 && flags & WRITTEN == 0 {
            // Nobody has set it yet, and zero is what readers see.
            record::set_flags(&record[HEAD], flags & UNSET);
        } else if flags & PENDING != 0 {
            let float = flags & FLOAT != 0;
            record::step(&record[HEAD], flag(float, FLOAT | SHOWN_FLOAT), || {
                record[SHOWN].store(record[VALUE].load(Relaxed), Relaxed);
            });
        }
    }

    /// Forgets what was written while corked. What was made meanwhile stays hidden until it is written again.
    pub(crate) fn discard(record: &[AtomicU64]) {
        let flags = record::flags(&record[HEAD]);
        if flags & PENDING != 0 {
            let float = flag(flags & SHOWN_FLOAT != 0, FLOAT | SHOWN_FLOAT);
            record::set_flags(&record[HEAD], float | (flags & (HIDDEN | UNSET | GONE | FREE)));
            record[VALUE].store(record[SHOWN].load(Relaxed), Relaxed);
        }
    }
}

/// A counter's updates.
pub mod counter {
    use super::*;

    /// The total.
    #[inline(always)]
    pub fn value(record: &[AtomicU64]) -> Number {
        super::value(record)
    }

    /// Says when it started, if that is not when it was made, in seconds since the epoch.
    pub fn started(record: &[AtomicU64], at: f64) {
        let flags = record::flags(&record[HEAD]);
        record::step(&record[HEAD], flags, || record[CREATED].store(at.to_bits(), Relaxed));
    }

    /// Adds a step.
    ///
    /// # Errors
    /// NaN, infinite and negative steps are refused, as is one that would make the total infinite.
    #[inline(always)]
    pub fn add(record: &[AtomicU64], step: Number) -> Result<Taken, Refused> {
        check(step)?;
        let total = value(record).plus(step);
        if !total.is_finite() {
            return Err(Refused::Infinite);
        }
        let (bits, float) = total.to_bits();
        record::step(&record[HEAD], flag(float, FLOAT), || {
            record[VALUE].store(bits, Relaxed);
        });
        Ok(Taken::Plainly)
    }

    /// Sets the total. A lower one than before is a restart and moves the creation time.
    ///
    /// # Errors
    /// NaN, infinities and negative totals are refused.
    pub fn set(record: &[AtomicU64], to: Number, family: &Family) -> Result<Taken, Refused> {
        check(to)?;
        let lower = to.compare(value(record)) == Some(std::cmp::Ordering::Less);
        // Zero without a sign: a total has none.
        let to = if to.as_f64() == 0.0 { to.plus(Number::ZERO) } else { to };
        write(record, to, lower.then(|| note_restart(record, family)));
        Ok(Taken::Plainly)
    }

    /// Starts again from zero.
    pub fn reset(record: &[AtomicU64], family: &Family) {
        write(record, Number::ZERO, Some(note_restart(record, family)));
    }

    fn write(record: &[AtomicU64], to: Number, restarted: Option<f64>) {
        let (bits, float) = to.to_bits();
        record::step(&record[HEAD], flag(float, FLOAT), || {
            record[VALUE].store(bits, Relaxed);
            if let Some(created) = restarted {
                record[CREATED].store(created.to_bits(), Relaxed);
            }
        });
    }

    #[inline(always)]
    fn check(value: Number) -> Result<(), Refused> {
        match value {
            Number::Int(n) if n >= 0 => Ok(()),
            Number::Float(x) if x >= 0.0 && x.is_finite() => Ok(()),
            Number::Float(x) if x.is_nan() => Err(Refused::Nan),
            Number::Float(x) if x > 0.0 => Err(Refused::Infinite),
            _ => Err(Refused::Negative),
        }
    }
}

/// Updates of histograms and summaries.
pub mod samples {
    use super::*;

    /// Counts `sample` in the word at `slot` and adds it to the sum; sets the flags `also`.
    #[inline(always)]
    fn take(record: &[AtomicU64], sample: Number, slot: usize, also: u32) {
        let (bits, float) = value(record).plus(sample).to_bits();
        let before = record::flags(&record[HEAD]) & NEGATIVE;
        record::step(&record[HEAD], before | flag(float, FLOAT) | also, || {
            record[SUM].store(bits, Relaxed);
            let count = record[slot].load(Relaxed).wrapping_add(1);
            record[slot].store(count, Relaxed);
        });
    }

    /// The same in a histogram's bucket.
    #[inline(always)]
    fn take_into_bucket(record: &[AtomicU64], sample: Number, also: u32, family: &Family) {
        // First, so that a reader who finds it counted finds it in the ring.
        if let Some(ring) = family.ring() {
            ring.push(address(record), sample);
        }
        take(record, sample, COUNTS + family.buckets.position(sample), also);
    }

    /// What becomes of a sample that is not zero or more.
    #[cold]
    #[inline(never)]
    fn below_zero(record: &[AtomicU64], sample: Number, family: &Family) -> Result<Taken, Refused> {
        if sample.is_nan() {
            return Err(Refused::Nan);
        }
        let take = |sample, also| match family.kind {
            Kind::Histogram => take_into_bucket(record, sample, also, family),
            Kind::Gauge | Kind::Counter | Kind::Summary => take(record, sample, COUNTS, also),
        };
        if family.clamps {
            take(Number::ZERO, 0);
            family.note_clamped();
            return Ok(Taken::Clamped);
        }
        let is_first = record::flags(&record[HEAD]) & NEGATIVE == 0;
        take(sample, NEGATIVE);
        if !is_first || is_unseen(record, family) {
            return Ok(Taken::Plainly);
        }
        family.note_without_sum();
        Ok(Taken::FirstNegative)
    }

    /// Whether this is the record for what nobody is to see, which has no labels in families that have some.
    fn is_unseen(record: &[AtomicU64], family: &Family) -> bool {
        let (_, label_bytes) = record::read_shape(record[record::SHAPE].load(Relaxed));
        label_bytes == 0 && !family.label_names.is_empty()
    }

    /// A series that had no sum on the page starts again, or goes.
    pub(super) fn note_sum_back(record: &[AtomicU64], family: &Family) {
        if !is_unseen(record, family) {
            family.note_sum_back();
        }
    }

    /// Takes a sample into a summary.
    ///
    /// # Errors
    /// NaN is refused.
    #[inline(always)]
    pub fn summary(record: &[AtomicU64], sample: Number, family: &Family) -> Result<Taken, Refused> {
        if !sample.is_at_least_zero() {
            return below_zero(record, sample, family);
        }
        take(record, sample, COUNTS, 0);
        Ok(Taken::Plainly)
    }

    /// Takes a sample into a histogram.
    ///
    /// # Errors
    /// NaN is refused.
    #[inline(always)]
    pub fn histogram(record: &[AtomicU64], sample: Number, family: &Family) -> Result<Taken, Refused> {
        if !sample.is_at_least_zero() {
            return below_zero(record, sample, family);
        }
        take_into_bucket(record, sample, 0, family);
        Ok(Taken::Plainly)
    }

    /// Takes a sample that a histogram or summary has taken, in this way, into the window of its quantiles, if it has any.
    pub fn into_window(record: &[AtomicU64], sample: Number, taken: Taken, family: &Family) {
        let sample = match taken {
            Taken::Clamped => Number::ZERO,
            Taken::Plainly | Taken::FirstNegative => sample,
        };
        let life = life(record, family).filter(|life| life.has_quantiles());
        if let Some((quantiles, life)) = family.quantiles().zip(life) {
            quantiles.sample(life.id(), sample.as_f64());
        }
    }

    /// Starts a histogram or summary again from nothing.
    pub fn reset(record: &[AtomicU64], family: &Family) {
        let created = note_restart(record, family);
        if record::flags(&record[HEAD]) & NEGATIVE != 0 {
            note_sum_back(record, family);
        }
        record::step(&record[HEAD], 0, || {
            record[SUM].store(0, Relaxed);
            for count in &record[COUNTS..COUNTS + family.count_words()] {
                count.store(0, Relaxed);
            }
            record[CREATED].store(created.to_bits(), Relaxed);
        });
        if let Some((quantiles, life)) = family.quantiles().zip(life(record, family)) {
            quantiles.end(life.id());
        }
    }

    /// How many quantiles the series has.
    pub fn quantile_count(record: &[AtomicU64], family: &Family) -> usize {
        let life = life(record, family).filter(|life| life.has_quantiles());
        let quantiles = family.quantiles().filter(|_| life.is_some());
        quantiles.map_or(0, |quantiles| quantiles.asked().len())
    }

    /// The quantiles over the window, each with its value; none if the series has none.
    pub fn quantiles(record: &[AtomicU64], family: &Family) -> Vec<(f64, f64)> {
        let life = life(record, family).filter(|life| life.has_quantiles());
        let quantiles = family.quantiles().zip(life);
        quantiles.map_or(Vec::new(), |(quantiles, life)| quantiles.read(life.id()).collect())
    }

    /// The sum of the samples.
    pub fn sum(record: &[AtomicU64]) -> Number {
        value(record)
    }

    /// How many samples fell into the first `buckets` count words (all of them: the number of samples).
    pub fn count(record: &[AtomicU64], buckets: usize) -> u64 {
        record[COUNTS..COUNTS + buckets]
            .iter()
            .fold(0, |sum, count| sum.wrapping_add(count.load(Relaxed)))
    }
}
