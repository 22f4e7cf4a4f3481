//! What a series holds, by type: where its record has it, the flags that say more of it, and how it is read.
//!
//! [`updates`](super::updates) changes it.

use super::cork::Cork;
pub(crate) use super::record::HEAD;
use super::record::{self, BODY};
use crate::model::{clock, Buckets, Column, Kind, Number};
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
pub(super) const WRITTEN: u32 = 32;
/// Gauge: nobody has set it yet, though its record may have been another series'.
pub(crate) const UNSET: u32 = 256;
/// The series has gone from the page. What was counted last may still have to be reported.
pub(crate) const GONE: u32 = 64;
/// The series has gone, and its end is reported: the record may be given to another series.
pub(crate) const FREE: u32 = 128;

/// Flags of a copy whose record could not be read: readers leave the series out this time.
pub(crate) const LOST: u32 = GONE | FREE;

/// The word with a gauge's value as its writer sees it, a counter's total, or the sum of the samples of a histogram or
/// summary.
pub(crate) const VALUE: usize = BODY;
/// The word with a gauge's value as readers see it.
pub(crate) const SHOWN: usize = BODY + 1;
/// The word with the time at which a counter, histogram or summary started.
pub(crate) const CREATED: usize = BODY + 1;
/// A summary's number of samples; the first of a histogram's counts, one for each bucket alone.
pub(crate) const COUNTS: usize = BODY + 2;

/// How many words of the record of a gauge or a counter come before its label set, unless its family's series have
/// [lives](super::life).
pub const NUMBER_RECORD_WORDS: usize = BODY + 2;
/// The same of a summary.
pub const SUMMARY_RECORD_WORDS: usize = BODY + 3;

/// How many words the values of one series take.
pub(super) fn words(kind: Kind, buckets: &Buckets) -> usize {
    match kind {
        Kind::Gauge | Kind::Counter => 2,
        Kind::Summary => 3,
        Kind::Histogram => 2 + buckets.len(),
    }
}

/// Fills the values of a new record, and returns its flags.
pub(super) fn init(kind: Kind, record: &[AtomicU64], cork: &Cork) -> u32 {
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

/// Frees the record of a series that has gone and whose end is reported.
pub(super) fn release(record: &[AtomicU64]) {
    record::step(&record[HEAD], GONE | FREE, || {});
}

/// Whether the series has gone.
pub(super) fn is_gone(record: &[AtomicU64]) -> bool {
    record::flags(&record[HEAD]) & GONE != 0
}

/// Whether the series has gone, and its end may still have to be reported. Until that is done, the record stays that of
/// this series.
pub(crate) fn is_leaving(record: &[AtomicU64]) -> bool {
    record::flags(&record[HEAD]) & LOST == GONE
}

/// A gauge's value as its writer sees it, a counter's total, or the sum of the samples of a histogram or summary.
#[inline(always)]
pub fn value(record: &[AtomicU64]) -> Number {
    let float = record::flags(&record[HEAD]) & FLOAT != 0;
    Number::from_bits(record[VALUE].load(Relaxed), float)
}

/// How many samples are in the first `buckets` buckets of a histogram (all of them: the number of its samples). A
/// summary counts like a histogram of one bucket.
pub fn count(record: &[AtomicU64], buckets: usize) -> u64 {
    record[COUNTS..COUNTS + buckets]
        .iter()
        .fold(0, |sum, count| sum.wrapping_add(count.load(Relaxed)))
}

/// When the counter, histogram or summary started, in seconds since the epoch.
pub fn created(record: &[AtomicU64]) -> f64 {
    f64::from_bits(record[CREATED].load(Relaxed))
}

/// What a series shows in a column, on Prosody's thread; nothing for buckets, which are many. The record's counts have
/// `count_words` words.
#[inline]
pub fn column(record: &[AtomicU64], column: Column, count_words: usize) -> Option<Number> {
    match column {
        Column::Value | Column::Total | Column::Sum => Some(value(record)),
        Column::Count => Some(count(record, count_words).into()),
        Column::Created => Some(Number::Float(created(record))),
        Column::Buckets => None,
    }
}

/// What a record is known by outside of its family: records don't move.
#[inline(always)]
pub(crate) fn address(record: &[AtomicU64]) -> usize {
    record.as_ptr() as usize
}

/// `flag`, if it is to be `on`.
#[inline(always)]
pub(super) fn flag(on: bool, flag: u32) -> u32 {
    if on {
        flag
    } else {
        0
    }
}

/// A gauge's value as readers see it; `None` if they see none. For any thread.
#[inline]
pub(crate) fn shown(record: &[AtomicU64]) -> Option<Number> {
    let (head, bits) = record::read(record, || record[SHOWN].load(Relaxed))?;
    let flags = head as u32;
    let is_shown = flags & (HIDDEN | GONE | FREE) == 0;
    is_shown.then(|| Number::from_bits(bits, flags & SHOWN_FLOAT != 0))
}

/// Shows readers a gauge that was made or written while corked.
pub(super) fn show(record: &[AtomicU64]) {
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

/// Forgets what was written to a gauge while corked. A gauge that was made meanwhile stays hidden until it is written
/// again.
pub(super) fn discard(record: &[AtomicU64]) {
    let flags = record::flags(&record[HEAD]);
    if flags & PENDING != 0 {
        let float = flag(flags & SHOWN_FLOAT != 0, FLOAT | SHOWN_FLOAT);
        record::set_flags(&record[HEAD], float | (flags & (HIDDEN | UNSET | GONE | FREE)));
        record[VALUE].store(record[SHOWN].load(Relaxed), Relaxed);
    }
}
