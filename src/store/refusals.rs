//! How many values were refused, and why.

use super::Refused;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of one store. Prosody's thread counts, anybody reads.
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
