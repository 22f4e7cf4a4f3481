//! Memory for the records of a family.

use super::record;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

/// The size chunks grow to, in words.
pub(crate) const FULL: usize = 4096;

/// A run of words that records are appended to. A record stays where it is; once its series has gone, another series of
/// the family may get it.
pub(crate) struct Chunk {
    words: Box<[AtomicU64]>,
    used: AtomicUsize,
}

impl Chunk {
    pub(crate) fn new(words: usize) -> Chunk {
        Chunk {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            used: AtomicUsize::new(0),
        }
    }

    /// How many words it has.
    pub(crate) fn capacity(&self) -> usize {
        self.words.len()
    }

    /// Appends a record of `body` zero words and the label set, has `init` fill the body and return the flags, and then
    /// shows the record to readers. Returns its offset; `None` if it doesn't fit.
    pub(crate) fn append(&self, body: usize, labels: &[u8], init: impl FnOnce(&[AtomicU64]) -> u32) -> Option<usize> {
        let offset = self.used.load(Relaxed);
        let length = record::words_needed(body, labels.len());
        let record = self.words.get(offset..offset + length)?;
        record::fill(record, labels);
        record::set_flags(&record[record::HEAD], init(record));
        self.used.store(offset + length, Release);
        Some(offset)
    }

    /// Makes the record at `offset`, whose series has gone, that of another label set, which must fit into it.
    pub(crate) fn reuse(&self, offset: usize, labels: &[u8], init: impl FnOnce(&[AtomicU64]) -> u32) {
        let record = self.record(offset);
        record::rewrite(&record[record::HEAD], || {
            record[record::BODY..].iter().for_each(|word| word.store(0, Relaxed));
            record::fill(record, labels);
            init(record)
        });
    }

    /// The record at `offset`.
    pub(crate) fn record(&self, offset: usize) -> &[AtomicU64] {
        let (length, _) = record::read_shape(self.words[offset + record::SHAPE].load(Relaxed));
        &self.words[offset..offset + length]
    }

    /// How many words records take.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Acquire)
    }

    /// All records so far, in the order of their offsets.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[AtomicU64]> {
        self.records_at().map(|(_, record)| record)
    }

    /// The same, each with its offset.
    pub(crate) fn records_at(&self) -> impl Iterator<Item = (usize, &[AtomicU64])> {
        let used = self.used();
        let mut offset = 0;
        std::iter::from_fn(move || {
            if offset >= used {
                return None;
            }
            let (at, record) = (offset, self.record(offset));
            offset += record.len();
            Some((at, record))
        })
    }
}
