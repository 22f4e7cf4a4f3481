//! Append-only memory for the records of a family.

use super::record;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, OnceLock};

/// The size chunks grow to, in words.
pub(crate) const FULL: usize = 4096;

/// A run of words that records are appended to. The next chunk hangs on it, so readers walk them all without a
/// lock while the writer goes on appending.
pub(crate) struct Chunk {
    words: Box<[AtomicU64]>,
    used: AtomicUsize,
    next: OnceLock<Arc<Chunk>>,
}

impl Chunk {
    pub(crate) fn new(words: usize) -> Chunk {
        Chunk {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            used: AtomicUsize::new(0),
            next: OnceLock::new(),
        }
    }

    /// How many words it has.
    pub(crate) fn capacity(&self) -> usize {
        self.words.len()
    }

    /// The next chunk.
    pub(crate) fn next(&self) -> Option<&Arc<Chunk>> {
        self.next.get()
    }

    /// Hangs `next` on this chunk. It is the writer's to do this once.
    pub(crate) fn link(&self, next: Arc<Chunk>) {
        // A second time would be ignored, which the one writer doesn't try.
        let _ = self.next.set(next);
    }

    /// Appends a record of `body` zero words and the label set, lets `init` fill the body, and shows it to
    /// readers. `None` if there is no room; else its offset.
    pub(crate) fn append(&self, body: usize, labels: &[u8], init: impl FnOnce(&[AtomicU64])) -> Option<usize> {
        let offset = self.used.load(Relaxed);
        let length = record::words_needed(body, labels.len());
        let record = self.words.get(offset..offset + length)?;
        record[record::SHAPE].store(record::shape(length, labels.len()), Relaxed);
        let after_body = &record[record::BODY + body..];
        for (word, bytes) in after_body.iter().zip(labels.chunks(8)) {
            word.store(word_of(bytes), Relaxed);
        }
        init(record);
        self.used.store(offset + length, Release);
        Some(offset)
    }

    /// The record at `offset`.
    pub(crate) fn record(&self, offset: usize) -> &[AtomicU64] {
        let (length, _) = record::read_shape(self.words[offset + record::SHAPE].load(Relaxed));
        &self.words[offset..offset + length]
    }

    /// How many words are taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Acquire)
    }

    /// All records so far, in the order they were appended.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[AtomicU64]> {
        let used = self.used();
        let mut offset = 0;
        std::iter::from_fn(move || {
            if offset >= used {
                return None;
            }
            let record = self.record(offset);
            offset += record.len();
            Some(record)
        })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // One after the other: a million series are a long chain, too long for the stack.
        let mut next = self.next.take();
        while let Some(mut chunk) = next.and_then(Arc::into_inner) {
            next = chunk.next.take();
        }
    }
}

/// Up to eight bytes of a label set as a word.
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
