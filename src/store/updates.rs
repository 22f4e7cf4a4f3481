//! The updates of each type.
//!
//! These are the calls that Prosody's thread makes thousands of times a second: no lock, no allocation.

use super::cork::Cork;
use super::family::Family;
use super::journal::Ended;
use super::record;
use super::refusals::Refused;
use super::values::{address, created, flag, value};
use super::values::{
    COUNTS, CREATED, FLOAT, GONE, HEAD, HIDDEN, NEGATIVE, PENDING, SHOWN, SHOWN_FLOAT, UNSET, VALUE, WRITTEN,
};
use crate::model::{clock, Kind, Number};
use crate::sync::atomic::{AtomicU64, Ordering::*};

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

/// The series of `family` goes from the page. What was written to a gauge while corked is not to be shown any more.
pub(super) fn retire(record: &[AtomicU64], family: &Family) {
    let flags = record::flags(&record[HEAD]);
    if flags & NEGATIVE != 0 {
        samples::note_sum_back(record, family);
    }
    record::step(&record[HEAD], flags & !(PENDING | WRITTEN) | GONE, || {});
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
}

/// A counter's updates.
pub mod counter {
    use super::*;

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

    /// Counts `sample` in the word of this number and adds it to the sum; sets the flags `also`.
    #[inline(always)]
    fn take(record: &[AtomicU64], sample: Number, word: usize, also: u32) {
        let (bits, float) = value(record).plus(sample).to_bits();
        let before = record::flags(&record[HEAD]) & NEGATIVE;
        record::step(&record[HEAD], before | flag(float, FLOAT) | also, || {
            record[VALUE].store(bits, Relaxed);
            let count = record[word].load(Relaxed).wrapping_add(1);
            record[word].store(count, Relaxed);
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

    /// Takes a sample that a histogram or summary has taken, in this way, into the window of its quantiles, if it has
    /// any.
    pub fn into_window(record: &[AtomicU64], sample: Number, taken: Taken, family: &Family) {
        let sample = match taken {
            Taken::Clamped => Number::ZERO,
            Taken::Plainly | Taken::FirstNegative => sample,
        };
        let life = family.life(record).filter(|life| life.has_quantiles());
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
            record[VALUE].store(0, Relaxed);
            for count in &record[COUNTS..COUNTS + family.count_words()] {
                count.store(0, Relaxed);
            }
            record[CREATED].store(created.to_bits(), Relaxed);
        });
        if let Some((quantiles, life)) = family.quantiles().zip(family.life(record)) {
            quantiles.end(life.id());
        }
    }
}
