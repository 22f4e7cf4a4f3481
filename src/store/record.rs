//! The layout of one series in memory, and the sequence lock that keeps readers from seeing it half done.
//!
//! A record is a run of words in a [`Chunk`](super::chunk::Chunk):
//!
//! | word | holds |
//! | --- | --- |
//! | 0 | shape: length of the record in words (high half), of its label set in bytes (low half) |
//! | 1 | head: sequence number (high half), flags (low half) |
//! | 2… | body: values, by type (see [`values`](super::values)); then, in some families, the series' [`life`](super::life) |
//! | last | the encoded label set, zero-padded to whole words |
//!
//! There is one writer, Prosody's thread. It makes the sequence number odd, writes, and makes it even again; a reader
//! copies the words and starts over if the number was odd or has changed. So the writer never waits, and a reader only
//! for the few instructions of an update. The number also tells whether a series has been touched since somebody last
//! looked.

use crate::sync::atomic::{fence, AtomicU64, Ordering::*};
use crate::sync::Patience;
use std::time::Duration;

pub(crate) const SHAPE: usize = 0;
pub(crate) const HEAD: usize = 1;
pub(crate) const BODY: usize = 2;

/// How long a reader waits for a writer that was interrupted in the middle of its few instructions. In a process that
/// forked off at that moment, one of metre's own threads as the writer never goes on. Miri is a thousand times slower.
const PATIENCE: Duration = Duration::from_millis(if cfg!(miri) { 250_000 } else { 250 });

/// How often a reader looks before it lets other threads run.
const SPINS: u64 = if cfg!(feature = "model") { 2 } else { 64 };

/// How many words a record takes with a body of `body` words and a label set of `label_bytes` bytes.
pub(crate) fn words_needed(body: usize, label_bytes: usize) -> usize {
    BODY + body + label_bytes.div_ceil(8)
}

/// A shape word.
pub(crate) fn shape(words: usize, label_bytes: usize) -> u64 {
    (words as u64) << 32 | label_bytes as u64
}

/// The length of the record in words, of its label set in bytes.
pub(crate) fn read_shape(shape: u64) -> (usize, usize) {
    ((shape >> 32) as usize, (shape & 0xffff_ffff) as usize)
}

/// The flags in the head word.
#[inline(always)]
pub(crate) fn flags(head: &AtomicU64) -> u32 {
    head.load(Relaxed) as u32
}

/// Sets the flags without a step of the sequence: for flags that don't matter to readers.
#[inline(always)]
pub(crate) fn set_flags(head: &AtomicU64, flags: u32) {
    let sequence = head.load(Relaxed) & !0xffff_ffff;
    head.store(sequence | u64::from(flags), Relaxed);
}

/// Runs `write` as one step of the sequence, and sets the flags to `flags`. For the one writer only.
#[inline(always)]
pub(crate) fn step(head: &AtomicU64, flags: u32, write: impl FnOnce()) {
    let sequence = head.load(Relaxed) >> 32;
    head.store((sequence + 1) << 32 | u64::from(flags), Relaxed);
    fence(Release);
    write();
    head.store((sequence + 2) << 32 | u64::from(flags), Release);
}

/// The same with the flags that `write` returns.
pub(crate) fn rewrite(head: &AtomicU64, write: impl FnOnce() -> u32) {
    let sequence = head.load(Relaxed) >> 32;
    head.store((sequence + 1) << 32, Relaxed);
    fence(Release);
    let flags = write();
    head.store((sequence + 2) << 32 | u64::from(flags), Release);
}

/// Up to eight bytes of a label set as a word.
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Writes the shape of a record and its label set, at its end.
pub(crate) fn fill(record: &[AtomicU64], labels: &[u8]) {
    record[SHAPE].store(shape(record.len(), labels.len()), Relaxed);
    let words = &record[record.len() - labels.len().div_ceil(8)..];
    for (word, bytes) in words.iter().zip(labels.chunks(8)) {
        word.store(word_of(bytes), Relaxed);
    }
}

/// The words of a record that hold its label set, and how many bytes that has.
pub(crate) fn labels(record: &[AtomicU64]) -> (&[AtomicU64], usize) {
    let (_, bytes) = read_shape(record[SHAPE].load(Relaxed));
    (&record[record.len() - bytes.div_ceil(8)..], bytes)
}

/// What `look` makes of `record` while nobody writes to it, and the head at that moment. For any thread. `None` if no such
/// moment came.
pub(crate) fn read<T>(record: &[AtomicU64], mut look: impl FnMut() -> T) -> Option<(u64, T)> {
    let mut patience = Patience::new();
    for attempt in 1_u64.. {
        let head = record[HEAD].load(Acquire);
        if (head >> 32) & 1 == 0 {
            let found = look();
            fence(Acquire);
            if record[HEAD].load(Relaxed) >> 32 == head >> 32 {
                // Flags alone may have changed meanwhile; these go with the number.
                return Some((head, found));
            }
        }
        if attempt % SPINS != 0 {
            std::hint::spin_loop();
        } else if !patience.pause(Duration::ZERO, PATIENCE) {
            break;
        }
    }
    None
}

/// Appends a consistent copy of `record` to `out`, each word little-endian, so that the label set is text. For any thread. If
/// there is none to be had, the copy has the flags `lost`.
pub(crate) fn copy(record: &[AtomicU64], out: &mut Vec<u64>, lost: u32) {
    let start = out.len();
    let mut copy = || {
        out.truncate(start);
        out.extend(record.iter().map(|word| word.load(Relaxed).to_le()));
    };
    let head = match read(record, &mut copy) {
        Some((head, ())) => head,
        None => {
            copy();
            u64::from(lost)
        }
    };
    out[start + HEAD] = head.to_le();
}
