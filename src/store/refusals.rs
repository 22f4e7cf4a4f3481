//! Values that were refused: why, and how many.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

    /// The reason as a label value.
    pub fn name(self) -> &'static str {
        match self {
            Refused::NotANumber => "not_a_number",
            Refused::Nan => "nan",
            Refused::Negative => "negative",
            Refused::Infinite => "infinite",
            Refused::ReadOnly => "read_only",
        }
    }

    /// The reason, as the end of a sentence that begins with the value.
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

/// How many values one store has refused, by reason. Prosody's thread counts; any thread may read.
#[derive(Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; Refused::ALL.len()],
}

impl Refusals {
    pub(super) fn count(&self, why: Refused) {
        self.counts[why as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn get(&self, why: Refused) -> u64 {
        self.counts[why as usize].load(Relaxed)
    }
}
